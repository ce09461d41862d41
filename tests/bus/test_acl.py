"""The rights that configs/acl.conf gives are enough for what is done with them, and for nothing else."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
import structlog
from redis.exceptions import NoPermissionError

from cryptostream import wiring
from cryptostream.bus import admin, control, history
from cryptostream.bus.admin import Consumers, write_consumers, write_counters
from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.control import Request, Role, Verdict
from cryptostream.bus.glance import Glance
from cryptostream.bus.group.source import Group
from cryptostream.bus.keys import stream_key
from cryptostream.bus.publish import Publisher
from cryptostream.bus.resume import positions
from cryptostream.bus.spool import Spool
from cryptostream.config import Config
from cryptostream.engine.clock import SystemClock
from cryptostream.model.events import DeadLetter, GapRecord, KlineRecord, Ledger, LedgerRecord, Micros, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.model.ports import Position
from tests.conftest import RedisServer

ACL = Path(__file__).parents[2] / "configs" / "acl.conf"
BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
T0 = 1_731_605_400_000


def trade(trade_id: int, ms: int = T0) -> TradeRecord:
    return TradeRecord(BTC, "1", "1", Micros(ms * 1000), "buy", trade_id)


@pytest.fixture
def server(redis_server: Callable[..., RedisServer], tmp_path: Path) -> RedisServer:
    """A server that knows the users of the shipped file."""
    return redis_server("--include", str(ACL))


def url(server: RedisServer, user: str) -> str:
    return f"redis://{user}:CHANGE-ME-{user.upper()}@127.0.0.1:{server.port}"


async def test_an_ingester_publishes_settles_refusals_resumes_and_writes_its_counters(
    server: RedisServer, data_dir: Path
) -> None:
    clock = SystemClock()
    kline = KlineRecord(MINUTES, T0, T0 + 59_999, *("1",) * 6, 3, "4", "6", True, Micros((T0 + 60_000) * 1000))
    async with connect(url(server, "ingester"), data_dir=data_dir, clock=clock) as bus:
        spool = Spool(data_dir, bus.url)
        async with Publisher(bus, clock=clock, spool=spool) as one, Publisher(bus, clock=clock) as other:
            await one.write([trade(1), GapRecord(BTC, 2, 4, "deadline", Micros(T0 * 1000)), trade(5), kline])
            await other.write([trade(1), trade(5), trade(6, T0 + 50), kline])
            await one.write([trade(6, T0 + 20), trade(7, T0 + 30), kline])
            await one.write([DeadLetter("ws://x", "not JSON", "<", 1, Micros(1))])
            await one.write([LedgerRecord(Ledger("binance"), "connected", Micros(1))])
            await one._writer.trim()
        found = await positions(bus, stream_key, [BTC, MINUTES])
        await write_counters(bus, "host:1", {"publisher": {"publish_count": 7}})
    assert found[BTC] == Position(7, Micros((T0 + 30) * 1000))
    assert found[MINUTES].last_id == T0
    assert (one.stats.errors, one.stats.refused, one.stats.trouble) == (0, 0, "")


async def test_an_ingester_may_not_read_other_keys_nor_delete_its_own(server: RedisServer, data_dir: Path) -> None:
    async with connect(url(server, "ingester"), data_dir=data_dir, clock=SystemClock()) as bus:
        for forbidden in ("GET secret", "DEL trades:BTCUSDT", "FLUSHALL", "CONFIG GET *", "KEYS *", "XADD other * a b"):
            with pytest.raises(NoPermissionError):
                await bus.command.execute_command(*forbidden.split())


async def test_a_consumer_reads_as_a_group_and_acknowledges(server: RedisServer, data_dir: Path) -> None:
    clock = SystemClock()
    ingester = connect(url(server, "ingester"), data_dir=data_dir, clock=clock)
    async with ingester as bus, Publisher(bus, clock=clock) as sink:
        await sink.write([trade(1), trade(2)])
    async with connect(url(server, "consumer"), data_dir=data_dir, clock=clock) as bus:
        group = Group(bus, ["trades:*"], group="g", consumer="c", clock=clock)
        async for batch in group.batches():
            await group.commit(batch)
            group.stop()
        assert [entry.fields["trade_id"] for entry in batch.events] == ["1", "2"]
        with pytest.raises(NoPermissionError):
            await bus.command.delete("trades:BTCUSDT")
    assert server.call("XPENDING", "trades:BTCUSDT", "g").startswith(b"*4\r\n:0\r\n")


@pytest.mark.parametrize(
    ("user", "role", "key"), [("ingester", "ingest", control.WATCHLIST), ("consumer", "consume", control.CONSUMERS)]
)
async def test_who_obeys_reads_requests_answers_and_keeps_what_was_wished(
    server: RedisServer, data_dir: Path, user: str, role: Role, key: str
) -> None:
    clock = SystemClock()
    theirs = connect(url(server, user), data_dir=data_dir, clock=clock)
    async with theirs as bus, connect(url(server, "server"), data_dir=data_dir, clock=clock) as ours:

        async def obey(request: Request) -> Sequence[Verdict]:
            await control.wish(bus, key, {"a": "+", "b": None})
            return [Verdict("a", await control.wishes(bus, key) == {"a": "+"})]

        attending = asyncio.ensure_future(control.attend(bus, role, "one:1", clock, obey))
        try:
            while not await control.here(ours, role):
                await clock.sleep(0.01)
            found = await control.ask(ours, "watchlist", {}, role=role, by="me", clock=clock)
        finally:
            attending.cancel()
            await asyncio.gather(attending, return_exceptions=True)
        assert [one.verdicts for one in found.answers] == [[Verdict("a", True)]]
        assert await control.here(ours, role) == []


async def test_a_server_looks_at_everything_and_changes_nothing_but_by_asking(
    server: RedisServer, data_dir: Path
) -> None:
    clock = SystemClock()
    async with connect(url(server, "consumer"), data_dir=data_dir, clock=clock) as bus:
        await write_consumers(bus, "host:1", Consumers())
    ingester = connect(url(server, "ingester"), data_dir=data_dir, clock=clock)
    async with ingester as bus, Publisher(bus, clock=clock) as sink:
        await sink.write([trade(1), trade(2)])
        await write_counters(bus, "host:1", {})
    async with connect(url(server, "server"), data_dir=data_dir, clock=clock) as bus:
        assert await history.streams(bus, "*") == ["trades:BTCUSDT"]
        assert (len(await admin.read_counters(bus)), len(await admin.read_consumers(bus))) == (1, 1)
        assert [one.length for one in await admin.describe(bus, ["trades:BTCUSDT"])] == [2]
        await _glanced(bus)
        for forbidden in (
            *("XADD trades:BTCUSDT * a b", "XADD control:answers * a b", "HSET control:watchlist a b", "GET secret"),
            *("DEL trades:BTCUSDT", "XACK trades:BTCUSDT g 1-1", "CONFIG GET *", "FLUSHALL", "SET x y", "KEYS *"),
        ):
            with pytest.raises(NoPermissionError):
                await bus.command.execute_command(*forbidden.split())


async def _glanced(bus: Bus) -> None:
    glance = Glance(bus)
    try:
        [seen] = await glance.streams(["trades:BTCUSDT"])
        assert seen is not None
        assert (await glance.groups([seen]), await glance.memory(["trades:BTCUSDT"])) != ([[]], [None])
        assert [len(page) for page in await glance.newest({"trades:BTCUSDT": "+"}, 5)] == [2]
    finally:
        await glance.aclose()


async def test_a_consumer_takes_on_a_strategy_and_leaves_it_to_others(server: RedisServer, data_dir: Path) -> None:
    async with connect(url(server, "consumer"), data_dir=data_dir, clock=SystemClock()) as bus:
        hosting = wiring.Hosting(Config(data_dir=data_dir), bus, [], by="one:1")
        running = asyncio.ensure_future(hosting.run())
        while not await control.here(bus, "consume"):
            await SystemClock().sleep(0.01)
        for verb, args in (("start", {"strategy": "ma_cross"}), ("stop", {"name": "ma_cross", "remove": True})):
            [told] = await hosting.obey(Request("1-1", verb, args, "me"))
            assert told.accepted, told
            [shown] = await admin.read_consumers(bus)
            assert [row.name for row in shown.consumers] == ["ma_cross"][: verb == "start"]
        hosting.stop()
        await running
        assert (await bus.command.exists("control:runs:ma_cross"), await control.here(bus, "consume")) == (0, [])


async def test_where_requests_are_not_allowed_that_is_told_once_and_everything_goes_on(
    server: RedisServer, data_dir: Path
) -> None:
    server.call("ACL", "SETUSER", "older", "on", ">secret", "~trades:*", "+@all")
    clock = SystemClock()
    async with connect(f"redis://older:secret@127.0.0.1:{server.port}", data_dir=data_dir, clock=clock) as bus:
        with structlog.testing.capture_logs() as logs:
            await control.attend(bus, "ingest", "one:1", clock, AsyncMock())
            following = await wiring.following(Config(), [], bus)
            await following()
    assert [(line["event"], line["role"]) for line in logs] == [("control.denied", "ingest")] * 2
