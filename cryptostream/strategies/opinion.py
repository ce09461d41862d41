"""What the strategies of this room share: beyond a line or not, on which side of it before, and how that is told."""

from collections.abc import Mapping
from itertools import pairwise

from cryptostream.model.events import Opinion, Signal

_NOISE = 1e-12


def beyond(x: float, lower: float, upper: float, unit: float = 1.0) -> float:
    """How far a figure lies above `upper` (positive) or below `lower` (negative); 0 between and on them.

    What is closer than 1e-12 of a unit is on the line: rounding in the last digits is nobody's opinion.

    >>> [beyond(x, 30.0, 70.0) for x in (20.0, 30.0, 50.0, 70.00000000000001, 80.0)]
    [-10.0, 0.0, 0.0, 0.0, 10.0]
    """
    distance = x - upper if x > upper else x - lower if x < lower else 0.0
    return 0.0 if -_NOISE * unit <= distance <= _NOISE * unit else distance


def sign(distance: float) -> int:
    """1, -1 or 0."""
    return (distance > 0) - (distance < 0)


class Side:
    """Which side of a line a figure was last on, so that it is a crossing only where that was the other.

    On the line is on neither side: a figure that touches it and turns back has not crossed. The first figure shows
    where it is and is no crossing.

    >>> side = Side()
    >>> [side.crossed(distance) for distance in (2.0, -1.0, 0.0, -1.0, 0.0, 3.0, 4.0)]
    [0, -1, 0, 0, 0, 1, 0]
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: int | None = None

    def crossed(self, distance: float) -> int:
        """Take in how far above the line a figure is; 1 where it has now crossed it upwards, -1 downwards, else 0."""
        now, last = sign(distance), self._last
        self._last = now or last or 0
        return 0 if last is None or now == last else now


def share(part: float, whole: float) -> float:
    """How much of a whole a part is, from 0 to 1; all of it where the whole is nothing.

    >>> share(1.0, 4.0), share(9.0, 4.0), share(-1.0, 4.0), share(1.0, 0.0)
    (0.25, 1.0, 0.0, 1.0)
    """
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 1.0


def rising(**levels: float) -> None:
    """Check that levels of an oscillator rise from 0 to 100, as they are given. Raises ValueError."""
    found = [0.0, *levels.values(), 100.0]
    if not all(low <= high for low, high in pairwise(found)):
        told = ", ".join(f"{name} {value:g}" for name, value in levels.items())
        raise ValueError(f"these should rise, from 0 to 100: {told}")


def signal(side: Opinion, strength: float, reason: str, values: Mapping[str, float | None]) -> list[Signal]:
    """An opinion with the indicators behind it, as `on_bar` gives it."""
    return [Signal(side, strength, reason, {name: value for name, value in values.items() if value is not None})]
