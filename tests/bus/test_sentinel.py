"""The master that sentinels name, before and after it died, with servers that really die."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis.exceptions as redis_errors

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.publish import Publisher
from cryptostream.bus.resp import command
from cryptostream.bus.translate import translate, translate_reply
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusUnavailable
from cryptostream.model.events import Micros, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.testing import ManualClock
from tests.cluster import DOWN_AFTER_S, MASTER, Eager, SentinelSetup, reply_of, wait_for_replicas
from tests.conftest import free_port

Sentinels = Callable[..., SentinelSetup]
BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")


def trade(number: int) -> TradeRecord:
    return TradeRecord(BTC, "1.5", "2", Micros(1_731_605_400_000_000), "buy", number)


async def ids(bus: Bus) -> list[str]:
    return [entry_id for entry_id, _ in await bus.command.xrange("trades:BTCUSDT")]


async def test_clients_connections_and_wires_reach_the_master(sentinels: Sentinels, data_dir: Path) -> None:
    setup = sentinels()
    async with connect(f"{setup.url}/3", data_dir=data_dir, clock=SystemClock()) as bus:
        await bus.command.xadd("s", {"a": "1"}, id="1-1")
        assert await bus.blocking.xread({"s": "0"}, block=50) == [["s", [("1-1", {"a": "1"})]]]
        wire = await bus.wire()
        [length, role] = await wire.send([command("XLEN", "s"), command("ROLE")], 2)
        assert (length, role[0]) == (1, b"master")
        assert [await client.dbsize() for client in await bus.masters()] == [1]
        connection = await bus.raw_connection()
    assert not connection.is_connected


@pytest.mark.row(20)
async def test_publishing_goes_on_soon_after_the_master_was_killed(sentinels: Sentinels, data_dir: Path) -> None:
    setup = sentinels(replicas=2)
    clock = SystemClock()
    async with (
        connect(setup.url, data_dir=data_dir, clock=clock) as bus,
        Publisher(bus, clock=clock, random=Eager()) as sink,
    ):
        await sink.write([trade(number) for number in range(1, 101)])
        wait_for_replicas(setup.master(), setup.servers)
        setup.master().kill()
        killed_at = clock.monotonic()
        await sink.write([trade(number) for number in range(50, 201)])
        stalled_s = clock.monotonic() - killed_at
        assert await ids(bus) == [f"1731605400000-{number}" for number in range(1, 201)]
    assert stalled_s <= DOWN_AFTER_S + 3


async def test_a_server_that_is_no_master_any_more_is_given_up_and_the_sentinels_asked_again(
    sentinels: Sentinels, data_dir: Path
) -> None:
    setup = sentinels()
    master, replica = setup.servers
    async with connect(setup.url, data_dir=data_dir, clock=SystemClock()) as bus:
        wire = await bus.wire()
        reply_of(master, "REPLICAOF", "127.0.0.1", replica.port)
        [refusal] = await wire.send([command("XADD", "s", "*", "a", "1")], 1)
        assert isinstance(translate_reply(refusal, bus.url), BusUnavailable)
        with pytest.raises(redis_errors.ConnectionError, match="now a slave"):
            await bus.command.xadd("s", {"a": "1"})
        for sentinel in setup.sentinels:
            sentinel.kill()
        with pytest.raises(redis_errors.ConnectionError, match="No master found"):
            await bus.command.ping()
        with pytest.raises(BusUnavailable, match="no sentinel"):
            await bus.wire()


async def test_sentinels_that_are_silent_are_passed_over(sentinels: Sentinels, data_dir: Path) -> None:
    setup = sentinels()
    setup.sentinels[0].kill()
    async with connect(setup.url, data_dir=data_dir, clock=ManualClock()) as bus:
        assert await bus.command.ping()


@pytest.mark.parametrize("known", [True, False])
async def test_a_master_that_no_sentinel_knows_is_waited_for_and_then_told(
    known: bool, sentinels: Sentinels, clock: ManualClock, data_dir: Path
) -> None:
    url = sentinels().url.replace(MASTER, "another") if known else f"redis+sentinel://127.0.0.1:{free_port()}/{MASTER}"
    with pytest.raises(BusUnavailable, match=r"no sentinel of redis\+sentinel://.* knows its master"):
        async with connect(url, data_dir=data_dir, clock=clock):
            pytest.fail("there is no master")
    assert clock.monotonic() == 30


async def test_a_lost_reply_is_reported_and_the_command_not_sent_again(sentinels: Sentinels, data_dir: Path) -> None:
    setup = sentinels()
    async with connect(setup.url, data_dir=data_dir, clock=SystemClock()) as bus:
        setup.master().call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(redis_errors.ConnectionError) as caught:
            await bus.command.xadd("s", {"a": "1"})
        assert isinstance(translate(caught.value, bus.url), BusUnavailable)
        assert await bus.command.xlen("s") == 0
