"""A backtest at the terminal and in a pipe: figures as people read them, and the same figures to the last digit."""

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec

from cryptostream.backtest.report import thin, varied
from cryptostream.backtest.report.words import BY_FIELD, ROWS, Row, count, length, money, plain, when
from cryptostream.backtest.result import Curve, Figures, PairResult, Result
from cryptostream.backtest.sweep import Cell, Params, Sweep, ranked
from cryptostream.backtest.walk import Step, Walk
from cryptostream.cli import render

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_OF_PAIRS = ("total_return", "sharpe", "max_drawdown", "trips", "win_rate", "profit_factor", "fees")
_OF_CELLS = ("total_return", "sharpe", "max_drawdown", "trips")
_SPARK = 30
_MOST_CELLS = 20
"""Cells of a sweep at a terminal: the best."""


def answer(result: Result, *, sweep: Sweep | None = None, walk: Sequence[Walk] = ()) -> dict[str, Any]:
    """A backtest for a pipe. Figures have the names of their fields (`Figures`), unknown ones are None."""
    told: dict[str, Any] = {
        "source": result.source,
        "bars": result.bars,
        "terms": dict(result.terms),
        "params": {name: dict(params) for name, params in result.params.items()},
        "strategies": {curve.name: _figures(curve.figures) for curve in result.curves},
        "benchmark": {"name": result.benchmark.name, **_figures(result.benchmark.figures)},
        "pairs": [_pair(result, pair) for pair in result.pairs],
        "notes": list(result.notes),
    }
    if sweep is not None:
        told["sweep"] = {"figure": sweep.figure, "cells": [_cell(cell) for _, cells in _apart(sweep) for cell in cells]}
    if walk:
        told["walk"] = [_walk(each) for each in walk]
    return told


def _figures(figures: Figures) -> dict[str, Any]:
    told = msgspec.structs.asdict(figures)
    return {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in told.items()}


def _pair(result: Result, pair: PairResult) -> dict[str, Any]:
    found = {name: result.of_pairs.get((name, pair.pair)) for name in pair.books}
    return {
        "exchange": pair.exchange,
        "pair": pair.pair,
        "stream": pair.stream,
        "trades": int(pair.trades),
        "bars": len(pair.candles.close),
        "gaps": int(pair.gaps),
        "strategies": {name: _figures(figures) for name, figures in found.items() if figures is not None},
    }


def _apart(sweep: Sweep) -> Iterator[tuple[str, list[Cell]]]:
    """Each strategy and its cells, best first."""
    for strategy in varied.strategies(sweep):
        yield strategy, ranked([cell for cell in sweep.cells if cell.strategy == strategy], sweep.figure)


def _cell(cell: Cell) -> dict[str, Any]:
    figures = None if cell.figures is None else _figures(cell.figures)
    return {"strategy": cell.strategy, "params": dict(cell.params), "figures": figures, "why": cell.why or None}


def _walk(walk: Walk) -> dict[str, Any]:
    return {
        "spec": walk.spec,
        "figure": walk.figure,
        "strategy": walk.strategy,
        "figures": _figures(walk.curve.figures),
        "windows": [_step(step) for step in walk.steps],
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "train_start": step.window.train_start,
        "train_end": step.window.train_end,
        "test_start": step.window.test_start,
        "test_end": step.window.test_end,
        "chosen": None if step.chosen is None else dict(step.chosen),
        "train": None if step.train is None else _figures(step.train),
        "test": None if step.test is None else _figures(step.test),
    }


def sweep_rows(sweep: Sweep) -> list[dict[str, Any]]:
    """A row for each cell, strategy by strategy, best first: the strategy, its parameters by their names, every figure,
    and why there is none. A parameter that is called like a figure has `param.` before its name.
    """
    return [_sweep_row(sweep, cell) for _, cells in _apart(sweep) for cell in cells]


