"""A backtest that is kept to be looked at again: its curves as a few points, under a name that is safe as a file's."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from cryptostream.backtest.block import Floats, Ints
from cryptostream.backtest.report import thin
from cryptostream.backtest.report.curves import drawdown
from cryptostream.backtest.result import Curve, Result

FOLDER = "reports"
"""Where they lie, in the data folder: `NAME.json` with figures and curves, `NAME.html` with the page."""
POINTS = 500
"""Of each line."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
_SUFFIXES = (".html", ".json")


def is_name(name: str) -> bool:
    """Whether a backtest can be kept under this name.

    >>> is_name("macd_rsi-2024-11-14"), is_name("../out"), is_name("x.html")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None and not name.endswith(_SUFFIXES)


def curves(result: Result) -> dict[str, Any]:
    """Equity and drawdown of each strategy and of buying and holding, at the same times, in milliseconds."""
    drawn = [*result.curves, result.benchmark]
    marks = thin.last(_times(drawn), thin.step(len(_times(drawn)), POINTS))
    return {
        "times_ms": (marks // 1_000).tolist(),
        "equity": {curve.name: _rounded(_at(curve, curve.equity, marks)) for curve in drawn},
        "drawdown": {curve.name: _rounded(_deepest(curve, marks)) for curve in drawn},
    }


def _times(drawn: Sequence[Curve]) -> Ints:
    return np.unique(np.concatenate([curve.ts for curve in drawn]))


def _at(curve: Curve, values: Floats, marks: Ints) -> Floats:
    """The last value at or before each mark; the cash at the start before the first."""
    places = np.searchsorted(curve.ts, marks, side="right") - 1
    if not len(values):
        return np.full(len(marks), curve.figures.cash)
    return np.where(places < 0, curve.figures.cash, values[np.maximum(places, 0)])


def _deepest(curve: Curve, marks: Ints) -> Floats:
    """The deepest drawdown from one mark to the next, so that none is lost between them."""
    below, found = drawdown(curve), np.zeros(len(marks))
    ends = np.searchsorted(curve.ts, marks, side="right")
    first = 0
    for place, end in enumerate(ends):
        found[place] = below[first:end].min() if end > first else found[place - 1] if place else 0.0
        first = end
    return found


def _rounded(values: Floats) -> list[float]:
    return [float(f"{value:.8g}") for value in np.nan_to_num(values)]
