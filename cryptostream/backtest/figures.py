"""How a backtest went, in the figures that people compare, by their standard definitions.

Equity is looked at at the end of each period (UTC, counted from the epoch: days end at midnight): the last mark at or
before it, the last period being that of the last mark. Returns are the relative changes from one to the next, the first
from the cash at the start; a year has 365 days. The definitions are those of Sharpe (1994), Sortino and Price (1994)
and Young (1991), with a risk-free rate and a wanted return of zero; the spread is that of a sample.
"""

from collections.abc import Iterable, Sequence
from math import isfinite, sqrt

import numpy as np

from cryptostream.backtest.block import Floats, Ints
from cryptostream.backtest.result import Book, Figures, Fill, Trip
from cryptostream.model.events import Micros

YEAR_S = 365 * 86_400.0
LEAST_S = 86_400.0
"""How long the data must be for growth a year to be told: what minutes grow to in a year is no figure."""
_SECOND_US = 1_000_000
_PERIODS = ((30 * 86_400.0, 86_400.0), (2 * 86_400.0, 3_600.0), (3_600.0, 60.0))
"""How long the data must be, and the period that is then taken; both in seconds."""


def of_book(book: Book, *, period_s: float | None = None) -> Figures:
    """The figures of one strategy on one pair."""
    return figures(book.ts, book.equity, book.cash, book.trips, book.fills, len(book.signals), period_s=period_s)


@np.errstate(over="ignore", invalid="ignore")
def figures(
    ts: Ints,
    equity: Floats,
    cash: float,
    trips: Sequence[Trip],
    fills: Sequence[Fill],
    signals: int,
    *,
    period_s: float | None = None,
) -> Figures:
    """Figures of an equity that was marked at these times (microseconds), and of what was traded.

    A mark that is older than the one before it, as trades now and then are, counts as being of that one's time.

    A period is a day where there are 30 days of data, an hour from two days on, a minute from one hour on, and else a
    second, unless told. What cannot be said is None: ratios with fewer than two returns or where nothing ever changed
    or was lost, growth a year over less than a day, and whatever is too large for a number.
    """
    ts = np.maximum.accumulate(ts)
    start, end = (Micros(int(ts[0])), Micros(int(ts[-1]))) if len(ts) else (Micros(0), Micros(0))
    period_s = period_s or default_period_s((end - start) / _SECOND_US)
    at_ends = sampled(ts, equity, cash, period_s)
    changes = returns(at_ends)
    a_year = YEAR_S / period_s
    grown = _growth(at_ends, a_year) if (len(at_ends) - 1) * period_s >= LEAST_S else None
    deepest, longest_s = drawdown(ts, equity, cash)
    final = float(equity[-1]) if len(equity) else cash
    won, lost = _won_and_lost(trips)
    return Figures(
        start=start,
        end=end,
        period_s=period_s,
        cash=cash,
        final=final,
        total_return=final / cash - 1 if cash else 0.0,
        cagr=grown,
        volatility=_volatility(changes, a_year),
        sharpe=_sharpe(changes, a_year),
        sortino=_sortino(changes, a_year),
        max_drawdown=deepest,
        max_drawdown_s=longest_s,
        calmar=_said(grown / -deepest) if grown is not None and deepest < 0 else None,
        trips=len(trips),
        win_rate=sum(trip.pnl > 0 for trip in trips) / len(trips) if trips else None,
        profit_factor=_said(won / lost) if lost > 0 else None,
        exposure=_exposure(trips, start, end),
        turnover=_turnover(fills, equity),
        fees=float(sum(fill.fee for fill in fills)),
        signals=signals,
        fills=len(fills),
    )


def default_period_s(span_s: float) -> float:
    """The period of the returns where none is told: at least thirty of them, where there is half a minute of data.

    >>> default_period_s(365 * 86_400), default_period_s(3 * 86_400), default_period_s(7_200), default_period_s(60)
    (86400.0, 3600.0, 60.0, 1.0)
    """
    return next((period_s for least_s, period_s in _PERIODS if span_s >= least_s), 1.0)


