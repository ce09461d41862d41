"""A walk-forward at work: the best parameters of one stretch are traded on the next, warmed up by what came before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptostream.backtest import sweep as sweeping
from cryptostream.backtest import walk as walking
from cryptostream.backtest.result import Book, Result
from cryptostream.backtest.walk import Step, Walk, Window
from cryptostream.cli.advancing import advancing
from cryptostream.cli.backtesting import (
    Combinations,
    Made,
    Series,
    Wanted,
    once,
    result_of,
    sweep,
    tasks_of,
    worked,
    worth,
)
from cryptostream.cli.jobs import run_all
from cryptostream.errors import DataQuality, UsageError
from cryptostream.wiring.backtests import cut


def walk(what: Combinations, series: Sequence[Series], spec: str, wanted: Wanted) -> Made:
    """Walk through the data, window by window; the run that is shown has what the last window chose.

    Raises UsageError, DataQuality.
    """
    if len(what.wishes) > 1:
        raise UsageError("a walk takes one strategy", hint="walk them one after the other")
    name = what.wishes[0].label
    first, last = _extent(series, wanted)
    windows = walking.windows(spec, first, last + 1)
    alone = replace(wanted, jobs=1)
    asked = [_Asked(what, series, window, alone) for window in windows]
    with advancing("walking") as seen:
        walked = run_all(worth(wanted.jobs, series, len(windows) * len(what.every)), asked, step, seen)
    tests = [test for _, test in walked if test is not None]
    chosen = [step.chosen for step, _ in walked if step.chosen is not None]
    if not tests:
        raise UsageError(f"no window has a {wanted.by} to choose by", hint="take longer windows, or another --by")
    done = Walk(spec, wanted.by, name, [step for step, _ in walked], walking.combine(tests, name))
    return Made(once(what.roster(chosen[-1]), series, wanted), walk=done)


@dataclass(frozen=True)
class _Asked:
    """One window of a walk, as a task."""

    what: Combinations
    series: Sequence[Series]
    window: Window
    wanted: Wanted


def step(asked: _Asked) -> tuple[Step, Result | None]:
    """Choose on the first part of a window, trade the second."""
    what, series, window, wanted = asked.what, asked.series, asked.window, asked.wanted
    name = what.wishes[0].label
    learnt = sweep(what, series, replace(wanted, start=window.train_start, end=window.train_end))
    best = sweeping.best(learnt.cells, wanted.by)
    if best is None:
        return Step(window, None, None, None), None
    roster = what.roster(best.params)
    both = replace(wanted, start=window.train_start, end=window.test_end)
    tasks = [replace(task, quiet_until=window.test_start) for task in tasks_of(roster, series, both, charts=False)]
    pairs = [replace(pair, books={name: _heard(pair.books[name], window.test_start)}) for pair in map(worked, tasks)]
    test = result_of(pairs, roster, series, wanted)
    return Step(window, best.params, best.figures, test.curves[0].figures), test


def _heard(book: Book, since_us: int) -> Book:
    """A book from the time on from which its strategy was heard."""
    known = book.ts >= since_us
    return replace(book, ts=book.ts[known], equity=book.equity[known], position=book.position[known])


def _extent(series: Sequence[Series], wanted: Wanted) -> tuple[int, int]:
    """The first and the last time there is, in microseconds. Raises DataQuality where there is nothing.

    The first is that of a whole millisecond. So are then the ends of windows, and a stretch is cut by entry ids, which
    have no more: inside of a millisecond, a training would end with trades of its test.
    """
    ends: list[int] = []
    for one in series:
        found = cut(one, wanted.start, wanted.end)
        if hasattr(found, "blocks"):
            for block in found.blocks():
                ends += [int(block.ts[0]), int(block.ts[-1])]
        else:
            ends += [bar.close_time * 1_000 for bar in found.bars()]
    if not ends:
        raise DataQuality("there is nothing between these times")
    return min(ends) // 1_000 * 1_000, max(ends)
