"""Dead letters: read, given back to their group, dropped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import structlog

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.effects.state import state_key
from cryptostream.bus.group import poison, source
from cryptostream.bus.group.source import Group, GroupSettings
from cryptostream.bus.operate import letters
from cryptostream.engine.clock import SystemClock
from cryptostream.model.events import Entry
from cryptostream.testing import ManualClock


@pytest.fixture
async def bus(bus_url: str, data_dir: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=clock) as opened:
        yield opened


async def set_aside(bus: Bus, entry_id: str, *, group: str = "g", stream: str = "trades:A") -> Entry:
    """What a group does with an entry that it could not handle."""
    fields = {"stream": stream, "entry_id": entry_id, "error": "no", "deliveries": "5", "entry.n": "1"}
    letter_id: Any = await bus.command.xadd(f"dlq:{group}", dict[Any, Any](fields))
    return Entry(f"dlq:{group}", letter_id, fields)


async def read_all(bus: Bus, count: int = 3) -> None:
    """A group that has read and acknowledged `count` entries."""
    for number in range(1, count + 1):
        await bus.command.xadd("trades:A", {"n": number}, id=f"{number}-1")
    await bus.command.xgroup_create("trades:A", "g", "0")
    await bus.command.xreadgroup("g", "one", {"trades:A": ">"})
    await bus.command.xack("trades:A", "g", *(f"{number}-1" for number in range(1, count + 1)))


async def left(bus: Bus, *ids: str) -> list[str]:
    return [letter.entry_id async for page in letters.pages(bus, "dlq:g", ids) for letter in page]


async def test_letters_are_read_by_their_ids_or_all(bus: Bus) -> None:
    made = [(await set_aside(bus, f"{number}-1")).entry_id for number in range(3)]
    assert await left(bus) == made
    assert await left(bus, made[2], "1-999", made[0]) == [made[2], made[0]]


async def test_retried_entry_is_pending_again_as_if_never_delivered_and_its_letter_goes(bus: Bus) -> None:
    await read_all(bus)
    keep, retried = await set_aside(bus, "1-1"), await set_aside(bus, "2-1")
    assert await letters.retry(bus, retried) == ""
    (pending,) = await bus.command.xpending_range("trades:A", "g", "-", "+", 10)
    assert (pending["message_id"], pending["times_delivered"]) == ("2-1", 0)
    assert await left(bus) == [keep.entry_id]


async def test_retried_entry_is_claimed_by_whoever_looks_next_however_patient(bus: Bus) -> None:
    await read_all(bus)
    await letters.retry(bus, await set_aside(bus, "2-1"))
    a_month_ms = 30 * 86_400_000
    _, claimed, *_ = await bus.command.xautoclaim("trades:A", "g", "two", a_month_ms)
    assert [entry_id for entry_id, _ in claimed] == ["2-1"]


async def test_entry_that_was_trimmed_cannot_be_retried_and_its_letter_stays(bus: Bus) -> None:
    await read_all(bus)
    letter = await set_aside(bus, "1-1")
    await bus.command.xtrim("trades:A", maxlen=1, approximate=False)
    assert await letters.retry(bus, letter) == "trades:A was trimmed, and the entry is gone"
    assert await left(bus) == [letter.entry_id]
    assert (await bus.command.xpending("trades:A", "g"))["pending"] == 0


@pytest.mark.parametrize("stream", ["trades:A", "trades:gone"])
async def test_entry_of_a_group_that_is_gone_cannot_be_retried(bus: Bus, stream: str) -> None:
    await bus.command.xadd("trades:A", {"n": 1}, id="1-1")
    letter = await set_aside(bus, "1-1", stream=stream)
    assert await letters.retry(bus, letter) == f"group g is not on {stream} any more"
    assert await left(bus) == [letter.entry_id]


@pytest.mark.parametrize("upto", ["2-1", "10-0"])
async def test_entry_that_is_in_the_groups_state_cannot_be_retried_and_its_letter_stays(bus: Bus, upto: str) -> None:
    await read_all(bus)
    letter = await set_aside(bus, "2-1")
    await bus.command.hset(state_key("g", "trades:A"), mapping={"upto": upto, "state": b"\x80"})
    assert f"goes up to {upto}, so the entry would be skipped" in await letters.retry(bus, letter)
    assert await left(bus) == [letter.entry_id]
    assert (await bus.command.xpending("trades:A", "g"))["pending"] == 0


@pytest.mark.parametrize(
    ("key", "field", "upto"),
    [
        (state_key("g", "trades:A"), "upto", "2-0"),
        (state_key("g", "trades:A"), "token", "9-9"),
        (state_key("g", "trades:B"), "upto", "9-9"),
        (state_key("h", "trades:A"), "upto", "9-9"),
    ],
    ids=["the state is behind it", "nothing saved", "another stream's", "another group's"],
)
async def test_entry_that_no_state_of_its_group_has_passed_is_retried(
    bus: Bus, key: str, field: str, upto: str
) -> None:
    await read_all(bus)
    await bus.command.hset(key, field, upto)
    assert await letters.retry(bus, await set_aside(bus, "2-1")) == ""


async def test_letter_that_names_no_entry_cannot_be_retried(bus: Bus) -> None:
    assert "which entry" in await letters.retry(bus, Entry("dlq:g", "1-1", {"error": "x"}))


async def test_dropped_letters_are_counted(bus: Bus) -> None:
    first, second = await set_aside(bus, "1-1"), await set_aside(bus, "2-1")
    assert await letters.drop(bus, "dlq:g", [first.entry_id, "1-999"]) == 1
    assert await left(bus) == [second.entry_id]
    assert await letters.drop(bus, "dlq:g", []) == 0


@pytest.mark.row(28)
async def test_retried_entry_is_handled_by_its_group_and_set_aside_again_if_it_must_be(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_RESCAN_S", 0.1)
    await read_all(bus)
    await letters.retry(bus, await set_aside(bus, "2-1"))
    settings = GroupSettings(claim_idle_s=0.3, max_deliveries=2)
    async with (
        asyncio.timeout(30),
        Group(bus, ["trades:A"], group="g", consumer="two", clock=SystemClock(), settings=settings) as group,
        aclosing(group.batches()) as batches,
    ):
        seen = []
        async for batch in batches:
            for entry in batch.events:
                seen.append(entry.entry_id)
                await group.reject(entry, "still odd")
            if group.stats.dead_letters:
                break
    assert seen == ["2-1", "2-1"]
    [letter] = [one async for page in letters.pages(bus, "dlq:g", ()) for one in page]
    assert (letter.fields["entry_id"], letter.fields["error"]) == ("2-1", "still odd")


async def test_group_that_keeps_all_the_letters_it_may_says_so_once(
    bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poison, "LETTERS_KEPT", 3)
    poison._tell_full.cache_clear()
    await read_all(bus)
    told: list[int] = []
    for number in range(1, 6):
        with structlog.testing.capture_logs() as lines:
            await poison.set_aside(bus, "g", Entry("trades:A", f"{number}-1", {}), "no", 5, clock)
        told += [number for line in lines if (line["event"], line["group"]) == ("group.letters_full", "g")]
    assert told == [3]
    poison._tell_full.cache_clear()
