"""The venue's account of its trades, page by page: where it ends, what it leaves out, and when it wants silence."""

from collections.abc import Callable, Sequence
from typing import cast

import pytest

from cryptostream.errors import BadFrame, UsageError, VenueUnavailable
from cryptostream.feed import pages
from cryptostream.feed.rest import Paused
from cryptostream.model.events import KlineRecord, Micros, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.testing import ManualClock
from cryptostream.venues.base import Request, Venue

LINE = Subscription("here", Channel.TRADES, "BTCUSDT")


class Exchange:
    """Knows the trades with some ids; answers with their ids, and now and then wants silence first."""

    name = "here"

    def __init__(self, ids: Sequence[int], pauses: Sequence[float] = ()) -> None:
        self.asked: list[tuple[int, int]] = []
        self._ids = ids
        self._pauses = list(pauses)

    def trades_request(self, wanted: Subscription, first_id: int, limit: int = 1000) -> Request | None:
        return Request(url="", params={"first": str(first_id), "limit": str(limit)})

    async def ask(self, request: Request) -> bytes:
        if self._pauses:
            raise Paused("silence", delay_s=self._pauses.pop(0))
        first, limit = int(request.params["first"]), int(request.params["limit"])
        self.asked.append((first, limit))
        return ",".join(str(number) for number in self._ids if number >= first)[: 12 * limit].encode()

    def trades(self, wanted: Subscription, payload: bytes, received_at: int) -> Sequence[TradeRecord]:
        limit = self.asked[-1][1]
        numbers = [int(number) for number in payload.split(b",") if number][:limit]
        return [TradeRecord(wanted, "1", "1", Micros(number), "buy", number) for number in numbers]


async def fetched(exchange: Exchange, first: int, last: int | None, clock: ManualClock) -> list[int]:
    found = pages.trades(cast(Venue, exchange), exchange.ask, LINE, first, last, clock=clock)
    return [trade.trade_id async for page in found for trade in page]


async def test_a_range_comes_in_as_few_pages_as_it_takes(clock: ManualClock) -> None:
    exchange = Exchange(range(1, 5000))

    assert await fetched(exchange, 11, 2510, clock) == list(range(11, 2511))
    assert exchange.asked == [(11, 1000), (1011, 1000), (2011, 500)]


async def test_without_an_end_it_goes_on_to_the_newest(clock: ManualClock) -> None:
    exchange = Exchange(range(1, 2501))

    assert await fetched(exchange, 500, None, clock) == list(range(500, 2501))
    assert exchange.asked[-1] == (2500, 1000)


async def test_ids_that_the_venue_leaves_out_are_left_out(clock: ManualClock) -> None:
    exchange = Exchange([1, 2, 5, 6, 9])

    assert await fetched(exchange, 2, 6, clock) == [2, 5, 6]


async def test_nothing_there_is_no_page(clock: ManualClock) -> None:
    assert await fetched(Exchange([]), 1, 10, clock) == []
    assert await fetched(Exchange([99]), 1, 10, clock) == []


async def test_a_pause_is_sat_out(clock: ManualClock) -> None:
    assert await fetched(Exchange([1], pauses=[60.0, 30.0]), 1, 1, clock) == [1]
    assert clock.monotonic() == 90.0


@pytest.mark.parametrize("pauses", [[301.0], [1.0] * 6], ids=["a long one", "one after the other"])
async def test_a_pause_that_is_too_long_ends_it(clock: ManualClock, pauses: list[float]) -> None:
    with pytest.raises(Paused):
        await fetched(Exchange([1], pauses=pauses), 1, 1, clock)


class Candles:
    """Knows the one-minute klines up to a window, the last of which is open."""

    name = "here"

    def __init__(self, windows: int) -> None:
        self.asked: list[int] = []
        self._windows = windows

    def klines_request(self, wanted: Subscription, first_open_ms: int, limit: int = 1000) -> Request | None:
        return Request(url="", params={"first": str(first_open_ms // 60_000), "limit": str(limit)})

    async def ask(self, request: Request) -> bytes:
        self.asked.append(int(request.params["first"]))
        return f"{request.params['first']} {request.params['limit']}".encode()

    def klines(self, wanted: Subscription, payload: bytes, received_at: int) -> Sequence[KlineRecord]:
        first, limit = map(int, payload.split())
        return [
            KlineRecord(
                *(wanted, n * 60_000, n * 60_000 + 59_999, "1", "1", "1", "1", "0", "0", 0, "0", "0"),
                closed=n < self._windows - 1,
                ts=Micros(0),
            )
            for n in range(first, min(first + limit, self._windows))
        ]


@pytest.mark.parametrize(
    ("windows", "last", "expected", "asked"),
    [(2501, None, range(3, 2500), [3, 1003, 2003]), (2501, 1500, range(3, 1501), [3, 1003]), (3, None, (), [3])],
    ids=["to the newest closed one", "to a window", "none closed"],
)
async def test_closed_klines_come_by_their_windows(
    clock: ManualClock, windows: int, last: int | None, expected: Sequence[int], asked: list[int]
) -> None:
    exchange = Candles(windows)
    minutes = Subscription("here", Channel.KLINES, "BTCUSDT", Interval.M1)
    until = None if last is None else last * 60_000
    found = pages.klines(cast(Venue, exchange), exchange.ask, minutes, 3 * 60_000, until, clock=clock)

    assert [kline.open_time // 60_000 async for page in found for kline in page] == list(expected)
    assert exchange.asked == asked


def _raise(error: Exception) -> Callable[..., Sequence[TradeRecord]]:
    def trades(*_: object) -> Sequence[TradeRecord]:
        raise error

    return trades


async def test_an_answer_that_is_no_page_is_the_venues_fault(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Exchange([1])
    monkeypatch.setattr(exchange, "trades", _raise(BadFrame("no list")))

    with pytest.raises(VenueUnavailable, match="here answered what is no page of trades: no list"):
        await fetched(exchange, 1, 1, clock)


async def test_a_venue_that_cannot_be_asked_by_id_says_so(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = Exchange([1])
    monkeypatch.setattr(exchange, "trades_request", lambda *_: None)

    with pytest.raises(UsageError, match="here cannot be asked for trades"):
        await fetched(exchange, 1, 1, clock)
