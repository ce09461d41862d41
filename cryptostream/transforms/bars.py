"""Trades in, closed bars out. A bar closes when a trade passes its boundary, never by a timer."""

import re
from dataclasses import dataclass
from typing import Any, Literal, cast

from cryptostream.errors import UsageError
from cryptostream.model import duration, intervals
from cryptostream.model.events import Bar, Gap, Kline, Trade
from cryptostream.model.instrument import Interval
from cryptostream.registry import did_you_mean

Kind = Literal["time", "tick", "volume", "dollar"]

_MONTH = Interval.MO1
_WEEKS = re.compile(r"\d+w", re.ASCII)
_FIRST_MONDAY_MS = intervals.opens(Interval.W1, 7 * 86_400_000)
_LONGEST_MS = 3_660 * 86_400_000
_LARGEST = 1e15
_NEVER_US = 1 << 62
_HINT = "1s, 90s, 1m, 4h, 1d, 1w, 1M, tick:100, volume:10.5 or dollar:1e6"
_SIZES = ("tick", "volume", "dollar")


@dataclass(frozen=True, slots=True)
class BarSpec:
    """How trades are cut into bars. `text` is as people write it and becomes the bars' `interval`.

    `size` is what fills a bar: milliseconds (0 for a calendar month), trades, base currency, or quote currency.
    """

    text: str
    kind: Kind
    size: float
    offset_ms: int = 0
    """Where the windows of time bars are counted from: the epoch, or for weeks the first Monday after it."""

    def __str__(self) -> str:
        return self.text

    def window(self, ms: int) -> tuple[int, int]:
        """When the window of a time bar opens, and when the one after it does; milliseconds.

        >>> parse_bars("90s").window(100_000)
        (90000, 180000)
        """
        if not self.size:
            opened = intervals.opens(_MONTH, ms)
            return opened, intervals.following(_MONTH, opened)
        opened = ms - (ms - self.offset_ms) % int(self.size)
        return opened, opened + int(self.size)


def parse_bars(text: str) -> BarSpec:
    """Read how trades are to be cut into bars.

    Time bars take any duration in whole milliseconds (`1s`, `90s`, `1h30m`). Their windows are multiples of it since
    the epoch, UTC; weeks start on Monday, and `1M` is the calendar's month. `tick:100` is a bar for each 100 trades,
    `volume:10.5` for at least 10.5 of the base currency, `dollar:1e6` for at least a million of the quote currency.

    >>> parse_bars("1m")
    BarSpec(text='1m', kind='time', size=60000, offset_ms=0)

    Raises UsageError.
    """
    text = text.strip()
    name, colon, amount = text.partition(":")
    if colon:
        return _sized(text, name, amount)
    if text == _MONTH:
        return BarSpec(text, "time", 0)
    return BarSpec(text, "time", _length_ms(text), _FIRST_MONDAY_MS if _WEEKS.fullmatch(text) else 0)


def _length_ms(text: str) -> int:
    try:
        length_ms = duration.seconds(text) * 1_000
    except UsageError as error:
        raise UsageError(f"not a kind of bar: {text[:40]!a}", hint=did_you_mean(text, _SIZES) or _HINT) from error
    if not 1 <= length_ms <= _LONGEST_MS or abs(length_ms - round(length_ms)) > 1e-6:
        raise UsageError(f"no bars of {text[:40]}", hint="whole milliseconds, from 1ms to ten years")
    return round(length_ms)


def _sized(text: str, name: str, amount: str) -> BarSpec:
    if name not in _SIZES:
        raise UsageError(f"not a kind of bar: {text[:40]!a}", hint=did_you_mean(name, _SIZES) or _HINT)
    try:
        size = float(amount)
    except ValueError as error:
        raise UsageError(f"{amount[:40]!a} is no size of {name} bars", hint=_HINT) from error
    if not 0 < size <= _LARGEST or (name == "tick" and size != int(size)):
        raise UsageError(f"no {name} bars of {amount[:40]}", hint=_HINT)
    return BarSpec(text, cast(Kind, name), int(size) if name == "tick" else size)


