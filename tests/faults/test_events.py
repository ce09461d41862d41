"""Events that come twice, late, never, or unreadable; clocks that differ. Rows 6, 7 and 9 to 12."""

import json

import pytest

from cryptostream.engine.clock import SystemClock
from cryptostream.model.codec import micros
from tests.chaos.rig import Rig, until
from tests.faults.conftest import Figure, Rigs

LASTS_S = 0.6
CLOCK = SystemClock()


async def flawed(rig: Rig, spec: str, lasts_s: float = LASTS_S) -> int:
    """Let a fault spoil events for a while; how many it hit."""
    fault = rig.exchange.faults.inject(spec)
    await CLOCK.sleep(lasts_s)
    rig.exchange.faults.clear(fault.id)
    return fault.fired


@pytest.mark.row(6)
async def test_garbage_is_set_aside_and_every_good_frame_is_kept(rig: Rig, figure: Figure) -> None:
    async with rig.inside() as stage:
        await rig.flows()
        bad = await flawed(rig, "garbage:50%")
        await rig.judged()
        await until(lambda: stage.feed().error_messages == bad, 2.0, "every bad frame to be counted")
        samples = await rig.client.xlen("dlq:ingest")
    assert bad > 20
    assert samples == bad
    assert stage.feed().filled == 0
    figure(f"{bad:,} bad frames counted, every good one kept")


@pytest.mark.row(6)
@pytest.mark.chaos
async def test_a_hundred_thousand_bad_frames_cost_no_good_one(shared_rig: Rigs, figure: Figure) -> None:
    async with shared_rig(rate=1_000.0) as rig, rig.inside() as stage:
        await rig.flows()
        spoiling = rig.exchange.faults.inject("garbage:100%")
        await until(lambda: spoiling.fired >= 100_000, 115.0, "so many bad frames")
        rig.exchange.faults.clear()
        await rig.judged()
        await until(lambda: stage.feed().error_messages == spoiling.fired, 5.0, "every bad frame to be counted")
    figure(f"{spoiling.fired:,} bad frames counted, every good one kept")


@pytest.mark.row(7)
@pytest.mark.parametrize(("spec", "set_aside"), [("extra:20%", False), ("unknown:20%", True)])
async def test_what_nobody_knows_yet_is_no_loss(rig: Rig, spec: str, set_aside: bool) -> None:
    async with rig.inside() as stage:
        await rig.flows()
        new = await flawed(rig, spec)
        await rig.judged()
    assert new > 20
    assert (stage.feed().filled, stage.feed().error_messages) == (0, new if set_aside else 0)


@pytest.mark.row(7)
@pytest.mark.parametrize(
    "spec",
    [
        "missing:5%,field=p",
        "mistype:5%,field=T",
        pytest.param("missing:5%,field=t", marks=pytest.mark.chaos),
        pytest.param("mistype:5%,field=q", marks=pytest.mark.chaos),
    ],
)
async def test_a_trade_that_cannot_be_read_is_fetched(rig: Rig, spec: str) -> None:
    async with rig.inside() as stage:
        await rig.flows()
        bad = await flawed(rig, spec)
        await rig.judged()
        await until(lambda: stage.feed().error_messages == bad, 2.0, "every bad frame to be counted")
    assert 0 < bad <= stage.feed().filled


@pytest.mark.row(9)
async def test_a_trade_sent_twice_stands_once_and_is_counted(rig: Rig, figure: Figure) -> None:
    async with rig.inside() as stage:
        await rig.flows()
        twice = await flawed(rig, "duplicate:20%")
        await rig.judged()
    assert twice > 20
    assert stage.feed().duplicates == twice
    figure(f"{twice} sent twice, {stage.feed().duplicates} dropped, 0 in the stream")


