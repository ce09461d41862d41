"""Recorded entries, then the stream, then what comes: nothing missed or twice at the seams, on both engines."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.group.ownership import EVERYTHING, Shard
from cryptostream.bus.group.seam import Seam
from cryptostream.bus.group.source import GroupSettings
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry
from cryptostream.model.ports import Archive, Batch, Ownership
from cryptostream.tape.parquet import Recording
from cryptostream.testing import ManualClock
from tests.tape import recordings


class Shelf(Archive):
    """An archive in memory; `looked` is called before each look at it, as if others went on meanwhile."""

    def __init__(self, *entries: Entry, page: int = 2) -> None:
        self.entries = list(entries)
        self.looked: Callable[[], None] = lambda: None
        self._page = page

    def streams(self, patterns: Sequence[str]) -> Sequence[str]:
        names = {entry.stream for entry in self.entries}
        return sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))

    def after(self, stream: str, entry_id: str) -> Iterator[list[Entry]]:
        self.looked()
        above = [e for e in self.entries if e.stream == stream and parse_id(e.entry_id) > parse_id(entry_id)]
        for start in range(0, len(above), self._page):
            yield above[start : start + self._page]


def trade(number: int, stream: str = "trades:A") -> Entry:
    return Entry(stream, f"{1000 + number}-{number}", {"exchange": "x", "pair": "A", "trade_id": str(number)})


def trades(first: int, last: int, stream: str = "trades:A") -> list[Entry]:
    return [trade(number, stream) for number in range(first, last + 1)]


@pytest.fixture
async def bus(bus_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=tmp_path, clock=clock) as opened:
        yield opened


async def add(bus: Bus, *entries: Entry) -> None:
    for entry in entries:
        await bus.command.xadd(entry.stream, dict[Any, Any](entry.fields), id=entry.entry_id)


def seam(
    bus: Bus, shelf: Archive, clock: ManualClock, *, start: str = "0", ownership: Ownership = EVERYTHING, **more: Any
) -> Seam:
    settings = GroupSettings(start=start, **more)
    return Seam(bus, ["trades:*"], shelf, group="g", consumer="me", clock=clock, settings=settings, ownership=ownership)


async def read(source: Seam, count: int, *, commit: bool = True) -> list[str]:
    """The trade ids of the next `count` entries, `+` before a gap's."""
    found: list[Entry] = []
    async with source:
        batches = source.batches()
        while len(found) < count:
            batch: Batch[Entry] = await anext(batches)
            found += batch.events
            if commit:
                await source.commit(batch)
        await batches.aclose()  # type: ignore[attr-defined]
    return [_said(entry) for entry in found]


async def read_one_by_one(source: Seam, count: int, *, commit: bool = True) -> list[str]:
    """The same, and of the last batch nothing behind them is committed."""
    found: list[Entry] = []
    async with source:
        batches = source.batches()
        while len(found) < count:
            batch: Batch[Entry] = await anext(batches)
            taken = batch.events[: count - len(found)]
            found += taken
            if commit:
                await source.commit(Batch(taken, batch.token))
        await batches.aclose()  # type: ignore[attr-defined]
    return [_said(entry) for entry in found]


def _said(entry: Entry) -> str:
    return entry.fields.get("trade_id") or f"+{entry.fields['gap_from']}..{entry.fields['gap_to']}"


def numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


async def cursors(bus: Bus) -> dict[str, str]:
    found: Any = await bus.command.hgetall("cursor:g")
    return dict(found)


async def test_the_archive_comes_first_then_the_stream_then_what_comes(bus: Bus, clock: ManualClock) -> None:
    await add(bus, *trades(4, 7))
    source = seam(bus, Shelf(*trades(1, 5)), clock)
    async with source:
        batches = source.batches()
        found: list[str] = []
        while len(found) < 8:
            batch = await anext(batches)
            found += map(_said, batch.events)
            await source.commit(batch)
            if found[-1:] == ["7"]:
                await add(bus, trade(8))
        await batches.aclose()  # type: ignore[attr-defined]
    assert found == numbers(1, 8)
    assert (await bus.command.xpending("trades:A", "g"))["pending"] == 0
    assert await cursors(bus) == {}


async def test_it_begins_above_the_place_that_was_asked_for(bus: Bus, clock: ManualClock) -> None:
    await add(bus, *trades(4, 6))
    assert await read(seam(bus, Shelf(*trades(1, 5)), clock, start="1002-2"), 4) == numbers(3, 6)


