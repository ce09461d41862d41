"""Told to stop while a sink is in trouble, a pipeline leaves pending what cannot be made safe, and ends in order."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import pytest
import structlog

from cryptostream.engine.clock import SystemClock
from cryptostream.engine.patience import GRACE_S, NotWaitedFor, Patience
from cryptostream.engine.pipeline import Pipeline
from cryptostream.engine.runtime import Runtime
from cryptostream.model.events import Entry
from cryptostream.model.ports import Batch, Sink
from cryptostream.testing import ListSink, ManualClock
from tests.engine.test_gathering import Delivering, Recorder
from tests.engine.test_rejecting import Redelivering


class Away(Sink):
    """A sink that waits at each batch for what does not come back."""

    def __init__(self, trouble: str = "away") -> None:
        self.trouble = trouble
        self.reached = asyncio.Event()

    async def write(self, events: Sequence[Any]) -> None:
        self.reached.set()
        await asyncio.Event().wait()


class Slow(Away):
    """A sink that takes `lasts_s` for a batch, from the moment when its source is stopped."""

    def __init__(self, trouble: str, clock: ManualClock, lasts_s: float) -> None:
        super().__init__(trouble)
        self.stopped = asyncio.Event()
        self._clock = clock
        self._lasts_s = lasts_s

    async def write(self, events: Sequence[Any]) -> None:
        self.reached.set()
        await self.stopped.wait()
        await self._clock.sleep(self._lasts_s)


class Stopped(Redelivering):
    """A source that tells a sink of its stop."""

    def __init__(self, *batches: list[str], sink: Slow) -> None:
        super().__init__(*batches)
        self._sink = sink

    def stop(self) -> None:
        super().stop()
        self._sink.stopped.set()


class AwayFlush(Recorder):
    """A recorder whose disk takes nothing from one flush on, and which waits for it there."""

    def __init__(self, good: int = 0) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self._good = good

    async def flush(self, streams: Collection[str] | None = None) -> None:
        self._good -= 1
        if self._good < 0:
            self.trouble = "No space left on device"
            self.reached.set()
            await asyncio.Event().wait()
        await super().flush(streams)


class Unhurried(ManualClock):
    """Another clock's time, for whoever is to wake after all that others do at that time."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    async def sleep(self, delay_s: float) -> None:
        await self._clock.sleep(delay_s)
        for _ in range(100):
            await SystemClock().sleep(0)


async def drained(pipeline: Pipeline, clock: ManualClock, reached: asyncio.Event) -> int:
    """The exit code of a process that is told to stop once a sink has been reached."""

    async def drain() -> None:
        await reached.wait()
        runtime.drain()
        await asyncio.Event().wait()

    runtime = Runtime([pipeline], clock=Unhurried(clock), companions=[drain])
    return await runtime.run()


async def test_a_write_to_what_is_away_is_given_up_and_stays_uncommitted(clock: ManualClock) -> None:
    source, sink = Redelivering(["a:1-1", "a:1-2"], ["a:1-3"]), Away()
    with structlog.testing.capture_logs() as lines:
        assert await drained(Pipeline("p", source, [ListSink(), sink], clock=clock), clock, sink.reached) == 0
    assert source.all_committed == []
    [told] = [line for line in lines if line["log_level"] != "info"]
    assert told.pop("log_level") == "warning"
    assert {name: told[name] for name in ("event", "consumer", "entries", "why")} == {
        "event": "engine.left_pending",
        "consumer": "p",
        "entries": 2,
        "why": "away: away",
    }


async def test_a_flush_to_what_is_away_is_given_up_and_what_was_safe_is_committed(clock: ManualClock) -> None:
    source, sink = Redelivering(["a:1-1"], ["a:1-2"], ["a:1-3"]), AwayFlush(good=1)
    pipeline = Pipeline("p", source, [sink], clock=clock, max_held=1)
    with structlog.testing.capture_logs() as lines:
        assert await drained(pipeline, clock, sink.reached) == 0
    assert source.all_committed == ["a:1-1", "a:1-2"]
    assert [line["entries"] for line in lines if line["event"] == "engine.left_pending"] == [1]


