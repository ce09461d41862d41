"""A transform that fails on an entry: what came before is safe, the entry goes back, other streams go on."""

from collections.abc import Iterable
from typing import Any

import pytest

from cryptostream.engine.pipeline import Pipeline
from cryptostream.model.events import Entry
from cryptostream.model.ports import Rejecting
from cryptostream.testing import ListSink
from tests.engine.test_gathering import Delivering, Recorder, names


class Redelivering(Delivering):
    """Notes what is given back, and what had been committed by then."""

    def __init__(self, *batches: list[str]) -> None:
        super().__init__(*batches)
        self.rejected: list[tuple[str, str]] = []
        self.before: list[list[str]] = []

    async def reject(self, entry: Entry, error: str) -> None:
        self.rejected.append((f"{entry.stream}:{entry.entry_id}", error))
        self.before.append(self.all_committed)


def failing_on(*poison: str) -> Any:
    def transform(entry: Entry) -> Iterable[Entry]:
        if f"{entry.stream}:{entry.entry_id}" in poison:
            raise ValueError("no such price")
        yield entry

    return transform


def test_it_is_a_rejecting_source() -> None:
    assert isinstance(Redelivering(), Rejecting)
    assert not isinstance(Delivering(), Rejecting)


async def test_what_came_before_is_written_and_committed_and_the_entry_goes_back() -> None:
    source, sink = Redelivering(["a:1-1", "a:1-2", "a:1-3"], ["a:1-4"]), ListSink()
    await Pipeline("p", source, [sink], transform=failing_on("a:1-2")).run()
    assert names(sink.events) == ["a:1-1", "a:1-4"]
    assert source.committed == [["a:1-1"], ["a:1-4"], []]
    assert source.rejected == [("a:1-2", "ValueError: no such price")]
    assert source.before == [["a:1-1"]]


async def test_other_streams_of_the_batch_go_on() -> None:
    source, sink = Redelivering(["a:1-1", "b:1-1", "a:1-2", "c:1-1", "b:1-2"]), ListSink()
    await Pipeline("p", source, [sink], transform=failing_on("a:1-1", "b:1-2")).run()
    assert names(sink.events) == source.all_committed == ["b:1-1", "c:1-1"]
    assert [name for name, _ in source.rejected] == ["a:1-1", "b:1-2"]


async def test_what_a_sink_still_holds_before_it_is_made_safe_first() -> None:
    """So that the entry is the first of its stream that is not committed, as a Rejecting source has it."""
    source, sink = Redelivering(["a:1-1", "b:1-1"], ["a:1-2", "a:1-3"]), Recorder()
    await Pipeline("p", source, [sink], transform=failing_on("a:1-2")).run()
    assert sink.told == [["a"], None]
    assert source.before == [["a:1-1"]]
    assert source.all_committed == ["a:1-1", "b:1-1"]


async def test_a_source_that_takes_nothing_back_ends_it() -> None:
    source = Delivering(["a:1-1", "a:1-2"])
    with pytest.raises(ValueError, match="no such price"):
        await Pipeline("p", source, [ListSink()], transform=failing_on("a:1-2")).run()
    assert source.all_committed == []


async def test_and_what_came_before_is_safe_where_it_can_be() -> None:
    source, sink = Delivering(["a:1-1", "b:1-1", "a:1-2"]), Recorder()
    with pytest.raises(ValueError, match="no such price"):
        await Pipeline("p", source, [sink], transform=failing_on("a:1-2")).run()
    assert source.all_committed == ["a:1-1"]


async def test_a_limit_leaves_the_rest_of_the_batch_to_the_next_run() -> None:
    source, sink = Redelivering(["a:1-1", "a:1-2", "a:1-3"]), ListSink()
    await Pipeline("p", source, [sink], transform=lambda entry: [entry] * 2, limit=3).run()
    assert names(sink.events) == ["a:1-1", "a:1-1", "a:1-2"]
    assert source.all_committed == ["a:1-1", "a:1-2"]


async def test_nothing_is_committed_where_nothing_was_done() -> None:
    class Counting(Redelivering):
        commits = 0

        async def commit(self, batch: Any) -> None:
            self.commits += 1

    source = Counting([], ["a:1-1"], [])
    await Pipeline("p", source, [ListSink()], transform=failing_on("a:1-1")).run()
    assert source.commits == 0
