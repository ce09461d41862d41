"""Dead letters for the web: the newest of all queues, and their way back, on both engines."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.glance import Glance
from cryptostream.errors import NotFound, UsageError
from cryptostream.testing import ManualClock
from cryptostream.web import shown
from cryptostream.wiring.serving import letters, pages


@pytest.fixture
async def bus(bus_url: str, data_dir: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=clock) as opened:
        yield opened


async def add(bus: Bus, queue: str, letter_id: str, **fields: str) -> None:
    told: dict[Any, Any] = {"ts": "2024-11-14T17:30:00.123000", **fields}
    await bus.command.xadd(queue, told, id=letter_id)


async def newest(bus: Bus, limit: int) -> list[shown.Letter]:
    looking = Glance(bus)
    seen = await looking.streams(["dlq:g", "dlq:ingest", "dlq:none", "trades:A"])
    return await letters.newest(looking, {one.name: one for one in seen if one is not None}, limit)


async def test_the_newest_of_all_queues_come_first(bus: Bus) -> None:
    await add(bus, "dlq:g", "1-0", stream="trades:A", entry_id="7-1", error="ValueError: <b>no</b>", deliveries="5")
    await add(bus, "dlq:ingest", "2-0", source="binance", reason="schema", frame="{", size="1")
    await add(bus, "dlq:g", "3-0", stream="trades:A", entry_id="8-1", error="no", deliveries="5")
    await add(bus, "dlq:none", "4-0")
    await bus.command.xtrim("dlq:none", maxlen=0, approximate=False)
    found = await newest(bus, 2)
    assert [(one.queue, one.id, one.stream, one.entry, one.error) for one in found] == [
        ("dlq:g", "3-0", "trades:A", "8-1", "no"),
        ("dlq:ingest", "2-0", "binance", "", "schema"),
    ]
    assert found[0].ts == "2024-11-14T17:30:00.123Z"


async def test_letters_are_read_a_page_at_a_time_and_old_queues_not_at_all(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 4)
    monkeypatch.setattr(pages, "_AT_ONCE", 2)
    for number in range(1, 8):
        await add(bus, "dlq:g", f"{number}-0")
        await add(bus, "dlq:ingest", f"{number}-1")
    await add(bus, "dlq:none", "1-5")
    asked: list[tuple[list[str], int]] = []
    newest_of = Glance.newest

    async def spied(looking: Glance, wanted: Mapping[str, str], count: int) -> Any:
        asked.append((list(wanted), count))
        return await newest_of(looking, wanted, count)

    monkeypatch.setattr(Glance, "newest", spied)
    assert [one.id for one in await newest(bus, 5)] == ["7-1", "7-0", "6-1", "6-0", "5-1"]
    assert asked == [(["dlq:g", "dlq:ingest"], 2)] * 2
    assert len(await newest(bus, 100)) == 15


async def test_letters_go_back_to_their_group_and_what_cannot_says_why(bus: Bus) -> None:
    await bus.command.xadd("trades:A", {"n": 1}, id="7-1")
    await bus.command.xgroup_create("trades:A", "g", "$")
    await add(bus, "dlq:g", "1-0", stream="trades:A", entry_id="7-1", error="no", deliveries="5")
    await add(bus, "dlq:g", "2-0", stream="trades:A", entry_id="6-1", error="no", deliveries="5")
    answer = await letters.retry(bus, "dlq:g", ["1-0", "2-0"])
    assert answer.retried == 1
    assert answer.left == ["trades:A was trimmed, and the entry is gone"]
    (pending,) = await bus.command.xpending_range("trades:A", "g", "-", "+", 10)
    assert pending["message_id"] == "7-1"
    with pytest.raises(UsageError, match="trimmed"):
        await letters.retry(bus, "dlq:g", ["2-0"])


async def test_what_is_no_letter_is_refused(bus: Bus) -> None:
    with pytest.raises(NotFound, match="no dead letter 9-9"):
        await letters.retry(bus, "g", ["9-9"])
    with pytest.raises(UsageError, match="not the id of a letter"):
        await letters.retry(bus, "g", ["- +"])
    with pytest.raises(UsageError, match="frames"):
        await letters.retry(bus, "dlq:ingest", ["1-0"])
