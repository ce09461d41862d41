"""Rolling extremes: the highest and the lowest of the last values, for breakouts, support and resistance."""

from collections.abc import Callable
from itertools import accumulate
from typing import ClassVar

from cryptostream.indicators.base import Takes, unusable, whole


class _Extreme:
    """The values in two blocks: of the older one, what is left of it as its extremes from the end on."""

    __slots__ = ("_extreme", "_newer", "_older", "_period", "value")
    _pick: ClassVar[Callable[..., float]]
    """`max` or `min`."""

    def __init__(self, period: int = 20) -> None:
        self._period = whole("period", period)
        self._newer: list[float] = []  # the values of the newer block
        self._extreme = 0.0  # of them
        self._older: list[float] = []  # the extremes of what is left of the older block
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
        newer = self._newer
        self._extreme = extreme = self._pick(self._extreme, x) if newer else x
        newer.append(x)
        if self._older:
            self.value = value = self._pick(extreme, self._older.pop())
            return value
        return self._turn()

    def _turn(self) -> float | None:
        """The newer block becomes the older one, once it is a whole window."""
        newer = self._newer
        if len(newer) == self._period:
            self._older = [*accumulate(reversed(newer), self._pick)]
            newer.clear()
            self.value = self._older.pop()
        return self.value


class Highest(_Extreme):
    """The highest of the last `period` values, from the first `period` on (TA-Lib MAX); of bars it takes the highs.

    The newest value counts. A breakout is a value above the highest *before* it: look at `value`, then update.

    >>> highest = Highest(period=2)
    >>> [highest.update(x) for x in (3.0, 1.0, 2.0)]
    [None, 3.0, 2.0]
    """

    __slots__ = ()
    takes: ClassVar[Takes] = "high"
    _pick = staticmethod(max)


class Lowest(_Extreme):
    """The lowest of the last `period` values, from the first `period` on (TA-Lib MIN); of bars it takes the lows.

    The newest value counts. A breakdown is a value below the lowest *before* it: look at `value`, then update.

    >>> lowest = Lowest(period=2)
    >>> [lowest.update(x) for x in (1.0, 3.0, 2.0)]
    [None, 1.0, 2.0]
    """

    __slots__ = ()
    takes: ClassVar[Takes] = "low"
    _pick = staticmethod(min)
