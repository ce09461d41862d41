"""A Redis that dies, stands still, forgets, is full, or whose answers get lost. Rows 5 and 13 to 16."""

from contextlib import suppress

import pytest
from redis.exceptions import RedisError

from cryptostream.engine.clock import SystemClock
from tests.chaos.rig import DURABLE, Rig, until
from tests.faults.conftest import Figure, Rigs

CLOCK = SystemClock()
SLOW = pytest.mark.chaos


async def killed_and_back(rig: Rig) -> float:
    """Kill Redis, start it again, and return the seconds until the streams have what was traded until it served."""
    rig.server.kill()
    await CLOCK.sleep(0.3)
    await rig.start_redis()
    return await rig.caught_up(20.0)


@pytest.mark.row(5)
async def test_redis_standing_still_never_holds_back_the_websocket(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig(rate=1_000.0) as rig, rig.inside() as stage:
        await rig.flows()
        async with rig.frozen(rig.server.pid):
            await CLOCK.sleep(1.5)
            lag_ms = stage.feed().lag_ms
        await rig.judged()
    assert lag_ms is not None
    assert lag_ms < 500
    assert (stage.feed().reconnects, stage.feed().filled, stage.feed().dropped) == (0, 0, 0)
    figure(f"stopped for 1.5 s at 2,000 trades/s: 0 lost, socket {max(0.0, lag_ms):.0f} ms behind meanwhile")


@pytest.mark.row(5)
@pytest.mark.chaos
async def test_what_no_spool_has_room_for_is_counted_and_fetched(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig(rate=2_000.0) as rig, rig.inside(spool__max_bytes="1MiB") as stage:
        await rig.flows()
        async with rig.frozen(rig.server.pid):
            await until(lambda: stage.published().overflowed, 30.0, "the spool to be full")
            await CLOCK.sleep(3.0)
        await rig.caught_up(60.0)
        await rig.judged(within_s=60.0)
        overflow = await rig.ledger("overflow")
    assert overflow
    assert stage.feed().filled > 0
    figure(f"past the spool's cap: {stage.feed().filled:,} trades fetched again, 0 lost")


@pytest.mark.row(5)
@pytest.mark.chaos
async def test_what_the_inbox_has_no_room_for_is_counted_and_fetched(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig(rate=500.0) as rig, rig.inside(feed__inbox_max=40) as stage:
        await rig.flows()
        for _ in range(3):
            rig.link.latency_s = 0.3
            await CLOCK.sleep(1.0)
            rig.link.heal()
            await CLOCK.sleep(0.5)
        await rig.judged(within_s=60.0)
    assert stage.feed().dropped > 0
    assert stage.feed().filled > 0
    figure(f"past the inbox's bound: {stage.feed().dropped:,} dropped, fetched again, 0 lost")


@pytest.mark.row(5)
@pytest.mark.chaos
async def test_thirty_seconds_at_five_thousand_trades_a_second_are_spooled(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig(rate=2_500.0) as rig:
        ingester = rig.process()
        await rig.flows()
        before_mib = most_mib = ingester.rss_mib
        async with rig.frozen(rig.server.pid):
            ends_s = CLOCK.monotonic() + 30.0
            while CLOCK.monotonic() < ends_s:
                await CLOCK.sleep(0.1)
                most_mib = max(most_mib, ingester.rss_mib)
        caught_up_s = await rig.caught_up(60.0)
        metrics = await ingester.metrics()
        found = await rig.judged(within_s=60.0)
        assert await ingester.stop() == 0
    assert metrics["cryptostream_published_entries_total"] > 100_000
    assert metrics.get("cryptostream_reconnects_total", 0) == 0
    assert most_mib - before_mib <= 64 + 50
    trades = sum(one.trades for one in found)
    figure(
        f"stopped for 30 s at 5,000 trades/s: {trades:,} trades, 0 lost, memory +{most_mib - before_mib:.0f} MiB, "
        f"caught up in {caught_up_s:.1f} s"
    )


@pytest.mark.row(13)
async def test_redis_killed_under_load_loses_and_doubles_nothing(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig(rate=500.0) as rig, rig.inside() as stage:
        await rig.flows()
        back_s = max([await killed_and_back(rig) for _ in range(2)])
        await rig.judged()
    assert back_s <= 5.0
    assert stage.feed().reconnects == 0


@pytest.mark.row(13)
@pytest.mark.chaos
async def test_redis_killed_twenty_times_loses_and_doubles_nothing(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig(rate=500.0) as rig, rig.inside():
        await rig.flows()
        back_s = max([await killed_and_back(rig) for _ in range(20)])
        found = await rig.judged()
    assert back_s <= 5.0
    figure(f"20 kills, {sum(one.trades for one in found):,} trades: 0 lost, 0 twice, back in {back_s:.1f} s at most")


@pytest.mark.row(13)
async def test_a_redis_that_lost_its_last_second_gets_it_again(own_rig: Rigs, figure: Figure) -> None:
    """What Redis had acknowledged and forgot with its crash is missing in the stream, and fetched anew."""
    async with own_rig("--appendonly", "yes", "--appendfsync", "no") as rig, rig.inside() as stage:
        await rig.flows()
        await CLOCK.sleep(0.5)
        [tail] = rig.server.folder.glob("appendonlydir/*.incr.aof")
        rig.server.kill()
        with tail.open("r+b") as log:
            log.truncate(tail.stat().st_size - 10_000)
        await rig.start_redis()
        await rig.caught_up()
        await rig.judged()
    assert stage.feed().filled > 0
    figure(f"{stage.feed().filled} acknowledged and forgotten: fetched again")


@pytest.mark.row(14)
async def test_a_redis_that_comes_back_empty_is_gone_on_with_and_told(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig("--appendonly", "no") as rig, rig.inside():
        await rig.flows()
        was_first = dict(rig.first)
        await CLOCK.sleep(0.5)
        await killed_and_back(rig)
        rig.first.clear()
        await rig.flows()
        assert await rig.judged(gaps=True)
        resets = {line["pair"]: line for line in await rig.ledger("bus_reset")}
        now_first = {pair: (await rig.client.xrange(f"trades:{pair}", count=2)) for pair in rig.exchange.pairs}
    for pair, first in was_first.items():
        [(_, gap), (_, trade)] = now_first[pair]
        assert (int(resets[pair]["gap_from"]), int(resets[pair]["gap_to"])) == (first, int(trade["trade_id"]) - 1)
        assert (gap["kind"], gap["gap_from"], gap["gap_to"]) == ("gap", str(first), resets[pair]["gap_to"])
    figure("told to the trade in ledger and stream, 0 others missing")


@pytest.mark.row(15)
async def test_lost_replies_double_nothing(rig: Rig, figure: Figure) -> None:
    async with rig.inside() as stage:
        await rig.flows()
        rig.link.swallow_chance = 0.05
        await until(lambda: rig.link.swallowed >= 8, 20.0, "replies to get lost")
        rig.link.heal()
        found = await rig.judged()
    assert stage.published().duplicates > 0
    figure(f"{rig.link.swallowed} replies lost: {sum(one.trades for one in found):,} trades, 0 lost, 0 twice")


@pytest.mark.row(15)
@pytest.mark.parametrize(
    "trouble", ["corrupt", "half a reply", *(pytest.param(one, marks=SLOW) for one in ("cut", "half a command"))]
)
async def test_a_link_that_breaks_in_the_middle_of_a_word_costs_nothing(rig: Rig, trouble: str) -> None:
    async with rig.inside():
        await rig.flows()
        for number in range(5):
            if trouble == "cut":
                rig.link.reset()
            elif trouble == "corrupt":
                rig.link.corrupt(at=0)
            else:
                rig.link.cut_after(37 * number + 5, "down" if trouble == "half a reply" else "up")
            await CLOCK.sleep(0.15)
        rig.link.heal()
        await rig.judged()


@pytest.mark.row(15)
async def test_a_link_that_is_cut_while_nobody_writes_costs_nothing(shared_rig: Rigs) -> None:
    """In a process of its own, on the event loop that it picks there."""
    async with shared_rig(rate=12.0) as rig:
        ingester = rig.process()
        await rig.flows()
        for _ in range(8):
            rig.link.reset()
            await CLOCK.sleep(0.2)
        await rig.judged()
        assert await ingester.stop() == 0


@pytest.mark.row(15)
@pytest.mark.chaos
async def test_a_start_over_a_bad_link_takes_longer_and_no_more(rig: Rig) -> None:
    for _ in range(5):
        rig.link.swallow_chance = 0.4
        ingester = rig.process()
        await rig.flows(30.0)
        rig.link.heal()
        assert await ingester.stop() == 0
    rig.process()
    await rig.judged()


@pytest.mark.row(16)
async def test_a_full_redis_is_waited_for_and_loses_nothing(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig(rate=500.0) as rig, rig.inside() as stage:
        await rig.flows()
        await rig.client.config_set("maxmemory", 1)
        await until(lambda: stage.published().trouble, 5.0, "the trouble to be noticed")
        await CLOCK.sleep(0.8)
        waiting = stage.published().spooled
        await rig.client.config_set("maxmemory", 0)
        back_s = await rig.caught_up(10.0)
        await rig.judged()
    assert waiting > 0
    assert back_s <= 5.0
    assert not stage.published().trouble
    figure(f"resumed {back_s:.1f} s after there was room, 0 lost")


@pytest.mark.row(16)
@pytest.mark.chaos
async def test_streams_at_their_cap_make_their_own_room(own_rig: Rigs, figure: Figure) -> None:
    """Five MiB for streams that hold what fits: trimming goes on while adding is refused."""
    options = (*DURABLE, "--maxmemory", "5mb")
    async with own_rig(*options, rate=1_000.0) as rig, rig.inside(bus__maxlen=3_000) as stage:
        await rig.flows()
        await CLOCK.sleep(20.0)
        await rig.caught_up(20.0)
        await rig.ends()
        lengths = [await rig.client.xlen(f"trades:{pair}") for pair in rig.exchange.pairs]
    assert stage.published().refused == 0
    figure(f"5 MiB: {stage.published().published:,} written, {sum(lengths):,} kept")


@pytest.mark.row(17)
async def test_a_redis_that_evicts_streams_is_warned_of_or_refused(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as rig:
        warned, refused = rig.process(), rig.process("--strict")
        assert await refused.ended() == 78
        assert "maxmemory-policy noeviction" in refused.log.read_text()
        await rig.flows()
        assert "maxmemory-policy noeviction" in warned.log.read_text()
        await rig.judged()
    figure("warned of at the start, refused with `--strict` (78); both name the command that mends it")


@pytest.mark.row(21)
@pytest.mark.chaos
async def test_a_redis_that_loads_is_waited_for(own_rig: Rigs) -> None:
    """A slow start: it accepts connections and answers LOADING until its file is read."""
    async with own_rig(*DURABLE, "--enable-debug-command", "yes") as rig, rig.inside():
        await rig.flows()
        await rig.client.config_set("key-load-delay", 20_000)
        for number in range(100):
            await rig.client.set(f"ballast:{number}", "x")
        with suppress(RedisError, OSError):
            await rig.client.execute_command("DEBUG", "RELOAD")
        await rig.judged()
