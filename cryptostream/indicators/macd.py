"""Moving average convergence/divergence."""

from typing import ClassVar, NamedTuple

from cryptostream.indicators.base import Seed, Takes, seeding, unusable, whole

_new = tuple.__new__  # in half the time of calling the class


class MacdLines(NamedTuple):
    """The fast average less the slow one, its own average, and the first less the second."""

    macd: float
    signal: float
    histogram: float


class Macd:
    """Moving average convergence/divergence by Appel: an EMA of `fast` less one of `slow`, and the EMA of that.

    Seeded as TA-Lib's MACD: the slow average with the mean of the first `slow` values, the fast one with that of the
    last `fast` of these, the signal with the mean of the first `signal` differences; the three lines come together,
    with value number `slow + signal - 1`. StockCharts' sheet seeds both averages with the first value and has lines at
    once: `seed="first"`; the signal starts with the first difference, which is 0, where the sheet's goes on from older
    data.

    >>> macd = Macd(fast=1, slow=2, signal=2)
    >>> [macd.update(x) for x in (1.0, 3.0, 5.0)]
    [None, None, MacdLines(macd=1.0, signal=1.0, histogram=0.0)]
    """

    __slots__ = (
        "_fast",
        "_fast_count",
        "_fast_weight",
        "_lines",
        "_seen",
        "_signal",
        "_signal_count",
        "_signal_weight",
        "_slow",
        "_slow_count",
        "_slow_weight",
    )
    takes: ClassVar[Takes] = "close"

    def __init__(self, fast: int = 12, slow: int = 26, signal: int = 9, *, seed: Seed = "mean") -> None:
        if whole("fast", fast) >= whole("slow", slow):
            raise ValueError(f"fast must be less than slow, not {fast} and {slow}")
        counts = (fast, slow, whole("signal", signal)) if seeding(seed) else (1, 1, 1)
        self._fast_count, self._slow_count, self._signal_count = counts  # of the values that seed each
        self._fast_weight = 2.0 / (fast + 1)
        self._slow_weight = 2.0 / (slow + 1)
        self._signal_weight = 2.0 / (signal + 1)
        self._seen = 0
        self._fast = 0.0  # until it is seeded the sum, then the average
        self._slow = 0.0
        self._lines = 0.0  # the sum of the differences that seed the signal
        self._signal: float | None = None

    @property
    def value(self) -> MacdLines | None:
        """The newest three lines."""
        signal = self._signal
        if signal is None:
            return None
        line = self._fast - self._slow
        return MacdLines(line, signal, line - signal)

    @property
    def ready(self) -> bool:
        """Whether there is a value."""
        return self._signal is not None

    @property
    def warm_up(self) -> int:
        """The first value comes with this update."""
        return self._slow_count + self._signal_count - 1

    def update(self, x: float) -> MacdLines | None:
        """Take in the next value. Raises ValueError for NaN and infinity."""
        if x - x:
            raise unusable(x)
        signal = self._signal
        if signal is None:
            return self._begin(x)
        fast = self._fast
        slow = self._slow
        self._fast = fast = fast + self._fast_weight * (x - fast)
        self._slow = slow = slow + self._slow_weight * (x - slow)
        line = fast - slow
        self._signal = signal = signal + self._signal_weight * (line - signal)
        return _new(MacdLines, (line, signal, line - signal))

    def _begin(self, x: float) -> MacdLines | None:
        self._seen += 1
        if self._seen <= self._slow_count:
            self._sum(x)
        else:
            self._fast += self._fast_weight * (x - self._fast)
            self._slow += self._slow_weight * (x - self._slow)
        if self._seen >= self._slow_count:
            self._lines += self._fast - self._slow
        if self._seen == self.warm_up:
            self._signal = self._lines / self._signal_count
        return self.value

    def _sum(self, x: float) -> None:
        self._slow += x
        if self._seen > self._slow_count - self._fast_count:
            self._fast += x
        if self._seen == self._slow_count:
            self._fast /= self._fast_count
            self._slow /= self._slow_count
