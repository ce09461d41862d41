"""The loop every command is made of: read a batch, transform it, write it to every sink, commit."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import accumulate, chain
from typing import Any

from cryptostream.model.ports import Batch, Sink, Source, Transform


class Pipeline:
    """One source, one transform, some sinks. `limit` ends it after so many events of those that count, to the event.

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
        counts: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        self.name = name
        self.events = 0
        self._source = source
        self._sinks = sinks
        self._transform = transform
        self._limit = limit
        self._counts = counts
        self._opening: asyncio.Task[Any] | None = None
        self._stopped = False

    async def run(self) -> None:
        """Open the sinks, then the source; move batches until the source ends; close in reverse."""
        async with AsyncExitStack() as opened:
            if not await self._open(opened):
                return
            async for batch in self._source.batches():
                await self._move(batch)
                if self.events == self._limit:
                    break

    def stop(self) -> None:
        """Read nothing new; what was read is still written and committed. What is being opened is not waited for."""
        self._stopped = True
        self._source.stop()
        if self._opening is not None:
            self._opening.cancel()

    async def _open(self, opened: AsyncExitStack) -> bool:
        """Whether everything is open; False if it was stopped before."""
        self._opening = task = asyncio.current_task()
        try:
            for each in (*self._sinks, self._source):
                await opened.enter_async_context(each)
        except asyncio.CancelledError:
            if task is None or not self._stopped:
                raise
            task.uncancel()
            return False
        finally:
            self._opening = None
        return True

    async def _move(self, batch: Batch[Any]) -> None:
        events = batch.events
        if self._transform is not None:
            events = list(chain.from_iterable(map(self._transform, events)))
        if self._limit is not None:
            events = self._up_to(self._limit, events)
        for sink in self._sinks:
            await sink.write(events)
        self.events += len(events) if self._limit is None else sum(map(self._counts, events))
        await self._source.commit(batch)

    def _up_to(self, limit: int, events: Sequence[Any]) -> Sequence[Any]:
        counted = accumulate(map(self._counts, events), initial=self.events)
        return [event for event, before in zip(events, counted, strict=False) if before < limit]
