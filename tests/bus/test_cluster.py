"""A Redis Cluster of real servers as a bus: its slots move under load, its masters die."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import redis.exceptions as redis_errors

from cryptostream.bus import admin, health, history
from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.group.source import Group
from cryptostream.bus.publish import Publisher
from cryptostream.bus.resp import command
from cryptostream.bus.translate import translate
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.events import Entry, Micros, TradeRecord
from cryptostream.model.finding import Level
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.testing import ManualClock
from tests.cluster import NODE_TIMEOUT_S, Cluster, Eager, wait_for_replicas
from tests.conftest import RedisServer, free_port

T0 = 1_731_605_400_000
PAIRS = [f"P{number}" for number in range(20)]
STREAMS = sorted(f"trades:{pair}" for pair in PAIRS)


@pytest.fixture
async def bus(cluster: Cluster, data_dir: Path) -> AsyncIterator[Bus]:
    async with connect(cluster.url, data_dir=data_dir, clock=SystemClock()) as opened:
        yield opened


def trade(pair: str, number: int) -> TradeRecord:
    return TradeRecord(Subscription("binance", Channel.TRADES, pair), "1.5", "2", Micros(T0 * 1000), "buy", number)


def ids(*numbers: int) -> list[str]:
    return [f"{T0}-{number}" for number in numbers]


async def add(bus: Bus, streams: list[str], *numbers: int) -> None:
    pipeline = bus.command.pipeline(transaction=False)
    for number in numbers:
        for stream in streams:
            pipeline.xadd(stream, {"n": str(number)}, id=f"{T0}-{number}")
    await pipeline.execute()


async def held(bus: Bus, stream: str) -> list[str]:
    return [entry_id for entry_id, _ in await bus.command.xrange(stream)]


async def test_a_wire_reaches_the_node_of_each_command_and_keeps_the_order_of_replies(bus: Bus) -> None:
    wire = await bus.wire()
    await wire.send([command("XADD", stream, f"1-{place}", "a", "1") for place, stream in enumerate(STREAMS, 1)], 20)
    commands = [command("XREVRANGE", stream, "+", "-") for stream in STREAMS]
    replies = await wire.send(commands, len(commands))
    assert [reply[0][0].decode() for reply in replies] == [f"1-{place}" for place in range(1, 21)]
    assert 0 not in [await client.dbsize() for client in await bus.masters()]


async def test_a_pipeline_over_many_keys_keeps_the_order_of_its_replies(bus: Bus) -> None:
    await add(bus, STREAMS, 1)
    await bus.command.set("text", "x")
    pipeline = bus.command.pipeline(transaction=False)
    for key in (*STREAMS, "text"):
        pipeline.type(key)
    assert await pipeline.execute() == ["stream"] * 20 + ["string"]


async def test_a_refusal_in_a_pipeline_is_raised_after_all_was_done_elsewhere(bus: Bus) -> None:
    await bus.command.set("text", "x")
    pipeline = bus.command.pipeline(transaction=False)
    for key in ("text", *STREAMS):
        pipeline.xadd(key, {"a": "1"})
    with pytest.raises(redis_errors.ResponseError, match="WRONGTYPE"):
        await pipeline.execute()
    assert [await bus.command.xlen(stream) for stream in STREAMS] == [1] * 20


async def test_a_transaction_belongs_to_one_slot(bus: Bus) -> None:
    both = bus.command.pipeline(transaction=True)
    both.set("{a}x", "1")
    both.get("{a}x")
    assert await both.execute() == [True, "1"]
    both.set("a", "1")
    both.set("b", "1")
    with pytest.raises(redis_errors.ClusterCrossSlotError):
        await both.execute()


async def test_a_transaction_follows_its_slot_once_it_has_moved(cluster: Cluster, bus: Bus) -> None:
    target = cluster.another_master("{y}")
    cluster.begin_move("{y}", target)
    both = bus.command.pipeline(transaction=True)
    both.set("{y}1", "1")
    with pytest.raises(redis_errors.TryAgainError) as caught:
        await both.execute()
    assert isinstance(translate(caught.value, bus.url), BusUnavailable)
    cluster.end_move("{y}", target)
    both.set("{y}1", "2")
    both.get("{y}1")
    assert await both.execute() == [True, "2"]


async def test_counters_of_ingesters_are_written_and_read(bus: Bus) -> None:
    for name in ("here:1", "here:2", "there:3"):
        await admin.write_counters(bus, name, {"pairs_count": 2})
    assert [counters.pairs_count for counters in await admin.read_counters(bus)] == [2, 2, 2]


async def test_streams_are_found_and_described_wherever_they_are(bus: Bus) -> None:
    await add(bus, STREAMS, 1, 2)
    assert await history.streams(bus, "trades:*") == STREAMS
    facts = await admin.describe(bus, STREAMS)
    assert [(one.name, one.length, one.memory_bytes is not None) for one in facts] == [(s, 2, True) for s in STREAMS]
    assert await history.tops(bus, STREAMS) == dict.fromkeys(STREAMS, f"{T0}-2")


async def test_many_streams_are_followed_from_where_each_stands(bus: Bus) -> None:
    await add(bus, STREAMS, 1, 2)
    batches = history.follow(bus, ["trades:*"], dict.fromkeys(STREAMS[:10], f"{T0}-1"), SystemClock())
    found = await taken(batches, 30)
    assert found == {stream: ids(2) if stream in STREAMS[:10] else ids(1, 2) for stream in STREAMS}
    await add(bus, STREAMS, 3)
    assert await taken(batches, 20) == dict.fromkeys(STREAMS, ids(3))
    await batches.aclose()


async def test_waiting_for_streams_of_several_slots_ends_in_time(bus: Bus, cluster: Cluster, data_dir: Path) -> None:
    await add(bus, STREAMS, 1)
    clock = ManualClock()
    async with connect(cluster.url, data_dir=data_dir, clock=clock) as hasty:
        assert not await hasty.blocking.xread(dict.fromkeys(STREAMS, f"{T0}-1"), block=2000)
    assert clock.monotonic() == 2.0


async def test_a_group_reads_every_stream_once_and_what_was_not_committed_again(bus: Bus) -> None:
    await add(bus, STREAMS, 1, 2)
    first = Group(bus, ["trades:*"], group="g", consumer="me", clock=SystemClock())
    assert await read(first, 40, commit=False) == dict.fromkeys(STREAMS, ids(1, 2))
    second = Group(bus, ["trades:*"], group="g", consumer="me", clock=SystemClock())
    assert await read(second, 40, commit=True) == dict.fromkeys(STREAMS, ids(1, 2))
    await add(bus, STREAMS, 3)
    third = Group(bus, ["trades:*"], group="g", consumer="me", clock=SystemClock())
    assert await read(third, 20, commit=True) == dict.fromkeys(STREAMS, ids(3))


async def test_a_doctor_can_look_at_it(bus: Bus) -> None:
    facts = await health.look(bus, SystemClock())
    assert (facts.server, facts.role, facts.append_only) == ("redis", "master", False)
    assert Level.FAIL not in {finding.level for finding in health.findings(facts)}


async def test_a_node_that_is_away_at_the_start_is_passed_over(cluster: Cluster, data_dir: Path) -> None:
    url = cluster.url.replace("://", f"://127.0.0.1:{free_port()},")
    async with connect(url, data_dir=data_dir, clock=ManualClock()) as bus:
        assert await bus.command.ping()
        assert (await bus.raw_connection()).is_connected


async def test_a_server_that_is_no_cluster_is_refused_at_once(
    redis_server: Callable[[], RedisServer], data_dir: Path
) -> None:
    clock = ManualClock()
    url = f"redis+cluster://127.0.0.1:{redis_server().port}"
    with pytest.raises(BusRefused, match="is no Redis Cluster"):
        async with connect(url, data_dir=data_dir, clock=clock):
            pytest.fail("it is no cluster")
    assert clock.monotonic() == 0


async def test_a_node_named_as_a_single_server_says_how_to_name_it(cluster: Cluster, data_dir: Path) -> None:
    server = cluster.another_master("trades:P1")
    async with connect(server.url, data_dir=data_dir, clock=ManualClock()) as bus:
        with pytest.raises(redis_errors.ResponseError) as caught:
            await bus.command.xlen("trades:P1")
    assert translate(caught.value, bus.url).hint == "use redis+cluster://host:port"


@pytest.mark.row(18)
async def test_a_slot_moves_under_load_and_no_trade_is_lost_or_overtaken(cluster: Cluster, bus: Bus) -> None:
    moving, target = "trades:P0", cluster.another_master("trades:P0")
    numbers = iter(range(1, 1_000_000))
    sent: list[int] = []

    async def publish(until: asyncio.Event) -> None:
        while not until.is_set():
            batch = [next(numbers) for _ in range(50)]
            await sink.write([trade(pair, number) for number in batch for pair in PAIRS])
            sent.extend(batch)

    async with Publisher(bus, clock=SystemClock(), maxlen=0, random=Eager()) as sink, asyncio.TaskGroup() as group:
        moved = asyncio.Event()
        group.create_task(publish(moved))
        for step in (cluster.begin_move, cluster.move_keys, cluster.end_move):
            await written(sent, len(sent) + 200)
            await asyncio.to_thread(step, moving, target)
        await written(sent, len(sent) + 200)
        moved.set()
    assert cluster.master_of(moving) is target
    for stream in STREAMS:
        assert await held(bus, stream) == ids(*sent)
    assert (sink.stats.published, sink.stats.refused, sink.stats.errors) == (len(sent) * len(PAIRS), 0, 0)


async def test_streams_that_are_on_the_move_can_be_written_and_read(cluster: Cluster, bus: Bus) -> None:
    moved, target = "trades:{x}1", cluster.another_master("{x}")
    await add(bus, [moved], 1)
    cluster.begin_move("{x}", target)
    cluster.move_keys("{x}", target)
    new = "trades:{x}2"
    wire = await bus.wire()
    words = [command("XADD", stream, f"{T0}-{number}", "n", "1") for stream in (moved, new) for number in (2, 3)]
    assert await wire.send([*words, command("XLEN", moved)], 5) == [*(word.encode() for word in ids(2, 3) * 2), 3]
    await add(bus, [moved, new, *STREAMS], 4)
    assert (await held(bus, moved), await held(bus, new)) == (ids(1, 2, 3, 4), ids(2, 3, 4))
    found = await bus.blocking.xread(dict.fromkeys([moved, new, *STREAMS], f"{T0}-3"))
    assert {stream for stream, _ in found} == {moved, new, *STREAMS}
    cluster.end_move("{x}", target)
    assert (await held(bus, moved), await held(bus, new)) == (ids(1, 2, 3, 4), ids(2, 3, 4))
    await add(bus, [moved, new], 5)


@pytest.mark.row(19)
async def test_a_master_dies_and_writers_and_readers_go_on_with_its_replica(
    cluster: Cluster, bus: Bus, data_dir: Path
) -> None:
    clock = SystemClock()
    victim = cluster.master_of("trades:P0")
    async with (
        connect(cluster.url, data_dir=data_dir, clock=clock) as theirs,
        Publisher(bus, clock=clock, maxlen=0, random=Eager()) as sink,
    ):
        reading = history.follow(theirs, ["trades:*"], {}, clock)
        await sink.write([trade(pair, number) for number in range(1, 51) for pair in PAIRS])
        assert await taken(reading, 1000) == dict.fromkeys(STREAMS, ids(*range(1, 51)))
        wait_for_replicas(victim, cluster.servers)
        victim.kill()
        killed_at = clock.monotonic()
        await sink.write([trade(pair, number) for number in range(51, 101) for pair in PAIRS])
        stalled_s = clock.monotonic() - killed_at
        assert await taken(reading, 1000) == dict.fromkeys(STREAMS, ids(*range(51, 101)))
        await reading.aclose()
    for stream in STREAMS:
        assert await held(bus, stream) == ids(*range(1, 101))
    victim.start()
    assert stalled_s <= NODE_TIMEOUT_S + 5
    assert sink.stats.refused == 0


async def written(sent: list[int], count: int) -> None:
    """Wait until so many were published; the test's time limit is the deadline."""
    while len(sent) < count:
        await SystemClock().sleep(0.005)


async def taken(batches: AsyncIterator[list[Entry]], count: int) -> dict[str, list[str]]:
    """The ids of the next entries by stream."""
    found: list[Entry] = []
    while len(found) < count:
        found += await anext(batches)
    return by_stream(found)


async def read(source: Group, count: int, *, commit: bool) -> dict[str, list[str]]:
    found: list[Entry] = []
    batches = source.batches()
    while len(found) < count:
        batch = await anext(batches)
        found += batch.events
        if commit:
            await source.commit(batch)
    await batches.aclose()
    return by_stream(found)


def by_stream(entries: list[Entry]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in entries:
        found.setdefault(entry.stream, []).append(entry.entry_id)
    return found