async def test_only_what_is_new_reads_no_recording(bus: Bus, clock: ManualClock) -> None:
    source = seam(bus, Shelf(*trades(1, 5)), clock, start="$")
    await add(bus, *trades(1, 6))
    async with source:
        batches = source.batches()
        while True:
            assert not (await anext(batches)).events
            if source.stats.streams:
                break
        await add(bus, trade(7))
        while not (batch := await anext(batches)).events:
            pass
        assert [_said(entry) for entry in batch.events] == ["7"]
        await batches.aclose()  # type: ignore[attr-defined]


async def test_a_group_that_is_there_goes_on_where_it_is(bus: Bus, clock: ManualClock) -> None:
    await add(bus, *trades(4, 6))
    await bus.command.xgroup_create("trades:A", "g", id="1005-5")
    assert await read(seam(bus, Shelf(*trades(1, 5)), clock), 1) == ["6"]


async def test_a_stream_that_redis_does_not_hold_goes_on_when_it_comes(bus: Bus, clock: ManualClock) -> None:
    shelf = Shelf(*trades(1, 3))
    async with (source := seam(bus, shelf, clock)):
        async for batch in source.batches():
            await source.commit(batch)
            if not batch.events:
                break
    assert await cursors(bus) == {}
    await add(bus, *trades(1, 4))  # somebody plays the recording into the bus
    assert await read(seam(bus, shelf, clock), 1) == ["4"]


async def test_streams_that_were_not_recorded_come_from_the_bus(bus: Bus, clock: ManualClock) -> None:
    await add(bus, *trades(1, 2, "trades:B"), *trades(3, 4))
    assert sorted(await read(seam(bus, Shelf(*trades(1, 3)), clock), 6)) == sorted([*numbers(1, 2), *numbers(1, 4)])


@pytest.mark.parametrize("page", [1, 2, 3, 100])
async def test_what_a_recording_leaves_out_is_read_from_the_stream(bus: Bus, clock: ManualClock, page: int) -> None:
    await add(bus, *trades(1, 9))
    source = seam(bus, Shelf(*trades(1, 2), *trades(5, 6), trade(8), page=page), clock)
    assert await read(source, 9) == numbers(1, 9)
    assert source.stats.lost == 0
    assert await cursors(bus) == {}


@pytest.mark.parametrize("page", [1, 2, 3, 100])
async def test_what_nobody_holds_of_a_recordings_hole_is_told_once(bus: Bus, clock: ManualClock, page: int) -> None:
    await add(bus, *trades(9, 9))
    source = seam(bus, Shelf(*trades(1, 3), *trades(6, 8), page=page), clock)
    assert await read(source, 8) == [*numbers(1, 3), "+4..5", *numbers(6, 9)]
    assert source.stats.lost == 2


@pytest.mark.parametrize("stopped_after", range(1, 10))
@pytest.mark.parametrize("commit", [True, False])
async def test_a_hole_that_is_half_there_is_half_read_and_half_told(
    bus: Bus, clock: ManualClock, stopped_after: int, commit: bool
) -> None:
    """Wherever it stops: what was committed, gaps too, never comes again, the rest always does."""
    whole = ["1", "2", "+3..4", "5", "+6..7", "8", "9", "10", "11"]
    shelf = Shelf(*trades(1, 2), *trades(9, 10), page=100)
    await add(bus, trade(5), trade(8), trade(11))
    first = await read_one_by_one(seam(bus, shelf, clock), stopped_after, commit=commit)
    left = len(whole) - len(first) if commit else len(whole)
    after = await read(seam(bus, shelf, clock), left) if left else []
    assert first == whole[:stopped_after]
    assert (first if commit else []) + after == whole


async def test_a_hole_behind_what_was_committed_is_seen_though_the_group_was_made(bus: Bus, clock: ManualClock) -> None:
    shelf = Shelf(*trades(1, 2), *trades(5, 6))
    await add(bus, *trades(3, 7))
    async with (source := seam(bus, shelf, clock)):
        batches = source.batches()
        found: list[Entry] = []
        while len(found) < 7:
            found += (await anext(batches)).events
        await source.commit(Batch(found[:2]))
        await batches.aclose()  # type: ignore[attr-defined]
    assert await cursors(bus) == {"trades:A": "1002-2 1006-6"}
    assert await read(seam(bus, shelf, clock), 5) == numbers(3, 7)


async def test_a_hole_that_is_recorded_while_it_is_trimmed_is_found_there(bus: Bus, clock: ManualClock) -> None:
    shelf = Shelf(*trades(1, 2), *trades(6, 7), page=100)
    await add(bus, trade(5), trade(8))
    looks = iter(range(10))

    def recorded_meanwhile() -> None:
        if next(looks) == 1:
            shelf.entries += trades(3, 4)
            shelf.entries.sort(key=lambda entry: parse_id(entry.entry_id))

    shelf.looked = recorded_meanwhile
    assert await read(seam(bus, shelf, clock), 8) == numbers(1, 8)


