"""Simple moving average."""

from itertools import accumulate
from typing import ClassVar

from cryptostream.indicators.base import Takes, unusable, whole


class Sma:
    """Simple moving average: the mean of the last `period` values, from the first `period` on (TA-Lib, StockCharts).

    >>> sma = Sma(period=3)
    >>> [sma.update(x) for x in (1.0, 2.0, 3.0, 7.0)]
    [None, None, 2.0, 4.0]
    """

    __slots__ = ("_block", "_left", "_period", "_total", "value")
    takes: ClassVar[Takes] = "close"

    def __init__(self, period: int = 20) -> None:
        self._period = self._left = whole("period", period)
        # From the end: the newer block's values, as they come. Before them: sums of what is left of the older block.
        self._block = [0.0] * period
        self._total = 0.0  # of the newer block
        self.value: float | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    @property
    def warm_up(self) -> int:
        """The first value comes with this update."""
        return self._period

    def update(self, x: float) -> float | None:
        """Take in the next value. Raises ValueError for NaN and infinity."""
        if x - x:
            raise unusable(x)
        block = self._block
        self._left = left = self._left - 1
        block[left] = x
        if not left:
            return self._turn()
        self._total = total = self._total + x
        if self.value is None:
            return None
        self.value = value = (block[left - 1] + total) / self._period
        return value

    def _turn(self) -> float:
        """The newer block is a whole window and becomes the older one."""
        block = self._block
        block[:] = accumulate(block)
        self._left = self._period
        self._total = 0.0
        self.value = value = block[-1] / self._period
        return value
