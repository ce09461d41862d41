"""The rights that configs/acl.conf gives are enough for what is done with them, and for nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from redis.exceptions import NoPermissionError

from cryptostream.bus.admin import write_counters
from cryptostream.bus.connect import connect
from cryptostream.bus.group.source import Group
from cryptostream.bus.keys import stream_key
from cryptostream.bus.publish import Publisher
from cryptostream.bus.resume import positions
from cryptostream.bus.spool import Spool
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
