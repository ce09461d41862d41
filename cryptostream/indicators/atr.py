"""Average true range."""

from typing import ClassVar

from cryptostream.indicators.base import Takes, unusable, whole
from cryptostream.model.events import Bar


class Atr:
    """Average true range by Wilder ("New Concepts in Technical Trading Systems", 1978), in units of the price.

    The true range is the reach of a bar and the close before it. The average is seeded with the mean of the first
    `period` ranges and goes on with the weight 1 / period. The first bar has no close before it: TA-Lib's ATR leaves it
    out, so the first value comes with bar number `period + 1`. StockCharts counts its high less its low:
    `first_range=True`, and the first value comes one bar earlier.
    """

    __slots__ = ("_first_range", "_last", "_period", "_seen", "_total", "value")
    takes: ClassVar[Takes] = "bar"

    def __init__(self, period: int = 14, *, first_range: bool = False) -> None:
        self._period = whole("period", period)
        if not isinstance(first_range, bool):
            raise ValueError(f"first_range must be true or false, not {first_range!r}")  # noqa: TRY004
        self._first_range = first_range
        self._last: float | None = None  # the close before
        self._seen = 0  # ranges
        self._total = 0.0
        self.value: float | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    @property
    def warm_up(self) -> int:
        """The first value comes with this update."""
        return self._period if self._first_range else self._period + 1

    def update(self, bar: Bar) -> float | None:
        """Take in the next bar. Raises ValueError for NaN and infinity."""
        high, low, close, last = bar.high, bar.low, bar.close, self._last
        if high - high + (low - low) + (close - close) != 0.0:
            raise unusable(bar)
        self._last = close
        if last is None:
            return self._begin(high - low) if self._first_range else None
        reach = max(high, last) - min(low, last)
        value = self.value
        if value is None:
            return self._begin(reach)
        self.value = value = value + (reach - value) / self._period
        return value

    def _begin(self, reach: float) -> float | None:
        self._seen += 1
        self._total += reach
        if self._seen == self._period:
            self.value = self._total / self._period
        return self.value
