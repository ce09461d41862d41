"""One pair: its candles and volume, where it was bought and sold, its indicators, and where data is missing."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cryptostream.backtest.block import Ints
from cryptostream.backtest.report import thin
from cryptostream.backtest.report.chart import COLOURS, DASHES, Chart, axis, packed, stacked, times
from cryptostream.backtest.report.markup import label
from cryptostream.backtest.report.panes import Line, Panes, arranged
from cryptostream.backtest.report.words import money, price
from cryptostream.backtest.result import Book, Candles, Fill, PairResult

MOST_PANES = 8
_PRICE_PX, _VOLUME_PX, _PANE_PX = 380, 70, 110
_BUY, _SELL = "#1a9e77", "#d1495b"
_MS_US = 1_000


def chart(pair: PairResult, name: str, *, by: int, fills: int) -> tuple[Chart, list[str]]:
    """The chart of a pair, each `by` bars drawn as one, with so many of the newest fills of each strategy.

    And what is to be said about it.
    """
    panes = arranged(pair.candles, pair.values, MOST_PANES)
    drawn = thin.candles(pair.candles, by)
    heights = (_PRICE_PX, _VOLUME_PX, *(_PANE_PX for _ in panes.below))
    height, layout = stacked(heights, ("", "volume", *(label(stem, 40) for stem in panes.below)))
    if len(drawn.open_time):
        # The markers would widen it.
        layout["xaxis"]["range"] = _shown(drawn)
    data = [_candles(drawn), _volume(drawn), *_gaps(drawn, layout, len(heights))]
    data += _indicators(panes, drawn, by, len(pair.books) > 1)
    for place, book in enumerate(pair.books.values()):
        data += _fills(book, fills, COLOURS[place % len(COLOURS)], len(pair.books) > 1)
    title = f"{pair.pair}: candles, volume, fills and indicators over time"
    return Chart(name, title, height, data, layout), _said(pair, panes, by, fills)


def _shown(drawn: Candles) -> list[float]:
    half = _step_ms(drawn) / 2
    return [float(drawn.open_time[0] - half), float(drawn.open_time[-1] + half)]


def _step_ms(drawn: Candles) -> int:
    """From one candle to the next, mostly."""
    return max(1, int(np.median(np.diff(drawn.open_time)))) if len(drawn.open_time) > 1 else 60_000


def _candles(drawn: Candles) -> dict[str, Any]:
    return {
        "type": "candlestick",
        "name": "price",
        "x": packed(drawn.open_time),
        "open": packed(drawn.open),
        "high": packed(drawn.high),
        "low": packed(drawn.low),
        "close": packed(drawn.close),
        "yaxis": axis(0),
        "showlegend": False,
    }


def _volume(drawn: Candles) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": "volume",
        "x": packed(drawn.open_time),
        "y": packed(drawn.volume, "<f4"),
        "yaxis": axis(1),
        "showlegend": False,
        "hovertemplate": "%{y:,.6~g}",
    }


def _gaps(drawn: Candles, layout: dict[str, Any], panes: int) -> list[dict[str, Any]]:
    """Stretches with missing trades, shaded on an axis of their own that fills the pane of the price."""
    if not drawn.gap.any():
        return []
    starts, ends = _stretches(drawn)
    own = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    layout[f"yaxis{panes + 1}"] = own
    trace = {
        "type": "bar",
        "name": "missing trades",
        "x": packed((starts + ends) / 2),
        "y": packed(np.ones(len(starts)), "<f4"),
        "width": packed((ends - starts).astype(np.float64)),
        "yaxis": axis(panes),
        "hoverinfo": "skip",
        "meta": "gap",
        "legendrank": 2_000,
    }
    return [trace]


def _stretches(drawn: Candles) -> tuple[Ints, Ints]:
    """Where bars with a gap begin and end, in milliseconds; those next to each other are one."""
    edges = np.diff(drawn.gap.astype(np.int8), prepend=0, append=0)
    first, last = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    half = _step_ms(drawn) // 2
    return drawn.open_time[first] - half, drawn.open_time[last] + half


def _indicators(panes: Panes, drawn: Candles, by: int, several: bool) -> list[dict[str, Any]]:
    placed = [(line, 0) for line in panes.over]
    for place, lines in enumerate(panes.below.values()):
        placed += [(line, place + 2) for line in lines]
    return [_indicator(line, pane, drawn, by, nth, several) for nth, (line, pane) in enumerate(placed)]


def _indicator(line: Line, pane: int, drawn: Candles, by: int, nth: int, several: bool) -> dict[str, Any]:
    colour = COLOURS[nth % len(COLOURS)]
    values = np.where(np.isfinite(line.values), line.values, np.nan)
    shared: dict[str, Any] = {
        "name": label(f"{line.strategy}: {line.name}" if several and line.strategy else line.name, 60),
        "x": packed(drawn.open_time),
        "y": packed(thin.last(values, by), "<f4"),
        "yaxis": axis(pane),
        "hovertemplate": "%{y:,.6~g}",
    }
    if line.as_bars:
        return {**shared, "type": "bar", "marker": {"color": colour}, "opacity": 0.6}
    dash = DASHES[nth // len(COLOURS) % len(DASHES)]
    return {**shared, "type": "scatter", "mode": "lines", "line": {"color": colour, "width": 1.3, "dash": dash}}


def _fills(book: Book, most: int, colour: str, several: bool) -> list[dict[str, Any]]:
    """A triangle up for what was bought, down for what was sold; hollow where it closed the position."""
    shown = book.fills[-most:]
    return [
        _marked([fill for fill in shown if fill.side == side], book, side, symbol, fill_colour, colour, several)
        for side, symbol, fill_colour in (("buy", "triangle-up", _BUY), ("sell", "triangle-down", _SELL))
        if any(fill.side == side for fill in shown)
    ]


def _marked(
    fills: Sequence[Fill], book: Book, side: str, symbol: str, colour: str, edge: str, several: bool
) -> dict[str, Any]:
    symbols = [symbol if fill.position else f"{symbol}-open" for fill in fills]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(f"{book.strategy}: {side}" if several else side, 60),
        "x": times(np.array([fill.ts for fill in fills], np.int64)),
        "y": packed(np.array([fill.price for fill in fills])),
        "text": [_told(fill) for fill in fills],
        "yaxis": axis(0),
        "hovertemplate": "%{text}",
        "marker": {
            "symbol": symbols,
            "size": 11,
            "color": colour,
            "line": {"width": 1.5, "color": edge if several else colour},
        },
        "legendrank": 900,
    }


def _told(fill: Fill) -> str:
    after = f"position {price(fill.position)}" if fill.position else "flat"
    told = f"{price(fill.qty)} at {price(fill.price)}, fee {money(fill.fee)}, then {after}"
    return f"{told}: {label(fill.reason)}" if fill.reason else told


def _said(pair: PairResult, panes: Panes, by: int, fills: int) -> list[str]:
    said = []
    if by > 1:
        said.append(f"{len(pair.candles.close):,} bars are drawn by {by:,} at a time.")
    said += [
        f"Of {len(book.fills):,} fills of {book.strategy} the newest {fills:,} are drawn."
        for book in pair.books.values()
        if len(book.fills) > fills
    ]
    if panes.left_out:
        said.append(f"Not drawn for want of room: {', '.join(panes.left_out)}.")
    return said
