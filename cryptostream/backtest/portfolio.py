"""Several pairs as one: what a strategy made of all its cash, beside buying everything at the start and holding it."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cryptostream.backtest.block import Floats, Ints
from cryptostream.backtest.figures import LEAST_S, figures, of_book
from cryptostream.backtest.result import Book, Curve, PairResult, Result
from cryptostream.backtest.run import BENCHMARK
from cryptostream.backtest.terms import Terms
from cryptostream.errors import UsageError

Equity = tuple[Ints, Floats]
_TOLD = 10
"""Pairs that are told by their names."""


def result(
    pairs: Sequence[PairResult],
    *,
    source: str,
    bars: str,
    terms: Terms,
    params: Mapping[str, Mapping[str, object]],
    notes: Iterable[str] = (),
) -> Result:
    """All pairs and strategies together.

    Each pair was run with its share of the cash, and `terms` are those of all pairs together. The benchmark gives each
    pair the same share, buys because of its first bar by the same rules and costs as everybody, and holds.

    Raises UsageError where a pair comes twice.
    """
    _check(pairs)
    by_strategy = {name: [pair.books[name] for pair in pairs if name in pair.books] for name in _strategies(pairs)}
    return Result(
        source=source,
        bars=bars,
        terms=terms.told(),
        params={name: dict(each) for name, each in params.items()},
        pairs=list(pairs),
        curves=[curve(name, books) for name, books in by_strategy.items()],
        benchmark=curve(BENCHMARK, [pair.benchmark for pair in pairs if pair.benchmark is not None]),
        of_pairs={(name, book.pair): of_book(book) for name, books in by_strategy.items() for book in books},
        notes=(*notes, *_without(pairs), *_short(pairs), *_notes([each for of in by_strategy.values() for each in of])),
    )


def curve(name: str, books: Sequence[Book]) -> Curve:
    """The equity of several books together, marked whenever one of them is; its figures are of all of them."""
    ts, equity = merged([(book.ts, book.equity, book.cash) for book in books])
    trips = sorted((trip for book in books for trip in book.trips), key=lambda trip: trip.opened)
    fills = [fill for book in books for fill in book.fills]
    signals = sum(len(book.signals) for book in books)
    return Curve(name, ts, equity, figures(ts, equity, sum(book.cash for book in books), trips, fills, signals))


def merged(marks: Sequence[tuple[Ints, Floats, float]]) -> Equity:
    """The sum of several equities, each as times, values, and the cash that it is before its first mark.

    The last value is carried on. Equities are added in pairs, and the sums in pairs, so that many of them are not added
    at every mark of every other.
    """
    if not marks:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    if len(marks) == 1:
        ts, equity, _ = marks[0]
        return np.maximum.accumulate(ts) if len(ts) else ts, equity
    half = len(marks) // 2
    return _added(_side(marks[:half]), _side(marks[half:]))


def _side(marks: Sequence[tuple[Ints, Floats, float]]) -> tuple[Ints, Floats, float]:
    return *merged(marks), sum(cash for _, _, cash in marks)


def _added(one: tuple[Ints, Floats, float], other: tuple[Ints, Floats, float]) -> Equity:
    ts = np.union1d(one[0], other[0])
    return ts, _carried(*one, ts) + _carried(*other, ts)


def _carried(ts: Ints, equity: Floats, cash: float, at: Ints) -> Floats:
    """The last value at or before each of these times."""
    values: Floats = np.concatenate(([cash], equity))[np.searchsorted(ts, at, side="right")]
    return values


def _strategies(pairs: Iterable[PairResult]) -> list[str]:
    return list(dict.fromkeys(name for pair in pairs for name in pair.books))


def _check(pairs: Sequence[PairResult]) -> None:
    names = [pair.pair for pair in pairs]
    for name in names:
        if names.count(name) > 1:
            streams = ", ".join(pair.stream for pair in pairs if pair.pair == name)
            raise UsageError(f"{name} comes twice: {streams}", hint="backtest them one after the other")


def is_empty(pair: PairResult) -> bool:
    """Whether there was nothing to run on: no trade and no bar."""
    return not pair.trades and not any(len(book.ts) for book in pair.books.values())


def _without(pairs: Sequence[PairResult]) -> Iterable[str]:
    """Said of pairs that there is nothing of, where there is something of others."""
    names = [pair.pair for pair in pairs if is_empty(pair)]
    if names and len(names) < len(pairs):
        more = f" and {len(names) - _TOLD:,} more" if len(names) > _TOLD else ""
        yield f"there is nothing of {', '.join(names[:_TOLD])}{more}: that share of the cash was not used"


def _short(pairs: Sequence[PairResult]) -> Iterable[str]:
    """Said of data that is too short for what is told of a year."""
    times = [int(book.ts[place]) for pair in pairs for book in pair.books.values() if len(book.ts) for place in (0, -1)]
    if times and (max(times) - min(times)) / 1e6 < LEAST_S:
        yield "less than a day of data: what is annualised (volatility, Sharpe, Sortino) says little"


def _notes(books: Iterable[Book]) -> Iterable[str]:
    for book in books:
        if book.ruined is not None:
            yield f"{book.strategy} on {book.pair} lost all its equity and stopped trading"
        if book.unfilled:
            yield f"{book.strategy} on {book.pair} had an order that the data ended before it was filled"
