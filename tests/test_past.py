"""What strategies are warmed with: the stream, then what was recorded, then the venue's candles, each moment once."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest
import stamina
from structlog.testing import capture_logs

from cryptostream.bus.connect import Bus, connect
from cryptostream.config import Config, load
from cryptostream.config.strategies import Wish
from cryptostream.engine.clock import SystemClock
from cryptostream.model import codec
from cryptostream.model.codec import iso
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Bar, Entry, Event, Gap, Kline, Signal, Trade
from cryptostream.model.ports import Archive
from cryptostream.transforms.bars import Bars, parse_bars
from cryptostream.wiring.past import Past
from cryptostream.wiring.roster import Roster

MINUTE_MS = 60_000
START_MS = 1_731_605_400_000  # the opening of a minute
STREAM = "trades:BTCUSDT"
KLINES = "klines:BTCUSDT:1m"


class Needs:
    """A strategy that takes in ten bars before it speaks."""

    warm_up = 10

    @property
    def values(self) -> dict[str, float | None]:
        return {}

    def on_bar(self, bar: Bar) -> Sequence[Signal]:
        return ()


def entry(number: int, exchange: str = "binance") -> Entry:
    """One trade each ten seconds."""
    ms = START_MS + number * 10_000
    fields = {
        "exchange": exchange,
        "pair": "BTCUSDT",
        "price": f"{number}.5",
        "qty": "1",
        "ts": iso(ms * 1000),
        "side": "buy",
        "trade_id": str(number),
    }
    return Entry(STREAM, f"{ms}-{number}", fields)


def trade(number: int) -> Trade:
    event = codec.event(STREAM, entry(number).entry_id, entry(number).fields)
    assert isinstance(event, Trade)
    return event


def kline(minute: int, exchange: str = "binance") -> Entry:
    """The closed candle of a minute."""
    opens = START_MS + minute * MINUTE_MS
    told = {"exchange": exchange, "pair": "BTCUSDT", "interval": "1m", "open_time": opens}
    figures = dict.fromkeys(("open", "high", "low", "close"), "1") | dict.fromkeys(_VOLUMES, "1")
    rest = {"close_time": opens + MINUTE_MS - 1, **figures, "trades": 4, "closed": "true"}
    fields = {**told, **rest, "ts": iso((opens + MINUTE_MS - 1) * 1000)}
    return Entry(KLINES, f"{opens + MINUTE_MS - 1}-1", {name: str(value) for name, value in fields.items()})


_VOLUMES = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")


class Recorded(Archive):
    def __init__(
        self, numbers: Sequence[int], make: Callable[[int, str], Entry] = entry, exchange: str = "binance"
    ) -> None:
        self.entries = [make(number, exchange) for number in numbers]

    def streams(self, patterns: Sequence[str]) -> Sequence[str]:
        return [STREAM]

    def after(self, stream: str, entry_id: str) -> Iterator[list[Entry]]:
        above = [one for one in self.entries if parse_id(one.entry_id) > parse_id(entry_id)]
        for start in range(0, len(above), 7):
            yield above[start : start + 7]


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    """No waiting between two tries of one call."""
    with stamina.set_testing(True):
        yield


@pytest.fixture
async def bus(bus_url: str, tmp_path: Path) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=tmp_path, clock=SystemClock()) as bus:
        yield bus


class Venue:
    """Has a candle of every minute up to `until`, the number of one, and notes which it was asked for first and last.

    Says nothing where it is silent, and another status where it has one.
    """

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.until = 1000
        self.is_silent = False
        self.status = "200 OK"
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            params = dict(pair.split("=") for pair in head.split(b" ")[1].decode().partition("?")[2].split("&"))
            first = (int(params["startTime"]) - START_MS) // MINUTE_MS
            self.asked.append(first)
            if self.is_silent:
                await reader.read()
                break
            rows = [_row(START_MS + minute * MINUTE_MS) for minute in range(first, min(self.until, first + 60))]
            body = json.dumps(rows).encode()
            told = f"HTTP/1.1 {self.status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(told.encode() + body)
            await writer.drain()
            break
        writer.close()


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    venue = Venue()
    server = await asyncio.start_server(venue.answer, "127.0.0.1", 0)
    async with server:
        venue.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield venue


def _row(opens: int) -> list[Any]:
    return [opens, "1", "2", "0.5", "1.5", "9", opens + MINUTE_MS - 1, "13", 4, "5", "6", "0"]


def past(bus: Bus, archive: Archive | None, rest: str = "http://127.0.0.1:9", bars: str = "1m") -> Past:
    roster = Roster((Wish(f"{__name__}:Needs", {}, "needs"),), parse_bars(bars), (Path(__file__).parents[1],))
    return Past(_config(rest), bus, archive, roster)


def _config(rest: str) -> Config:
    return load(env={"BINANCE_REST_URL": rest}).config


async def taken(reader: Past, before: str, stream: str = STREAM) -> list[Event]:
    async with reader:
        return [event async for page in reader(stream, before) for event in page]


async def put(bus: Bus, *numbers: int, exchange: str = "binance") -> None:
    for number in numbers:
        one = entry(number, exchange)
        await bus.command.xadd(STREAM, dict[Any, Any](one.fields), id=one.entry_id)


def minutes(events: Sequence[Event]) -> list[int]:
    return [(event.open_time - START_MS) // MINUTE_MS for event in events if isinstance(event, Kline)]


def gaps(events: Sequence[Event]) -> list[tuple[int, int]]:
    return [(event.gap_from, event.gap_to) for event in events if isinstance(event, Gap)]


def marked(events: Sequence[Event]) -> dict[int, bool]:
    """Which of the bars that trades make, by their minutes, are marked as having a gap."""
    bars = Bars(parse_bars("1m"))
    made = [bars.update(event) for event in events if isinstance(event, Trade | Gap)]
    return {(bar.open_time - START_MS) // MINUTE_MS: bar.gap for bar in made if bar is not None}


def rises(events: Sequence[Event]) -> bool:
    """Whether each id is above the one before, so that nothing is left out for its id."""
    ids = [parse_id(event.entry_id) for event in events]
    return all(one < other for one, other in pairwise(ids))


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


async def test_what_nobody_recorded_comes_as_candles_up_to_the_first_whole_window(bus: Bus, venue: Venue) -> None:
    await put(bus, *range(123, 201))
    found = await taken(past(bus, Recorded(range(110, 130)), venue.url), entry(150).entry_id)
    assert (minutes(found), numbers(found), gaps(found)) == ([15, 16, 17, 18], list(range(114, 150)), [])
    assert rises(found)


async def test_who_has_all_that_is_wanted_is_enough_and_no_venue_is_asked(bus: Bus, venue: Venue) -> None:
    await put(bus, *range(123, 201))
    found = await taken(past(bus, Recorded(range(80, 130)), venue.url), entry(150).entry_id)
    assert (numbers(found), gaps(found), venue.asked) == (list(range(90, 150)), [], [])
    await put(bus, *range(201, 401))
    found = await taken(past(bus, None, venue.url), entry(400).entry_id)
    assert (numbers(found), gaps(found), venue.asked) == (list(range(336, 400)), [], [])


async def test_an_archive_that_does_not_reach_the_stream_gives_way_to_candles(bus: Bus, venue: Venue) -> None:
    await put(bus, *range(123, 201))
    found = await taken(past(bus, Recorded(range(60, 110)), venue.url), entry(150).entry_id)
    assert (minutes(found), numbers(found)) == ([15, 16, 17, 18, 19, 20], list(range(126, 150)))
    assert (gaps(found), venue.asked, rises(found)) == ([], [15], True)


async def test_an_archive_is_used_from_its_newest_hole_on(bus: Bus, venue: Venue) -> None:
    await put(bus, *range(123, 201))
    found = await taken(past(bus, Recorded([*range(60, 100), *range(110, 123)]), venue.url), entry(150).entry_id)
    assert (minutes(found), numbers(found)) == ([15, 16, 17, 18], list(range(114, 150)))
    assert gaps(found) == []


async def test_a_hole_that_nobody_can_fill_is_a_gap_and_the_bar_is_marked(bus: Bus) -> None:
    await put(bus, *range(123, 201))
    found = await taken(past(bus, Recorded([*range(60, 100), *range(103, 110)])), entry(150).entry_id)
    assert numbers(found) == [*range(90, 100), *range(103, 110), *range(123, 150)]
    assert gaps(found) == [(100, 102), (110, 122)]
    assert {event.cause for event in found if isinstance(event, Gap)} == {"not recorded"}
    assert rises(found)
    assert marked(found) == {15: False, 16: True, 17: True, 18: True, 20: True, 21: False, 22: False, 23: False}


async def test_trades_of_a_window_that_is_open_are_used_and_their_bar_is_marked(bus: Bus, venue: Venue) -> None:
    await put(bus, 148, 149, 150, 151, 156)
    venue.until = 25  # of minutes; the window of trade 150 has no closed candle
    found = await taken(past(bus, None, venue.url), entry(156).entry_id)
    # The candles are those of minutes 16 to 24, whose last trade is 149.
    assert (minutes(found), numbers(found), gaps(found)) == (list(range(16, 25)), [150, 151], [])


async def test_a_stream_that_begins_within_the_open_window_is_used_and_marked(bus: Bus, venue: Venue) -> None:
    await put(bus, 152, 153, 154, 155)
    found = await taken(past(bus, None, venue.url), entry(155).entry_id)
    assert (minutes(found), numbers(found), gaps(found)) == (list(range(15, 25)), [152, 153, 154], [(151, 151)])
    assert rises(found)
    assert marked([*found, trade(156)]) == {25: True}


async def test_trades_are_used_from_where_the_candles_end_that_a_venue_really_has(bus: Bus, venue: Venue) -> None:
    await put(bus, *range(123, 201))
    venue.until = 18
    found = await taken(past(bus, None, venue.url), entry(150).entry_id)
    assert (minutes(found), numbers(found), gaps(found)) == ([15, 16, 17], list(range(123, 150)), [(122, 122)])
    assert marked(found) == {20: True, 21: False, 22: False, 23: False}


async def test_a_gap_of_the_stream_right_before_the_first_trade_that_is_used_is_not_forgotten(bus: Bus) -> None:
    await put(bus, *range(1, 89))
    told: dict[Any, Any] = {
        "kind": "gap",
        "exchange": "binance",
        "pair": "BTCUSDT",
        "gap_from": "89",
        "gap_to": "91",
        "cause": "drop",
    }
    at_ms = START_MS + 88 * 10_000
    await bus.command.xadd(STREAM, told | {"ts": iso(at_ms * 1000)}, id=f"{at_ms}-89")
    await put(bus, *range(92, 151))
    found = await taken(past(bus, None), entry(150).entry_id)
    assert (numbers(found), gaps(found)) == (list(range(92, 150)), [(91, 91)])
    assert marked(found)[15]


async def test_ids_of_which_nobody_knows_what_they_promise_are_no_holes(bus: Bus) -> None:
    for number in (123, 127, 130, 150):
        await put(bus, number, exchange="elsewhere")
    beside = Recorded(range(60, 122, 2), exchange="elsewhere")
    across = Recorded([*range(60, 122, 2), 123, 127], exchange="elsewhere")
    found = await taken(past(bus, beside), entry(150).entry_id)
    assert (numbers(found), gaps(found)) == ([123, 127, 130], [(122, 122)])
    found = await taken(past(bus, across), entry(150).entry_id)
    assert (numbers(found), gaps(found)) == ([*range(90, 122, 2), 123, 127, 130], [])


async def test_klines_of_an_archive_are_used_where_their_windows_join_those_of_the_stream(
    bus: Bus, venue: Venue
) -> None:
    for minute in range(20, 30):
        await bus.command.xadd(KLINES, dict[Any, Any](kline(minute).fields), id=kline(minute).entry_id)
    before = kline(25).entry_id
    joins = await taken(past(bus, Recorded(range(10, 20), make=kline), venue.url), before, KLINES)
    assert (minutes(joins), gaps(joins), venue.asked) == (list(range(15, 25)), [], [])
    apart = await taken(past(bus, Recorded(range(10, 18), make=kline), venue.url), before, KLINES)
    assert (minutes(apart), gaps(apart), venue.asked) == (list(range(15, 25)), [], [15])
    alone = await taken(past(bus, Recorded(range(10, 18), make=kline)), before, KLINES)
    hole = (START_MS + 18 * MINUTE_MS, START_MS + 19 * MINUTE_MS)
    assert (minutes(alone), gaps(alone)) == ([15, 16, 17, 20, 21, 22, 23, 24], [hole])
    assert rises(alone)


async def test_a_silent_venue_holds_up_one_stream_for_a_moment_and_not_all_of_them(
    bus: Bus, venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryptostream.wiring.candles.ASK_S", 0.2)
    await put(bus, *range(123, 151))
    venue.is_silent = True
    with capture_logs() as told:
        async with past(bus, None, venue.url) as reader, asyncio.timeout(10):
            found = await asyncio.gather(*(_read(reader) for _ in range(40)))
    assert [numbers(each) for each in found] == [list(range(123, 150))] * 40
    assert len(venue.asked) == 1
    [line] = [each for each in told if each["event"] == "warm_up.without_candles"]
    assert (line["venue"], line["why"]) == ("binance", "binance gave no answer in 0.2 s")


async def test_a_venue_that_wants_silence_gets_it(bus: Bus, venue: Venue) -> None:
    await put(bus, *range(123, 151))
    venue.status = "429 Too Many Requests"
    async with past(bus, None, venue.url) as reader:
        for _ in range(10):
            assert numbers(await _read(reader)) == list(range(123, 150))
    assert len(venue.asked) == 1


async def test_no_archive_is_read_and_no_venue_asked_where_the_stream_begins_early_enough(
    bus: Bus, venue: Venue
) -> None:
    class Unread(Recorded):
        def after(self, stream: str, entry_id: str) -> Iterator[list[Entry]]:
            raise AssertionError("there is no need to read this")

    await put(bus, *range(89, 151))
    assert numbers(await taken(past(bus, Unread([]), venue.url), entry(150).entry_id)) == list(range(90, 150))
    for minute in range(15, 26):  # the first is the first that is wanted
        await bus.command.xadd(KLINES, dict[Any, Any](kline(minute).fields), id=kline(minute).entry_id)
    found = await taken(past(bus, Unread([]), venue.url), kline(25).entry_id, KLINES)
    assert (minutes(found), venue.asked) == (list(range(15, 25)), [])


async def test_an_archive_is_left_where_nobody_waits_for_it(bus: Bus) -> None:
    reading, left, pages = Flag(), Flag(), 500

    class Long(Recorded):
        read = 0

        def after(self, stream: str, entry_id: str) -> Iterator[list[Entry]]:
            try:
                for self.read in range(1, pages + 1):
                    reading.set()
                    Flag().wait(0.005)
                    yield [entry(100)]
            finally:
                left.set()

    await put(bus, *range(123, 151))
    archive = Long([])
    async with past(bus, archive) as reader:
        task = asyncio.create_task(_read(reader))
        assert await asyncio.to_thread(reading.wait, 10)
        task.cancel()
        await asyncio.wait([task])
    assert await asyncio.to_thread(left.wait, 10)
    assert archive.read < pages


async def _read(reader: Past) -> list[Event]:
    return [event async for page in reader(STREAM, entry(150).entry_id) for event in page]


async def test_a_venue_that_does_not_answer_is_done_without(bus: Bus) -> None:
    await put(bus, *range(123, 201))
    found = await taken(past(bus, None), entry(150).entry_id)
    assert (numbers(found), gaps(found)) == (list(range(123, 150)), [(122, 122)])


async def test_bars_without_windows_take_as_many_trades_as_they_may_need(bus: Bus) -> None:
    await put(bus, *range(1, 201))
    assert numbers(await taken(past(bus, None, bars="tick:3"), entry(150).entry_id)) == list(range(120, 150))


@pytest.mark.parametrize(
    ("bars", "most", "begins_ms"),
    [
        ("1m", 10, START_MS - 10 * MINUTE_MS),
        ("1w", 2, 1_731_283_200_000 - 2 * 7 * 86_400_000),  # weeks begin on Monday
        ("1M", 2, 1_725_148_800_000),  # from November to September
        ("1ms", 10**18, 0),
        ("1M", 10**18, 0),
    ],
)
async def test_how_far_back_is_reckoned_whatever_is_wanted(bars: str, most: int, begins_ms: int) -> None:
    nowhere: Any = None
    reader = past(nowhere, None, bars=bars)
    reader._bars = most
    assert reader._since(reader._spec, START_MS + 1) == begins_ms


async def test_of_a_stream_that_is_not_there_nothing_is_known(bus: Bus) -> None:
    assert await taken(past(bus, None), entry(150).entry_id) == []
