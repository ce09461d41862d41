"""A consumer group as a source, on both engines: delivered at least once, pending first, new streams picked up."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.group.source import Group, GroupSettings
from cryptostream.bus.resp import ServerWire
from cryptostream.engine.clock import SystemClock
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
    send, lost = ServerWire.send, [ConnectionError("after the server had sent it")]

    async def losing(wire: ServerWire, commands: Iterable[str], count: int) -> list[Any]:
        found = await send(wire, commands, count)
        if "trade_id" in str(found) and lost:
            raise lost.pop()
        return found

    monkeypatch.setattr(ServerWire, "send", losing)
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


async def test_nothing_new_is_an_empty_batch_now_and_then(bus: Bus, clock: ManualClock) -> None:
    await add(bus, "trades:A", 1)
    batches = group(bus, clock).batches()
    assert len((await anext(batches)).events) == 1
    assert (await anext(batches)).events == []
    await batches.aclose()


@pytest.mark.parametrize(("start", "expected"), [("0", ["1", "2", "3"]), ("$", ["3"]), ("1-1", ["2", "3"])])
async def test_a_new_group_begins_where_it_is_told(
    bus: Bus, clock: ManualClock, start: str, expected: list[str]
) -> None:
    await add(bus, "trades:A", 1, 2)
    source = configured(bus, clock, start=start)
    batches = source.batches()
    found = list((await anext(batches)).events)
    await add(bus, "trades:A", 3)
    while len(found) < len(expected):
        found += (await anext(batches)).events
    assert [entry.fields["trade_id"] for entry in found] == expected
    await batches.aclose()


async def test_a_stream_that_appears_later_is_new_from_its_beginning(bus: Bus, clock: ManualClock) -> None:
    await add(bus, "trades:A", 1)
    batches = configured(bus, clock, start="$").batches()
    assert (await anext(batches)).events == []
    await add(bus, "trades:B", 5)
    clock.advance(10)
    assert numbers(list((await anext(batches)).events)) == [("trades:B", "5")]
    await batches.aclose()


async def test_streams_are_subscribed_and_unsubscribed_while_it_runs(bus: Bus, clock: ManualClock) -> None:
    await add(bus, "trades:A", 1)
    await add(bus, "klines:A:1m", 2)
    source = group(bus, clock)
    batches = source.batches()
    assert numbers(list((await anext(batches)).events)) == [("trades:A", "1")]
    source.listen(["klines:*"])
    assert numbers(list((await anext(batches)).events)) == [("klines:A:1m", "2")]
    source.ignore(["trades:*"])
    await add(bus, "trades:A", 3)
    await add(bus, "klines:A:1m", 4)
    assert numbers(list((await anext(batches)).events)) == [("klines:A:1m", "4")]
    await batches.aclose()


async def test_a_failed_transaction_has_its_streams_pending_read_again(bus: Bus, clock: ManualClock) -> None:
    await add(bus, "trades:A", 1, 2)
    await add(bus, "trades:B", 7)
    source = group(bus, clock)
    batches = source.batches()
    assert len((await anext(batches)).events) == 3
    source.acknowledge("trades:A", ["1-1"])
    source.reread(["trades:A"])
    assert numbers(list((await anext(batches)).events)) == [("trades:A", "2")]
    await batches.aclose()


async def test_once_ends_when_all_that_is_there_was_read(bus: Bus, clock: ManualClock) -> None:
    await add(bus, "trades:A", *range(1, 251))
    await add(bus, "trades:B", 7)
    source = configured(bus, clock, until={"trades:A": "1-250", "trades:B": "1-7"})
    assert sum([len(batch.events) async for batch in source.batches()]) == 251


async def test_once_reads_what_was_rejected_before_it_ends(bus: Bus, clock: ManualClock) -> None:
    await add(bus, "trades:A", 1)
    source = configured(bus, clock, until={"trades:A": "1-1"})
    seen = 0
    async for batch in source.batches():
        if seen == 0 and batch.events:
            await source.reject(batch.events[0], "not yet")
        seen += len(batch.events)
    assert seen == 2


async def test_many_streams_are_read_by_one_process(bus: Bus, bus_url: str, clock: ManualClock) -> None:
    many = 1000 if bus_url.startswith("unix:") else 200  # fakeredis takes its time
    pipeline = bus.command.pipeline(transaction=False)
    for number in range(many):
        pipeline.xadd(f"trades:P{number}", {"trade_id": "1"}, id="1-1")
    await pipeline.execute()
    assert len({entry.stream for entry in await read(group(bus, clock), many)}) == many


async def test_a_cancelled_read_loses_nothing(bus: Bus, clock: ManualClock) -> None:
    await add(bus, "trades:A", 1)
    source = group(bus, clock)
    assert len(await read(source, 1)) == 1

    async def waiting() -> None:
        await read(source, 1)

    task = asyncio.create_task(waiting())
    await SystemClock().sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await add(bus, "trades:A", 2)
    assert numbers(await read(source, 1)) == [("trades:A", "2")]


def configured(bus: Bus, clock: ManualClock, **settings: Any) -> Group:
    return Group(bus, ["trades:*"], group="g", consumer="me", clock=clock, settings=GroupSettings(**settings))
