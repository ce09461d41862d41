"""Relative strength index."""

from typing import ClassVar

from cryptostream.indicators.base import Takes, unusable, whole


class Rsi:
    """Relative strength index by Wilder ("New Concepts in Technical Trading Systems", 1978), 0 to 100.

    The averages of gains and losses are seeded with the means of the first `period` changes, so the first value comes
    with value number `period + 1`, and go on with the weight 1 / period (StockCharts, TA-Lib RSI). Where nothing has
    ever moved it is 50; TA-Lib says 0 there, also where the averages are below 1e-14, which the prices of small coins
    come near.

    >>> rsi = Rsi(period=2)
    >>> [rsi.update(x) for x in (10.0, 11.0, 10.0, 11.0)]
    [None, None, 50.0, 75.0]
    """

    __slots__ = ("_gain", "_last", "_loss", "_period", "_seen", "value")
    takes: ClassVar[Takes] = "close"

    def __init__(self, period: int = 14) -> None:
        self._period = whole("period", period)
        self._seen = 0
        self._last = 0.0
        self._gain = 0.0  # until it is ready the sum, then the average
        self._loss = 0.0
        self.value: float | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    @property
    def warm_up(self) -> int:
        """The first value comes with this update."""
        return self._period + 1

    def update(self, x: float) -> float | None:
        """Take in the next value. Raises ValueError for NaN and infinity."""
        if x - x:
            raise unusable(x)
        if self.value is None:
            return self._begin(x)
        change = x - self._last
        self._last = x
        period = self._period
        gain = self._gain
        loss = self._loss
        if change > 0.0:
            gain += (change - gain) / period
            loss -= loss / period
        else:
            gain -= gain / period
            loss -= (change + loss) / period
        self._gain = gain
        self._loss = loss
        moved = gain + loss
        self.value = value = 100.0 * gain / moved if moved else 50.0
        return value

    def _begin(self, x: float) -> float | None:
        if self._seen:
            self._gain += max(x - self._last, 0.0)
            self._loss += max(self._last - x, 0.0)
        self._last = x
        self._seen += 1
        if self._seen > self._period:
            moved = self._gain + self._loss
            self.value = 100.0 * self._gain / moved if moved else 50.0
            self._gain /= self._period
            self._loss /= self._period
        return self.value
