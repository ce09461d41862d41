"""The bars of a pair and the indicators at each of them, kept by columns for those who draw them."""

from array import array
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cryptostream.backtest.block import Floats
from cryptostream.backtest.result import Candles
from cryptostream.model.events import Bar

_WHOLE = ("open_time", "close_time", "ts")
_FLOATS = ("open", "high", "low", "close", "volume")
_NAN = float("nan")

Values = Mapping[str, Mapping[str, float | None]]
"""The indicators of each strategy, by name."""


class Kept:
    """Grows by one row for each bar: eight bytes a number."""

    def __init__(self) -> None:
        self._bars: dict[str, array[int] | array[float]] = {name: array("q") for name in _WHOLE}
        self._bars |= {name: array("d") for name in _FLOATS}
        self._appends: list[Callable[[Any], None]] = [column.append for column in self._bars.values()]
        self._gap = bytearray()
        self._values: dict[str, dict[str, array[float]]] = {}

    def add(self, bar: Bar, values: Values) -> None:
        """Keep a bar and the indicators after it."""
        row = (bar.open_time, bar.close_time, bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume)
        for append, number in zip(self._appends, row, strict=True):
            append(number)
        bars = len(self._gap)
        for strategy, named in values.items():
            columns = self._values.setdefault(strategy, {})
            for name, value in named.items():
                column = columns.get(name)
                if column is None or len(column) < bars:
                    column = columns[name] = _filled(column, bars)
                column.append(_NAN if value is None else value)
        self._gap.append(bar.gap)

    def candles(self) -> Candles:
        """The bars so far."""
        columns = {name: np.array(column) for name, column in self._bars.items()}
        return Candles(**columns, gap=np.array(self._gap, dtype=np.bool_))

    def values(self) -> dict[str, dict[str, Floats]]:
        """The indicators at each bar; NaN for not yet."""
        bars = len(self._gap)
        return {
            strategy: {name: np.array(_filled(column, bars)) for name, column in columns.items()}
            for strategy, columns in self._values.items()
        }


def _filled(column: "array[float] | None", bars: int) -> "array[float]":
    """A column with NaN for the bars at which nobody told of it."""
    told = array("d") if column is None else column
    told.extend([_NAN] * (bars - len(told)))
    return told