def _sweep_row(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    taken = {"strategy", "why", *Figures.__struct_fields__}
    names = {each.name: f"param.{each.name}" if each.name in taken else each.name for each in sweep.params}
    params = {shown: cell.params.get(name) for name, shown in names.items()}
    known = {} if cell.figures is None else _figures(cell.figures)
    figures = {name: known.get(name) for name in Figures.__struct_fields__}
    return {"strategy": cell.strategy, **params, **figures, "why": cell.why or None}


def walk_rows(walk: Walk) -> list[dict[str, Any]]:
    """A row for each window: when it was (microseconds), what it chose, how that went where it was chosen and after."""
    rows = []
    for step in walk.steps:
        told = _step(step)
        train, test = told.pop("train") or {}, told.pop("test") or {}
        told["chosen"] = None if step.chosen is None else _written(step.chosen)
        told |= {f"train_{name}": train.get(name) for name in _compared(walk)}
        told |= {f"test_{name}": test.get(name) for name in _compared(walk)}
        rows.append({"strategy": walk.strategy, **told})
    return rows


def _compared(walk: Walk) -> list[str]:
    return list(dict.fromkeys((walk.figure, *_OF_CELLS)))


def _written(params: Params) -> str:
    return ", ".join(f"{name}={plain(value)}" for name, value in params.items())


def tables(result: Result, *, sweep: Sweep | None = None, walk: Sequence[Walk] = ()) -> "RenderableType":
    """A backtest for a terminal: figures side by side, each pair where there are several, and equity as a line."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_heading(result), Text(), _side_by_side(result)]
    if len(result.pairs) > 1:
        parts += [Text(), _by_pair(result)]
    parts += [Text(), _lines((*result.curves, result.benchmark))]
    if sweep is not None:
        for strategy, cells in _apart(sweep):
            parts += [Text(), _swept(sweep, strategy, cells)]
    for each in walk:
        parts += [Text(), _walked(each), _lines((each.curve,))]
    return Group(*parts, *(Text(f"note: {render.safe(note)}", style="yellow") for note in result.notes))


def _heading(result: Result) -> "Text":
    from rich.text import Text

    of = result.benchmark.figures
    pairs = render.safe(", ".join(pair.pair for pair in result.pairs[:6])) or "no pairs"
    more = f" and {len(result.pairs) - 6:,} more" if len(result.pairs) > 6 else ""
    period = (
        f"{when(of.start, seconds=False)} to {when(of.end, seconds=False)} UTC ({length((of.end - of.start) / 1e6)})"
    )
    counted = f"{count(sum(pair.trades for pair in result.pairs))} trades, bars {render.safe(result.bars)}"
    return Text.assemble((f"{pairs}{more}", "bold"), f"  {period}  {counted}")


def _side_by_side(result: Result) -> "Table":
    curves = (*result.curves, result.benchmark)
    made = _table("", *(curve.name for curve in curves))
    for row in ROWS:
        made.add_row(row.label, *(_shown(row, curve.figures) for curve in curves))
    return made


def _by_pair(result: Result) -> "Table":
    rows = [BY_FIELD[name] for name in _OF_PAIRS]
    made = _table("pair", *(row.label for row in rows), words=("strategy",))
    for pair in result.pairs:
        for name in pair.books:
            figures = result.of_pairs.get((name, pair.pair))
            made.add_row(render.safe(pair.pair), render.safe(name), *(_shown(row, figures) for row in rows))
    return made


def _swept(sweep: Sweep, strategy: str, ranks: Sequence[Cell]) -> "Table":
    shown = [BY_FIELD[name] for name in dict.fromkeys((sweep.figure, *_OF_CELLS))]
    cells = ranks[:_MOST_CELLS]
    params = varied.params(sweep, strategy)
    heads = [*(param.name for param in params), *(row.label for row in shown)]
    title = f"{len(ranks):,} runs, best first by {BY_FIELD[sweep.figure].label}"
    more = f", {len(cells)} of them" if len(ranks) > len(cells) else ""
    made = _table("strategy", *heads, title=title + more, notes=any(cell.why for cell in cells))
    for cell in cells:
        values = [render.safe(plain(cell.params.get(param.name))) for param in params]
        why = [render.safe(cell.why)] if any(each.why for each in cells) else []
        made.add_row(render.safe(cell.strategy), *values, *(_shown(row, cell.figures) for row in shown), *why)
    return made


def _walked(walk: Walk) -> "Table":
    figure = BY_FIELD[walk.figure]
    heads = (f"{figure.label}, trained", f"{figure.label}, tested", "return, tested")
    title = f"{walk.strategy} {walk.spec}: out of sample {BY_FIELD['total_return'].of(walk.curve.figures)}"
    made = _table("tested on", *heads, words=("chosen",), title=title)
    for step in walk.steps:
        span = f"{when(step.window.test_start, seconds=False)} to {when(step.window.test_end, seconds=False)}"
        chosen = "nothing" if step.chosen is None else render.safe(_written(step.chosen)) or "as it is"
        told = (_shown(figure, step.train), _shown(figure, step.test), _shown(BY_FIELD["total_return"], step.test))
        made.add_row(span, chosen, *told)
    return made


def _lines(curves: Iterable[Curve]) -> "Table":
    made = _table("equity", "lowest", "highest", "last", words=("over time",))
    made.columns[1].no_wrap, made.columns[1].overflow = True, "crop"
    for curve in curves:
        if len(curve.equity):
            made.add_row(render.safe(curve.name), *_line(curve))
    return made


def _line(curve: Curve) -> Iterator[str]:
    from cryptostream.cli.panel import spark

    yield spark(thin.last(curve.equity, thin.step(len(curve.equity), _SPARK)).tolist())
    yield from (money(float(value)) for value in (curve.equity.min(), curve.equity.max(), curve.equity[-1]))


def _shown(row: Row, figures: Figures | None) -> "Text":
    """A figure; a return in the colour of its sign."""
    from rich.text import Text

    value = row.value(figures)
    if row.field != "total_return" or not value:
        return Text(row.of(figures))
    return Text(row.of(figures), style="green" if value > 0 else "red")


def _table(first: str, *heads: str, words: Sequence[str] = (), title: str = "", notes: bool = False) -> "Table":
    """A table whose first columns are words, and the others numbers."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(render.safe(title)) if title else None, title_justify="left", box=None, pad_edge=False)
    for name in (first, *words):
        made.add_column(Text(render.safe(name), style="bold"), overflow="fold")
    for name in heads:
        made.add_column(Text(render.safe(name), style="bold"), justify="right")
    if notes:
        made.add_column(Text("note", style="bold"), overflow="fold")
    return made
