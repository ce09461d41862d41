"""Dead letters for the web: the newest of all queues, and their way back, on both engines."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.errors import NotFound, UsageError
from cryptostream.testing import ManualClock
from cryptostream.wiring.serving import letters


@pytest.fixture
async def bus(bus_url: str, data_dir: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=clock) as opened:
        yield opened


async def add(bus: Bus, queue: str, letter_id: str, **fields: str) -> None:
    told: dict[Any, Any] = {"ts": "2024-11-14T17:30:00.123000", **fields}
    await bus.command.xadd(queue, told, id=letter_id)


async def test_the_newest_of_all_queues_come_first(bus: Bus) -> None:
    await add(bus, "dlq:g", "1-0", stream="trades:A", entry_id="7-1", error="ValueError: <b>no</b>", deliveries="5")
    await add(bus, "dlq:ingest", "2-0", source="binance", reason="schema", frame="{", size="1")
    await add(bus, "dlq:g", "3-0", stream="trades:A", entry_id="8-1", error="no", deliveries="5")
    found = await letters.newest(bus, 2)
    assert [(one.queue, one.id, one.stream, one.entry, one.error) for one in found] == [
        ("dlq:g", "3-0", "trades:A", "8-1", "no"),
        ("dlq:ingest", "2-0", "binance", "", "schema"),
    ]
    assert found[0].ts == "2024-11-14T17:30:00.123Z"


async def test_letters_go_back_to_their_group_and_what_cannot_says_why(bus: Bus) -> None:
    await bus.command.xadd("trades:A", {"n": 1}, id="7-1")
    await bus.command.xgroup_create("trades:A", "g", "$")
    await add(bus, "dlq:g", "1-0", stream="trades:A", entry_id="7-1", error="no", deliveries="5")
    await add(bus, "dlq:g", "2-0", stream="trades:A", entry_id="6-1", error="no", deliveries="5")
    assert await letters.retry(bus, "dlq:g", ["1-0", "2-0"]) == 1
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
