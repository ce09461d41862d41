"""Equity and drawdown: of the strategies beside buying and holding, and of a walk-forward."""

from collections.abc import Sequence

import numpy as np

from cryptostream.backtest.block import Floats
from cryptostream.backtest.report import thin
from cryptostream.backtest.report.chart import COLOURS, DASHES, MUTED, Chart, axis, packed, stacked, times
from cryptostream.backtest.report.markup import label
from cryptostream.backtest.result import Curve

_POINTS = 20_000
"""Of all lines together."""
_MOMENTS = 100
_HEIGHTS = (300, 130)


def equity(curves: Sequence[Curve], benchmark: Curve | None, *, name: str = "chart-equity") -> Chart:
    """Equity above, drawdown below, each in its colour and its kind of line; the benchmark grey and dashed."""
    height, layout = stacked(_HEIGHTS, ("", "drawdown"))
    layout["yaxis2"]["tickformat"] = ".1~%"
    data, points = [], most(len(curves) + 1)
    for place, curve in enumerate(curves):
        line = {"color": COLOURS[place % len(COLOURS)], "dash": DASHES[place // len(COLOURS) % len(DASHES)]}
        data += _drawn(curve, {**line, "width": 2}, f"c{place}", points)
    if benchmark is not None:
        data += _drawn(benchmark, {"color": MUTED, "dash": "dash", "width": 1.5}, "benchmark", points)
    return Chart(name, "Equity and drawdown over time", height, data, layout)


def marked(chart: Chart, moments_us: Sequence[int]) -> Chart:
    """The chart with a line at each of some moments, as many as can be told apart."""
    by = thin.step(len(moments_us), _MOMENTS)
    chart.layout["shapes"] = [
        {
            "type": "line",
            "x0": moment / 1_000,
            "x1": moment / 1_000,
            "y0": 0,
            "y1": 1,
            "yref": "paper",
            "line": {"color": MUTED, "width": 1, "dash": "dot"},
            "layer": "below",
        }
        for moment in moments_us[::by]
    ]
    return chart


def most(lines: int) -> int:
    """How many points a line has at most, where there are so many."""
    return max(500, min(5_000, _POINTS // lines))


def drawdown(curve: Curve) -> Floats:
    """At each mark, how far the equity is below its highest so far, the cash at the start included."""
    highs = np.maximum(np.maximum.accumulate(curve.equity), curve.figures.cash) if len(curve.equity) else curve.equity
    return curve.equity / highs - 1


def _drawn(curve: Curve, line: dict[str, object], group: str, points: int) -> list[dict[str, object]]:
    by = thin.step(len(curve.ts), points)
    shared = {
        "type": "scatter",
        "mode": "lines",
        "x": times(thin.last(curve.ts, by)),
        "name": label(curve.name),
        "legendgroup": group,
        "line": line,
    }
    below = packed(thin.lowest(drawdown(curve), by), "<f4")
    return [
        {**shared, "y": packed(thin.last(curve.equity, by)), "yaxis": axis(0), "hovertemplate": "%{y:,.2f}"},
        {**shared, "y": below, "yaxis": axis(1), "hovertemplate": "%{y:.2%}", "showlegend": False},
    ]
