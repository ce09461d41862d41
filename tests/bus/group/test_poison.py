"""One entry that nobody can handle is tried some times and set aside; its group and its neighbours go on."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.group.source import Group
from cryptostream.engine.clock import SystemClock
from cryptostream.model.events import Entry
from cryptostream.testing import ManualClock
from tests.bus.members import STREAM, add, ids, member, pending, read, some

OTHER = "trades:B"


@pytest.fixture
async def bus(bus_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=tmp_path, clock=clock) as opened:
        yield opened


async def handle(source: Group, count: int, *, poison: int) -> list[int]:
    """What a consumer that fails on one entry, as a pipeline would, gets done."""
    done: list[int] = []
    batches = source.batches()
    while len(done) < count:
        failed: set[str] = set()
        for entry in await some(batches):
            if entry.stream in failed:
                continue
            if entry.fields["trade_id"] == str(poison):
                failed.add(entry.stream)
                await source.reject(entry, "no such thing")
                continue
            source.acknowledge(entry.stream, [entry.entry_id])
            done.append(int(entry.fields["trade_id"]))
    await batches.aclose()
    return done


async def letters(bus: Bus) -> list[dict[str, str]]:
    found: Any = await bus.command.xrange("dlq:g")
    return [fields for _, fields in found]


@pytest.mark.row(28)
async def test_what_cannot_be_handled_is_tried_five_times_and_set_aside(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2, 3)
    source = member(bus, clock)
    assert await handle(source, 2, poison=2) == [1, 3]
    [letter] = await letters(bus)
    assert {name: value for name, value in letter.items() if name != "ts"} == {
        "stream": STREAM,
        "entry_id": "1000-2",
        "error": "no such thing",
        "deliveries": "5",
        "entry.exchange": "binance",
        "entry.pair": "A",
        "entry.trade_id": "2",
    }
    assert await pending(bus) == []
    assert (source.stats.rejected, source.stats.dead_letters) == (5, 1)


@pytest.mark.row(28)
async def test_other_streams_go_on_and_its_own_waits_less_than_a_second(bus: Bus) -> None:
    clock = SystemClock()
    await add(bus, STREAM, 1, 2)
    source = member(bus, clock, "trades:A", OTHER)
    batches = source.batches()
    [first, _] = await some(batches)
    started_s = clock.monotonic()
    await source.reject(first, "broken")
    await add(bus, OTHER, 7)
    [other] = await some(batches)
    assert other.stream == OTHER
    source.acknowledge(OTHER, [other.entry_id])
    await batches.aclose()
    assert await handle(source, 1, poison=1) == [2]
    assert clock.monotonic() - started_s < 1.5


async def test_what_is_rejected_once_comes_again_alone_and_what_follows_it_after_it(
    bus: Bus, clock: ManualClock
) -> None:
    await add(bus, STREAM, *range(1, 6))
    source = member(bus, clock)
    batches = source.batches()
    entries = await some(batches)
    source.acknowledge(STREAM, [entries[0].entry_id])
    await source.reject(entries[1], "not yet")
    clock.advance(1)
    assert ids(await some(batches)) == [2]
    assert ids(await some(batches)) == [3, 4, 5]
    assert source.stats.redelivered == 4
    await batches.aclose()


async def test_neighbours_of_a_bad_entry_have_all_their_tries_left(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2, 3)
    source = member(bus, clock)
    await handle(source, 2, poison=1)
    assert len(await letters(bus)) == 1
    await add(bus, STREAM, 4)
    assert await handle(member(bus, clock), 1, poison=5) == [4]


async def killed(bus: Bus, clock: ManualClock, by: int) -> list[int]:
    """What a process gets done that dies of one entry: it leaves without a word."""
    source = member(bus, clock)
    done: list[int] = []
    batches = source.batches()
    while True:
        batch = await anext(batches)
        if not batch.events:
            return done
        if any(entry.fields["trade_id"] == str(by) for entry in batch.events):
            await source._hang_up()
            source._places.clear()
            return done
        await source.commit(batch)
        done += [int(entry.fields["trade_id"]) for entry in batch.events]


@pytest.mark.row(28)
async def test_an_entry_that_kills_its_process_is_set_aside_and_its_neighbours_are_not(
    bus: Bus, clock: ManualClock
) -> None:
    await add(bus, STREAM, 1, 2, 3)
    lives = [await killed(bus, clock, by=2) for _ in range(6)]
    assert sorted(number for life in lives for number in life) == [1, 3]
    [letter] = await letters(bus)
    assert (letter["entry_id"], letter["deliveries"]) == ("1000-2", "5")
    assert await pending(bus) == []


async def test_entries_that_are_in_hand_at_every_one_of_many_crashes_are_never_set_aside(
    bus: Bus, clock: ManualClock
) -> None:
    await add(bus, STREAM, *range(1, 31))
    for _ in range(20):  # each ends with everything in its hands, and never leaves in order
        assert sum([len(batch.events) async for batch in member(bus, clock, until={}).batches()]) == 30
    assert await letters(bus) == []
    found: list[Entry] = await read(member(bus, clock), 30)
    assert sorted(ids(found)) == list(range(1, 31))  # type: ignore[type-var]
