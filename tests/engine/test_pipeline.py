"""The loop: everything in order, committed only after every sink accepted it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from cryptostream.engine.clock import SystemClock
from cryptostream.engine.pipeline import Pipeline
from cryptostream.model.ports import Batch, Sink
from cryptostream.testing import ListSink, ListSource


class Failing(Sink):
    async def write(self, events: Sequence[Any]) -> None:
        raise OSError("disk full")


async def test_events_reach_every_sink_in_order() -> None:
    one, other = ListSink(), ListSink()
    await Pipeline("p", ListSource([1, 2, 3, 4, 5], batch_size=2), [one, other]).run()
    assert one.events == other.events == [1, 2, 3, 4, 5]


async def test_a_transform_may_give_none_or_many() -> None:
    sink = ListSink()
    await Pipeline("p", ListSource([1, 2, 3]), [sink], transform=lambda n: [n] * (n - 1)).run()
    assert sink.events == [2, 3, 3]


async def test_a_batch_is_committed_after_every_sink_has_it() -> None:
    source = ListSource([1, 2, 3], batch_size=2)
    await Pipeline("p", source, [ListSink()]).run()
    assert list(source.committed) == [1, 2, 3]


async def test_a_batch_that_a_sink_refused_is_not_committed() -> None:
    source = ListSource([1, 2, 3], batch_size=2)
    with pytest.raises(OSError, match="disk full"):
        await Pipeline("p", source, [ListSink(), Failing()]).run()
    assert list(source.committed) == []


async def test_a_limit_ends_it_to_the_event() -> None:
    sink = ListSink()
    pipeline = Pipeline("p", ListSource(range(100), batch_size=7), [sink], limit=10)
    await pipeline.run()
    assert sink.events == list(range(10))
    assert pipeline.events == 10


async def test_a_limit_counts_what_counts_and_lets_the_rest_through() -> None:
    source, sink = ListSource(["x", 1, "x", 2, "x", 3, "x"], batch_size=3), ListSink()
    pipeline = Pipeline("test", source, [sink], limit=2, counts=lambda event: isinstance(event, int))
    await pipeline.run()
    assert sink.events == ["x", 1, "x", 2]
    assert pipeline.events == 2


class Slow(Sink):
    """A sink whose opening takes for ever; `closed` once it was left."""

    closed = False

    async def __aenter__(self) -> "Slow":
        try:
            await asyncio.Event().wait()
        finally:
            self.closed = True
        return self

    async def write(self, events: Sequence[Any]) -> None:
        raise AssertionError("never open")


async def test_a_stop_does_not_wait_for_what_is_still_being_opened() -> None:
    sink = Slow()
    pipeline = Pipeline("p", ListSource([1]), [sink])
    running = asyncio.ensure_future(pipeline.run())
    await SystemClock().sleep(0)
    pipeline.stop()
    done, _ = await asyncio.wait([running], timeout=1)  # wait_for would cancel it itself, and call that a success
    assert done == {running}
    await running
    assert sink.closed
    assert pipeline.events == 0


async def test_a_cancellation_while_opening_is_no_stop() -> None:
    running = asyncio.ensure_future(Pipeline("p", ListSource([1]), [Slow()]).run())
    await SystemClock().sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_source_is_left_by_those_who_read_it_before_it_is_closed() -> None:
    told: list[str] = []

    class Telling(ListSource):
        async def batches(self) -> AsyncIterator[Batch[Any]]:
            try:
                async for batch in super().batches():
                    yield batch
            finally:
                told.append("left")

        async def __aexit__(self, *_: object) -> None:
            told.append("closed")

    await Pipeline("it", Telling([1, 2, 3], batch_size=1), [ListSink()], limit=1).run()
    assert told == ["left", "closed"]
