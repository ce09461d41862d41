"""Sockets that end, fall silent or are refused: the stream is as if nothing had happened. Rows 1 to 4 and 8."""

from itertools import pairwise
from random import Random

import pytest

from cryptostream.engine.clock import SystemClock
from tests.chaos.rig import Rig, until
from tests.faults.conftest import Figure, Rigs

HASTE = 20
WAYS = ("drop", "eof", "rst", "close,code=1000", "close,code=1008", "close,code=1012")
CLOCK = SystemClock()
SLOW = pytest.mark.chaos


def cut(rig: Rig, how: str) -> None:
    """End every socket: a fault of the exchange, or of the network before it."""
    if how == "eof":
        rig.front.close()
    elif how == "rst":
        rig.front.reset()
    else:
        rig.exchange.faults.inject(how)


@pytest.mark.row(1)
@pytest.mark.parametrize("how", [pytest.param(way, marks=[] if way in ("drop", "eof") else SLOW) for way in WAYS])
async def test_a_cut_socket_costs_no_trade(rig: Rig, how: str, figure: Figure) -> None:
    async with rig.inside() as stage:
        await rig.flows()
        cut(rig, how)
        await until(lambda: stage.feed().reconnects, 5.0, "the end of the socket to be noticed")
        back_s = await until(lambda: stage.feed().active_connections, 5.0, "another socket")
        await rig.judged()
    assert back_s < 2.0
    assert stage.feed().duplicates == 0


@pytest.mark.row(1)
@pytest.mark.chaos
async def test_a_hundred_cuts_cost_no_trade(rig: Rig, figure: Figure) -> None:
    random = Random(1)
    waits_s = []
    async with rig.inside(haste=50) as stage:
        await rig.flows()
        for number in range(100):
            await CLOCK.sleep(0.7 + random.random() / 5)  # 35 s of its own time or more: long enough to be well again
            cut(rig, random.choice(WAYS))
            await until(lambda wanted=number + 1: stage.feed().reconnects >= wanted, 5.0, "the end of the socket")
            waits_s.append(await until(lambda: stage.feed().active_connections, 5.0, "another socket"))
        found = await rig.judged(within_s=60.0)
    assert max(waits_s) * 50 < 60
    figure(f"{len(waits_s)} cuts: {sum(one.trades for one in found):,} trades, 0 missing, 0 twice")


@pytest.mark.row(1)
@pytest.mark.parametrize("fault", ["", pytest.param("shutdown,lead=1s", marks=SLOW)])
async def test_a_socket_that_is_replaced_in_time_misses_nothing(rig: Rig, fault: str) -> None:
    async with rig.inside(feed__rotate_after="1h" if fault else "1s") as stage:
        await rig.flows()
        if fault:
            rig.exchange.faults.inject(fault)
        await until(lambda: stage.feed().rotations >= 1, 8.0, "the sockets to be replaced")
        await CLOCK.sleep(0.2)
        await rig.judged()
    assert stage.feed().filled == 0


@pytest.mark.row(2)
@pytest.mark.parametrize("how", ["black hole", pytest.param("no pong", marks=SLOW)])
async def test_a_half_open_socket_is_noticed_within_twenty_seconds(rig: Rig, how: str, figure: Figure) -> None:
    async with rig.inside(haste=HASTE) as stage:
        await rig.flows()
        began = CLOCK.monotonic()
        if how == "no pong":
            rig.exchange.faults.inject("halfopen")
        else:
            rig.front.black_hole()
        await until(lambda: stage.feed().reconnects, 10.0, "the silence to be noticed")
        noticed_s = (CLOCK.monotonic() - began) * HASTE
        rig.front.heal()
        await rig.judged()
    # The machine's own delays are stretched with the clock: a tenth of a second of them is two here.
    assert 14 <= noticed_s <= 20 + 0.15 * HASTE
    figure(f"noticed after {noticed_s:.0f} s, 0 missing")


@pytest.mark.row(3)
@pytest.mark.chaos
@pytest.mark.parametrize("how", ["accept_close,for=3s", "handshake,status=503,for=3s"])
async def test_a_storm_is_met_with_patience(rig: Rig, how: str, figure: Figure) -> None:
    async with rig.inside() as stage:
        await rig.flows()
        rig.exchange.faults.inject(how)
        rig.exchange.faults.inject("drop")
        await CLOCK.sleep(3.0)
        await until(lambda: stage.feed().active_connections, 20.0, "another socket")
        tried = sorted(rig.exchange.attempts)
        await rig.judged()
    apart_s = [later - earlier for earlier, later in pairwise(tried)]
    assert min(apart_s) >= 0.24
    assert 3 <= len(tried) <= 13
    figure(f"{len(tried) - 1} attempts in 3 s, never less than {min(apart_s):.2f} s apart")


@pytest.mark.row(4)
async def test_nobody_asks_before_retry_after_ends_and_other_pairs_go_on(rig: Rig, figure: Figure) -> None:
    async with rig.inside():
        await rig.flows()
        rig.exchange.faults.inject("rest,answer=429,retry_after=1,count=1")
        rig.exchange.faults.inject("skip,pair=BTCUSDT")
        refused = await refusal(rig)
        waiting = await rig.newest("BTCUSDT")
        await rig.holds({"ETHUSDT": rig.exchange.sent("ETHUSDT")[-1] + 50}, 2.0)
        assert await rig.newest("BTCUSDT") == waiting
        await rig.judged()
    later = [asked.at_s - refused for asked in rig.exchange.requests if asked.at_s > refused]
    assert later
    assert min(later) >= 1.0
    figure(f"the next call came {min(later):.1f} s after a Retry-After of 1 s")


async def refusal(rig: Rig) -> float:
    """When the exchange answered 429."""

    def refused() -> list[float]:
        return [asked.at_s for asked in rig.exchange.requests if asked.status == 429]

    await until(refused, 5.0, "a gap to be asked for")
    return refused()[0]


@pytest.mark.row(8)
async def test_a_giant_frame_ends_its_own_socket_alone(shared_rig: Rigs, figure: Figure) -> None:
    async with shared_rig() as rig, rig.inside(feed__pairs_per_connection=1) as stage:
        await rig.flows()
        before = rig.exchange.connects
        rig.exchange.faults.inject("giant,pair=BTCUSDT")
        await until(lambda: stage.feed().reconnects, 5.0, "the frame to be refused")
        back_s = await until(lambda: rig.exchange.connects > before and stage.feed().active_connections == 2, 5.0, "it")
        await rig.judged()
    assert stage.feed().reconnects == 1
    figure(f"back after {back_s:.1f} s")
