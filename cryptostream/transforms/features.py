"""Bars in, a row of numbers for each out: what a model learns from.

A row is a dict of floats, its names always the same and in the order in which they were declared. There is none before
every feature has its value, and there is never a NaN in one. A row is made of its bar and those before it, of nothing
else: `update` has not seen more.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import fsum, isfinite, log, sqrt
from typing import Any, Protocol

from cryptostream.model import memory
from cryptostream.model.events import Bar


class Feature(Protocol):
    """One number, or several, of each bar. Its attributes are its memory (`model/memory.py`)."""

    @property
    def fields(self) -> Sequence[str]:
        """The names of its numbers; a single empty one where it has but one number."""

    @property
    def warm_up(self) -> int:
        """How many bars it takes until its first value."""

    def update(self, bar: Bar) -> Sequence[float | None] | None:
        """Take in the next bar; a number for each field, or None for "not yet"."""


class Features:
    """All features of one pair, by name; a feature of several numbers has `<name>_<field>` for each.

    A field that is called as the feature itself stands alone: `macd` of `macd, signal, histogram` gives `macd`,
    `macd_signal` and `macd_histogram`.

    >>> features = Features({"ret": Returns(1), "range": Range()})
    >>> features.names, features.warm_up
    (['ret', 'range'], 2)

    Raises ValueError where two numbers get one name, and where there are none.
    """

    def __init__(self, features: Mapping[str, Feature]) -> None:
        self._features = features
        self._told = {name: [_named(name, field) for field in each.fields] for name, each in features.items()}
        self.names = [name for names in self._told.values() for name in names]
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice or not self.names:
            raise ValueError(f"two features are called {twice[0]}" if twice else "there are no features")

    @property
    def warm_up(self) -> int:
        """Bars until the first row."""
        return max(feature.warm_up for feature in self._features.values())

    def update(self, bar: Bar) -> dict[str, float] | None:
        """Take in the next bar; its row, or None while a feature is not ready.

        Raises ValueError for a feature that is not finite, with its name.
        """
        row: dict[str, float] = {}
        whole = True
        for name, feature in self._features.items():
            numbers = feature.update(bar)
            if numbers is None or None in numbers:
                whole = False
            elif whole:
                row.update(zip(self._told[name], numbers, strict=True))  # type: ignore[arg-type]
        return _finite(row) if whole else None

    def __getstate__(self) -> dict[str, Any]:
        return {name: memory.remembered(feature, name) for name, feature in self._features.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state.keys() != self._features.keys():
            raise ValueError(f"the memory is of other features: {', '.join(sorted(state))}")
        for name, feature in self._features.items():
            memory.recall(feature, state[name])


class Of:
    """An indicator as a feature: `read` updates it with a bar and tells its numbers by name, those of them it has.

    `fields` are the names that are wanted, and `warm_up` the bars until all of them are there.
    """

    def __init__(
        self, indicator: Any, read: Callable[[Any, Bar], Mapping[str, float]], fields: Sequence[str], warm_up: int
    ) -> None:
        self.fields = fields
        self.warm_up = warm_up
        self._indicator = indicator
        self._read = read

    def update(self, bar: Bar) -> Sequence[float | None]:
        told = self._read(self._indicator, bar)
        return [told.get(field) for field in self.fields]

    def __getstate__(self) -> Any:
        return memory.remembered(self._indicator)

    def __setstate__(self, state: Any) -> None:
        memory.recall(self._indicator, state)


class _Single:
    """A feature of one number."""

    fields: Sequence[str] = ("",)


class Returns(_Single):
    """The return over the last `lag` bars, close to close: simple, `close / earlier - 1`, or its logarithm.

    The simple one is made of a division and a subtraction, and so the same on every machine to the last bit; a
    logarithm is as exact as the C library's.

    >>> from cryptostream.transforms.features import Returns
    >>> Returns(5).warm_up
    6
    """

    def __init__(self, lag: int = 1, log: bool = False) -> None:
        _check("lag", lag, 1, 100_000)
        self._log = log
        self._closes: deque[float] = deque(maxlen=lag + 1)

    @property
    def warm_up(self) -> int:
        return self._lag + 1

    @property
    def _lag(self) -> int:
        return (self._closes.maxlen or 0) - 1

    def update(self, bar: Bar) -> Sequence[float] | None:
        self._closes.append(bar.close)
        if len(self._closes) <= self._lag:
            return None
        times = bar.close / self._closes[0]
        return [log(times) if self._log else times - 1]


class Range(_Single):
    """How far a bar reached, as a share of its close: `(high - low) / close`."""

    warm_up = 1

    def update(self, bar: Bar) -> Sequence[float]:
        return [(bar.high - bar.low) / bar.close]


class VolumeZ(_Single):
    """How unusual a bar's volume is: its distance from the mean of the last `period` bars, in standard deviations.

    The bar is one of them; the deviation is the population's. 0 where all are the same. Each value is computed from
    the bars themselves, so nothing drifts; the time of an update grows with `period`, at most 1000.
    """

    def __init__(self, period: int = 20) -> None:
        _check("period", period, 2, 1000)
        self._volumes: deque[float] = deque(maxlen=period)

    @property
    def warm_up(self) -> int:
        return self._volumes.maxlen or 0

    def update(self, bar: Bar) -> Sequence[float] | None:
        self._volumes.append(bar.volume)
        count = len(self._volumes)
        if count < self.warm_up:
            return None
        mean = fsum(self._volumes) / count
        deviation = sqrt(fsum((volume - mean) ** 2 for volume in self._volumes) / count)
        return [(bar.volume - mean) / deviation if deviation > 0 else 0.0]


class TakerShare(_Single):
    """The share of a bar's volume in which the aggressor bought, 0 to 1; 0.5 where nothing traded."""

    warm_up = 1

    def update(self, bar: Bar) -> Sequence[float]:
        return [bar.taker_buy_volume / bar.volume if bar.volume > 0 else 0.5]


def _named(name: str, field: str) -> str:
    return name if field in ("", name) else f"{name}_{field}"


def _finite(row: dict[str, float]) -> dict[str, float]:
    for name, number in row.items():
        if not isfinite(number):
            raise ValueError(f"the feature {name} is {number}: no model can use that")
    return row


def _check(name: str, value: int, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}: a whole number from {least} to {most}")
