"""Groups as an operator handles them: found, placed so that loss can be counted, claimed, moved, removed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus import operate
from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.group.cursor import Cursor, Cursors
from cryptostream.bus.operate import letters, trimming
from cryptostream.model.events import Entry
from cryptostream.model.times import place as place_of
from cryptostream.testing import ManualClock
from tests.cluster import Cluster


@pytest.fixture
async def bus(bus_url: str, data_dir: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=clock) as opened:
        yield opened


async def put(bus: Bus, stream: str, *numbers: int) -> None:
    for number in numbers:
        await bus.command.xadd(stream, {"n": number}, id=f"{number}-{number}")


async def deliver(bus: Bus, stream: str, group: str, member: str, count: int) -> None:
    await bus.command.xreadgroup(group, member, {stream: ">"}, count=count)


async def held_by(bus: Bus, stream: str, group: str, member: str = "") -> list[str]:
    return [one.entry_id async for page in operate.pending(bus, group, stream, member=member) for one in page]


async def lag(bus: Bus, stream: str, group: str) -> int | None:
    """The lag that the server itself tells, wrong where it was not told how many entries were read."""
    (told,) = [one for one in await bus.command.xinfo_groups(stream) if one["name"] == group]
    found: int | None = told["lag"]
    return found


async def test_groups_are_found_with_lag_pending_and_place(bus: Bus) -> None:
    await put(bus, "trades:A", 1, 2, 3)
    await put(bus, "trades:B", 1)
    for stream in ("trades:A", "trades:B"):
        await bus.command.xgroup_create(stream, "rec", "0")
    await bus.command.xgroup_create("trades:B", "alone", "0")
    await deliver(bus, "trades:A", "rec", "one", 2)
    found = await operate.groups(bus, ["trades:B", "trades:A", "trades:gone"])
    assert found == [
        operate.GroupOn("alone", "trades:B", 0, 0, 1, 0, "0-0"),
        operate.GroupOn("rec", "trades:A", 1, 2, 1, 0, "2-2"),
        operate.GroupOn("rec", "trades:B", 0, 0, 1, 0, "0-0"),
    ]


@pytest.mark.row(31)
@pytest.mark.parametrize(("kept", "lost"), [(10, 0), (8, 0), (7, 0), (6, 1), (1, 6), (0, 7)])
async def test_what_was_trimmed_before_a_group_read_it_is_counted(bus: Bus, kept: int, lost: int) -> None:
    await put(bus, "trades:A", *range(1, 11))
    await operate.create(bus, "trades:A", "rec", await operate.place(bus, "trades:A", "0-0"))
    await deliver(bus, "trades:A", "rec", "one", 3)
    await bus.command.xtrim("trades:A", maxlen=kept, approximate=False)
    (found,) = await operate.groups(bus, ["trades:A"])
    assert (found.lost, found.lag) == (lost, min(kept, 7))


async def test_nobody_knows_what_a_group_has_lost_that_was_made_without_counting(bus: Bus) -> None:
    await put(bus, "trades:A", *range(1, 11))
    await bus.command.xgroup_create("trades:A", "rec", "3-3")
    assert [one.lost for one in await operate.groups(bus, ["trades:A"])] == [0]
    await bus.command.xtrim("trades:A", maxlen=2, approximate=False)
    assert [one.lost for one in await operate.groups(bus, ["trades:A"])] == [None]


async def test_members_are_told_by_stream_and_a_stream_without_the_group_has_none(bus: Bus) -> None:
    await put(bus, "trades:A", 1)
    await put(bus, "trades:B", 1)
    await bus.command.xgroup_create("trades:A", "rec", "0")
    await deliver(bus, "trades:A", "rec", "one", 2)
    (member,) = await operate.members(bus, "rec", ["trades:B", "trades:A"])
    assert (member.stream, member.member, member.pending) == ("trades:A", "one", 1)
    assert member.idle_ms < 5000


@pytest.mark.parametrize(
    ("start", "last_delivered", "left"),
    [("earliest", "0-0", 6), ("new", "10-10", 0), ("7-7", "7-6", 4), ("(7-7", "7-7", 3), ("10-10", "10-9", 1)],
)
async def test_group_is_made_so_that_the_server_knows_its_lag(
    bus: Bus, start: str, last_delivered: str, left: int
) -> None:
    await put(bus, "trades:A", *range(1, 11))
    await bus.command.xtrim("trades:A", maxlen=6, approximate=False)
    assert await operate.create(bus, "trades:A", "rec", await operate.place(bus, "trades:A", place_of(start)))
    (found,) = await operate.groups(bus, ["trades:A"])
    assert (found.last_delivered, await lag(bus, "trades:A", "rec")) == (last_delivered, left)
    await deliver(bus, "trades:A", "rec", "one", 100)
    assert await lag(bus, "trades:A", "rec") == 0


async def test_group_that_is_there_stays_where_it_is(bus: Bus) -> None:
    await put(bus, "trades:A", 1, 2)
    assert await operate.create(bus, "trades:A", "rec", operate.Place("1-1", 1))
    assert not await operate.create(bus, "trades:A", "rec", operate.Place("0-0", 0))
    (found,) = await operate.groups(bus, ["trades:A"])
    assert found.last_delivered == "1-1"


async def test_stream_is_made_with_its_group(bus: Bus) -> None:
    at = await operate.place(bus, "trades:A", "$")
    assert await operate.create(bus, "trades:A", "rec", at)
    await put(bus, "trades:A", 1)
    await deliver(bus, "trades:A", "rec", "one", 10)
    assert await held_by(bus, "trades:A", "rec") == ["1-1"]


async def test_moved_group_reads_from_there_and_keeps_what_is_pending(bus: Bus) -> None:
    await put(bus, "trades:A", 1, 2, 3, 4)
    await bus.command.xgroup_create("trades:A", "rec", "0")
    await deliver(bus, "trades:A", "rec", "one", 1)
    await operate.move(bus, "trades:A", "rec", await operate.place(bus, "trades:A", "2-2"))
    assert await lag(bus, "trades:A", "rec") == 2
    await deliver(bus, "trades:A", "rec", "one", 10)
    assert await held_by(bus, "trades:A", "rec") == ["1-1", "3-3", "4-4"]


async def test_moved_group_reads_no_more_of_recordings(bus: Bus) -> None:
    await put(bus, "trades:A", 1)
    await put(bus, "trades:B", 1)
    cursors = Cursors(bus, "rec")
    await cursors.put({"trades:A": Cursor("1-1", "5-5"), "trades:B": Cursor("1-1", "5-5")})
    await bus.command.xgroup_create("trades:A", "rec", "0")
    await operate.move(bus, "trades:A", "rec", await operate.place(bus, "trades:A", "$"))
    assert await cursors.get("trades:A") is None
    assert await cursors.get("trades:B") is not None


async def test_pending_is_told_oldest_first_page_by_page_and_by_member(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operate, "_PAGE", 3)
    await put(bus, "trades:A", *range(1, 11))
    await bus.command.xgroup_create("trades:A", "rec", "0")
    await deliver(bus, "trades:A", "rec", "one", 4)
    await deliver(bus, "trades:A", "rec", "two", 100)
    assert await held_by(bus, "trades:A", "rec") == [f"{n}-{n}" for n in range(1, 11)]
    assert await held_by(bus, "trades:A", "rec", "two") == [f"{n}-{n}" for n in range(5, 11)]
    long_ago = [page async for page in operate.pending(bus, "rec", "trades:A", idle_ms=3_600_000)]
    assert long_ago == []


async def test_claimed_entries_change_hands_and_no_delivery_is_counted(bus: Bus) -> None:
    await put(bus, "trades:A", 1, 2, 3)
    await bus.command.xgroup_create("trades:A", "rec", "0")
    await deliver(bus, "trades:A", "rec", "gone", 3)
    held = [one async for page in operate.pending(bus, "rec", "trades:A") for one in page]
    assert await operate.claim(bus, "rec", "two", held[:2]) == operate.Claimed(2, 0, 0)
    after = [one async for page in operate.pending(bus, "rec", "trades:A") for one in page]
    assert [(one.entry_id, one.member, one.deliveries) for one in after] == [
        ("1-1", "two", 1),
        ("2-2", "two", 1),
        ("3-3", "gone", 1),
    ]


async def test_trimmed_entries_are_left_for_the_reader_to_count(bus: Bus) -> None:
    await put(bus, "trades:A", 1, 2, 3)
    await bus.command.xgroup_create("trades:A", "rec", "0")
    await deliver(bus, "trades:A", "rec", "gone", 3)
    held = [one async for page in operate.pending(bus, "rec", "trades:A") for one in page]
    await bus.command.xtrim("trades:A", maxlen=2, approximate=False)
    await bus.command.xack("trades:A", "rec", "2-2")
    assert await operate.claim(bus, "rec", "two", held) == operate.Claimed(1, 1, 1)
    assert await held_by(bus, "trades:A", "rec", "gone") == ["1-1"]


async def test_entry_that_was_delivered_again_meanwhile_is_not_taken(bus: Bus) -> None:
    await put(bus, "trades:A", 1)
    await bus.command.xgroup_create("trades:A", "rec", "0")
    await deliver(bus, "trades:A", "rec", "alive", 1)
    seen = [operate.Pending("trades:A", "1-1", "alive", 60_000, 1)]  # as it was a moment ago
    assert await operate.claim(bus, "rec", "two", seen) == operate.Claimed(0, 0, 1)
    assert await held_by(bus, "trades:A", "rec", "alive") == ["1-1"]


async def state(bus: Bus, group: str, stream: str) -> Any:
    return await bus.command.hgetall(f"state:{group}:{stream}")


async def save(bus: Bus, group: str, stream: str) -> None:
    kept = {"token": "t", "upto": "1-1", "version": "1", "config": "", "at": "now", "state": "x"}
    await bus.command.hset(f"state:{group}:{stream}", mapping=dict[Any, Any](kept))


async def test_state_of_another_group_whose_name_begins_alike_is_not_ours(bus: Bus) -> None:
    await put(bus, "trades:A", 1)
    await put(bus, "trades:left", 1)
    for stream in ("trades:A", "trades:left", "b:trades:A"):
        await save(bus, "g", stream)
    assert await operate.saved(bus, "g", ["trades:A"]) == ["trades:A", "trades:left"]


async def test_state_of_a_group_whose_name_looks_like_a_pattern_is_found(bus: Bus) -> None:
    await put(bus, "trades:A", 1)
    await save(bus, "g[1]", "trades:A")
    await save(bus, "g1", "trades:A")
    assert await operate.saved(bus, "g[1]", ["trades:A"]) == ["trades:A"]


async def test_removed_group_leaves_nothing_behind(bus: Bus) -> None:
    await put(bus, "trades:A", 1)
    await bus.command.xgroup_create("trades:A", "g", "0")
    await save(bus, "g", "trades:A")
    await Cursors(bus, "g").put({"trades:A": Cursor("1-1")})
    await bus.command.set("lease:g:trades:A", "me")
    assert await operate.remove(bus, "trades:A", "g")
    assert not await operate.remove(bus, "trades:A", "g")
    await operate.forget_all(bus, "g", ["trades:A"])
    assert [key async for key in bus.command.scan_iter()] == ["trades:A"]


async def test_cluster_is_operated_as_a_server_is(cluster: Cluster, data_dir: Path, clock: ManualClock) -> None:
    streams = [f"trades:{{{pair}}}" for pair in ("A", "B", "C")]
    async with connect(cluster.url, data_dir=data_dir, clock=clock) as bus:
        for stream in streams:
            await put(bus, stream, 1, 2, 3)
            await operate.create(bus, stream, "g", await operate.place(bus, stream, "1-1"))
            await deliver(bus, stream, "g", "gone", 1)
            await save(bus, "g", stream)
            held = [one async for page in operate.pending(bus, "g", stream) for one in page]
            assert await operate.claim(bus, "g", "two", held) == operate.Claimed(1, 0, 0)
            assert (await trimming.cut(bus, stream, keep=1)).losses == [trimming.Loss("g", 0, 1)]
            await operate.move(bus, stream, "g", await operate.place(bus, stream, "$"))
        assert [(one.stream, one.lag, one.pending) for one in await operate.groups(bus, streams)] == [
            (stream, 0, 1) for stream in streams
        ]
        assert len(await operate.members(bus, "g", streams)) == 6
        assert await operate.saved(bus, "g", streams) == streams
        letter = Entry("dlq:g", "1-1", {"stream": streams[0], "entry_id": "3-3"})
        assert await letters.retry(bus, letter) == ""
        for stream in streams:
            await operate.remove(bus, stream, "g")
        await operate.forget_all(bus, "g", streams)
        assert await operate.groups(bus, streams) == []
        assert await operate.saved(bus, "g", streams) == []