class Bars:
    """Cuts one pair's trades into bars, one trade at a time.

    A time bar is closed by the first trade past its window, which belongs to the next one; a window without trades
    makes no bar. A tick, volume or dollar bar is closed by the trade that fills it, which belongs to it, all of it. The
    time of a trade decides, and one from before the open window stays in the open bar. A gap marks the open bar and
    that of the next trade, for what is missing may have belonged to either. Sums are taken in the order of the stream.

    >>> bars = Bars(parse_bars("tick:2"))
    >>> trade = Trade("0-1", "binance", "BTCUSDT", price=10.0, qty=1.0, ts=0, side="buy", trade_id=1)
    >>> [bars.update(trade) is None for _ in range(4)]
    [True, False, True, False]
    """

    __slots__ = (
        "_close",
        "_gap",
        "_high",
        "_low",
        "_missing_at",
        "_open",
        "_open_ms",
        "_quote_volume",
        "_sized",
        "_taker_buy_volume",
        "_trades",
        "_until_us",
        "_volume",
        "spec",
    )

    def __init__(self, spec: BarSpec) -> None:
        self.spec = spec
        self._sized = spec.kind != "time"
        self._open_ms = self._trades = 0
        self._open = self._high = self._low = self._close = 0.0
        self._volume = self._quote_volume = self._taker_buy_volume = 0.0
        self._gap = False
        # The number of trades in the open bar when something was missing: it is missing before the next one.
        self._missing_at = -1
        # A trade of this time or later opens a bar; none is open at the start.
        self._until_us = -_NEVER_US

    def update(self, event: Trade | Gap) -> Bar | None:
        """Take in the next trade or gap of the stream; the bar that it closed, if it did."""
        if type(event) is not Trade:  # isinstance would ask the metaclass of Structs: a quarter of all the time
            self._gap, self._missing_at = True, self._trades
            return None
        price = event.price
        qty = event.qty
        if event.ts >= self._until_us:
            return self._opened(event)
        if price > self._high:
            self._high = price
        elif price < self._low:
            self._low = price
        self._close = price
        self._volume += qty
        self._quote_volume += price * qty
        if event.side == "buy":
            self._taker_buy_volume += qty
        self._trades += 1
        return self._filled(event) if self._sized else None

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _MEMORY} | {"bars": self.spec.text}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state.get("bars") != self.spec.text or state.keys() != {*_MEMORY, "bars"}:
            raise ValueError(f"the memory is not that of {self.spec} bars, but of {state.get('bars')}")
        for name in _MEMORY:
            setattr(self, name, state[name])

    def _opened(self, trade: Trade) -> Bar | None:
        """The bar before this trade, if there was one; a new one begins with it."""
        closed = self._closed(trade) if self._trades else None
        self._gap = self._missing_at == self._trades
        self._missing_at = -1
        price, qty = trade.price, trade.qty
        self._open = self._high = self._low = self._close = price
        self._volume, self._quote_volume, self._trades = qty, price * qty, 1
        self._taker_buy_volume = qty if trade.side == "buy" else 0.0
        if self._sized:
            self._open_ms, self._until_us = trade.ts // 1_000, _NEVER_US
            return self._filled(trade)
        self._open_ms, until_ms = self.spec.window(trade.ts // 1_000)
        self._until_us = until_ms * 1_000
        return closed

    def _filled(self, trade: Trade) -> Bar | None:
        kind = self.spec.kind
        had = self._trades if kind == "tick" else self._volume if kind == "volume" else self._quote_volume
        if had < self.spec.size:
            return None
        closed = self._closed(trade)
        self._trades, self._until_us = 0, -_NEVER_US
        return closed

    def _closed(self, trade: Trade) -> Bar:
        close_ms = trade.ts // 1_000 if self._sized else self._until_us // 1_000 - 1
        return Bar(
            trade.entry_id,
            trade.exchange,
            trade.pair,
            self.spec.text,
            self._open_ms,
            close_ms,
            self._open,
            self._high,
            self._low,
            self._close,
            self._volume,
            self._quote_volume,
            self._trades,
            self._taker_buy_volume,
            self._gap,
            trade.ts,
        )


_MEMORY = tuple(name for name in Bars.__slots__ if name not in ("spec", "_sized"))


def of_kline(kline: Kline) -> Bar:
    """A venue's closed kline as a bar."""
    return Bar(
        kline.entry_id,
        kline.exchange,
        kline.pair,
        kline.interval.value,
        kline.open_time,
        kline.close_time,
        kline.open,
        kline.high,
        kline.low,
        kline.close,
        kline.volume,
        kline.quote_volume,
        kline.trades,
        kline.taker_buy_volume,
        gap=False,
        ts=kline.ts,
    )
