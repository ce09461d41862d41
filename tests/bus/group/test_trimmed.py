"""A reader that was too slow is told how much it lost, exactly, and in its place (promise G5), on both engines."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.group import trimmed
from cryptostream.bus.group.read import Answer, _WireReader
from cryptostream.bus.group.source import Group
from cryptostream.bus.group.trimmed import Facts
from cryptostream.bus.resp import ServerWire
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusUnavailable
from cryptostream.model.events import Entry
from cryptostream.testing import ManualClock
from tests.bus.members import STREAM, add, ids, member, pending, read, some
from tests.conftest import RedisServer


@pytest.fixture
async def bus(bus_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=tmp_path, clock=clock) as opened:
        yield opened


@pytest.fixture
async def real_bus(real_redis_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    """Of a server that counts for a group what it was given: fakeredis counts what was trimmed before as well."""
    async with connect(real_redis_url, data_dir=tmp_path, clock=clock) as opened:
        yield opened


async def lag(bus: Bus) -> Any:
    [group] = await bus.command.xinfo_groups(STREAM)
    return group["lag"]


@pytest.mark.row(31)
async def test_a_pause_in_which_the_stream_moved_on_is_told_before_what_follows(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, *range(1, 6))
    source = member(bus, clock)
    batches = source.batches()
    assert ids(await some(batches)) == [1, 2, 3, 4, 5]
    await add(bus, STREAM, *range(6, 301), maxlen=100, approximate=False)
    clock.advance(60)
    assert ids(await some(batches)) == [(6, 200, 195), *range(201, 301)]
    assert source.stats.lost == 195
    assert await lag(bus) == 0
    await batches.aclose()
    [(_, line)] = await bus.command.xrange("events:binance")
    assert line.items() >= {"event": "trimmed", "gap_from": "6", "gap_to": "200", "count": "195", "group": "g"}.items()


@pytest.mark.row(31)
async def test_a_backlog_that_is_trimmed_while_it_is_read_is_counted_each_time(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, *range(1, 101))
    source = member(bus, clock, count=10)
    batches = source.batches()
    assert ids(await some(batches)) == list(range(1, 11))
    await bus.command.xtrim(STREAM, maxlen=80, approximate=False)
    assert ids(await some(batches)) == [(11, 20, 10), *range(21, 31)]
    assert ids(await some(batches)) == list(range(31, 41))
    await bus.command.xtrim(STREAM, maxlen=5, approximate=False)
    assert ids(await some(batches)) == [(41, 95, 55), *range(96, 101)]
    assert source.stats.lost == 65
    await batches.aclose()


async def test_what_was_trimmed_while_nobody_read_is_told_at_the_next_start(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2)
    await read(member(bus, clock), 2)
    await add(bus, STREAM, *range(3, 31), maxlen=10, approximate=False)
    again = member(bus, clock)
    [gap, *rest] = await read(again, 11)
    assert ids([gap, *rest]) == [(3, 20, 18), *range(21, 31)]
    assert gap.fields["cause"] == "trimmed"
    third = member(bus, clock)
    await add(bus, STREAM, 31)
    assert ids(await read(third, 1)) == [31]
    assert (again.stats.lost, third.stats.lost) == (18, 0)


async def test_what_slips_by_within_one_transaction_is_told_in_its_place(
    real_redis_url: str, tmp_path: Path, clock: ManualClock
) -> None:
    async with connect(real_redis_url, data_dir=tmp_path, clock=clock) as bus:
        await add(bus, STREAM, 1)
        source = member(bus, clock)
        batches = source.batches()
        assert ids(await some(batches)) == [1]
        await anext(batches)
        waiting = asyncio.create_task(some(batches))
        while not (await bus.command.info("clients"))["blocked_clients"]:
            await SystemClock().sleep(0.01)
        pipeline = bus.command.pipeline(transaction=True)
        for number in range(2, 52):
            pipeline.xadd(STREAM, {"trade_id": str(number)}, id=f"1000-{number}", maxlen=10, approximate=False)
        await pipeline.execute()
        assert ids(await waiting) == [(2, 41, 40), *range(42, 52)]
        assert (source.stats.lost, await lag(bus)) == (40, 0)
        await batches.aclose()


async def jumping(bus: Bus, source: Group) -> AsyncIterator[Any]:
    """One that has read trade 1 of four streams; nobody looks at them now, and two lose something before the next."""
    for stream in ("trades:A", "trades:B", "trades:C", "trades:D"):
        await add(bus, stream, 1)
    batches = source.batches()
    while (await anext(batches)).events:
        pass
    await add(bus, "trades:A", *range(2, 52), maxlen=10, approximate=False)
    await add(bus, "trades:B", 5)
    await add(bus, "trades:C", *range(2, 13), maxlen=3, approximate=False)
    await add(bus, "trades:D", 3)
    return batches


def by_stream(entries: Iterable[Entry]) -> dict[str, list[int | tuple[int, ...]]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.stream, []).append(entry)
    return {stream: ids(each) for stream, each in found.items()}


@pytest.mark.row(31)
async def test_streams_that_jump_in_one_read_are_asked_after_together(
    real_bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = member(real_bus, clock)
    batches = await jumping(real_bus, source)
    asked: list[list[str]] = []
    read, count = _WireReader.read, trimmed.count_above

    async def reads(wire: Any, *args: Any, watched: Collection[str] = (), **more: Any) -> Answer:
        asked.append(sorted(watched))
        if watched:
            await add(real_bus, "trades:B", 6, 7)  # have just come, and are not lost
        return await read(wire, *args, watched=watched, **more)

    async def counts(bus: Bus, ids: Mapping[str, str]) -> dict[str, int]:
        asked.append(sorted(ids))
        return await count(bus, ids)

    monkeypatch.setattr(_WireReader, "read", reads)
    monkeypatch.setattr(trimmed, "count_above", counts)
    assert by_stream(await some(batches)) == {
        "trades:A": [(2, 41, 40), *range(42, 52)],
        "trades:B": [5],
        "trades:C": [(2, 9, 8), 10, 11, 12],
        "trades:D": [3],
    }
    assert asked == [[], ["trades:A", "trades:B", "trades:C", "trades:D"], ["trades:A", "trades:B", "trades:C"]]
    assert source.stats.lost == 48
    await batches.aclose()


async def test_rows_that_jump_come_again_where_nobody_answers_whether_something_was_lost(
    real_bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = member(real_bus, clock)
    batches = await jumping(real_bus, source)
    count, away = trimmed.count_above, [BusUnavailable("gone for a moment")]

    async def fails_once(bus: Bus, ids: Mapping[str, str]) -> dict[str, int]:
        if away:
            raise away.pop()
        return await count(bus, ids)

    monkeypatch.setattr(trimmed, "count_above", fails_once)
    assert by_stream(await some(batches)) == {
        "trades:A": [*range(42, 52)],
        "trades:B": [5],
        "trades:C": [10, 11, 12],
        "trades:D": [3],
    }
    assert not away
    await batches.aclose()


@pytest.mark.row(31)
async def test_what_moved_on_while_the_process_was_stopped_is_told_though_an_old_reply_waits(
    bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(bus, STREAM, 1)
    batches = member(bus, clock).batches()
    assert ids(await some(batches)) == [1]
    await anext(batches)
    await add(bus, STREAM, 2)
    send, stopped = ServerWire.send, [True]

    async def late(wire: ServerWire, commands: Iterable[str], count: int) -> list[Any]:
        reply = await send(wire, commands, count)
        if stopped:
            stopped.clear()
            await add(bus, STREAM, *range(3, 11), maxlen=2, approximate=False)
            clock.advance(2)
        return reply

    monkeypatch.setattr(ServerWire, "send", late)
    assert ids(await some(batches)) == [2]
    assert ids(await some(batches)) == [(3, 8, 6), 9, 10]
    await batches.aclose()


async def overtaken(bus: Bus, clock: ManualClock, source: Group) -> AsyncIterator[Any]:
    """One that has read trades 1 to 3, and of what came then finds 9 and 10 alone."""
    await add(bus, STREAM, 1, 2, 3)
    batches = source.batches()
    source.acknowledge(STREAM, [one.entry_id for one in await some(batches)])
    await add(bus, STREAM, *range(4, 11))
    await bus.command.xtrim(STREAM, maxlen=2, approximate=False)
    clock.advance(2)
    return batches


async def test_a_loss_that_cannot_be_put_right_now_is_told_once_and_what_follows_it_is_handed_over(
    bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = member(bus, clock)
    batches = await overtaken(bus, clock, source)
    repair, away = trimmed.repair, [BusUnavailable("gone for a moment")]

    async def fails_once(*args: Any, **more: Any) -> None:
        if away:
            raise away.pop()
        await repair(*args, **more)

    monkeypatch.setattr(trimmed, "repair", fails_once)
    found = await some(batches)
    clock.advance(6)
    found += (await anext(batches)).events
    await add(bus, STREAM, 11)
    found += await some(batches)
    await batches.aclose()
    assert ids(found) == [(4, 8, 5), 9, 10, 11]
    assert (source.stats.lost, await lag(bus), len(await pending(bus))) == (5, 0, 3)


async def test_one_that_is_killed_as_it_puts_the_count_right_has_told_the_ledger(
    bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    batches = await overtaken(bus, clock, member(bus, clock))
    monkeypatch.setattr(trimmed, "repair", killed)
    with pytest.raises(KeyboardInterrupt):
        await anext(batches)
    [(_, line)] = await bus.command.xrange("events:binance")
    assert (line["gap_from"], line["gap_to"], line["count"]) == ("4", "8", "5")


async def test_everything_that_was_not_read_may_be_gone(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2)
    source = member(bus, clock)
    batches = source.batches()
    await some(batches)
    await add(bus, STREAM, 3, 4, 5)
    await bus.command.xtrim(STREAM, maxlen=0, approximate=False)
    clock.advance(60)
    assert ids(await some(batches)) == [(3, 5, 3)]
    assert await lag(bus) == 0
    await batches.aclose()


async def test_what_was_gone_before_the_group_was_made_is_not_lost(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, *range(1, 51), maxlen=20, approximate=False)
    source = member(bus, clock)
    assert ids(await read(source, 20)) == list(range(31, 51))
    assert source.stats.lost == 0


async def test_pending_entries_that_were_trimmed_are_counted_and_pend_no_more(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, *range(1, 11))
    await read(member(bus, clock), 10, commit=False)
    await bus.command.xtrim(STREAM, maxlen=4, approximate=False)
    again = member(bus, clock)
    assert ids(await read(again, 5)) == [(1, 6, 6), 7, 8, 9, 10]
    assert again.stats.lost == 6
    assert await pending(bus) == []


async def test_what_is_trimmed_in_somebodys_hands_is_not_lost(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2)
    source = member(bus, clock)
    batches = source.batches()
    batch = await anext(batches)
    while not batch.events:
        batch = await anext(batches)
    await add(bus, STREAM, 3)
    await bus.command.xtrim(STREAM, maxlen=1, approximate=False)
    clock.advance(60)
    assert ids(await some(batches)) == [3]
    await source.commit(batch)
    await batches.aclose()
    assert source.stats.lost == 0


async def test_two_members_that_share_a_stream_tell_of_a_loss_once(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2)
    one, two = member(bus, clock, name="one"), member(bus, clock, name="two")
    await read(one, 2)
    await add(bus, STREAM, *range(3, 31), maxlen=10, approximate=False)
    assert len(await read(two, 11)) == 11
    await add(bus, STREAM, 31)
    await read(one, 1)
    assert (one.stats.lost, two.stats.lost) == (0, 18)


@pytest.mark.row(31)
@pytest.mark.parametrize("seed", range(5))
async def test_read_and_lost_are_together_what_was_written(bus: Bus, clock: ManualClock, seed: int) -> None:
    random, top = Random(seed), 0
    await add(bus, STREAM, 0)
    source = member(bus, clock, count=7)
    found: list[Entry] = []
    batches = source.batches()
    for _ in range(25):
        batch = await anext(batches)
        found += batch.events
        await source.commit(batch)
        more = range(top + 1, top + 1 + random.randint(1, 40))
        await add(bus, STREAM, *more, maxlen=random.randint(5, 30), approximate=False)
        top = more[-1]
        clock.advance(random.choice([0.2, 6]))
    await batches.aclose()
    last = member(bus, clock, until={})
    async for batch in last.batches():
        found += batch.events
    told = ids(found)
    missing = [number for one in told if isinstance(one, tuple) for number in range(one[0], one[1] + 1)]
    assert sorted([*missing, *(one for one in told if isinstance(one, int))]) == list(range(top + 1))
    assert source.stats.lost + last.stats.lost == len(missing) == sum(one[2] for one in told if isinstance(one, tuple))


@pytest.mark.parametrize("start", ["1000-5", "$"])
async def test_a_group_that_begins_in_the_middle_counts_from_there(bus: Bus, clock: ManualClock, start: str) -> None:
    await add(bus, STREAM, *range(1, 11))
    source = member(bus, clock, start=start, count=1)
    batches = source.batches()
    if start == "$":
        await anext(batches)
        await add(bus, STREAM, *range(11, 21))
    [first] = ids(await some(batches))
    assert isinstance(first, int)
    await bus.command.xtrim(STREAM, maxlen=2, approximate=False)
    (since, until, count), _ = ids(await some(batches))  # type: ignore[misc]
    assert (since, count) == (first + 1, until - first)
    await batches.aclose()


async def test_a_server_that_came_back_from_its_append_only_file_has_lost_nothing(
    redis_server: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server, clock = redis_server("--appendonly", "yes", "--appendfsync", "always"), SystemClock()
    async with connect(server.unix_url, data_dir=tmp_path, clock=clock) as bus:
        await add(bus, STREAM, *range(1, 51))
        assert len(await read(member(bus, clock), 50)) == 50
    server.restart()
    async with connect(server.unix_url, data_dir=tmp_path, clock=clock) as bus:
        await add(bus, STREAM, *range(51, 61))
        after = member(bus, clock)
        assert ids(await read(after, 10)) == list(range(51, 61))
        assert await lag(bus) == 0
        await add(bus, STREAM, *range(61, 101), maxlen=10, approximate=False)
        late = member(bus, clock)
        assert ids(await read(late, 11)) == [(61, 90, 30), *range(91, 101)]
    assert (after.stats.lost, late.stats.lost) == (0, 30)


def test_nothing_is_lost_while_something_that_was_read_is_still_there() -> None:
    assert trimmed.lost(Facts(100, 61, "40-0", "100-0", "40-0", 40)) == 0


def test_a_group_without_a_count_has_lost_nothing_yet() -> None:
    assert trimmed.lost(Facts(100, 10, "91-0", "100-0", "40-0", None)) == 0


def test_neighbours_without_trade_ids_give_their_times() -> None:
    gap = trimmed.gap("klines:A:1m", 3, before=["1000-1", ["open_time", "1"]], after=["5000-1", ["pair", "A"]])
    assert (gap.entry_id, gap.fields["gap_from"], gap.fields["gap_to"]) == ("1000-1000", "1000", "5000")
    assert gap.fields["pair"] == "A"