@pytest.mark.parametrize("stopped_after", range(1, 7))
async def test_a_gap_that_was_recorded_is_no_hole(bus: Bus, clock: ManualClock, stopped_after: int) -> None:
    gap = Entry("trades:A", "1002-3", {"kind": "gap", "exchange": "x", "pair": "A", "gap_from": "3", "gap_to": "5"})
    shelf = Shelf(*trades(1, 2), gap, *trades(6, 7), page=3)
    await add(bus, trade(8))
    first = await read_one_by_one(seam(bus, shelf, clock), stopped_after)
    after = await read(seam(bus, shelf, clock), 6 - stopped_after)
    assert first + after == ["1", "2", "+3..5", "6", "7", "8"]


async def test_an_entry_of_a_hole_that_nobody_can_handle_is_set_aside(bus: Bus, clock: ManualClock) -> None:
    await add(bus, *trades(3, 7))
    tried: list[str] = []
    async with (source := seam(bus, Shelf(*trades(1, 2), *trades(5, 6), page=4), clock, max_deliveries=2)):
        batches = source.batches()
        while "7" not in tried:
            batch = await anext(batches)
            for place, entry in enumerate(batch.events):
                tried.append(_said(entry))
                if _said(entry) in {"3", "5"}:
                    await source.commit(Batch(batch.events[:place]))
                    await source.reject(entry, "no")
                    break
            else:
                await source.commit(batch)
        await batches.aclose()  # type: ignore[attr-defined]
    assert tried == ["1", "2", "3", "3", "4", "5", "5", "6", "7"]


async def test_in_streams_that_are_not_counted_nothing_is_missing(bus: Bus, clock: ManualClock) -> None:
    candles = [Entry("trades:A", f"{at}-1", {"exchange": "x", "close": str(at)}) for at in (1000, 2000, 5000)]
    source = seam(bus, Shelf(*candles), clock)
    async with source:
        batches = source.batches()
        found = [*(await anext(batches)).events, *(await anext(batches)).events]
        await batches.aclose()  # type: ignore[attr-defined]
    assert found == candles


@pytest.mark.parametrize("stopped_after", range(1, 9))
@pytest.mark.parametrize("commit", [True, False])
async def test_it_goes_on_wherever_it_stopped(bus: Bus, clock: ManualClock, stopped_after: int, commit: bool) -> None:
    """Killed behind the entry that is `stopped_after`: what was committed never comes again, the rest always does."""
    shelf = Shelf(*trades(1, 5), page=1)
    await add(bus, *trades(4, 8))
    before = await read(seam(bus, shelf, clock), stopped_after, commit=commit)
    left = 8 - len(before) if commit else 8
    after = await read(seam(bus, shelf, clock), left) if left else []
    assert (before if commit else []) + after == numbers(1, 8)


async def test_what_a_sink_still_held_when_the_seam_was_passed_comes_again(bus: Bus, clock: ManualClock) -> None:
    """A recorder commits late: the group is made long before everything up to its place is safe."""
    shelf = Shelf(*trades(1, 4))
    await add(bus, *trades(4, 6))
    async with (source := seam(bus, shelf, clock)):
        batches = source.batches()
        read_so_far: list[Entry] = []
        while len(read_so_far) < 6:
            read_so_far += (await anext(batches)).events
        await source.commit(Batch(read_so_far[:2]))
        await batches.aclose()  # type: ignore[attr-defined]
    assert await cursors(bus) == {"trades:A": "1002-2 1004-4"}
    assert await read(seam(bus, shelf, clock), 4) == numbers(3, 6)
    assert await cursors(bus) == {}


async def test_what_is_recorded_above_the_seam_comes_from_the_group(bus: Bus, clock: ManualClock) -> None:
    await add(bus, *trades(4, 7))
    await bus.command.xgroup_create("trades:A", "g", id="1004-4")
    await bus.command.hset("cursor:g", "trades:A", "1002-2 1004-4")
    assert await read(seam(bus, Shelf(*trades(1, 6), page=3), clock), 5) == numbers(3, 7)


