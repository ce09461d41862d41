"""Stochastic oscillator."""

from typing import ClassVar, NamedTuple

from cryptostream.indicators.base import Takes, unusable, whole
from cryptostream.indicators.extremes import Highest, Lowest
from cryptostream.indicators.sma import Sma
from cryptostream.model.events import Bar


class Oscillator(NamedTuple):
    """%K and %D, each 0 to 100."""

    k: float
    d: float


class Stochastic:
    """Slow stochastic oscillator by Lane: where the close lies between the lowest low and the highest high.

    Of `period` bars, in percent, averaged over `smooth` values (%K), and that once more over `signal` (%D), by simple
    means: TA-Lib's STOCH, StockCharts' slow stochastic; `smooth=1` is the fast one. Both come together, with bar number
    `period + smooth + signal - 2`. Where the high is the low the close counts as 50; TA-Lib says 0 there.
    """

    __slots__ = ("_d", "_highest", "_k", "_lowest", "_warm_up")
    takes: ClassVar[Takes] = "bar"

    def __init__(self, period: int = 14, smooth: int = 3, signal: int = 3) -> None:
        self._highest = Highest(whole("period", period))
        self._lowest = Lowest(period)
        self._k = Sma(whole("smooth", smooth))
        self._d = Sma(whole("signal", signal))
        self._warm_up = period + smooth + signal - 2

    @property
    def value(self) -> Oscillator | None:
        """The newest %K and %D."""
        k, d = self._k.value, self._d.value
        return None if k is None or d is None else Oscillator(k, d)

    @property
    def ready(self) -> bool:
        """Whether there is a value."""
        return self._d.value is not None

    @property
    def warm_up(self) -> int:
        """The first value comes with this update."""
        return self._warm_up

    def update(self, bar: Bar) -> Oscillator | None:
        """Take in the next bar. Raises ValueError for NaN and infinity."""
        high, low, close = bar.high, bar.low, bar.close
        if high - high + (low - low) + (close - close) != 0.0:
            raise unusable(bar)
        highest = self._highest.update(high)
        lowest = self._lowest.update(low)
        if highest is None or lowest is None:
            return None
        reach = highest - lowest
        k = self._k.update(100.0 * (close - lowest) / reach if reach else 50.0)
        if k is None:
            return None
        self._d.update(k)
        return self.value