def sampled(ts: Ints, equity: Floats, cash: float, period_s: float) -> Floats:
    """The cash at the start, then the equity at the end of each period, from that of the first mark on."""
    if not len(ts):
        return np.array([cash])
    period_us = round(period_s * _SECOND_US)
    # A mark right at the end of a period is the last of that period.
    first, last = (int(ts[0]) - 1) // period_us, (int(ts[-1]) - 1) // period_us
    ends = np.arange(first + 1, last + 2, dtype=np.int64) * period_us
    return np.concatenate(([cash], equity[np.searchsorted(ts, ends, side="right") - 1]))


def returns(at_ends: Floats) -> Floats | None:
    """The relative changes; None where there was nothing left to change."""
    if len(at_ends) < 2 or at_ends[:-1].min() <= 0:
        return None
    changes: Floats = np.diff(at_ends) / at_ends[:-1]
    return changes


def drawdown(ts: Ints, equity: Floats, cash: float) -> tuple[float, float]:
    """The deepest fall from a high, as a share of it, and the longest time from a high to when it was reached again.

    The first is zero or below, the second in seconds, to the end where it was not reached again. Every mark counts, and
    the cash at the start.
    """
    if not len(ts):
        return 0.0, 0.0
    times, values = np.concatenate((ts[:1], ts)), np.concatenate(([cash], equity))
    highs = np.maximum.accumulate(values)
    at_high = np.flatnonzero(values == highs)
    under = np.diff(np.append(at_high, len(values) - 1)) > 1
    under[-1] = values[-1] < highs[-1]
    until = np.append(at_high[1:], len(values) - 1)
    longest_us = int(((times[until] - times[at_high]) * under).max())
    return float(((values - highs) / highs).min()), longest_us / _SECOND_US


def _growth(at_ends: Floats, a_year: float) -> float | None:
    if len(at_ends) < 2 or at_ends[-1] < 0:
        return None
    try:
        return _said(float(at_ends[-1] / at_ends[0]) ** (a_year / (len(at_ends) - 1)) - 1)
    except OverflowError:
        return None


def _spread(changes: Floats | None) -> float | None:
    """The standard deviation of a sample: 0 where all are equal, which rounding would hide."""
    if changes is None or len(changes) < 2:
        return None
    return 0.0 if changes.min() == changes.max() else _said(float(np.std(changes, ddof=1)))


def _volatility(changes: Floats | None, a_year: float) -> float | None:
    spread = _spread(changes)
    return None if spread is None else _said(spread * sqrt(a_year))


def _sharpe(changes: Floats | None, a_year: float) -> float | None:
    spread = _spread(changes)
    if changes is None or not spread:
        return None
    return _said(float(changes.mean()) / spread * sqrt(a_year))


def _sortino(changes: Floats | None, a_year: float) -> float | None:
    if changes is None or len(changes) < 2:
        return None
    downside = float(np.sqrt(np.mean(np.square(np.minimum(changes, 0.0)))))
    return _said(float(changes.mean()) / downside * sqrt(a_year)) if downside else None


def _won_and_lost(trips: Iterable[Trip]) -> tuple[float, float]:
    won = lost = 0.0
    for trip in trips:
        if trip.pnl > 0:
            won += trip.pnl
        else:
            lost -= trip.pnl
    return won, lost


def _exposure(trips: Sequence[Trip], start: Micros, end: Micros) -> float:
    """The share of the time in which anything was held; two positions at once count once."""
    held, until = 0, start
    for opened, closed in sorted((trip.opened, end if trip.closed is None else trip.closed) for trip in trips):
        held += max(0, min(closed, end) - max(opened, until))
        until = max(until, closed)
    return held / (end - start) if end > start else 0.0


def _turnover(fills: Iterable[Fill], equity: Floats) -> float:
    mean = float(equity.mean()) if len(equity) else 0.0
    traded = sum(fill.price * fill.qty for fill in fills)
    return traded / mean if mean > 0 else 0.0


def _said(value: float) -> float | None:
    return value if isfinite(value) else None
