"""Volume weighted average price."""

from itertools import accumulate
from typing import ClassVar, Literal

from cryptostream.indicators.base import Takes, unusable, whole
from cryptostream.model.events import Bar


class Vwap:
    """Volume weighted average price of the last `period` bars, from the first `period` on.

    The price of a bar is its typical price, (high + low + close) / 3, as StockCharts and most charts have it. With
    `price="traded"` it is what was really paid, quote volume over volume, which our bars and the venues' klines know:
    then the figure is exact. It rolls over bars and does not begin anew each day, since crypto markets have no
    sessions. Where no bar of the window has volume it is the newest close.
    """

    __slots__ = (
        "_newer",
        "_newer_volumes",
        "_older",
        "_older_volumes",
        "_period",
        "_total",
        "_traded",
        "_volume",
        "value",
    )
    takes: ClassVar[Takes] = "bar"

    def __init__(self, period: int = 20, *, price: Literal["typical", "traded"] = "typical") -> None:
        self._period = whole("period", period)
        if price not in ("typical", "traded"):
            raise ValueError(f"price must be typical or traded, not {price!r}")
        self._traded = price == "traded"
        self._newer: list[float] = []  # turnovers of the newer block
        self._newer_volumes: list[float] = []
        self._total = 0.0  # their sums
        self._volume = 0.0
        self._older: list[float] = []  # sums of what is left of the older block
        self._older_volumes: list[float] = []
        self.value: float | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    @property
    def warm_up(self) -> int:
        """The first value comes with this update."""
        return self._period

    def update(self, bar: Bar) -> float | None:
        """Take in the next bar. Raises ValueError for NaN and infinity."""
        volume, close = bar.volume, bar.close
        turnover = bar.quote_volume if self._traded else (bar.high + bar.low + close) / 3.0 * volume
        if turnover - turnover + (volume - volume) + (close - close) != 0.0:
            raise unusable(bar)
        self._newer.append(turnover)
        self._newer_volumes.append(volume)
        self._total += turnover
        self._volume += volume
        if self._older:
            return self._tell(self._older.pop() + self._total, self._older_volumes.pop() + self._volume, close)
        return self._turn(close) if len(self._newer) == self._period else None

    def _turn(self, close: float) -> float:
        """The newer block becomes the older one: it is a whole window."""
        self._older = [*accumulate(reversed(self._newer))]
        self._older_volumes = [*accumulate(reversed(self._newer_volumes))]
        self._newer.clear()
        self._newer_volumes.clear()
        self._total = self._volume = 0.0
        return self._tell(self._older.pop(), self._older_volumes.pop(), close)

    def _tell(self, turnover: float, volume: float, close: float) -> float:
        self.value = turnover / volume if volume > 0.0 else close
        return self.value
