"""The loop every command is made of: read a batch, transform it, write it to every sink, commit."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import chain
from typing import Any

from cryptostream.model.ports import Batch, Sink, Source, Transform


class Pipeline:
    """One source, one transform, some sinks. `limit` ends it after so many events, to the event.

    A batch is committed once every sink has accepted it, so that a crash repeats and never loses.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        sinks: Sequence[Sink],
        *,
        transform: Transform | None = None,
        limit: int | None = None,
    ) -> None:
        self.name = name
        self.events = 0
        self._source = source
        self._sinks = sinks
        self._transform = transform
        self._limit = limit

    async def run(self) -> None:
        """Open the sinks, then the source; move batches until the source ends; close in reverse."""
        async with AsyncExitStack() as opened:
            for sink in self._sinks:
                await opened.enter_async_context(sink)
            await opened.enter_async_context(self._source)
            async for batch in self._source.batches():
                await self._move(batch)
                if self.events == self._limit:
                    break

    def stop(self) -> None:
        """Read nothing new; what was read is still written and committed."""
        self._source.stop()

    async def _move(self, batch: Batch[Any]) -> None:
        events = batch.events
        if self._transform is not None:
            events = list(chain.from_iterable(map(self._transform, events)))
        if self._limit is not None:
            events = events[: self._limit - self.events]
        for sink in self._sinks:
            await sink.write(events)
        self.events += len(events)
        await self._source.commit(batch)
