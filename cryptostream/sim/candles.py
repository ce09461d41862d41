"""Candles of every interval, added up from the trades themselves: open, high, low, close and exact sums."""

from datetime import UTC, datetime

from cryptostream.model.instrument import Interval
from cryptostream.sim.decimals import E8, decimal
from cryptostream.sim.market import SimTrade, Trades

_UNITS_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
# 1970-01-01 was a Thursday: the first Monday came four days later.
_FIRST_MONDAY_US = 4 * _UNITS_US["d"]


def opens_us(interval: Interval, at_us: int, shift_us: int = 0) -> int:
    """When the candle that holds a time opened. `shift_us` moves the boundaries east of UTC.

    >>> opens_us(Interval.M1, 125_000_000)
    120000000
    >>> opens_us(Interval.W1, 5 * 86_400_000_000) // 86_400_000_000
    4
    """
    local_us = at_us + shift_us
    if interval is Interval.MO1:
        return _month_us(*_month(local_us)) - shift_us
    length_us = _length_us(interval)
    offset_us = _FIRST_MONDAY_US if interval is Interval.W1 else 0
    return (local_us - offset_us) // length_us * length_us + offset_us - shift_us


def ends_us(interval: Interval, open_us: int, shift_us: int = 0) -> int:
    """When the candle that opened at a time ends: the first microsecond that is no longer in it."""
    if interval is not Interval.MO1:
        return open_us + _length_us(interval)
    year, month = _month(open_us + shift_us)
    return _month_us(year + month // 12, month % 12 + 1) - shift_us


def _length_us(interval: Interval) -> int:
    return int(interval.value[:-1]) * _UNITS_US[interval.value[-1]]


def _month(at_us: int) -> tuple[int, int]:
    day = datetime.fromtimestamp(at_us // 1_000_000, UTC)
    return day.year, day.month


def _month_us(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1_000_000


class Candle:
    """One candle while it is being made. A window without trades repeats the close before it and has no ids."""

    __slots__ = (
        "buy_qty_e8", "buy_quote_e16", "close_e8", "count", "end_us", "first_id", "high_e8", "last_id", "low_e8",
        "open_e8", "open_us", "qty_e8", "quote_e16",
    )  # fmt: skip

    def __init__(self, open_us: int, end_us: int, close_before_e8: int) -> None:
        self.open_us, self.end_us = open_us, end_us
        self.open_e8 = self.high_e8 = self.low_e8 = self.close_e8 = close_before_e8
        self.first_id = self.last_id = -1
        self.count = 0
        self.qty_e8 = self.quote_e16 = self.buy_qty_e8 = self.buy_quote_e16 = 0

    def add(self, trade: SimTrade) -> None:
        price, qty = trade.price_e8, trade.qty_e8
        if self.count == 0:
            self.first_id = trade.id
            self.open_e8 = self.high_e8 = self.low_e8 = price
        elif price > self.high_e8:
            self.high_e8 = price
        elif price < self.low_e8:
            self.low_e8 = price
        self.close_e8, self.last_id = price, trade.id
        self.count += 1
        self.qty_e8 += qty
        self.quote_e16 += price * qty
        if not trade.buyer_is_maker:
            self.buy_qty_e8 += qty
            self.buy_quote_e16 += price * qty

    @property
    def prices(self) -> tuple[str, str, str, str]:
        """Open, high, low, close."""
        return decimal(self.open_e8), decimal(self.high_e8), decimal(self.low_e8), decimal(self.close_e8)

    @property
    def volumes(self) -> tuple[str, str, str, str]:
        """Base and quote volume, then the part of each that was bought by takers."""
        return (
            decimal(self.qty_e8),
            decimal(self.quote_e16 // E8),
            decimal(self.buy_qty_e8),
            decimal(self.buy_quote_e16 // E8),
        )


class CandleMaker:
    """Makes the candles of one pair and interval, one after the other, in steps of bounded work.

    A long candle begins long before anybody asks for it, and its trades have to be added up: `advance` adds at most
    `budget` of them and says whether it is done, so that whoever calls it can breathe.
    """

    def __init__(self, market: Trades, pair: str, interval: Interval, at_us: int, shift_us: int = 0) -> None:
        self._market, self._pair, self._interval, self._shift_us = market, pair, interval, shift_us
        open_us = opens_us(interval, at_us, shift_us)
        self._next_id = max(market.first_id(pair), market.traded_by(pair, open_us - 1) + 1)
        before = next(market.trades(pair, self._next_id - 1, self._next_id - 1), None)
        self.candle = Candle(open_us, ends_us(interval, open_us, shift_us), before.price_e8 if before else 0)

    def advance(self, until_us: int, budget: int) -> bool:
        """Add the trades up to a time (inclusive) that belong to the current candle. True when all of them are in."""
        known = self._market.last_id(self._pair, until_us)
        last = min(known, self._market.traded_by(self._pair, self.candle.end_us - 1))
        stop = min(last, self._next_id + budget - 1)
        for trade in self._market.trades(self._pair, self._next_id, stop):
            self.candle.add(trade)
        self._next_id = max(self._next_id, stop + 1)
        return stop >= last

    def next(self) -> Candle:
        """Hand over the current candle and begin the one after it."""
        done = self.candle
        end_us = ends_us(self._interval, done.end_us, self._shift_us)
        self.candle = Candle(done.end_us, end_us, done.close_e8)
        return done
