"""Before a stream's first event its instances take in what came before, if they want it: nothing of that is written.

What was taken in is kept until the first commit, so that a handler which raises, or a bus that goes away, does not make
us read the past again.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from cryptostream import logs
from cryptostream.bus.effects.state import packed
from cryptostream.client.handlers import Memory
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusUnavailable
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Event

Past = Callable[[str, str], AsyncIterator[Sequence[Event]]]
"""What came before in a stream, page by page and in order, up to the entry right before an id: `past(stream, before)`.

It may begin with what stands in other places, as klines of an exchange, whose ids are times too. What does not follow
on what it gave last, or is not below the id, is left out.
"""
Make = Callable[[str, Any], Memory]
"""Makes the memory of a stream, of a state or of None."""

_AT_ONCE = 8
_LOOK_S = 0.1
"""How often we look whether we were stopped."""
_clock = SystemClock()
_log = logs.get("client")


class _Warm(NamedTuple):
    before: str
    state: bytes


class Warming:
    """Makes the memories of streams that nothing is saved of. `is_stopped` ends it, also in the middle of a page."""

    def __init__(self, past: Past | None, make: Make, is_stopped: Callable[[], bool]) -> None:
        self._past = past
        self._make = make
        self._is_stopped = is_stopped
        self._warm: dict[str, _Warm] = {}

    async def memories(self, before: Mapping[str, str]) -> dict[str, Memory]:
        """The memory of each stream, warmed with what came before an id; those it was stopped at are left out.

        Raises BusUnavailable. A past that cannot be read for another reason is told of, and done without.
        """
        found = {stream: self._made(stream, at) for stream, at in before.items()}
        cold = {stream: memory for stream, memory in found.items() if self._is_cold(stream, memory)}
        if self._past is None or not cold:
            return found
        warm = await self._warmed(self._past, cold, before)
        return {
            stream: warm.get(stream, memory) for stream, memory in found.items() if stream in warm or stream not in cold
        }

    def forget(self, stream: str) -> None:
        """What was taken in is saved by now."""
        self._warm.pop(stream, None)

    def _made(self, stream: str, before: str) -> Memory:
        warm = self._warm.get(stream)
        if warm is None or warm.before != before:
            self.forget(stream)
            return self._make(stream, None)
        return self._make(stream, msgspec.msgpack.decode(warm.state))

    def _is_cold(self, stream: str, memory: Memory) -> bool:
        return memory.wants_past and stream not in self._warm

    async def _warmed(self, past: Past, cold: Mapping[str, Memory], before: Mapping[str, str]) -> dict[str, Memory]:
        """The memories that were warmed, or cannot be, until we were stopped."""
        done: dict[str, Memory] = {}
        troubles: list[BusUnavailable] = []
        waiting = iter(cold.items())

        async def work() -> None:
            for stream, memory in waiting:
                if troubles or self._is_stopped():
                    return
                try:
                    if (warm := await self._warm_up(past, stream, before[stream], memory)) is not None:
                        done[stream] = warm
                except BusUnavailable as trouble:
                    troubles.append(trouble)

        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(work()) for _ in range(min(_AT_ONCE, len(cold)))]
            looking = tasks.create_task(self._end(workers))
            await asyncio.wait(workers)
            looking.cancel()
        if troubles:
            raise troubles[0]
        return done

    async def _end(self, workers: Sequence[asyncio.Task[None]]) -> None:
        """Cancel them once we are stopped: whoever gives the past may be waiting for somebody who is silent."""
        while not self._is_stopped():
            await _clock.sleep(_LOOK_S)
        for worker in workers:
            worker.cancel()

    async def _warm_up(self, past: Past, stream: str, before: str, memory: Memory) -> Memory | None:
        """The memory with its past in it, a new one where that cannot be had, None where we were stopped."""
        try:
            if not await self._take_in(past(stream, before), before, memory):
                return None
            self._warm[stream] = _Warm(before, packed(memory.state()))
        except BusUnavailable:
            raise
        except Exception as error:  # of whatever gives the past, or takes it in
            _log.warning("consumer.cold", stream=stream, before=before, why=repr(error))
            return self._make(stream, None)
        return memory

    async def _take_in(self, pages: AsyncIterator[Sequence[Event]], before: str, memory: Memory) -> bool:
        """Whether all of it was taken in, in order, and nothing twice."""
        last, end = (-1, 0), parse_id(before)
        try:
            async for page in pages:
                for event in page:
                    if last < (here := parse_id(event.entry_id)) < end:
                        memory.warm(event)
                        last = here
                await _clock.sleep(0)  # what has its pages at hand gives nobody else a turn
                if self._is_stopped():
                    return False
        finally:
            if isinstance(pages, AsyncGenerator):
                await pages.aclose()
        return not self._is_stopped()
