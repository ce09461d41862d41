"""Rolling extremes: the highest and the lowest of the last values, for breakouts, support and resistance."""

from itertools import accumulate
from typing import ClassVar

from cryptostream.indicators.base import Takes, unusable, whole


class Highest:
    """The highest of the last `period` values, from the first `period` on (TA-Lib MAX); of bars it takes the highs.

    The newest value counts. A breakout is a value above the highest *before* it: look at `value`, then update.

    >>> highest = Highest(period=2)
    >>> [highest.update(x) for x in (3.0, 1.0, 2.0)]
    [None, 3.0, 2.0]
    """

    __slots__ = ("_newer", "_older", "_period", "_top", "value")
    takes: ClassVar[Takes] = "high"

    def __init__(self, period: int = 20) -> None:
        self._period = whole("period", period)
        self._newer: list[float] = []  # the values of the newer block
        self._top = 0.0  # the highest of them
        self._older: list[float] = []  # the highest of what is left of the older block
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
        top = self._top
        if not newer or x > top:
            self._top = top = x
        newer.append(x)
        if self._older:
            older = self._older.pop()
            self.value = value = older if older > top else top
            return value
        return self._turn()

    def _turn(self) -> float | None:
        """The newer block becomes the older one, once it is a whole window."""
        newer = self._newer
        if len(newer) == self._period:
            self._older = [*accumulate(reversed(newer), max)]
            newer.clear()
            self.value = self._older.pop()
        return self.value


class Lowest:
    """The lowest of the last `period` values, from the first `period` on (TA-Lib MIN); of bars it takes the lows.

    The newest value counts. A breakdown is a value below the lowest *before* it: look at `value`, then update.

    >>> lowest = Lowest(period=2)
    >>> [lowest.update(x) for x in (1.0, 3.0, 2.0)]
    [None, 1.0, 2.0]
    """

    __slots__ = ("_bottom", "_newer", "_older", "_period", "value")
    takes: ClassVar[Takes] = "low"

    def __init__(self, period: int = 20) -> None:
        self._period = whole("period", period)
        self._newer: list[float] = []  # the values of the newer block
        self._bottom = 0.0  # the lowest of them
        self._older: list[float] = []  # the lowest of what is left of the older block
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
        bottom = self._bottom
        if not newer or x < bottom:
            self._bottom = bottom = x
        newer.append(x)
        if self._older:
            older = self._older.pop()
            self.value = value = older if older < bottom else bottom
            return value
        return self._turn()

    def _turn(self) -> float | None:
        """The newer block becomes the older one, once it is a whole window."""
        newer = self._newer
        if len(newer) == self._period:
            self._older = [*accumulate(reversed(newer), min)]
            newer.clear()
            self.value = self._older.pop()
        return self.value
