"""What an indicator is: one number or bar in, one value or None out, in constant time and memory.

House rules of the files beside this one. A value over a window is kept as two stacks: sums (or extremes) of what is
left of an older block, and those of the newer block that grows. Nothing is ever subtracted from a sum, so no rounding
outlives its window, however long it runs. Where one `update` is the hot path of a live consumer it is written flat, and
`x - x` is not zero where x is NaN or infinite.
"""

from typing import Any, Literal, Protocol, TypeVar

from cryptostream.model.events import Bar

Takes = Literal["bar", "open", "high", "low", "close", "volume"]
Seed = Literal["mean", "first"]

MOST = 100_000
"""Of anything that a parameter counts: what an indicator keeps grows with it, for each pair."""

X = TypeVar("X", contravariant=True)
V = TypeVar("V", covariant=True)


class Indicator(Protocol[X, V]):
    """A running figure. What goes in is a float, or a bar where it needs more than one; None is "not yet".

    It is made with its parameters as keywords and raises ValueError for those that make no sense. Its attributes are
    its memory (`model/memory.py`): numbers, lists and deques of numbers, other indicators.
    """

    @property
    def takes(self) -> Takes:
        """What `update` wants of a bar: the whole `bar`, or one of its numbers. A class attribute will do."""

    @property
    def value(self) -> V | None:
        """The newest value, a float or a NamedTuple of floats; None until it is ready."""

    @property
    def ready(self) -> bool:
        """Whether there is a value."""

    @property
    def warm_up(self) -> int | None:
        """The number of the update that gives the first value; None where nobody can tell beforehand."""

    def update(self, x: X) -> V | None:
        """Take in the next number (or bar) and give the new value.

        Raises ValueError for what is NaN or infinite; nothing has changed then.
        """


def read(indicator: Indicator[Any, Any], bar: Bar) -> Any:
    """What the indicator's `update` wants of a bar: itself, or the one number that it `takes`."""
    takes = indicator.takes
    return bar if takes == "bar" else getattr(bar, takes)


def feed(indicator: Indicator[Any, V], bar: Bar) -> V | None:
    """Update any indicator with a bar."""
    return indicator.update(read(indicator, bar))


def parts(value: Any) -> dict[str, float]:
    """A value as numbers by name: one without a name, or those of a NamedTuple; none at all while it is None.

    >>> parts(28.5), parts(None)
    ({'': 28.5}, {})
    """
    if value is None:
        return {}
    names = getattr(value, "_fields", None)
    return {"": value} if names is None else dict(zip(names, value, strict=True))


def whole(name: str, value: object, least: int = 1, most: int = MOST) -> int:
    """A parameter that counts. Raises ValueError unless it is a whole number from the least to the most.

    >>> whole("period", 0)
    Traceback (most recent call last):
        ...
    ValueError: period must be a whole number from 1 to 100000, not 0
    """
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}, not {value!r}")
    return value


def seeding(value: object) -> bool:
    """Whether the seed is the mean of the first values. Raises ValueError unless it is `mean` or `first`."""
    if value not in ("mean", "first"):
        raise ValueError(f"seed must be mean or first, not {value!r}")
    return value == "mean"


def unusable(x: object) -> ValueError:
    """What to raise at a number that is none."""
    return ValueError(f"an indicator takes finite numbers, not {x!r}")
