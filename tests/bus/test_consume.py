"""A consumer group as a source, on both engines: delivered at least once, pending first, new streams picked up."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.consume import Group
from cryptostream.model.events import Entry
from cryptostream.model.ports import Batch
from cryptostream.testing import ManualClock


@pytest.fixture
async def bus(bus_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=tmp_path, clock=clock) as opened:
        yield opened


async def add(bus: Bus, stream: str, *ids: int) -> None:
    for number in ids:
        await bus.command.xadd(stream, {"trade_id": str(number)}, id=f"1-{number}")


def group(bus: Bus, clock: ManualClock, *patterns: str, consumer: str = "me") -> Group:
    return Group(bus, patterns or ("trades:*",), group="g", consumer=consumer, clock=clock)


async def read(source: Group, count: int, *, commit: bool = True) -> list[Entry]:
    """The next `count` entries."""
    found: list[Entry] = []
    batches = source.batches()
    while len(found) < count:
        batch: Batch[Entry] = await anext(batches)
        found += batch.events
        if commit:
            await source.commit(batch)
    await batches.aclose()
    return found


def numbers(entries: list[Entry]) -> list[tuple[str, str]]:
    return [(entry.stream, entry.fields["trade_id"]) for entry in entries]


async def test_a_new_group_reads_every_matching_stream_from_its_beginning(bus: Bus, clock: ManualClock) -> None:
    await add(bus, "trades:A", 1, 2)
    await add(bus, "trades:B", 7)
    await add(bus, "klines:A:1m", 9)
    found = await read(group(bus, clock), 3)
    assert sorted(numbers(found)) == [("trades:A", "1"), ("trades:A", "2"), ("trades:B", "7")]
    assert (await bus.command.xpending("trades:A", "g"))["pending"] == 0


async def test_what_was_not_committed_is_read_again_before_anything_new(bus: Bus, clock: ManualClock) -> None:
    await add(bus, "trades:A", 1, 2)
    await read(group(bus, clock), 2, commit=False)
    await add(bus, "trades:A", 3)
    assert numbers(await read(group(bus, clock), 3)) == [("trades:A", "1"), ("trades:A", "2"), ("trades:A", "3")]


async def test_what_a_lost_reply_held_is_asked_for_again(
    bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(bus, "trades:A", 1, 2)
    source = group(bus, clock)
    assert numbers(await read(source, 2)) == [("trades:A", "1"), ("trades:A", "2")]
    await add(bus, "trades:A", 3)
    xreadgroup, lost = bus.blocking.xreadgroup, [ConnectionError("after the server had sent it")]

    async def losing(*args: Any, **options: Any) -> Any:
        found = await xreadgroup(*args, **options)
        if found and lost:
            raise lost.pop()
        return found

    monkeypatch.setattr(bus.blocking, "xreadgroup", losing)
    assert numbers(await read(source, 1)) == [("trades:A", "3")]
    assert not lost


async def test_what_was_committed_is_not_read_again(bus: Bus, clock: ManualClock) -> None:
    await add(bus, "trades:A", 1, 2)
    await read(group(bus, clock), 2)
    await add(bus, "trades:A", 3)
    assert numbers(await read(group(bus, clock), 1)) == [("trades:A", "3")]


async def test_more_than_one_reads_worth_of_pending_comes_in_order(bus: Bus, clock: ManualClock) -> None:
    await add(bus, "trades:A", *range(1, 251))
    await read(group(bus, clock), 250, commit=False)
    found = await read(group(bus, clock), 250)
    assert [entry.fields["trade_id"] for entry in found] == [str(number) for number in range(1, 251)]


async def test_a_stream_that_appears_later_is_picked_up_from_its_beginning(bus: Bus, clock: ManualClock) -> None:
    await add(bus, "trades:A", 1)
    source = group(bus, clock)
    batches = source.batches()
    await source.commit(await anext(batches))
    await add(bus, "trades:B", 5)
    clock.advance(10)
    assert numbers(list((await anext(batches)).events)) == [("trades:B", "5")]
    await batches.aclose()


async def test_stopping_ends_the_batches(bus: Bus, clock: ManualClock) -> None:
    await add(bus, "trades:A", 1)
    source = group(bus, clock)
    seen = 0
    async for batch in source.batches():
        seen += len(batch.events)
        source.stop()
    assert seen == 1
