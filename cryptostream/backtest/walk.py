"""Walk-forward: choose parameters on one stretch, trade them on the next, move on. Only what was not seen counts.

    30d/7d   |------ train 30 d ------|- test 7 d -|
                       |------ train 30 d ------|- test 7 d -|

Tests follow on each other without a hole, so what they earned compounds into one curve. What is left at the end and
does not fill a test is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from cryptostream.backtest.block import Floats, Ints
from cryptostream.backtest.figures import figures
from cryptostream.backtest.result import Curve, Figures, Fill, Result, Trip
from cryptostream.backtest.sweep import Params
from cryptostream.errors import UsageError
from cryptostream.model.duration import seconds, spelled

MOST = 10_000
"""Windows of one walk."""
_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch to choose on and the one behind it to trade on; microseconds, ends are not part of them."""

    train_start: int
    train_end: int
    test_start: int
    test_end: int


@dataclass(frozen=True, slots=True)
class Step:
    """What one window chose, how that went where it was chosen, and where it was not.

    `chosen` is None where no parameters could be told to be best: then nothing was traded.
    """

    window: Window
    chosen: Params | None
    train: Figures | None
    test: Figures | None


@dataclass(slots=True)
class Walk:
    """A whole walk-forward of a strategy.

    `spec` as it was written, `figure` what was chosen by, `curve` what the tests made of the cash one after the other.
    """

    spec: str
    figure: str
    strategy: str
    steps: Sequence[Step]
    curve: Curve


def windows(spec: str, start_us: int, end_us: int) -> list[Window]:
    """The windows of a walk over data from `start_us` up to `end_us`, moved on by the length of a test.

    >>> day = 86_400_000_000
    >>> [(each.train_start // day, each.test_end // day) for each in windows("3d/1d", 0, 6 * day)]
    [(0, 4), (1, 5), (2, 6)]

    Raises UsageError for what is no pair of durations, and where not even one window fits.
    """
    train, test = _lengths(spec)
    span = end_us - start_us
    count = (span - train) // test
    if count < 1:
        told = f"{spelled(train / _US)} to train and {spelled(test / _US)} to test is {spelled((train + test) / _US)}"
        raise UsageError(f"{told}, and there is {spelled(max(0, span) / _US)} of data", hint="take shorter windows")
    if count > MOST:
        raise UsageError(f"{spec} makes {count:,} windows, more than {MOST:,}", hint="take a longer test")
    middles = (start_us + train + test * number for number in range(count))
    return [Window(middle - train, middle, middle, middle + test) for middle in middles]


def _lengths(spec: str) -> tuple[int, int]:
    train, slash, test = spec.partition("/")
    if not slash:
        raise UsageError(f"not a walk: {spec[:40]!a}", hint="train/test, as in 30d/7d")
    lengths = round(seconds(train.strip()) * 1000) * 1000, round(seconds(test.strip()) * 1000) * 1000
    if min(lengths) < _US:
        raise UsageError(f"{spec} has a window below a second", hint="train/test, as in 30d/7d")
    return lengths


def combine(tests: Sequence[Result], strategy: str) -> Curve:
    """What the tests of a strategy made of the cash of the first one: each goes on with what the one before it left.

    Fills and trips are counted at the size that they have then. A test without bars changes nothing.

    Raises ValueError for no tests, for tests that are not in order of time and for a strategy that is not in them.
    """
    curves = [_of(test, strategy) for test in tests]
    factors = _factors(curves)
    ts, equity = _chained(curves, factors)
    books = [(pair.books[strategy], by) for test, by in zip(tests, factors, strict=True) for pair in test.pairs]
    trips = [_scaled_trip(trip, by) for book, by in books for trip in book.trips]
    fills = [_scaled_fill(fill, by) for book, by in books for fill in book.fills]
    signals = sum(len(book.signals) for book, _ in books)
    return Curve(strategy, ts, equity, figures(ts, equity, curves[0].figures.cash, trips, fills, signals))


def _of(test: Result, strategy: str) -> Curve:
    for curve in test.curves:
        if curve.name == strategy:
            return curve
    raise ValueError(f"a test has no strategy {strategy}")


def _factors(curves: Sequence[Curve]) -> list[float]:
    """By how much each test is larger than it was run."""
    if not curves:
        raise ValueError("a walk without tests")
    level, factors = curves[0].figures.cash, []
    for curve in curves:
        factors.append(level / curve.figures.cash)
        level = float(curve.equity[-1]) * factors[-1] if len(curve.equity) else level
    return factors


def _chained(curves: Sequence[Curve], factors: Sequence[float]) -> tuple[Ints, Floats]:
    ts = np.concatenate([curve.ts for curve in curves])
    if len(ts) and (np.diff(ts) < 0).any():
        raise ValueError("tests of a walk overlap, or are not in order of time")
    return ts, np.concatenate([curve.equity * by for curve, by in zip(curves, factors, strict=True)])


def _scaled_trip(trip: Trip, by: float) -> Trip:
    return replace(trip, qty=trip.qty * by, pnl=trip.pnl * by, fees=trip.fees * by)


def _scaled_fill(fill: Fill, by: float) -> Fill:
    return replace(fill, qty=fill.qty * by, fee=fill.fee * by, position=fill.position * by)
