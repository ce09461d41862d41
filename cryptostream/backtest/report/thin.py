"""Too many bars to draw become fewer: so many next to each other are one, evenly from the first to the last."""

from typing import TypeVar

import numpy as np

from cryptostream.backtest.block import Floats, Ints
from cryptostream.backtest.result import Candles

Column = TypeVar("Column", Floats, Ints)


def step(count: int, most: int) -> int:
    """How many become one, so that there are at most `most`.

    >>> step(5_000, 5_000), step(5_001, 5_000), step(0, 5_000)
    (1, 2, 1)
    """
    return max(1, -(-count // most))


def candles(made: Candles, by: int) -> Candles:
    """Each `by` bars as one: the first open, the highest high, the lowest low, the last close, all of the volume."""
    if by == 1 or not len(made.close):
        return made
    starts = np.arange(0, len(made.close), by)
    return Candles(
        open_time=made.open_time[starts],
        close_time=last(made.close_time, by),
        ts=last(made.ts, by),
        open=made.open[starts],
        high=np.maximum.reduceat(made.high, starts),
        low=np.minimum.reduceat(made.low, starts),
        close=last(made.close, by),
        volume=np.add.reduceat(made.volume, starts),
        gap=np.logical_or.reduceat(made.gap, starts),
    )


def last(values: Column, by: int) -> Column:
    """The last of each `by` values.

    >>> last(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 2).tolist()
    [2.0, 4.0, 5.0]
    """
    if by == 1 or not len(values):
        return values
    ends = np.minimum(np.arange(by - 1, len(values) + by - 1, by), len(values) - 1)
    return values[ends]


def lowest(values: Floats, by: int) -> Floats:
    """The lowest of each `by` values."""
    if by == 1 or not len(values):
        return values
    return np.minimum.reduceat(values, np.arange(0, len(values), by))