async def test_what_a_sink_holds_is_still_made_safe_while_another_is_away(clock: ManualClock) -> None:
    class AwayLater(Away):
        async def write(self, events: Sequence[Any]) -> None:
            if events[0].entry_id != "1-1":
                await super().write(events)

    source, recorder, sink = Redelivering(["a:1-1"], ["a:1-2"]), Recorder(), AwayLater()
    assert await drained(Pipeline("p", source, [recorder, sink], clock=clock), clock, sink.reached) == 0
    assert source.all_committed == ["a:1-1"]
    assert recorder.told == [None]


async def test_sinks_and_source_are_left_as_after_any_other_end(clock: ManualClock) -> None:
    left: list[object] = []

    class Noting(Away):
        async def __aexit__(self, kind: object, *rest: object) -> None:
            left.append(kind)

    class NotingSource(Redelivering):
        async def __aexit__(self, kind: object, *rest: object) -> None:
            left.append(kind)

    sink = Noting()
    await drained(Pipeline("p", NotingSource(["a:1-1"]), [sink], clock=clock), clock, sink.reached)
    assert left == [None, None]


async def test_a_sink_without_trouble_is_waited_for(clock: ManualClock) -> None:
    sink = Slow("", clock, lasts_s=8.0)
    source = Stopped(["a:1-1"], sink=sink)
    assert await drained(Pipeline("p", source, [sink], clock=clock), clock, sink.reached) == 0
    assert source.all_committed == ["a:1-1"]


async def test_a_sink_that_is_back_within_the_grace_is_waited_for(clock: ManualClock) -> None:
    sink = Slow("away", clock, lasts_s=GRACE_S - 0.5)
    source = Stopped(["a:1-1"], sink=sink)
    with structlog.testing.capture_logs() as lines:
        assert await drained(Pipeline("p", source, [sink], clock=clock), clock, sink.reached) == 0
    assert source.all_committed == ["a:1-1"]
    assert "engine.left_pending" not in [line["event"] for line in lines]


async def test_a_source_that_would_not_bring_it_again_waits_until_it_is_cut(clock: ManualClock) -> None:
    source, sink = Delivering(["a:1-1"]), Away()
    began_s = clock.monotonic()
    assert await drained(Pipeline("p", source, [sink], clock=clock), clock, sink.reached) == 1
    assert clock.monotonic() - began_s >= 9.0


async def test_nothing_is_given_up_before_a_stop(clock: ManualClock) -> None:
    source, sink = Redelivering(["a:1-1"]), Slow("away", clock, lasts_s=3600.0)
    sink.stopped.set()
    await Pipeline("p", source, [sink], clock=clock).run()
    assert source.all_committed == ["a:1-1"]


async def test_what_comes_after_a_stop_is_given_up_too(clock: ManualClock) -> None:
    class Late(Redelivering):
        async def batches(self) -> AsyncIterator[Batch[Entry]]:
            async for batch in super().batches():
                self.stop = lambda: None  # type: ignore[method-assign]  # everything it has is already on its way
                await clock.sleep(GRACE_S * 2)
                yield batch

    source, sink, now = Late(["a:1-1"]), Away(), asyncio.Event()
    now.set()
    assert await drained(Pipeline("p", source, [sink], clock=clock), clock, now) == 0
    assert sink.reached.is_set()
    assert source.all_committed == []


async def test_a_cancellation_from_outside_is_no_giving_up(clock: ManualClock) -> None:
    sink = Away()
    running = asyncio.ensure_future(Pipeline("p", Redelivering(["a:1-1"]), [sink], clock=clock).run())
    await sink.reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_cancellation_from_outside_counts_along_with_ours(clock: ManualClock) -> None:
    async def work() -> None:
        async with Patience(clock, lambda: task.cancel()) as patience:
            patience.end()
            with patience.waiting():
                await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_gave_up_is_not_cancelled_any_more(clock: ManualClock) -> None:
    async with Patience(clock, lambda: True) as patience:
        patience.end()
        for _ in range(2):
            with pytest.raises(NotWaitedFor), patience.waiting():
                await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
