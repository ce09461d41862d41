"""Bars that are kept: read on from where they were, begun anew for another stream alone, as many as there is room."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus.connect import connect
from cryptostream.bus.glance import Glance
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusUnavailable
from cryptostream.model.instrument import Interval
from cryptostream.testing import ManualClock
from cryptostream.transforms.bars import parse_bars
from cryptostream.wiring.serving import bars as shelf
from cryptostream.wiring.serving import built
from cryptostream.wiring.serving.built import Built
from cryptostream.wiring.serving.klines import Klines
from tests.client.conftest import T0_MS
from tests.test_serving import MINUTE_MS, Served, configured, kline


@pytest.fixture
async def served(bus_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Served]:
    async with connect(bus_url, data_dir=tmp_path, clock=SystemClock()) as bus:
        yield Served(configured(bus_url, tmp_path), bus, clock)


@pytest.fixture
def since(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From where on pages of trades were read."""
    found: list[str] = []
    page = served.probes._glance.page

    async def spied(stream: str, place: str) -> Any:
        found.append(place)
        return await page(stream, place)

    monkeypatch.setattr(served.probes._glance, "page", spied)
    return found


async def closes(served: Served, interval: str = "1m") -> Sequence[tuple[float, int]]:
    return [(bar.close, bar.trades) for bar in await served.probes.bars("BTCUSDT", interval)]


async def test_trades_that_come_after_a_look_are_read_on_from_where_bars_are(served: Served, since: list[str]) -> None:
    await served.market.trades("BTCUSDT", 1)
    await served.look()
    await served.market.trades("BTCUSDT", 2)
    for _ in range(2):
        assert await closes(served) == [(2.0, 2)]
    assert since == ["-", f"({T0_MS + 2000}-2"]


@pytest.mark.parametrize("numbers", [(2,), (61, 62)], ids=["older ones", "later ones"])
async def test_stream_that_took_the_name_of_another_begins_anew(served: Served, numbers: tuple[int, ...]) -> None:
    await served.market.trades("BTCUSDT", 1, 5, 6)
    await served.look()
    assert await closes(served) == [(6.0, 3)]
    await served.bus.command.delete("trades:BTCUSDT")
    await served.market.trades("BTCUSDT", *numbers)
    await served.look()
    assert await closes(served) == [(float(numbers[-1]), len(numbers))]


async def test_first_page_that_does_not_come_leaves_the_bound(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built, "_ALWAYS", 2)
    await served.market.trades("BTCUSDT", 1, 61, 121, 181, 241)
    await served.look()
    on = served.board.look.glimpses["trades:BTCUSDT"]
    looking = Glance(served.bus)
    page = looking.page

    async def away(*_: Any) -> Any:
        raise BusUnavailable("no answer")

    series = Built(looking, "trades:BTCUSDT", parse_bars("1m"), 100)
    monkeypatch.setattr(looking, "page", away)
    with pytest.raises(BusUnavailable):
        await series.bars(on, T0_MS + 200_000)
    monkeypatch.setattr(looking, "page", page)
    found = await series.bars(on, T0_MS + 200_000)
    assert [bar.close for bar in found] == [121.0, 181.0, 241.0], "not from the stream's beginning"


async def test_two_who_ask_at_once_are_told_the_same(served: Served) -> None:
    await served.market.trades("BTCUSDT", 1)
    await served.look()
    await closes(served)
    await served.market.trades("BTCUSDT", 2)
    first, second = await asyncio.gather(closes(served), closes(served))
    assert first == second == [(2.0, 2)]


@pytest.mark.parametrize(("name", "most"), [("MOST_KEPT", 2), ("MOST_ALTOGETHER", 4)])
async def test_bars_that_were_not_asked_for_longest_make_room(
    served: Served, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    monkeypatch.setattr(shelf, name, most)
    await served.market.trades("BTCUSDT", 1, 61, 121)
    await served.look()
    for interval in ("1m", "30s", "1m", "20s"):
        await closes(served, interval)
    assert [interval for _, interval in served.probes._shelf._kept] == ["1m", "20s"]


async def test_klines_that_are_missing_are_looked_for_again_after_a_while(served: Served) -> None:
    for minute in (0, 2):
        await kline(served.bus, minute, 50 + minute)
    await served.look()
    on = served.board.look.glimpses["klines:BTCUSDT:1m"]
    asked: list[int] = []
    looking = Glance(served.bus)
    pages = looking.pages

    async def spied(wanted: Sequence[Any]) -> Any:
        asked.append(len(wanted))
        return await pages(wanted)

    looking.pages = spied  # type: ignore[method-assign]
    series = Klines(looking, served.clock, "klines:BTCUSDT:1m", Interval.M1, 100)
    for _ in range(2):
        assert [bar.close for bar in await series.bars(on, T0_MS)] == [50.0, 52.0]
    assert asked == [3]
    served.clock.advance(5)
    await series.bars(on, T0_MS - MINUTE_MS)
    assert asked == [3, 1]
