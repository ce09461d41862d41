"""A sweep: two parameters make a heat map, one a line, and all of them a table."""

from collections.abc import Sequence
from typing import Any

from cryptostream.backtest.report.chart import COLOURS, Chart, flat
from cryptostream.backtest.report.markup import Cell as Shown
from cryptostream.backtest.report.markup import label
from cryptostream.backtest.report.words import BY_FIELD, UNKNOWN, Row, plain
from cryptostream.backtest.sweep import Cell, Param, Sweep, ranked

MOST = 100
"""Rows of the table: the best."""
_WRITTEN_UP_TO = 400
"""Cells of a heat map that have their figure written in them."""
_TOLD = ("total_return", "sharpe", "max_drawdown", "trips", "profit_factor")


def strategies(sweep: Sweep) -> list[str]:
    """Those that were swept, in the order of their first cell."""
    return list(dict.fromkeys(cell.strategy for cell in sweep.cells))


def params(sweep: Sweep, strategy: str) -> list[Param]:
    """Those of a strategy."""
    told = {name for cell in sweep.cells if cell.strategy == strategy for name in cell.params}
    return [param for param in sweep.params if param.name in told]


def chart(sweep: Sweep, strategy: str, name: str) -> Chart | None:
    """How a figure changed with one or two parameters; None for none or more of them."""
    varied = [param for param in params(sweep, strategy) if len(param.values) > 1]
    cells = [cell for cell in sweep.cells if cell.strategy == strategy]
    row = BY_FIELD[sweep.figure]
    if len(varied) == 1:
        return _line(varied[0], cells, row, name)
    return _heat(varied[0], varied[1], cells, row, name) if len(varied) == 2 else None


def _line(param: Param, cells: Sequence[Cell], row: Row, name: str) -> Chart:
    height, layout = flat()
    layout["xaxis"] = {"title": {"text": label(param.name)}, "type": "category", "automargin": True}
    layout["yaxis"] = {"title": {"text": row.label}, "automargin": True}
    layout |= {"showlegend": False, "hovermode": "closest"}
    by_value = {plain(cell.params.get(param.name)): row.value(cell.figures) for cell in cells}
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [label(value) for value in by_value],
        "y": list(by_value.values()),
        "line": {"color": COLOURS[0]},
        "hovertemplate": "%{x}: %{y:.4~g}<extra></extra>",
    }
    return Chart(name, f"{row.label} by {param.name}", height, [trace], layout, keys=False)


def _heat(across: Param, down: Param, cells: Sequence[Cell], row: Row, name: str) -> Chart:
    height, layout = flat(max(320, 26 * len(down.values) + 120))
    layout["xaxis"] = {"title": {"text": label(across.name)}, "type": "category", "automargin": True}
    layout["yaxis"] = {"title": {"text": label(down.name)}, "type": "category", "automargin": True}
    layout |= {"showlegend": False, "hovermode": "closest"}
    found = {(plain(each.params.get(across.name)), plain(each.params.get(down.name))): each for each in cells}
    columns, rows = [plain(value) for value in across.values], [plain(value) for value in down.values]
    grid = [[found.get((column, line)) for column in columns] for line in rows]
    trace: dict[str, Any] = {
        "type": "heatmap",
        "x": [label(value) for value in columns],
        "y": [label(value) for value in rows],
        "z": [[None if cell is None else row.value(cell.figures) for cell in line] for line in grid],
        "text": [[row.of(None if cell is None else cell.figures) for cell in line] for line in grid],
        "colorscale": "Viridis",
        "colorbar": {"title": {"text": row.label}, "thickness": 12},
        "hovertemplate": "%{x}, %{y}: %{text}<extra></extra>",
        "xgap": 1,
        "ygap": 1,
    }
    if len(columns) * len(rows) <= _WRITTEN_UP_TO:
        trace["texttemplate"] = "%{text}"
    title = f"{row.label} by {across.name} and {down.name}"
    return Chart(name, title, height, [trace], layout, keys=False)


def columns(sweep: Sweep, strategy: str) -> list[str]:
    """The heads of the table."""
    return [
        "",
        *(param.name for param in params(sweep, strategy)),
        *(BY_FIELD[name].label for name in _fields(sweep)),
        "note",
    ]


def rows(sweep: Sweep, strategy: str) -> list[list[Shown | str]]:
    """The best cells, best first."""
    cells = ranked([cell for cell in sweep.cells if cell.strategy == strategy], sweep.figure)
    names = [param.name for param in params(sweep, strategy)]
    return [_row(sweep, names, cell, place) for place, cell in enumerate(cells[:MOST], 1)]


def _row(sweep: Sweep, names: Sequence[str], cell: Cell, place: int) -> list[Shown | str]:
    values = [cell.params.get(name) for name in names]
    numbers = [float(value) if isinstance(value, int | float) else None for value in values]
    told = [Shown(plain(value), number) for value, number in zip(values, numbers, strict=True)]
    shown = [Shown(BY_FIELD[name].of(cell.figures), BY_FIELD[name].value(cell.figures)) for name in _fields(sweep)]
    return [str(place), *told, *shown, cell.why]


def _fields(sweep: Sweep) -> list[str]:
    return list(dict.fromkeys((sweep.figure, *_TOLD)))


def said(sweep: Sweep, strategy: str) -> str:
    """What the table leaves out, and why some cells are empty."""
    cells = [cell for cell in sweep.cells if cell.strategy == strategy]
    failed = sum(cell.figures is None for cell in cells)
    told = f"{len(cells):,} combinations, ranked by {BY_FIELD[sweep.figure].label}"
    more = f"; the best {MOST:,} are listed" if len(cells) > MOST else ""
    return f"{told}{more}." + (f" {failed:,} could not be run ({UNKNOWN})." if failed else "")
