"""Reading streams without a group: history by the exchange's time, then whatever comes, each entry once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus import history
from cryptostream.bus.connect import Bus, connect
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.events import Entry
from cryptostream.testing import ManualClock

START_MS = 1_731_605_400_000


@pytest.fixture
async def bus(bus_url: str, data_dir: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=clock) as opened:
        yield opened


async def put(bus: Bus, stream: str, *numbers: int, fields: dict[str, str] | None = None) -> None:
    """Entries one second apart: number 3 is the trade 3, three seconds after the start."""
    pipeline = bus.command.pipeline(transaction=False)
    for number in numbers:
        entry: dict[Any, Any] = {"trade_id": str(number), **(fields or {})}
        pipeline.xadd(stream, entry, id=f"{START_MS + number * 1000}-{number}")
    await pipeline.execute()


async def put_from_outside(url: str, data_dir: Path, *numbers: int) -> None:
    async with connect(url, data_dir=data_dir, clock=ManualClock()) as other:
        await put(other, "trades:A", *numbers)


def numbers(entries: list[Entry]) -> list[int]:
    return [int(entry.fields["trade_id"]) for entry in entries]


async def read(pages: AsyncIterator[list[Entry]]) -> list[int]:
    return [number async for page in pages for number in numbers(page)]


async def take(pages: AsyncIterator[list[Entry]], count: int) -> list[Entry]:
    taken: list[Entry] = []
    async with asyncio.timeout(20):
        while len(taken) < count:
            taken += await anext(pages)
    return taken


async def test_streams_are_found_by_glob_and_nothing_else_is(bus: Bus) -> None:
    await put(bus, "trades:BTCUSDT", 1)
    await put(bus, "trades:ETHUSDT", 1)
    await put(bus, "klines:BTCUSDT:1m", 1)
    await bus.command.set("trades:note", "not a stream")
    assert await history.streams(bus, "trades:*") == ["trades:BTCUSDT", "trades:ETHUSDT"]
    assert await history.streams(bus, "*:BTCUSDT:*") == ["klines:BTCUSDT:1m"]
    assert await history.streams(bus, "trades:BTCUSDT") == ["trades:BTCUSDT"]
    assert await history.streams(bus, "trades:XRPUSDT") == []


async def test_key_of_another_type_is_refused_by_name(bus: Bus) -> None:
    await bus.command.set("note", "text")
    with pytest.raises(BusRefused, match=r"note on .* is not a stream"):
        await history.streams(bus, "note")


async def test_streams_beyond_one_page_of_scan_are_all_found(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_SCAN_COUNT", 3)
    for number in range(20):
        await put(bus, f"trades:P{number:02}", 1)
    assert len(await history.streams(bus, "trades:*")) == 20


async def test_last_entries_come_oldest_first(bus: Bus) -> None:
    await put(bus, "trades:A", *range(1, 8))
    assert numbers(await history.last(bus, "trades:A", 3)) == [5, 6, 7]
    assert numbers(await history.last(bus, "trades:A", 100)) == [1, 2, 3, 4, 5, 6, 7]
    assert await history.last(bus, "trades:A", 0) == []
    assert await history.last(bus, "trades:none", 3) == []


async def test_last_entries_end_at_the_top_that_was_taken(bus: Bus) -> None:
    await put(bus, "trades:A", 1, 2, 3)
    tops = await history.tops(bus, ["trades:A", "trades:none"])
    await put(bus, "trades:A", 4)
    assert tops["trades:none"] == history.BEGINNING
    assert numbers(await history.last(bus, "trades:A", 2, top=tops["trades:A"])) == [2, 3]


async def test_last_wanted_entries_are_looked_for_further_back(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PAGE", 4)
    await put(bus, "trades:A", *range(1, 20))
    wanted = {2, 9, 17}
    found = await history.last(bus, "trades:A", 2, keep=lambda entry: int(entry.fields["trade_id"]) in wanted)
    assert numbers(found) == [9, 17]
    nearby = await history.last(
        bus, "trades:A", 9, keep=lambda entry: int(entry.fields["trade_id"]) in wanted, look_back=12
    )
    assert numbers(nearby) == [9, 17]


async def test_latest_of_several_streams_are_taken_together(bus: Bus) -> None:
    await put(bus, "trades:A", 1, 4, 5)
    await put(bus, "trades:B", 2, 3, 6)
    tops = await history.tops(bus, ["trades:A", "trades:B"])
    assert numbers(await history.latest(bus, tops, 4)) == [3, 4, 5, 6]
    assert await history.latest(bus, tops, 0) == []


async def test_range_is_by_exchange_time_and_includes_both_ends(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PAGE", 2)
    await put(bus, "trades:A", *range(1, 10))
    since, until = str(START_MS + 3000), str(START_MS + 7000)
    assert await read(history.between(bus, "trades:A", since, until)) == [3, 4, 5, 6, 7]
    assert await read(history.between(bus, "trades:A", f"({since}-3", until)) == [4, 5, 6, 7]
    assert await read(history.between(bus, "trades:A")) == list(range(1, 10))


async def test_several_ranges_merge_by_time_whatever_their_pages(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PAGE", 3)
    await put(bus, "trades:A", *range(0, 30, 3))
    await put(bus, "trades:B", *range(1, 30, 3))
    await put(bus, "trades:C", 2, 29)
    names = ["trades:A", "trades:B", "trades:C", "trades:none"]
    merged = await read(history.in_time_order([history.between(bus, name) for name in names]))
    assert merged == sorted([*range(0, 30, 3), *range(1, 30, 3), 2, 29])


async def test_nothing_is_missed_or_doubled_between_history_and_follow(bus: Bus, clock: ManualClock) -> None:
    await put(bus, "trades:A", 1, 2)
    tops = await history.tops(bus, ["trades:A"])
    await put(bus, "trades:A", 3)
    before = await history.last(bus, "trades:A", 10, top=tops["trades:A"])
    await put(bus, "trades:A", 4)
    async with aclosing(history.follow(bus, ["trades:A"], tops, clock)) as following:
        after = await take(following, 2)
        await put(bus, "trades:A", 5)
        after += await take(following, 1)
    assert numbers(before) == [1, 2]
    assert numbers(after) == [3, 4, 5]


async def test_new_stream_of_a_glob_is_read_from_its_beginning(
    bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "RESCAN_S", 0.05)
    await put(bus, "trades:A", 1)
    async with aclosing(history.follow(bus, ["trades:*"], {"trades:A": history.BEGINNING}, clock)) as following:
        assert numbers(await take(following, 1)) == [1]
        await put(bus, "trades:B", 2, 3)
        await put(bus, "other:B", 9)
        clock.advance(1)
        found = await take(following, 2)
    assert [(entry.stream, *numbers([entry])) for entry in found] == [("trades:B", 2), ("trades:B", 3)]


async def test_stream_that_does_not_exist_yet_is_waited_for(bus: Bus, clock: ManualClock) -> None:
    async with aclosing(history.follow(bus, ["trades:A"], {}, clock)) as following:
        first = asyncio.ensure_future(take(following, 2))
        while clock.monotonic() < 60:
            await SystemClock().sleep(0)  # the follower sleeps on the manual clock, which moves it on
        await put(bus, "trades:A", 1, 2)
        assert numbers(await first) == [1, 2]


async def test_silence_longer_than_a_blocking_read_raises_nothing(
    bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "RESCAN_S", 0.02)
    await put(bus, "trades:A", 1)
    calls = 0
    xread = bus.blocking.xread

    async def counted(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 10:
            await put(bus, "trades:A", 2)
        return await xread(*args, **options)

    monkeypatch.setattr(bus.blocking, "xread", counted)
    tops = await history.tops(bus, ["trades:A"])
    async with aclosing(history.follow(bus, ["trades:A"], tops, clock)) as following:
        assert numbers(await take(following, 1)) == [2]


async def test_long_backlog_comes_in_bounded_batches(
    bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_READ_AT_ONCE", 50)
    await put(bus, "trades:A", *range(1, 121))
    async with aclosing(history.follow(bus, ["trades:A"], {}, clock)) as following:
        sizes = [len(await anext(following)) for _ in range(3)]
    assert sizes == [50, 50, 20]


async def test_entries_of_one_batch_are_in_order_of_time(bus: Bus, clock: ManualClock) -> None:
    await put(bus, "trades:A", 1, 3, 5)
    await put(bus, "trades:B", 2, 4)
    async with aclosing(history.follow(bus, ["trades:*"], {}, clock)) as following:
        assert numbers(await take(following, 5)) == [1, 2, 3, 4, 5]


async def test_following_goes_on_where_it_was_after_the_server_was_killed(
    redis_server: Callable[..., Any], data_dir: Path
) -> None:
    server = redis_server("--appendonly", "yes", "--appendfsync", "always")
    clock = SystemClock()
    async with connect(server.url, data_dir=data_dir, clock=clock) as bus:
        await put(bus, "trades:A", 1, 2)
        async with aclosing(history.follow(bus, ["trades:*"], {}, clock)) as following:
            seen = await take(following, 2)
            waiting = asyncio.ensure_future(anext(following))
            await SystemClock().sleep(0)
            server.restart()
            await put_from_outside(server.url, data_dir, 3)
            seen += await waiting
    assert numbers(seen) == [1, 2, 3]


async def test_outage_is_waited_out_with_growing_pauses(
    redis_server: Callable[..., Any], data_dir: Path, clock: ManualClock
) -> None:
    server = redis_server()
    async with connect(server.url, data_dir=data_dir, clock=clock) as bus:
        server.stop()
        async with aclosing(history.follow(bus, ["trades:*"], {}, clock)) as following:
            first = asyncio.ensure_future(anext(following))
            async with asyncio.timeout(20):
                while clock.monotonic() < 60:
                    await SystemClock().sleep(0.001)
            server.start()
            await put_from_outside(server.url, data_dir, 1)
            assert numbers(await first) == [1]


async def test_history_without_a_server_says_so(redis_server: Callable[..., Any], data_dir: Path) -> None:
    server = redis_server()
    async with connect(server.url, data_dir=data_dir, clock=ManualClock()) as bus:
        server.stop()
        with pytest.raises(BusUnavailable):
            await history.streams(bus, "trades:*")


@pytest.mark.parametrize("turns", range(2, 12))
async def test_cancelled_reader_ends_whatever_it_was_doing(
    real_redis_url: str, data_dir: Path, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "RESCAN_S", 0.1)
    clock = SystemClock()
    async with connect(real_redis_url, data_dir=data_dir, clock=clock) as bus:
        await put(bus, "trades:A", 1)
        following = history.follow(bus, ["trades:A"], {"trades:A": f"{START_MS + 1000}-1"}, clock)
        reading = asyncio.ensure_future(anext(following))
        for _ in range(turns):
            await clock.sleep(0)
        reading.cancel()
        assert await asyncio.wait([reading], timeout=10) == ({reading}, set())
        assert reading.cancelled()
