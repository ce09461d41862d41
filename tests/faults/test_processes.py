"""The program as a process that is asked to end, killed, doubled, or short of file handles. Rows 23, 30, 35 and 37."""

import json
import resource
from random import Random

import pytest

from cryptostream.engine.clock import SystemClock
from tests.chaos.rig import Program, Rig, until
from tests.faults.conftest import Figure, Rigs

CLOCK = SystemClock()


@pytest.mark.row(23)
async def test_sigterm_while_redis_is_away_leaves_the_rest_for_the_next_start(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig() as rig:
        ingester = rig.process()
        await rig.flows()
        rig.server.kill()
        await CLOCK.sleep(0.7)
        began = CLOCK.monotonic()
        assert await ingester.stop() == 0
        took_s = CLOCK.monotonic() - began
        kept = [path for path in (rig.folder / "data" / "spool").rglob("*") if path.is_file() and path.stat().st_size]
        await rig.start_redis()
        ingester.start()
        await rig.caught_up()
        await rig.judged()
        assert await ingester.stop() == 0
    assert took_s <= 10.0
    assert kept
    figure(f"exit 0 after {took_s:.1f} s with Redis away, the rest stored at the next start")


@pytest.mark.row(23)
@pytest.mark.chaos
@pytest.mark.timeout(400)
async def test_fifty_ends_at_random_moments_lose_nothing(own_rig: Rigs, figure: Figure) -> None:
    random = Random(1)
    slowest_s = 0.0
    async with own_rig() as rig:
        ingester = rig.process()
        await rig.flows()
        for _ in range(50):
            await CLOCK.sleep(random.uniform(0.4, 2.0))  # it has to be our program before it can drain
            began = CLOCK.monotonic()
            assert await ingester.stop() == 0
            slowest_s = max(slowest_s, CLOCK.monotonic() - began)
            ingester.start()
        await rig.caught_up(60.0)
        found = await rig.judged()
    assert slowest_s <= 10.0
    trades = sum(one.trades for one in found)
    figure(f"50 times: {trades:,} trades, 0 lost, 0 twice, exit 0 after {slowest_s:.1f} s at most")


@pytest.mark.row(23)
async def test_kill_9_and_a_new_start_are_as_if_nothing_had_happened(rig: Rig) -> None:
    ingester = rig.process()
    await rig.flows()
    ingester.kill()
    await CLOCK.sleep(0.5)
    ingester.start()
    await rig.caught_up()
    await rig.judged()
    assert await ingester.stop() == 0


@pytest.mark.row(30)
async def test_of_two_ingesters_either_may_die_without_a_pause(rig: Rig, figure: Figure) -> None:
    both = [rig.process(), rig.process()]
    await rig.flows()
    await until(lambda: all(told(one, "feed.connected") for one in both), 10.0, "both to be connected")
    longest_s = 0.0
    for dying in both:
        dying.kill()
        longest_s = max(longest_s, await longest_pause_s(rig, 0.8))
        dying.start()
        await until(lambda one=dying: len(told(one, "feed.connected")) == 2, 10.0, "it to be connected again")
    await rig.judged()
    assert longest_s < 0.7
    figure(f"each killed once: 0 lost, 0 twice, longest pause {longest_s:.2f} s")


def told(ingester: Program, event: str) -> list[object]:
    return list(ingester.told(event))


async def longest_pause_s(rig: Rig, watched_s: float) -> float:
    """The longest time in which the first stream did not grow."""
    ends_s = CLOCK.monotonic() + watched_s
    newest, grew_s, longest_s = 0, CLOCK.monotonic(), 0.0
    while (now_s := CLOCK.monotonic()) < ends_s:
        found = await rig.newest(rig.exchange.pairs[0])
        if found > newest:
            newest, grew_s = found, now_s
        longest_s = max(longest_s, now_s - grew_s)
        await CLOCK.sleep(0.02)
    return longest_s


@pytest.mark.row(35)
async def test_a_symbol_that_is_not_listed_is_named_once_and_shown(rig: Rig) -> None:
    ingester = rig.process("--symbols", "BTCUSDT,ETHUSDT,NOSUCHUSDT")
    await rig.flows()
    status, text = await ingester.get("/pairs")
    assert status == 200
    assert "NOSUCHUSDT" in text
    assert "left out" in text
    assert len([line for line in ingester.told("symbols.left_out") if line["symbol"] == "NOSUCHUSDT"]) == 1
    await rig.judged()


@pytest.mark.row(37)
async def test_without_file_handles_what_lives_is_kept_and_the_rest_is_told(shared_rig: Rigs, figure: Figure) -> None:
    pairs = [f"SIM{number:04d}USDT" for number in range(1, 81)]
    async with shared_rig(pairs=pairs, rate=5.0) as rig:
        ingester = rig.process(settings={"feed.pairs_per_connection": 1}, start=False)
        ingester.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
        await until(lambda: ingester.told("feed.unreachable"), 15.0, "the handles to be used up")
        await until(lambda: rig.exchange.connections >= 20, 5.0, "some sockets")
        await CLOCK.sleep(1.5)
        assert ingester.runs
        kept = rig.exchange.connections
        assert await rig.newest(pairs[0]) > 0
        attempts = len(rig.exchange.attempts)
        assert any("ulimit" in json.dumps(line) for line in ingester.told("feed.unreachable"))
        code = await ingester.stop()
    assert (code, attempts) == (0, kept)
    figure(f"64 handles: {kept} of 80 sockets open and kept, the rest told and tried again")


@pytest.mark.row(13, 30)
@pytest.mark.chaos
async def test_redis_frozen_while_one_of_two_ingesters_is_killed(own_rig: Rigs) -> None:
    """What the dead one had in its spool is adopted, and what neither has is fetched."""
    async with own_rig() as rig:
        first, second = rig.process(), rig.process()
        await rig.flows()
        async with rig.frozen(rig.server.pid):
            await CLOCK.sleep(3.0)
            first.kill()
            await CLOCK.sleep(1.0)
        await rig.caught_up(30.0)
        first.start()
        await rig.judged()
        assert (await first.stop(), await second.stop()) == (0, 0)
