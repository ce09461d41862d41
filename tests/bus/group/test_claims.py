"""What members left behind is taken over, in order; who lives keeps what is in hand; who left is removed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.group import claims
from cryptostream.engine.clock import SystemClock
from cryptostream.model.events import Entry
from cryptostream.testing import ManualClock
from tests.bus.members import STREAM, Ours, add, ids, member, pending, read, some

IDLE_S = 0.2


@pytest.fixture
async def bus(bus_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=tmp_path, clock=clock) as opened:
        yield opened


async def idle(seconds: float = IDLE_S) -> None:
    """Entries grow idle by the server's own clock, which nobody here can move."""
    await SystemClock().sleep(seconds)


@pytest.mark.row(26)
async def test_what_a_dead_member_held_is_taken_over_after_a_while(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2, 3)
    await read(member(bus, clock, name="dead"), 3, commit=False)
    await idle()
    heir = member(bus, clock, claim_idle_s=IDLE_S)
    await add(bus, STREAM, 4)
    batches = heir.batches()
    assert ids(await some(batches)) == [4]
    clock.advance(6)
    assert ids(await some(batches)) == [1, 2, 3]
    assert (heir.stats.claimed, {owner for owner, _ in await pending(bus)}) == (3, {"me"})
    await batches.aclose()


async def test_what_a_living_member_just_got_is_left_to_it(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2)
    await read(member(bus, clock, name="busy"), 2, commit=False)
    heir = member(bus, clock, claim_idle_s=30)
    batches = heir.batches()
    assert (await anext(batches)).events == []
    clock.advance(60)
    assert (await anext(batches)).events == []
    assert {owner for owner, _ in await pending(bus)} == {"busy"}
    await batches.aclose()


async def test_who_lives_and_holds_entries_for_long_keeps_them(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1)
    holder, other = member(bus, clock, name="holder", claim_idle_s=1.5), member(bus, clock, claim_idle_s=1.5)
    holding, waiting = holder.batches(), other.batches()
    await some(holding)
    await anext(waiting)  # a second goes by in which nothing comes
    clock.advance(6)
    await anext(holding)  # says that it lives, and waits another second
    await anext(waiting)
    assert {owner for owner, _ in await pending(bus)} == {"holder"}
    await holding.aclose()
    await waiting.aclose()


@pytest.mark.row(26)
async def test_the_new_owner_of_a_stream_gets_what_others_left_at_once_and_before_anything_new(
    bus: Bus, clock: ManualClock
) -> None:
    await add(bus, STREAM, *range(1, 6))
    await read(member(bus, clock, name="one", count=3), 3, commit=False)
    await read(member(bus, clock, name="two"), 2, commit=False)
    await add(bus, STREAM, 6, 7)
    owner = member(bus, clock, ownership=Ours(STREAM))
    assert ids(await read(owner, 7)) == list(range(1, 8))
    assert (owner.stats.claimed, owner.stats.redelivered, await pending(bus)) == (5, 5, [])


async def test_what_was_trimmed_with_a_dead_member_is_counted_in_its_place(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, *range(1, 7))
    await read(member(bus, clock, name="dead"), 6, commit=False)
    await bus.command.xtrim(STREAM, maxlen=2, approximate=False)
    owner = member(bus, clock, ownership=Ours(STREAM))
    assert ids(await read(owner, 3)) == [(1, 4, 4), 5, 6]
    assert (owner.stats.lost, await pending(bus)) == (4, [])


async def test_only_what_is_ours_is_read_and_what_is_not_any_more_is_let_go(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1)
    await add(bus, "trades:B", 2)
    ours = Ours(STREAM)
    source = member(bus, clock, ownership=ours)
    batches = source.batches()
    assert ids(await some(batches)) == [1]
    ours.streams = {"trades:B"}
    await add(bus, STREAM, 3)
    clock.advance(6)
    assert ids(await some(batches)) == [2]
    assert source.stats.streams == 1
    await batches.aclose()


