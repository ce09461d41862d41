"""What was told stands on the bus for a day, and an alert and its note come to a stream together, on both engines."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus.alerted import MAXLEN, TTL_S, Alerted, AlertStream
from cryptostream.bus.connect import Bus, connect
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused
from tests.web.hooks import alert


@pytest.fixture
async def bus(bus_url: str, data_dir: Path) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=SystemClock()) as opened:
        yield opened


async def test_what_was_noted_is_known_by_its_group_for_a_day(bus: Bus) -> None:
    mine, theirs = Alerted(bus, "alert-a-log"), Alerted(bus, "alert-b-log")
    assert not await mine.has(alert(1))
    await mine.note(alert(1))
    assert [await mine.has(alert(1)), await mine.has(alert(2)), await theirs.has(alert(1))] == [True, False, False]
    lasts_s = await bus.command.ttl(f"alerted:alert-a-log:{alert(1).stream}:{alert(1).entry_id}")
    assert TTL_S - 60 < lasts_s <= TTL_S


async def test_an_alert_in_a_stream_is_noted_with_it(bus: Bus) -> None:
    await AlertStream(bus, "alert-a-stream", "alerts").tell(alert(1, held_back=2))
    assert await Alerted(bus, "alert-a-stream").has(alert(1))
    entries: Any = await bus.command.xrange("alerts")
    ((_, fields),) = entries
    assert (fields["held_back"], fields["entry.side"]) == ("2", "buy")


async def test_a_stream_keeps_about_ten_thousand(bus: Bus) -> None:
    pipeline = bus.command.pipeline(transaction=False)
    for number in range(MAXLEN + 200):
        pipeline.xadd("alerts", {"n": str(number)})
    await pipeline.execute()
    await AlertStream(bus, "g", "alerts").tell(alert(1))
    assert MAXLEN <= await bus.command.xlen("alerts") < MAXLEN + 201


async def test_a_key_that_is_no_stream_is_refused(bus: Bus) -> None:
    await bus.command.set("alerts", "x")
    with pytest.raises(BusRefused, match="alerts is not a stream"):
        await AlertStream(bus, "g", "alerts").tell(alert(1))
    assert not await Alerted(bus, "g").has(alert(1))
