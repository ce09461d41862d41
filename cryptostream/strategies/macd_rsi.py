"""MACD crosses its signal line, and RSI agrees."""

from cryptostream.indicators.base import whole
from cryptostream.indicators.macd import Macd
from cryptostream.indicators.rsi import Rsi
from cryptostream.model.events import Bar, Signal
from cryptostream.strategies.opinion import Side, beyond, rising, share, signal


class MacdRsi:
    """MACD crosses its signal line, confirmed by RSI: momentum turns, and there is room left.

    * `buy`: MACD crosses above its signal while RSI is above `middle` and not above `overbought`.
    * `sell`: MACD crosses below its signal while RSI is below `middle` and not below `oversold`.
    * `exit`: MACD crosses against what was last said, and RSI does not confirm the other side.

    Strength: how far RSI is on its way from `middle` to `overbought` (`oversold`); of an exit 1.

    The crossing is Appel's ("Technical Analysis: Power Tools for Active Investors", 2005), 50 as the line between
    bulls and bears, 70 and 30 as the ends are Wilder's ("New Concepts in Technical Trading Systems", 1978) as Murphy
    reads them ("Technical Analysis of the Financial Markets", 1999). Without the ends: `overbought=100`, `oversold=0`.

    >>> strategy = MacdRsi(fast=2, slow=3, signal=2, rsi_period=2)
    >>> closes = (10.0, 9.0, 8.0, 7.0, 8.0, 10.0, 11.0, 9.0, 8.0, 7.5, 8.5, 9.0, 8.8, 8.9)
    >>> bars = [Bar("", "", "", "", 0, 0, x, x, x, x, 1, x, 1, 0, False, 0) for x in closes]
    >>> [(each.side, round(each.strength, 2)) for bar in bars for each in strategy.on_bar(bar)]
    [('sell', 0.77), ('buy', 0.49), ('exit', 1.0)]
    """

    def __init__(
        self,
        fast: int = 12,
        slow: int = 26,
        signal: int = 9,
        rsi_period: int = 14,
        middle: float = 50.0,
        overbought: float = 70.0,
        oversold: float = 30.0,
    ) -> None:
        rising(oversold=oversold, middle=middle, overbought=overbought)
        self._macd = Macd(fast, slow, signal)
        self._rsi = Rsi(whole("rsi_period", rsi_period))
        self._middle, self._overbought, self._oversold = middle, overbought, oversold
        self._side = Side()
        self._held = 0

    @property
    def warm_up(self) -> int:
        """Bars."""
        return max(self._macd.warm_up, self._rsi.warm_up)

    @property
    def values(self) -> dict[str, float | None]:
        """`macd`, `signal`, `histogram` in units of the price, `rsi` from 0 to 100."""
        lines = self._macd.value
        macd, signal_, histogram = lines or (None, None, None)
        return {"macd": macd, "macd_signal": signal_, "macd_histogram": histogram, "rsi": self._rsi.value}

    def on_bar(self, bar: Bar) -> list[Signal]:
        """Take in a closed bar."""
        lines, rsi = self._macd.update(bar.close), self._rsi.update(bar.close)
        if lines is None or rsi is None:
            return []
        crossed = self._side.crossed(beyond(lines.macd, lines.signal, lines.signal, bar.close))
        if not crossed:
            return []
        reason = f"MACD crossed {'above' if crossed > 0 else 'below'} its signal, RSI {rsi:.1f}"
        end = self._overbought if crossed > 0 else self._oversold
        if self._middle < rsi <= end or self._middle > rsi >= end:
            self._held = crossed
            strength = share(abs(rsi - self._middle), abs(end - self._middle))
            return signal("buy" if crossed > 0 else "sell", strength, reason, self.values)
        held, self._held = self._held, 0
        return signal("exit", 1.0, reason, self.values) if held else []
