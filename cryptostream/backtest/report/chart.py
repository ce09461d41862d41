"""What a chart is to plotly.js: data, layout and nothing of its colours, which the page sets for light and dark."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptostream.backtest.block import Floats, Ints

COLOURS = ("#2f7ed8", "#d9822b", "#8e5cc9", "#1a9e8f", "#c43d6b", "#8a7a1f", "#4c6ef5", "#a0522d")
"""Of lines, in turn: each stands out on white and on black."""
DASHES = ("solid", "dot", "dash", "dashdot", "longdash")
MUTED = "#8a8f98"
_GAP_PX = 22
_TOP_PX = 8
_BOTTOM_PX = 34


@dataclass(slots=True)
class Chart:
    """One chart: `name` is its id in the page, `title` what it shows, in words."""

    name: str
    title: str
    height: int
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    """Without its height, which is that of its place in the page."""
    keys: bool = field(default=True)
    """Whether there is a time to move along."""


def packed(values: Floats | Ints | NDArray[np.bool_], kind: str = "<f8") -> dict[str, str]:
    """A column as plotly.js reads it fastest. `<f4` for what is only looked at."""
    column = np.ascontiguousarray(values, dtype=kind)
    return {"dtype": kind[1:], "bdata": b64encode(column.tobytes()).decode()}


def times(us: Ints) -> dict[str, str]:
    """Microseconds as milliseconds, which plotly.js takes for UTC."""
    return packed(us / 1_000)


def stacked(heights: Sequence[int], titles: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Panes under each other with one time below them all: the height of the whole in pixels, and the layout.

    The legend stands where the title of the first pane would. The first pane is `y`, the next `y2`, and so on.
    """
    plot = sum(heights) + _GAP_PX * (len(heights) - 1)
    layout: dict[str, Any] = {"annotations": [], **_frame()}
    top = plot
    for place, (height, title) in enumerate(zip(heights, titles, strict=True)):
        domain = [max(0.0, (top - height) / plot), top / plot]
        layout[f"yaxis{_nth(place)}"] = {"domain": domain, "automargin": True, "anchor": "x"}
        layout["annotations"] += [_titled(title, domain[1])] if title else []
        top -= height + _GAP_PX
    layout["xaxis"] = {"type": "date", "anchor": f"y{_nth(len(heights) - 1)}", "rangeslider": {"visible": False}}
    return plot + _TOP_PX + _BOTTOM_PX + _GAP_PX, layout


def flat(height: int = 320) -> tuple[int, dict[str, Any]]:
    """One pane without a time."""
    return height, _frame()


def axis(place: int) -> str:
    """What a trace calls the pane that it is in."""
    return f"y{_nth(place)}"


def _nth(place: int) -> str:
    return str(place + 1) if place else ""


def _frame() -> dict[str, Any]:
    return {
        "margin": {"l": 8, "r": 8, "t": _TOP_PX + _GAP_PX, "b": _BOTTOM_PX},
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "showlegend": True,
        "barmode": "overlay",
        "bargap": 0.1,
        "dragmode": "zoom",
    }


def _titled(title: str, y: float) -> dict[str, Any]:
    return {
        "text": title,
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": y,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
    }
