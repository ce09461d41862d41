"""The parts of a report, from its head to the trades of the last pair; each adds its charts to those of the page."""

from collections.abc import Iterator, Sequence

from cryptostream.backtest.report import candles, curves, thin, trips, varied
from cryptostream.backtest.report.chart import Chart
from cryptostream.backtest.report.markup import Cell, escaped, facts, table
from cryptostream.backtest.report.words import BY_FIELD, ROWS, UNKNOWN, count, length, plain, when
from cryptostream.backtest.result import PairResult, Result
from cryptostream.backtest.sweep import Params, Sweep
from cryptostream.backtest.walk import Walk, Window

MOST_CANDLES = 5_000
"""Candles of a pair that are drawn, where there are not too many pairs."""
MOST_PAIRS = 30
"""Pairs that have a chart."""
_CHARTS_BYTES = 2_000_000
"""What all candles and indicators together may take: plotly.js takes 4.8 MB of a page below 10 MB."""
_CANDLE_BYTES, _INDICATOR_BYTES = 75, 17
_FEWEST_CANDLES = 100
_FILLS = 4_000
"""Fills that are drawn of all strategies and pairs together."""
_TRIPS = 1_000
"""Rows at either end of all lists of trades together."""
_MARKS = (
    "A triangle up is bought, down is sold; a hollow one closed the position. Shaded: trades are missing. "
    "Indicators that stay near the price (within a quarter of it, and of its range) are drawn over it, others below."
)
_KEYS = "A chart that has the focus is moved with ← and →, + and − show less and more of the time, 0 shows all."
_PAIR_FIELDS = ("total_return", "sharpe", "max_drawdown", "trips", "win_rate", "profit_factor", "exposure", "fees")


def title(result: Result) -> str:
    """What was tried on what."""
    names = ", ".join(curve.name for curve in result.curves)
    pairs = [pair.pair for pair in result.pairs]
    where = ", ".join(pairs) if len(pairs) <= 3 else f"{len(pairs)} pairs"
    return f"{names or 'no strategy'} on {where or 'nothing'}"


def sections(result: Result, sweep: Sweep | None, walk: Sequence[Walk], charts: list[Chart]) -> Iterator[str]:
    """The body of the page."""
    drawn = result.pairs[:MOST_PAIRS]
    yield _header(result)
    yield _contents(drawn, sweep, walk)
    yield "<main>"
    yield _figures(result)
    yield _equity(result, charts)
    if sweep is not None:
        yield _sweep(sweep, charts)
    for nth, each in enumerate(walk):
        yield _walk(each, nth, charts)
    for nth, pair in enumerate(drawn):
        yield _pair(pair, nth, len(drawn), charts)
    if len(result.pairs) > len(drawn):
        yield f'<p class="said">{len(result.pairs) - len(drawn):,} more pairs have no chart here.</p>'
    yield "</main>"


def _header(result: Result) -> str:
    of = result.benchmark.figures
    bars = max((len(pair.candles.close) for pair in result.pairs), default=0)
    told = [
        ("source", result.source),
        ("period", f"{when(of.start, seconds=False)} to {when(of.end, seconds=False)} UTC" if of.end else UNKNOWN),
        ("length", length((of.end - of.start) / 1e6)),
        ("bars", f"{result.bars}, {bars:,} of a pair" if len(result.pairs) > 1 else f"{result.bars}, {bars:,}"),
        ("trades", count(sum(pair.trades for pair in result.pairs))),
        ("gaps", count(sum(pair.gaps for pair in result.pairs))),
        *((name.replace("_", " "), plain(value)) for name, value in result.terms.items()),
    ]
    params = [(name, _written(told)) for name, told in result.params.items()]
    notes = "".join(f"<li>{escaped(note)}</li>" for note in result.notes)
    return (
        f"<header><p>Backtest</p><h1>{escaped(title(result))}</h1>{facts(told)}"
        + (f'<div class="params">{facts(params)}</div>' if params else "")
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
        + "</header>"
    )


def _written(params: dict[str, object]) -> str:
    return ", ".join(f"{name} {plain(value)}" for name, value in params.items()) or "no parameters"


def _contents(pairs: Sequence[PairResult], sweep: Sweep | None, walk: Sequence[Walk]) -> str:
    links = [("figures", "Figures"), ("equity", "Equity")]
    links += [("sweep", "Sweep")] if sweep is not None else []
    links += [("walk-0", "Walk-forward")] if walk else []
    links += [(f"pair-{nth}", pair.pair) for nth, pair in enumerate(pairs)]
    listed = "".join(f'<a href="#{name}">{escaped(title)}</a>' for name, title in links)
    return f'<nav aria-label="Sections">{listed}</nav>'


def _figures(result: Result) -> str:
    curves_shown = [*result.curves, result.benchmark]
    rows: list[list[Cell | str]] = [
        [row.label, *(Cell(row.of(curve.figures)) for curve in curves_shown)] for row in ROWS
    ]
    made = table(["", *(curve.name for curve in curves_shown)], rows, name="Figures")
    period = length(result.benchmark.figures.period_s)
    said = f"Returns are taken each {escaped(period)} and annualised by a year of 365 days. {UNKNOWN}: cannot be said."
    of_pairs = _of_pairs(result) if len(result.pairs) > 1 else ""
    return f'<section id="figures"><h2>Figures</h2>{made}<p class="said">{said}</p>{of_pairs}</section>'