async def test_late_commits_are_divided_between_the_archive_and_the_group(bus: Bus, clock: ManualClock) -> None:
    await add(bus, *trades(3, 6))
    async with (source := seam(bus, Shelf(*trades(1, 4)), clock)):
        batches = source.batches()
        read_so_far: list[Entry] = []
        while len(read_so_far) < 6:
            read_so_far += (await anext(batches)).events
        await source.commit(Batch(read_so_far))
        await batches.aclose()  # type: ignore[attr-defined]
    assert await cursors(bus) == {}
    assert (await bus.command.xpending("trades:A", "g"))["pending"] == 0


async def test_what_is_trimmed_while_the_archive_is_read_is_found_in_it(bus: Bus, clock: ManualClock) -> None:
    """The stream loses its beginning while we read; its recorder has written that down before."""
    shelf = Shelf(*trades(1, 2))
    await add(bus, *trades(8, 9))  # all that is left by now
    looks = iter(range(10))

    def recorded_meanwhile() -> None:
        if next(looks) == 1:
            shelf.entries += trades(3, 8)

    shelf.looked = recorded_meanwhile
    assert await read(seam(bus, shelf, clock), 9) == numbers(1, 9)


async def test_what_nobody_holds_is_told_as_a_gap_with_its_count(bus: Bus, clock: ManualClock) -> None:
    await add(bus, *trades(8, 9))
    source = seam(bus, Shelf(*trades(1, 4)), clock)
    assert await read(source, 7) == [*numbers(1, 4), "+5..7", "8", "9"]
    assert source.stats.lost == 3


async def test_a_gap_is_told_when_the_archive_was_read_by_an_earlier_run(bus: Bus, clock: ManualClock) -> None:
    shelf = Shelf(*trades(1, 4), page=1)
    await add(bus, *trades(8, 9))
    assert await read(seam(bus, shelf, clock), 4) == numbers(1, 4)
    assert await read(seam(bus, shelf, clock), 3) == ["+5..7", "8", "9"]


async def test_a_place_before_everything_makes_no_gap(bus: Bus, clock: ManualClock) -> None:
    await add(bus, *trades(8, 9))
    source = seam(bus, Shelf(*trades(1, 4)), clock, start="1005-0")
    assert await read(source, 2) == ["8", "9"]


async def test_only_ours_are_read(bus: Bus, clock: ManualClock) -> None:
    shard = Shard(1, 2)
    names = [f"trades:{letter}" for letter in "ABCDEFGH"]
    ours = [name for name in names if shard.holds(name)]
    assert 0 < len(ours) < len(names)
    shelf = Shelf(*(trade(1, name) for name in names))
    await add(bus, *(trade(2, name) for name in names))
    await read(seam(bus, shelf, clock, ownership=shard), 2 * len(ours))
    made = [name for name in names if await bus.command.xinfo_groups(name)]
    assert made == ours


class Coming(Ownership):
    """A lease that comes later."""

    exclusive = True

    def __init__(self) -> None:
        self.streams = {"trades:A"}

    async def mine(self, streams: Sequence[str]) -> list[str]:
        return [stream for stream in streams if stream in self.streams]


async def test_a_stream_that_becomes_ours_later_begins_with_its_recording(bus: Bus, clock: ManualClock) -> None:
    await add(bus, *trades(2, 3), *trades(2, 3, "trades:B"))
    lease = Coming()
    async with (source := seam(bus, Shelf(*trades(1, 2), *trades(1, 2, "trades:B")), clock, ownership=lease)):
        batches = source.batches()
        found: list[Entry] = []
        while len(found) < 6:
            batch = await anext(batches)
            found += batch.events
            await source.commit(batch)
            if len(found) == 3:
                lease.streams.add("trades:B")
                clock.advance(60)  # so that the group looks around
        await batches.aclose()  # type: ignore[attr-defined]
    assert [(entry.stream[-1], _said(entry)) for entry in found] == [(p, str(n)) for p in "AB" for n in (1, 2, 3)]


async def test_an_entry_nobody_can_handle_comes_again_and_then_is_set_aside(bus: Bus, clock: ManualClock) -> None:
    await add(bus, *trades(4, 5))
    tried: list[str] = []
    async with (source := seam(bus, Shelf(*trades(1, 4), page=4), clock, max_deliveries=3)):
        batches = source.batches()
        while "5" not in tried:
            batch = await anext(batches)
            for place, entry in enumerate(batch.events):
                tried.append(_said(entry))
                if _said(entry) == "2":
                    await source.commit(Batch(batch.events[:place]))
                    await source.reject(entry, "no")
                    break
            else:
                await source.commit(batch)
        await batches.aclose()  # type: ignore[attr-defined]
    assert tried == ["1", "2", "2", "2", "3", "4", "5"]
    [(_, letter)] = await bus.command.xrange("dlq:g")
    told = {name: letter[name] for name in ("stream", "entry_id", "error", "deliveries", "entry.trade_id")}
    assert told == {
        "stream": "trades:A",
        "entry_id": "1002-2",
        "error": "no",
        "deliveries": "3",
        "entry.trade_id": "2",
    }
    assert (source.stats.rejected, source.stats.dead_letters) == (3, 1)