@pytest.mark.row(10)
async def test_swapped_neighbours_heal_by_themselves(rig: Rig, figure: Figure) -> None:
    async with rig.inside() as stage:
        await rig.flows()
        swapped = await flawed(rig, "swap:20%")
        await rig.judged()
        assert await rig.ledger("gap_opened") == []
    assert swapped > 20
    assert (stage.feed().filled, stage.feed().duplicates) == (0, 0)
    figure(f"{swapped} swapped, 0 out of order, nothing asked for")


@pytest.mark.row(10)
async def test_trades_a_second_late_stand_in_their_place(rig: Rig, figure: Figure) -> None:
    async with rig.inside():
        await rig.flows()
        late = await flawed(rig, "late:20%,by=1s")
        await rig.judged()
    assert late > 20
    figure(f"{late} up to 1 s late, 0 out of order")


@pytest.mark.row(11)
async def test_a_skipped_trade_is_told_within_a_second_and_fetched(rig: Rig, figure: Figure) -> None:
    async with rig.inside() as stage:
        await rig.flows()
        skipped = await flawed(rig, "skip:2%", 1.5)
        await rig.judged()
        await until(lambda: not stage.feed().held, 2.0, "everything to be let go")
        opened = await rig.ledger("gap_opened")
        told_s = [await told_after_s(rig, line) for line in opened]
    assert skipped > 3
    assert stage.feed().filled >= skipped
    assert max(told_s) <= 1.0
    figure(f"{skipped} of {skipped} found and filled, told after {max(told_s):.2f} s at most")


async def told_after_s(rig: Rig, line: dict[str, str]) -> float:
    """How long after the trade that showed a gap the ledger tells of it."""
    [next_one] = rig.exchange.trades(line["pair"], int(line["gap_to"]) + 1, int(line["gap_to"]) + 1)
    return (micros(line["ts"]) - next_one.time_us) / 1e6


@pytest.mark.row(11)
async def test_what_nobody_has_is_a_gap_entry_and_the_pair_goes_on(rig: Rig, figure: Figure) -> None:
    rig.exchange.faults.inject("hole:4%")
    async with rig.inside(ingest__gaps__deadline="500ms") as stage:
        await rig.flows(30.0)
        await CLOCK.sleep(1.0)
        found = await rig.judged(gaps=True)
        unfillable = await rig.ledger("gap_unfillable")
    missing = sum(len(history.recorded) for history in found)
    assert missing > 3
    assert missing == sum(last - first + 1 for history in found for first, last, _ in history.gaps)
    assert missing == sum(int(line["count"]) for line in unfillable) == stage.feed().missing
    figure(f"{missing} ids that never were: each in a gap entry, 0 others missing")


@pytest.mark.row(12)
@pytest.mark.parametrize("skew_s", [300.0, -300.0])
async def test_an_exchange_whose_clock_differs_changes_nothing(shared_rig: Rigs, skew_s: float, figure: Figure) -> None:
    async with shared_rig(skew_s=skew_s) as rig, rig.inside() as stage:
        await rig.flows()
        await flawed(rig, "skip:2%")
        rig.exchange.faults.inject("drop")
        await rig.judged()
        feed = stage.feed()
    seen = feed.exchange_to_socket
    assert feed.lag_ms is not None
    assert abs(feed.lag_ms + skew_s * 1000) < 5_000
    assert seen.total > 0
    assert seen.sum >= 0
    assert (seen.counts[0] == seen.total) == (skew_s > 0)
    figure(f"{skew_s:+.0f} s: lag shown as {feed.lag_ms / 1000:.0f} s, latency never below zero")


@pytest.mark.row(11)
async def test_fail_on_gap_ends_with_6(rig: Rig) -> None:
    rig.exchange.faults.inject("hole:1%")
    ingester = rig.process("--fail-on-gap", settings={"ingest.gaps.deadline": "1s"})
    assert await ingester.ended(20.0) == 6
    last = ingester.log.read_text().splitlines()[-2:]
    assert any("data is missing for good" in line for line in last), last
    assert json.loads(ingester.log.read_text().splitlines()[0])