def _of_pairs(result: Result) -> str:
    shown = [BY_FIELD[name] for name in _PAIR_FIELDS]
    rows: list[list[Cell | str]] = []
    for pair in result.pairs:
        for strategy in pair.books:
            figures = result.of_pairs.get((strategy, pair.pair))
            rows.append([pair.pair, strategy, *(Cell(row.of(figures), row.value(figures)) for row in shown)])
    heads = ["pair", "strategy", *(row.label for row in shown)]
    return f"<h3>By pair</h3>{table(heads, rows, name='Figures by pair', sortable=True)}"


def _equity(result: Result, charts: list[Chart]) -> str:
    made = curves.equity(result.curves, result.benchmark)
    charts.append(made)
    points = max((len(curve.ts) for curve in (*result.curves, result.benchmark)), default=0)
    by = thin.step(points, curves.most(len(result.curves) + 1))
    said = [f"{points:,} marks are drawn by {by:,} at a time, drawdowns at their deepest."] if by > 1 else []
    return f'<section id="equity"><h2>Equity</h2>{_placed(made, said)}<p class="said" id="keys">{_KEYS}</p></section>'


def _placed(chart: Chart, said: Sequence[str] = ()) -> str:
    keys = ' aria-describedby="keys"' if chart.keys else ""
    told = f'<p class="said">{escaped(" ".join(said))}</p>' if said else ""
    return (
        f'<div class="chart" id="{chart.name}" style="height:{chart.height}px" tabindex="0" role="group"{keys} '
        f'aria-label="{escaped(chart.title)}"><noscript>This chart needs JavaScript.</noscript></div>{told}'
    )


def _sweep(sweep: Sweep, charts: list[Chart]) -> str:
    parts = []
    for nth, strategy in enumerate(varied.strategies(sweep)):
        made = varied.chart(sweep, strategy, f"chart-sweep-{nth}")
        if made is not None:
            charts.append(made)
        parts.append(f"<h3>{escaped(strategy)}</h3>{_placed(made) if made is not None else ''}")
        parts.append(f'<p class="said">{escaped(varied.said(sweep, strategy))}</p>')
        rows = varied.rows(sweep, strategy)
        parts.append(table(varied.columns(sweep, strategy), rows, name=f"Sweep of {strategy}", sortable=True))
    return f'<section id="sweep"><h2>Sweep</h2>{"".join(parts)}</section>'


def _walk(walk: Walk, nth: int, charts: list[Chart]) -> str:
    made = curves.equity([walk.curve], None, name=f"chart-walk-{nth}")
    charts.append(curves.marked(made, [each.window.test_start for each in walk.steps]))
    figure = BY_FIELD[walk.figure]
    heads = [
        "trained on",
        "tested on",
        "chosen",
        f"{figure.label}, trained",
        f"{figure.label}, tested",
        "return, tested",
    ]
    rows = [
        [_span(each.window, tested=False), _span(each.window, tested=True), _chosen(each.chosen)]
        + [Cell(row.of(told), row.value(told)) for row, told in ((figure, each.train), (figure, each.test))]
        + [Cell(BY_FIELD["total_return"].of(each.test), BY_FIELD["total_return"].value(each.test))]
        for each in walk.steps
    ]
    said = f"Windows of {walk.spec}, chosen by {figure.label}. Only the tests are in the curve, one after the other."
    whole = facts((row.label, row.of(walk.curve.figures)) for row in ROWS)
    return (
        f'<section id="walk-{nth}"><h2>Walk-forward: {escaped(walk.strategy)}</h2>{whole}{_placed(made, [said])}'
        f"{table(heads, rows, name='Windows of the walk', sortable=True)}</section>"
    )


def _span(window: Window, *, tested: bool) -> str:
    first, last = (window.test_start, window.test_end) if tested else (window.train_start, window.train_end)
    return f"{when(first, seconds=False)} to {when(last, seconds=False)}"


def _chosen(params: Params | None) -> str:
    return "nothing" if params is None else _written(dict(params))


def _pair(pair: PairResult, nth: int, drawn: int, charts: list[Chart]) -> str:
    books = drawn * max(1, len(pair.books))
    by = thin.step(len(pair.candles.close), _candles_of(pair, drawn))
    made, said = candles.chart(pair, f"chart-pair-{nth}", by=by, fills=max(50, _FILLS // books))
    charts.append(made)
    lists = "".join(trips.listed(book, max(10, _TRIPS // books)) for book in pair.books.values())
    return (
        f'<section id="pair-{nth}"><h2>{escaped(pair.pair)} <small>{escaped(pair.exchange)}</small></h2>'
        f'<p class="said">{pair.trades:,} trades, {len(pair.candles.close):,} bars, {pair.gaps:,} gaps. {_MARKS}</p>'
        f"{_placed(made, said)}{lists}</section>"
    )


def _candles_of(pair: PairResult, drawn: int) -> int:
    """How many candles of a pair are drawn, so that the page stays small."""
    indicators = sum(len(named) for named in pair.values.values())
    affordable = _CHARTS_BYTES // (drawn * (_CANDLE_BYTES + _INDICATOR_BYTES * indicators))
    return max(_FEWEST_CANDLES, min(MOST_CANDLES, affordable))
