"""What tests of pipelines, strategies and sinks need: a clock that obeys, a source and a sink made of lists."""

from collections.abc import AsyncIterator, Sequence
from heapq import heapify, heappush
from typing import Any

from cryptostream.engine.clock import SystemClock
from cryptostream.model.ports import Batch, Sink, Source

_START_NS = 1_731_605_400_000_000_000  # 2024-11-14T17:30:00Z


class ManualClock:
    """Time that passes only when somebody sleeps or says so; nobody really waits.

    Sleepers wake in the order of their deadlines, and waking moves both clocks there.

    >>> import asyncio
    >>> clock = ManualClock()
    >>> start = clock.now_ns()
    >>> asyncio.run(clock.sleep(3600))
    >>> clock.advance(0.5)
    >>> clock.monotonic(), clock.now_ns() - start
    (3600.5, 3600500000000)
    """

    def __init__(self, now_ns: int = _START_NS) -> None:
        self._start_ns = now_ns
        self._elapsed_s = 0.0
        self._deadlines: list[tuple[float, int]] = []
        self._sleeps = 0

    def now_ns(self) -> int:
        """Wall time, nanoseconds since the epoch, UTC."""
        return self._start_ns + round(self._elapsed_s * 1e9)

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._elapsed_s

    def advance(self, seconds: float) -> None:
        """Let time pass at once; sleepers whose deadline this passes wake when the loop next runs."""
        self._elapsed_s += seconds

    async def sleep(self, delay_s: float) -> None:
        """Yield to everybody else, then move time on to the end of this sleep."""
        self._sleeps += 1
        mine = (self._elapsed_s + max(0.0, delay_s), self._sleeps)
        heappush(self._deadlines, mine)
        try:
            await self._turn(mine)
        finally:
            self._deadlines.remove(mine)
            heapify(self._deadlines)
        self._elapsed_s = max(self._elapsed_s, mine[0])

    async def _turn(self, mine: tuple[float, int]) -> None:
        await SystemClock().sleep(0)
        while self._deadlines[0] < mine:
            await SystemClock().sleep(0)


class ListSource(Source):
    """A source that hands over a list in batches; `committed` holds what has been committed, in order.

    >>> import asyncio
    >>> async def sizes(source):
    ...     return [len(batch.events) async for batch in source.batches()]
    >>> asyncio.run(sizes(ListSource([1, 2, 3], batch_size=2)))
    [2, 1]
    """

    def __init__(self, events: Sequence[Any], batch_size: int = 100) -> None:
        self._events = events
        self._batch_size = batch_size
        self._stopped = False
        self.committed: list[Any] = []

    async def batches(self) -> AsyncIterator[Batch[Any]]:
        """The list in its order, `batch_size` events at a time, until it ends or `stop` is called."""
        for start in range(0, len(self._events), self._batch_size):
            if self._stopped:
                return
            yield Batch(self._events[start : start + self._batch_size], token=start)

    async def commit(self, batch: Batch[Any]) -> None:
        """Note that a batch is safe."""
        self.committed.extend(batch.events)

    def stop(self) -> None:
        """End `batches` before the next batch."""
        self._stopped = True


class ListSink(Sink):
    """A sink that keeps all it is given in `events`.

    >>> import asyncio
    >>> sink = ListSink()
    >>> asyncio.run(sink.write(["a", "b"]))
    >>> sink.events
    ['a', 'b']
    """

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def write(self, events: Sequence[Any]) -> None:
        """Keep the events."""
        self.events.extend(events)
