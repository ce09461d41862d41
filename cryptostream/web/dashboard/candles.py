"""A chart's candles with the indicators that are drawn over and under them, as differences."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from cryptostream.indicators.bollinger import Bollinger
from cryptostream.indicators.ema import Ema
from cryptostream.indicators.macd import Macd
from cryptostream.indicators.rsi import Rsi
from cryptostream.indicators.sma import Sma
from cryptostream.web.shown import Bar

MOST = 500
"""Candles of a chart."""

Row = list[float | int | None]
"""Opened at, open, high, low, close, volume, trades, flags, and then the values of `Lines`."""

_OPEN, _GAP = 1, 2


class Lines:
    """The indicators of a chart: SMA 20, EMA 50, Bollinger 20 and 2 (lower, upper), RSI 14, MACD 12, 26 and 9."""

    def __init__(self) -> None:
        self._sma, self._ema, self._bands = Sma(20), Ema(50), Bollinger(20, 2.0)
        self._rsi, self._macd = Rsi(14), Macd(12, 26, 9)

    def update(self, close: float) -> list[float | None]:
        """Take in a close, and give the values, each None while its indicator warms up."""
        bands, macd = self._bands.update(close), self._macd.update(close)
        values = [self._sma.update(close), self._ema.update(close)]
        values += [bands.lower, bands.upper] if bands else [None, None]
        values += [self._rsi.update(close)]
        values += macd or (None, None, None)
        return [None if value is None else float(f"{value:.12g}") for value in values]


class Candles:
    """What one browser has of a pair's candles. Each closed candle goes through the indicators once."""

    def __init__(self) -> None:
        self._closed: list[Bar] = []
        self._open: Bar | None = None
        self._lines = Lines()

    def changed(self, bars: Sequence[Bar]) -> Mapping[str, Any] | None:
        """The candles that are new or have changed; all of them, with `whole`, where the past is another one.

        A row takes the place of the last one if it opens at the same time. None where nothing is to be told.
        """
        closed, open_ = _parted(bars)
        fresh = self._after(closed)
        whole = fresh is None
        if fresh is None:
            self._lines, fresh = Lines(), closed
        rows = [_row(bar, self._lines.update(bar.close)) for bar in fresh]
        if open_ is not None and (whole or fresh or open_ != self._open):
            rows.append(_row(open_, deepcopy(self._lines).update(open_.close)))
        self._closed, self._open = closed, open_
        return {"whole": whole, "rows": rows} if rows or whole else None

    def _after(self, closed: list[Bar]) -> list[Bar] | None:
        """The closed candles after those that are known; None where they do not go on from them."""
        if not closed or not self._closed:
            return None
        since = closed[0].open_time_ms
        kept = [bar for bar in self._closed if bar.open_time_ms >= since]
        return closed[len(kept) :] if kept and kept == closed[: len(kept)] else None


def _parted(bars: Sequence[Bar]) -> tuple[list[Bar], Bar | None]:
    newest = list(bars[-MOST:])
    if newest and not newest[-1].closed:
        return newest[:-1], newest[-1]
    return newest, None


def _row(bar: Bar, values: list[float | None]) -> Row:
    flags = (0 if bar.closed else _OPEN) | (_GAP if bar.gap else 0)
    return [bar.open_time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades, flags, *values]
