"""Sinks that gather: an entry is committed once no sink holds it nor any of its stream before it."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import pytest

from cryptostream.engine import pipeline as loop
from cryptostream.engine.pipeline import Pipeline
from cryptostream.model.events import Entry
from cryptostream.model.ports import Batch, Gathering, Sink, Source
from cryptostream.testing import ListSink, ManualClock


def entries(*names: str) -> list[Entry]:
    return [Entry(stream, number, {}) for stream, _, number in (name.partition(":") for name in names)]


def names(found: Sequence[Entry]) -> list[str]:
    return [f"{entry.stream}:{entry.entry_id}" for entry in found]


class Delivering(Source):
    """Gives batches by their entries' names, and notes what is committed before each of them and after the last."""

    def __init__(self, *batches: Sequence[str], clock: ManualClock | None = None) -> None:
        self.committed: list[list[str]] = []
        self._batches = batches
        self._clock = clock
        self._stopped = False

    async def batches(self) -> AsyncIterator[Batch[Entry]]:
        for batch in self._batches:
            if self._stopped:
                return
            if self._clock and not batch:
                self._clock.advance(1.0)
            self.committed.append([])
            yield Batch(entries(*batch))
        self.committed.append([])

    async def commit(self, batch: Batch[Entry]) -> None:
        self.committed[-1] += names(batch.events)

    def stop(self) -> None:
        self._stopped = True

    @property
    def all_committed(self) -> list[str]:
        return [name for part in self.committed for name in part]


class Recorder(Sink):
    """Makes safe what it has of a stream once that is `rows` entries, when it is told to, and never while `stuck`."""

    def __init__(self, rows: int = 1_000_000) -> None:
        self.trouble = ""
        self.safe: list[str] = []
        self.heartbeats = 0
        self.told: list[list[str] | None] = []
        self.stuck = False
        self._rows = rows
        self._open: dict[str, list[Entry]] = {}

    async def write(self, events: Sequence[Entry]) -> None:
        self.heartbeats += not events
        for entry in events:
            self._open.setdefault(entry.stream, []).append(entry)
        for stream in [stream for stream, have in self._open.items() if len(have) >= self._rows]:
            self._close(stream)

    def held(self) -> Mapping[str, str]:
        return {stream: have[0].entry_id for stream, have in self._open.items()}

    async def flush(self, streams: Collection[str] | None = None) -> None:
        self.told.append(None if streams is None else sorted(streams))
        for stream in set(self._open) & set(self._open if streams is None else streams):
            self._close(stream)

    def _close(self, stream: str) -> None:
        if not self.stuck:
            self.safe += names(self._open.pop(stream))


def test_it_is_a_gathering_sink() -> None:
    assert isinstance(Recorder(), Gathering)
    assert not isinstance(ListSink(), Gathering)


async def test_nothing_is_committed_while_it_is_held_and_all_of_it_at_the_end() -> None:
    source, sink = Delivering(["a:1-1", "a:1-2"], ["a:1-3"]), Recorder()
    await Pipeline("p", source, [sink]).run()
    assert source.committed == [[], [], ["a:1-1", "a:1-2", "a:1-3"]]
    assert sink.told == [None]


async def test_a_stream_that_is_safe_is_committed_while_another_is_held() -> None:
    source = Delivering(["a:1-1", "b:1-1"], ["a:1-2"], ["a:1-3"])
    await Pipeline("p", source, [Recorder(rows=2)]).run()
    assert source.committed == [[], ["a:1-1", "a:1-2"], [], ["b:1-1", "a:1-3"]]


async def test_what_a_filter_left_out_is_committed_after_what_came_before_it() -> None:
    source = Delivering(["a:1-1", "a:2-2", "b:2-2", "a:1-3"])
    kept = Pipeline("p", source, [sink := Recorder()], transform=lambda e: (e,) if e.entry_id < "2" else ())
    await kept.run()
    assert source.committed == [["b:2-2"], ["a:1-1", "a:2-2", "a:1-3"]]
    assert sink.safe == ["a:1-1", "a:1-3"]


async def test_the_slowest_of_several_sinks_counts() -> None:
    source = Delivering(["a:1-1"], ["a:1-2"], ["a:1-3"])
    await Pipeline("p", source, [Recorder(rows=1), ListSink(), Recorder(rows=2)]).run()
    assert source.committed == [[], ["a:1-1", "a:1-2"], [], ["a:1-3"]]


async def test_a_stream_of_which_too_many_wait_is_flushed() -> None:
    source, sink = Delivering(["a:1-1", "b:1-1"], ["a:1-2", "a:1-3"]), Recorder()
    await Pipeline("p", source, [sink], max_held=2).run()
    assert sink.told == [["a"], None]
    assert source.committed == [[], ["a:1-1", "a:1-2", "a:1-3"], ["b:1-1"]]


async def test_what_comes_again_while_it_is_held_is_not_written_again() -> None:
    """As it does when the bus was away: what is not acknowledged is delivered from its beginning."""
    source, sink = Delivering(["a:1-1", "a:1-2"], ["a:1-1", "a:1-2", "a:1-3"]), Recorder()
    pipeline = Pipeline("p", source, [sink, beside := ListSink()])
    await pipeline.run()
    assert sink.safe == names(beside.events) == source.all_committed == ["a:1-1", "a:1-2", "a:1-3"]
    assert pipeline.events == 3


