"""What strategies are warmed with: the stream, then what was recorded, then the venue's candles, each moment once."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.config import Config, load
from cryptostream.config.strategies import Wish
from cryptostream.engine.clock import SystemClock
from cryptostream.model.codec import iso
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Bar, Entry, Event, Kline, Signal, Trade
from cryptostream.model.ports import Archive
from cryptostream.transforms.bars import parse_bars
from cryptostream.wiring.past import Past
from cryptostream.wiring.roster import Roster

MINUTE_MS = 60_000
START_MS = 1_731_605_400_000  # the opening of a minute
STREAM = "trades:BTCUSDT"


class Needs:
    """A strategy that takes in ten bars before it speaks."""

    warm_up = 10

    @property
    def values(self) -> dict[str, float | None]:
        return {}

    def on_bar(self, bar: Bar) -> Sequence[Signal]:
        return ()


def entry(number: int) -> Entry:
    """One trade each ten seconds."""
    ms = START_MS + number * 10_000
    fields = {
        "exchange": "binance",
        "pair": "BTCUSDT",
        "price": f"{number}.5",
        "qty": "1",
        "ts": iso(ms * 1000),
        "side": "buy",
        "trade_id": str(number),
    }
    return Entry(STREAM, f"{ms}-{number}", fields)


class Recorded(Archive):
    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = numbers

    def streams(self, patterns: Sequence[str]) -> Sequence[str]:
        return [STREAM]

    def after(self, stream: str, entry_id: str) -> Iterator[list[Entry]]:
        found = [entry(number) for number in self.numbers]
        above = [one for one in found if parse_id(one.entry_id) > parse_id(entry_id)]
        for start in range(0, len(above), 7):
            yield above[start : start + 7]


@pytest.fixture
async def bus(bus_url: str, tmp_path: Path) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=tmp_path, clock=SystemClock()) as bus:
        yield bus


@pytest.fixture
async def venue() -> AsyncIterator[str]:
    """A venue that has a candle of every minute it is asked for, and notes what it was asked."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        params = dict(pair.split("=") for pair in asked.partition("?")[2].split("&"))
        first = int(params["startTime"])
        rows = [_row(first - first % MINUTE_MS + minute * MINUTE_MS) for minute in range(60)]
        body = json.dumps(rows).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _row(opens: int) -> list[Any]:
    return [opens, "1", "2", "0.5", "1.5", "9", opens + MINUTE_MS - 1, "13", 4, "5", "6", "0"]


def past(bus: Bus, archive: Archive | None, rest: str = "http://127.0.0.1:9", bars: str = "1m") -> Past:
    roster = Roster((Wish(f"{__name__}:Needs", {}, "needs"),), parse_bars(bars), ())
    return Past(_config(rest), bus, archive, roster)


def _config(rest: str) -> Config:
    return load(env={"BINANCE_REST_URL": rest}).config


async def taken(reader: Past, before: str) -> list[Event]:
    return [event async for page in reader(STREAM, before) for event in page]


async def put(bus: Bus, *numbers: int) -> None:
    for number in numbers:
        one = entry(number)
        await bus.command.xadd(STREAM, dict[Any, Any](one.fields), id=one.entry_id)


def numbers(events: Sequence[Event]) -> list[int]:
    return [event.trade_id for event in events if isinstance(event, Trade)]


async def test_the_stream_is_enough_where_it_holds_the_windows_that_are_wanted(bus: Bus) -> None:
    await put(bus, *range(1, 201))
    found = await taken(past(bus, None), entry(150).entry_id)
    # Trade 150 is in the window of minute 25; ten windows before that begin with minute 15.
    assert numbers(found) == list(range(90, 150))


async def test_what_the_stream_has_lost_is_taken_from_the_archive_each_entry_once(bus: Bus) -> None:
    await put(bus, *range(120, 201))
    found = await taken(past(bus, Recorded(range(1, 130))), entry(150).entry_id)
    assert numbers(found) == list(range(90, 150))


async def test_of_a_long_archive_the_newest_is_taken_so_that_nothing_is_missing_before_the_stream(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryptostream.wiring.past.MOST", 10)
    await put(bus, *range(120, 201))
    found = numbers(await taken(past(bus, Recorded(range(1, 130))), entry(150).entry_id))
    assert found == list(range(found[0], 150))
    assert 100 < found[0] <= 110


async def test_what_nobody_recorded_comes_as_candles_up_to_the_first_whole_window(bus: Bus, venue: str) -> None:
    await put(bus, *range(123, 201))
    found = await taken(past(bus, Recorded(range(110, 130)), venue), entry(150).entry_id)
    candles = [event for event in found if isinstance(event, Kline)]
    assert [(candle.open_time - START_MS) // MINUTE_MS for candle in candles] == [15, 16, 17, 18]
    assert numbers(found) == list(range(114, 150))
    ids = [parse_id(event.entry_id) for event in found]
    assert ids == sorted(ids)


async def test_a_venue_that_does_not_answer_is_done_without(bus: Bus) -> None:
    await put(bus, *range(123, 201))
    assert numbers(await taken(past(bus, None), entry(150).entry_id)) == list(range(123, 150))


async def test_bars_without_windows_take_as_many_trades_as_they_may_need(bus: Bus) -> None:
    await put(bus, *range(1, 201))
    assert numbers(await taken(past(bus, None, bars="tick:3"), entry(150).entry_id)) == list(range(120, 150))


async def test_of_a_stream_that_is_not_there_nothing_is_known(bus: Bus) -> None:
    assert await taken(past(bus, None), entry(150).entry_id) == []
