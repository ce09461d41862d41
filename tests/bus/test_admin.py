"""What streams hold, how far their groups are, and counters that cross from one process to another."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus import admin
from cryptostream.bus.connect import Bus, connect
from cryptostream.testing import ManualClock

START_MS = 1_731_605_400_000


@pytest.fixture
async def bus(bus_url: str, data_dir: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=clock) as opened:
        yield opened


@pytest.fixture
async def real_bus(real_redis_url: str, data_dir: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(real_redis_url, data_dir=data_dir, clock=clock) as opened:
        yield opened


async def put(bus: Bus, stream: str, count: int, *, first: int = 1, maxlen: int | None = None) -> None:
    """Entries 100 ms apart; `maxlen` is exact."""
    for number in range(first, first + count):
        entry_id = f"{START_MS + number * 100}-{number}"
        await bus.command.xadd(stream, {"price": "1.5"}, id=entry_id, maxlen=maxlen, approximate=False)


async def lag(bus: Bus, stream: str) -> int | None:
    (facts,) = await admin.describe(bus, [stream])
    return facts.groups[0].lag


async def test_stream_is_described(bus: Bus) -> None:
    await put(bus, "trades:A", 30, maxlen=10)
    (facts,) = await admin.describe(bus, ["trades:A"])
    assert (facts.name, facts.length, facts.entries_added) == ("trades:A", 10, 30)
    assert (facts.first_ms, facts.last_ms) == (START_MS + 2100, START_MS + 3000)
    assert facts.groups == []


async def test_memory_is_told_where_the_server_knows_it(real_bus: Bus) -> None:
    await put(real_bus, "trades:A", 3)
    (facts,) = await admin.describe(real_bus, ["trades:A"])
    assert facts.memory_bytes is not None
    assert facts.memory_bytes > 0


async def test_stream_that_has_gone_is_left_out(real_bus: Bus) -> None:
    await put(real_bus, "trades:A", 1)
    assert [facts.name for facts in await admin.describe(real_bus, ["trades:gone", "trades:A"])] == ["trades:A"]
    assert await admin.describe(real_bus, []) == []


async def test_emptied_stream_has_no_times(bus: Bus) -> None:
    await put(bus, "trades:A", 1)
    await bus.command.xgroup_create("trades:A", "momentum", "0")
    await bus.command.xtrim("trades:A", maxlen=0)
    (facts,) = await admin.describe(bus, ["trades:A"])
    assert (facts.length, facts.first_ms, facts.last_ms) == (0, None, None)
    assert facts.groups[0].lag == 0


async def test_more_streams_than_one_request_asks_for_are_all_described(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "_AT_ONCE", 3)
    names = [f"trades:P{number}" for number in range(8)]
    for name in names:
        await put(bus, name, 2)
    assert [facts.name for facts in await admin.describe(bus, names)] == names
    assert set(await admin.rates(bus, names, START_MS + 300)) == set(names)


async def test_group_shows_consumers_pending_and_lag(bus: Bus) -> None:
    await put(bus, "trades:A", 10)
    await bus.command.xgroup_create("trades:A", "momentum", "0")
    await bus.command.xreadgroup("momentum", "one", {"trades:A": ">"}, count=4)
    (facts,) = await admin.describe(bus, ["trades:A"])
    assert facts.groups == [admin.GroupFacts("momentum", consumers=1, pending=4, lag=6)]


async def test_lag_is_exact_at_both_ends_of_a_trimmed_stream(real_bus: Bus) -> None:
    await put(real_bus, "trades:A", 10)
    await real_bus.command.xgroup_create("trades:A", "slow", "0")
    await real_bus.command.xreadgroup("slow", "one", {"trades:A": ">"}, count=2)
    await put(real_bus, "trades:A", 20, first=11, maxlen=5)
    assert await lag(real_bus, "trades:A") == 5
    await real_bus.command.xreadgroup("slow", "one", {"trades:A": ">"}, count=100)
    assert await lag(real_bus, "trades:A") == 0


async def test_lag_that_the_stream_cannot_hold_is_unknown(real_bus: Bus) -> None:
    await put(real_bus, "trades:A", 10)
    await real_bus.command.xgroup_create("trades:A", "slow", "0")
    await real_bus.command.xreadgroup("slow", "one", {"trades:A": ">"}, count=2)
    await put(real_bus, "trades:A", 20, first=11, maxlen=5)
    await real_bus.command.xreadgroup("slow", "one", {"trades:A": ">"}, count=2)
    assert await lag(real_bus, "trades:A") is None


async def test_lag_that_the_server_does_not_know_is_unknown(real_bus: Bus) -> None:
    await put(real_bus, "trades:A", 10)
    await real_bus.command.xdel("trades:A", f"{START_MS + 900}-9")
    await real_bus.command.xgroup_create("trades:A", "late", f"{START_MS + 300}-3")
    assert await lag(real_bus, "trades:A") is None


async def test_rate_is_of_the_newest_entries_up_to_now(bus: Bus) -> None:
    await put(bus, "trades:A", 21)
    await put(bus, "trades:one", 1)
    last_ms = START_MS + 2100
    rates = await admin.rates(bus, ["trades:A", "trades:one", "trades:none"], last_ms)
    assert rates == {"trades:A": 10.0, "trades:one": 0.0, "trades:none": 0.0}
    quiet = await admin.rates(bus, ["trades:A"], last_ms + 18_000)
    assert quiet == {"trades:A": 1.0}


async def test_rate_between_two_looks_counts_trimmed_entries_too(bus: Bus) -> None:
    await put(bus, "trades:A", 10, maxlen=5)
    (before,) = await admin.describe(bus, ["trades:A"])
    await put(bus, "trades:A", 20, first=11, maxlen=5)
    (after,) = await admin.describe(bus, ["trades:A"])
    assert admin.rate_between(before, after, elapsed_s=2.0) == 10.0


def counted(published: int, errors: int, pairs: list[str]) -> dict[str, Any]:
    return {
        "publisher": {"publish_count": published, "error_count": errors, "error_rate": 0.5, "duplicates": 1},
        "ingest": {"active_connections": 1, "total_messages": 7, "error_messages": 2, "connection_errors": 3},
        "pairs_count": len(pairs),
        "pairs_sample": pairs,
        "at": 1_731_605_400_000_000_000,
        "host": "here",
        "pid": 7,
    }


async def test_counters_of_all_ingesters_are_added_up(bus: Bus) -> None:
    await admin.write_counters(bus, "here:7", counted(30, 0, ["BTCUSDT", "ETHUSDT"]))
    await admin.write_counters(bus, "there:9", counted(60, 10, ["SOLUSDT"]))
    found = await admin.read_counters(bus)
    assert [one.pairs_count for one in found] == [2, 1]
    assert admin.total(found) == {
        "publisher": {"publish_count": 90, "error_count": 10, "error_rate": 0.1, "duplicates": 2},
        "ingest": {"active_connections": 2, "total_messages": 14, "error_messages": 4, "connection_errors": 6},
        "ingesters": 2,
        "pairs_count": 3,
        "pairs_sample": ["BTCUSDT", "ETHUSDT", "SOLUSDT"],
    }


async def test_counters_written_again_replace_the_old_and_expire(bus: Bus) -> None:
    await admin.write_counters(bus, "here:7", counted(1, 0, []))
    await admin.write_counters(bus, "here:7", counted(2, 0, []))
    (only,) = await admin.read_counters(bus)
    assert only.publisher["publish_count"] == 2
    assert only.pid == 7
    assert 0 < await bus.command.ttl("stats:ingest:here:7") <= admin.COUNTERS_TTL_S


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pairs_count": "many"}', '{"publisher": {"publish_count": null}}'])
async def test_counters_that_cannot_be_read_are_passed_over(bus: Bus, text: str) -> None:
    await bus.command.hset("stats:ingest:odd:1", "json", text)
    await bus.command.hset("stats:ingest:odd:2", "other", "x")
    await admin.write_counters(bus, "here:7", counted(1, 0, []))
    assert [one.host for one in await admin.read_counters(bus)] == ["here"]


async def test_consumers_are_shown_by_process_and_not_taken_for_ingesters(bus: Bus) -> None:
    row = admin.ConsumerRow(name="momentum", state="paused", parameters={"ma_cross": {"fast": 5, "average": "sma"}})
    here = admin.Consumers(at=5, host="here", pid=7, consumers=[row])
    await admin.write_consumers(bus, "here:7", here)
    await bus.command.hset("stats:consume:odd:1", "json", '{"consumers": [{"state": "asleep"}]}')
    assert await admin.read_consumers(bus) == [here]
    assert await admin.read_counters(bus) == []
    assert 0 < await bus.command.ttl("stats:consume:here:7") <= admin.COUNTERS_TTL_S


async def test_a_strategy_that_was_taken_over_is_shown_where_it_is_now(bus: Bus) -> None:
    rows = [admin.ConsumerRow(name="cross", state="running", started_by="request")]
    both = [*rows, admin.ConsumerRow(name="recorder", state="running")]
    await admin.write_consumers(bus, "gone:1", admin.Consumers(at=5, host="gone", consumers=both))
    await admin.write_consumers(bus, "here:7", admin.Consumers(at=6, host="here", consumers=both))
    found = {one.host: [row.name for row in one.consumers] for one in await admin.read_consumers(bus)}
    assert found == {"gone": ["recorder"], "here": ["cross", "recorder"]}


def test_no_ingester_at_all_counts_nothing() -> None:
    assert admin.total([]) == {
        "publisher": {"publish_count": 0, "error_count": 0, "error_rate": 0.0},
        "ingest": {"active_connections": 0, "total_messages": 0, "error_messages": 0, "connection_errors": 0},
        "ingesters": 0,
        "pairs_count": 0,
        "pairs_sample": [],
    }