async def test_stopping_ends_it_in_the_middle_of_a_recording(bus: Bus, clock: ManualClock) -> None:
    source = seam(bus, Shelf(*trades(1, 100)), clock)
    found = []
    async for batch in source.batches():
        found += batch.events
        await source.commit(batch)
        source.stop()
    assert len(found) == 2
    assert await read(seam(bus, Shelf(*trades(1, 100)), clock), 98) == numbers(3, 100)


async def test_a_seam_outlives_the_bus(redis_server: Any, tmp_path: Path, clock: ManualClock) -> None:
    server = redis_server("--appendonly", "yes", "--appendfsync", "always")
    async with connect(server.unix_url, data_dir=tmp_path, clock=clock) as bus:
        await add(bus, *trades(4, 6))
        async with (source := seam(bus, Shelf(*trades(1, 4), page=1), clock)):
            batches = source.batches()
            found: list[str] = []
            while len(found) < 6:
                batch = await anext(batches)
                found += map(_said, batch.events)
                if found[-1] == "2":
                    server.kill()
                await source.commit(batch)
                if found[-1] == "3":
                    server.start()
            await batches.aclose()  # type: ignore[attr-defined]
    assert found == numbers(1, 6)


class Died(BaseException):
    """Killed at this point."""


def dies_at_call(patch: pytest.MonkeyPatch, bus: Bus, call: int, *, after: bool) -> None:
    """Let so many commands to the bus pass, and die before the next one is sent, or before its answer is read."""
    left = [call]
    real = bus.command.execute_command

    async def dying(*words: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0 and not after:
            raise Died
        found = await real(*words, **options)
        if left[0] < 0:
            raise Died
        return found

    patch.setattr(bus.command, "execute_command", dying)


@pytest.mark.row(24)
@pytest.mark.parametrize("after", [False, True], ids=["before it is sent", "before its answer"])
@pytest.mark.parametrize("gathers", [False, True], ids=["", "while a sink holds it all"])
@pytest.mark.parametrize("call", range(10))
async def test_killed_at_any_question_to_the_bus_it_goes_on(
    bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, call: int, after: bool, gathers: bool
) -> None:
    """At every step of the hand-over: nothing is missed, and only what was not committed comes again."""
    shelf = Shelf(*trades(1, 4), page=2)
    await add(bus, *trades(4, 7))
    accepted: list[str] = []
    committed: list[str] = []
    with monkeypatch.context() as patch:
        dies_at_call(patch, bus, call, after=after)
        source = seam(bus, shelf, clock)
        try:
            async for batch in source.batches():
                if batch.events and not gathers:
                    accepted += map(_said, batch.events)
                    await source.commit(batch)
                    committed += map(_said, batch.events)
                if batch.events and _said(batch.events[-1]) == "7":
                    break
        except Died:
            pass
    again: list[str] = []
    async with (source := seam(bus, shelf, clock)):
        async for batch in source.batches():
            await source.commit(batch)
            again += map(_said, batch.events)
            if not batch.events or again[-1] == "7":
                break
    assert set(accepted) | set(again) == set(numbers(1, 7))
    assert not set(committed[:-3]) & set(again)  # what a group read last is acknowledged along with the next read
    assert again == sorted(set(again))
    assert await cursors(bus) == {}


async def test_a_seam_over_a_recorded_folder(bus: Bus, clock: ManualClock, tmp_path: Path) -> None:
    made = recordings.trades(1, 8)
    recordings.record(tmp_path / "parquet", made[:3])
    recordings.record(tmp_path / "parquet", made[3:6])
    await add(bus, *made[4:])
    source = seam(bus, Recording(tmp_path / "parquet"), clock, start=made[1].entry_id)

    assert await read(source, 6) == numbers(3, 8)


async def test_a_recorded_folder_without_one_of_its_files(bus: Bus, clock: ManualClock, tmp_path: Path) -> None:
    made = recordings.trades(1, 8)
    recordings.record(tmp_path / "parquet", made[:2])
    recordings.record(tmp_path / "parquet", made[4:6])
    await add(bus, *made[3:])
    assert await read(seam(bus, Recording(tmp_path / "parquet"), clock), 8) == ["1", "2", "+3..3", *numbers(4, 8)]
