"""Bollinger bands."""

from itertools import accumulate
from math import sqrt
from operator import mul
from typing import ClassVar, NamedTuple

from cryptostream.indicators.base import Takes, unusable, whole

_new = tuple.__new__  # in half the time of calling the class


class Bands(NamedTuple):
    """The mean, and so many standard deviations below and above it."""

    lower: float
    middle: float
    upper: float


class Bollinger:
    """Bollinger bands: the mean of the last `period` values and `width` standard deviations to both sides.

    The deviation is the population's, divided by `period`, as Bollinger, StockCharts and TA-Lib's BBANDS have it. The
    first value comes with value number `period`.

    Squares are taken of distances from a value in the window. Its square distance from the mean is at most `period`
    variances, so what cancels is bounded, whatever the level of the price (Chan, Golub, LeVeque: "Algorithms for
    Computing the Sample Variance", 1983).

    >>> bands = Bollinger(period=2, width=1.0)
    >>> [bands.update(x) for x in (1.0, 3.0)]
    [None, Bands(lower=1.0, middle=2.0, upper=3.0)]
    """

    __slots__ = (
        "_block",
        "_block_squares",
        "_left",
        "_middle",
        "_period",
        "_pivot",
        "_squares",
        "_total",
        "_width",
        "deviation",
    )
    takes: ClassVar[Takes] = "close"

    def __init__(self, period: int = 20, width: float = 2.0) -> None:
        self._period = whole("period", period)
        if isinstance(width, bool) or not isinstance(width, (int, float)) or not 0.0 < width < float("inf"):
            raise ValueError(f"width must be a number above 0, not {width!r}")
        self._width = float(width)
        self._left = period
        # From the end: the newer block's values, as they come. Before them: sums of what is left of the older block's
        # distances from the pivot, the last value of that block; and such sums of their squares.
        self._block = [0.0] * period
        self._block_squares = [0.0] * period
        self._pivot = 0.0
        self._total = 0.0  # of the newer block's distances
        self._squares = 0.0
        self._middle = 0.0
        self.deviation: float | None = None
        """The standard deviation; None until it is ready."""

    @property
    def value(self) -> Bands | None:
        """The newest bands."""
        if self.deviation is None:
            return None
        reach = self._width * self.deviation
        return Bands(self._middle - reach, self._middle, self._middle + reach)

    @property
    def ready(self) -> bool:
        """Whether there is a value."""
        return self.deviation is not None

    @property
    def warm_up(self) -> int:
        """The first value comes with this update."""
        return self._period

    def update(self, x: float) -> Bands | None:
        """Take in the next value. Raises ValueError for NaN and infinity."""
        if x - x:
            raise unusable(x)
        block = self._block
        self._left = left = self._left - 1
        block[left] = x
        if not left:
            return self._turn()
        pivot = self._pivot
        distance = x - pivot
        self._total = total = self._total + distance
        self._squares = squares = self._squares + distance * distance
        if self.deviation is None:
            return None
        left -= 1
        period = self._period
        shift = (block[left] + total) / period
        variance = (self._block_squares[left] + squares) / period - shift * shift
        self.deviation = deviation = sqrt(variance) if variance > 0.0 else 0.0
        self._middle = middle = pivot + shift
        reach = self._width * deviation
        return _new(Bands, (middle - reach, middle, middle + reach))

    def _turn(self) -> Bands | None:
        """The newer block is a whole window and becomes the older one."""
        block, period = self._block, self._period
        self._pivot = pivot = block[0]
        distances = [x - pivot for x in block]
        block[:] = accumulate(distances)
        self._block_squares[:] = accumulate(map(mul, distances, distances))
        self._left = period
        self._total = self._squares = 0.0
        shift = block[-1] / period
        self.deviation = sqrt(max(self._block_squares[-1] / period - shift * shift, 0.0))
        self._middle = pivot + shift
        return self.value
