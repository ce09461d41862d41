"""Exponential moving average."""

from typing import ClassVar

from cryptostream.indicators.base import Seed, Takes, seeding, unusable, whole


class Ema:
    """Exponential moving average with the weight 2 / (period + 1), seeded with the mean of its first `period` values.

    So do TA-Lib's EMA and StockCharts. With `seed="first"` the first value is the seed, and is told at once: pandas'
    `ewm(adjust=False)`, StockCharts' sheet of the MACD.

    >>> ema = Ema(period=3)
    >>> [ema.update(x) for x in (1.0, 2.0, 3.0, 7.0)]
    [None, None, 2.0, 4.5]
    """

    __slots__ = ("_count", "_seen", "_total", "_weight", "value")
    takes: ClassVar[Takes] = "close"

    def __init__(self, period: int = 20, *, seed: Seed = "mean") -> None:
        self._weight = 2.0 / (whole("period", period) + 1)
        self._count = period if seeding(seed) else 1  # of the values whose mean is the seed
        self._seen = 0
        self._total = 0.0
        self.value: float | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    @property
    def warm_up(self) -> int:
        """The first value comes with this update."""
        return self._count

    def update(self, x: float) -> float | None:
        """Take in the next value. Raises ValueError for NaN and infinity."""
        if x - x:
            raise unusable(x)
        value = self.value
        if value is None:
            return self._begin(x)
        self.value = value = value + self._weight * (x - value)
        return value

    def _begin(self, x: float) -> float | None:
        self._seen += 1
        self._total += x
        if self._seen == self._count:
            self.value = self._total / self._count
        return self.value