async def test_an_entry_that_somebody_put_back_is_handled_again_and_nothing_else(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2, 3)
    source = member(bus, clock, ownership=Ours(STREAM), claim_idle_s=IDLE_S)
    batches = source.batches()
    await some(batches)
    source.acknowledge(STREAM, ["1000-1"])
    await anext(batches)
    await idle()  # 2 and 3 stay in hand
    await bus.command.xclaim(STREAM, "g", "retrier", 0, ["1000-1"], idle=10**9, force=True)  # type: ignore[arg-type]
    clock.advance(60)
    assert ids(await some(batches)) == [1]
    await add(bus, STREAM, 4)
    assert ids(await some(batches)) == [4]
    await batches.aclose()


async def test_what_was_taken_over_and_is_in_hand_stays_pending_when_the_line_is_lost(
    bus: Bus, clock: ManualClock
) -> None:
    await add(bus, STREAM, 1)
    await read(member(bus, clock, name="dead"), 1, commit=False)
    await add(bus, STREAM, 2, 3)
    source = member(bus, clock, claim_idle_s=IDLE_S)
    batches = source.batches()
    source.acknowledge(STREAM, [one.entry_id for one in await some(batches)])
    await idle()
    clock.advance(6)
    assert ids(await some(batches)) == [1]
    await source._lose_touch()
    await add(bus, STREAM, 4)
    assert ids(await some(batches)) == [4]
    await batches.aclose()
    assert [entry_id for _, entry_id in await pending(bus)] == ["1000-1", "1000-4"]


async def test_all_of_the_many_entries_that_one_holds_are_kept(
    bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_PAGE", 2)
    await add(bus, STREAM, *range(1, 6))
    source = member(bus, clock, claim_idle_s=IDLE_S)
    batches = source.batches()
    await some(batches)
    await idle(1.0)
    await add(bus, STREAM, 6)
    clock.advance(6)
    await some(batches)
    found = await bus.command.xpending_range(STREAM, "g", "-", "+", 10, idle=1000)
    assert [one["message_id"] for one in found] == []
    await batches.aclose()


async def test_all_of_the_many_entries_that_a_dead_member_held_are_taken_over_at_once(
    bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_PAGE", 2)
    await add(bus, STREAM, *range(1, 8))
    await read(member(bus, clock, name="dead"), 7, commit=False)
    await add(bus, STREAM, 8)
    heir = member(bus, clock, claim_idle_s=IDLE_S)
    batches = heir.batches()
    await some(batches)
    await idle()
    clock.advance(6)
    assert ids(await some(batches)) == list(range(1, 8))
    assert heir.stats.claimed == 7
    await batches.aclose()


@pytest.mark.parametrize("holders", [["me"], ["dead", "me"]], ids=["alone", "beside what a dead member held"])
async def test_what_is_trimmed_before_its_turn_is_counted_although_others_are_told_that_we_live(
    bus: Bus, clock: ManualClock, holders: list[str]
) -> None:
    await add(bus, STREAM, *range(1, 11))
    if holders[0] == "dead":
        await read(member(bus, clock, name="dead", count=2), 2, commit=False)
    await read(member(bus, clock, count=10), 8, commit=False)
    again = member(bus, clock, count=1, claim_idle_s=IDLE_S)
    batches = again.batches()
    [first] = ids(await some(batches))
    assert first == 2 * len(holders) - 1
    await bus.command.xtrim(STREAM, maxlen=3, approximate=False)
    await idle()
    clock.advance(6)
    found: list[Entry] = []
    while not found or found[-1].entry_id != "1000-10":
        found += await some(batches)
    assert [one for one in ids(found) if isinstance(one, int)] == [8, 9, 10]
    assert again.stats.lost == 6
    await batches.aclose()


async def test_members_that_left_are_removed_once_they_hold_nothing(
    bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_LEFT_S", 0.0)
    await add(bus, STREAM, 1, 2)
    await read(member(bus, clock, name="done", count=1), 1)
    await read(member(bus, clock, name="holds", count=1), 1, commit=False)
    source = member(bus, clock, claim_idle_s=0)
    batches = source.batches()
    await anext(batches)
    assert await names(bus) == {"done", "holds", "me"}
    for _ in range(2):
        clock.advance(700)
        await anext(batches)
    assert await names(bus) == {"holds", "me"}
    await batches.aclose()


async def names(bus: Bus) -> set[str]:
    return {each["name"] for each in await bus.command.xinfo_consumers(STREAM, "g")}
