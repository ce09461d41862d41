"""Which indicators are drawn over the price, and which share a pane below it.

An indicator is of the price's size where it stays close to it: within a quarter of it at most bars, and never further
away from its range than that range is high. Moving averages, bands, support and resistance are; RSI, MACD, ATR are
not. Those of the same first word (`macd`, `macd_signal`, `macd_histogram`) share a pane.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cryptostream.backtest.block import Floats
from cryptostream.backtest.result import Candles

_NEAR = 0.25
_FIRST_WORD = re.compile(r"[^\W_]+")
_AS_BARS = re.compile(r"hist(ogram)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Line:
    """One indicator of a strategy. `strategy` is empty where several strategies have the same values."""

    strategy: str
    name: str
    values: Floats

    @property
    def as_bars(self) -> bool:
        """Whether it is a histogram."""
        return _AS_BARS.search(self.name) is not None


@dataclass(slots=True)
class Panes:
    """What is drawn over the price, the panes below it by their title, and what was left out."""

    over: list[Line] = field(default_factory=list)
    below: dict[str, list[Line]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def arranged(made: Candles, values: Mapping[str, Mapping[str, Floats]], most: int) -> Panes:
    """Where the indicators of each strategy go; at most so many panes. Those without any value are nowhere."""
    panes = Panes()
    for line in _lines(values):
        stem = _stem(line.name)
        if follows_price(made, line.values):
            panes.over.append(line)
        elif stem in panes.below or len(panes.below) < most:
            panes.below.setdefault(stem, []).append(line)
        else:
            panes.left_out.append(line.name)
    return panes


def follows_price(made: Candles, values: Floats) -> bool:
    """Whether an indicator is of the price's size."""
    known = np.isfinite(values)
    near, close = values[known], made.close[known]
    if not len(near):
        return False
    low, high = float(made.low.min()), float(made.high.max())
    reach = high - low
    inside = low - reach <= near.min() and near.max() <= high + reach
    return bool(inside and np.median(np.abs(near - close)) <= _NEAR * np.median(close))


def _lines(values: Mapping[str, Mapping[str, Floats]]) -> list[Line]:
    """Every indicator that has a value; one that several strategies share is there once."""
    found: list[Line] = []
    for strategy, named in values.items():
        for name, column in named.items():
            if not np.isfinite(column).any():
                continue
            twin = next((place for place, line in enumerate(found) if _same(line, name, column)), None)
            if twin is None:
                found.append(Line(strategy, name, column))
            else:
                found[twin] = Line("", name, column)
    return found


def _same(line: Line, name: str, column: Floats) -> bool:
    return line.name == name and np.array_equal(line.values, column, equal_nan=True)


def _stem(name: str) -> str:
    found = _FIRST_WORD.search(name)
    return found[0].lower() if found else name