async def test_what_cannot_be_made_safe_is_not_committed_and_is_counted() -> None:
    source, sink = Delivering(["a:1-1"]), Recorder()
    sink.stuck, sink.trouble = True, "No space left on device"
    pipeline = Pipeline("p", source, [sink], max_held=0)
    await pipeline.run()
    assert (source.all_committed, pipeline.held) == ([], 1)
    assert pipeline.troubles == ["recorder: No space left on device"]


async def test_nothing_is_flushed_after_a_failure() -> None:
    class Failing(Sink):
        async def write(self, events: Sequence[Any]) -> None:
            raise OSError("disk full")

    source, sink = Delivering(["a:1-1"]), Recorder()
    with pytest.raises(OSError, match="disk full"):
        await Pipeline("p", source, [sink, Failing()]).run()
    assert (sink.told, source.all_committed) == ([], [])


async def test_empty_batches_reach_the_sinks_and_commit_nothing() -> None:
    source, sink = Delivering([], ["a:1-1"], []), Recorder()
    await Pipeline("p", source, [sink]).run()
    assert sink.heartbeats == 2
    assert source.committed == [[], [], [], ["a:1-1"]]


async def test_a_heartbeat_in_which_the_sink_finished_commits() -> None:
    class Rotating(Recorder):
        async def write(self, events: Sequence[Entry]) -> None:
            await super().write(events)
            if not events:
                await self.flush()

    source = Delivering(["a:1-1"], [], [])
    await Pipeline("p", source, [Rotating()]).run()
    assert source.committed == [[], ["a:1-1"], [], []]


async def test_a_limit_commits_what_was_written_and_no_more() -> None:
    source, sink = Delivering(["a:1-1", "a:1-2"], ["a:1-3", "a:1-4"], ["a:1-5"]), Recorder()
    pipeline = Pipeline("p", source, [sink], limit=3)
    await pipeline.run()
    assert sink.safe == source.all_committed == ["a:1-1", "a:1-2", "a:1-3"]
    assert pipeline.events == 3


async def test_it_ends_once_nothing_came_for_long(clock: ManualClock) -> None:
    source = Delivering([], ["a:1-1"], [], [], ["a:1-2"], [], [], [], ["a:1-3"], clock=clock)
    await Pipeline("p", source, [sink := Recorder()], until_idle_s=3.0, clock=clock).run()
    assert sink.safe == ["a:1-1", "a:1-2"]


async def test_without_being_told_it_waits_for_ever(clock: ManualClock) -> None:
    source = Delivering(["a:1-1"], *[[]] * 100, ["a:1-2"], clock=clock)
    await Pipeline("p", source, [sink := Recorder()], clock=clock).run()
    assert sink.safe == ["a:1-1", "a:1-2"]


# --- troubles


@pytest.mark.row(29)
async def test_a_sink_that_hangs_is_named_and_not_cancelled(clock: ManualClock) -> None:
    seen: list[list[str]] = []

    class Postgres(Sink):
        async def write(self, events: Sequence[Any]) -> None:
            for seconds in (loop.SLOW_AFTER_S - 1, 2.0):
                clock.advance(seconds)
                seen.append(pipeline.troubles)

    pipeline = Pipeline("p", Delivering(["a:1-1"]), [ListSink(), Postgres()], clock=clock)
    await pipeline.run()
    assert seen == [[], ["postgres: busy with one batch for 6 s"]]
    assert pipeline.trouble == ""


@pytest.mark.row(29)
async def test_a_flush_that_hangs_is_named_too(clock: ManualClock) -> None:
    class Slow(Recorder):
        async def flush(self, streams: Collection[str] | None = None) -> None:
            clock.advance(60.0)
            seen.append(pipeline.trouble)

    seen: list[str] = []
    pipeline = Pipeline("p", Delivering(["a:1-1"]), [Slow()], clock=clock)
    await pipeline.run()
    assert seen == ["slow: busy with one batch for 60 s"]


async def test_what_is_held_of_a_stream_that_leaves_is_made_safe_and_committed_at_once() -> None:
    class Shrinking(Delivering):
        @property
        def leaving(self) -> Collection[str]:
            return ["b"] if len(self.committed) == 2 else []

    source, sink = Shrinking(["a:1-1", "b:1-1"], [], []), Recorder()
    await Pipeline("it", source, [sink]).run()
    assert source.committed[1:3] == [["b:1-1"], []]
    assert source.all_committed == ["b:1-1", "a:1-1"]


async def test_a_sink_in_trouble_is_not_asked_again_with_every_batch() -> None:
    sink = Recorder()
    sink.trouble = "no space left"
    source = Delivering(["a:1-1", "a:1-2"], ["a:1-3", "a:1-4"], ["a:1-5"])
    await Pipeline("it", source, [sink], max_held=2).run()
    assert sink.told == [None]
