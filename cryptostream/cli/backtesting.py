"""Backtests at work: which strategies with which parameters, one run or a sweep or a walk, over processes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptostream.backtest import portfolio
from cryptostream.backtest import sweep as sweeping
from cryptostream.backtest.block import BarSeries, TradeSeries
from cryptostream.backtest.result import Figures, PairResult, Result
from cryptostream.backtest.run import Mode
from cryptostream.backtest.sweep import Cell, Param, Params, Sweep
from cryptostream.backtest.terms import Terms
from cryptostream.backtest.walk import Walk
from cryptostream.cli.advancing import Seen, advancing
from cryptostream.cli.jobs import run_all
from cryptostream.config import Config
from cryptostream.config.strategies import Wish, wish
from cryptostream.errors import UsageError
from cryptostream.registry import did_you_mean
from cryptostream.strategies import loading
from cryptostream.strategies.names import label
from cryptostream.wiring import roster as rosters
from cryptostream.wiring.backtests import Task, work
from cryptostream.wiring.roster import Roster

Series = TradeSeries | BarSeries
_WORTH = 2_000_000
"""Trades that one process has done by the time that another one has begun."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How a backtest is to be done."""

    terms: Terms
    mode: Mode
    jobs: int
    by: str
    source: str
    start: int | None = None
    end: int | None = None
    """Microseconds of the exchange's time, the end not included."""


@dataclass(frozen=True)
class Made:
    """What was done: one run, and around it a sweep or a walk where that was asked for."""

    result: Result
    sweep: Sweep | None = None
    walk: Walk | None = None


@dataclass(frozen=True)
class Combinations:
    """Strategies, and every set of parameters that they are to be run with."""

    wishes: Sequence[Wish]
    params: Sequence[Param]
    bars: str | None
    config: Config

    @property
    def every(self) -> list[Params]:
        return sweeping.grid(self.params)

    def only(self) -> Roster:
        """The strategies with their one set of parameters. Raises UsageError where there are several."""
        if len(self.every) > 1:
            raise UsageError("one set of parameters is looked at, and there are several", hint="give each one value")
        return self.roster(self.every[0])

    def roster(self, params: Params) -> Roster:
        """The strategies with these parameters. Raises UsageError."""
        paths = self.config.plugins.paths
        kinds = {each.label: loading.find(each.name, paths=paths) for each in self.wishes}
        known = {name: {one.name for one in loading.params(kind)} for name, kind in kinds.items()}
        told = sweeping.addressed(params, known)
        wishes = [each._replace(params={**each.params, **told[each.label]}) for each in self.wishes]
        for each in wishes:
            loading.make(each.name, each.params, paths=paths)
        return rosters.of(wishes, self.bars, paths)


def combinations(
    config: Config, names: Sequence[str], consumer: str | None, params: Sequence[str], bars: str | None
) -> Combinations:
    """Strategies by their names, or those of a configured consumer. Raises UsageError."""
    wishes = [Wish(name, {}, label(name)) for name in names]
    if consumer is not None:
        told = config.consumers.get(consumer)
        if told is None or not told.strategies:
            known = [name for name, one in config.consumers.items() if one.strategies]
            hint = did_you_mean(consumer, known) or f"consumers with strategies: {', '.join(known) or 'none'}"
            raise UsageError(f'no consumer "{consumer}" with strategies in the configuration', hint=hint)
        wishes += map(wish, told.strategies)
        bars = bars or told.bars
    if not wishes:
        raise UsageError("names no strategy", hint="--strategy macd_rsi; cryptostream list strategies shows them")
    labels = [each.label for each in wishes]
    if len(set(labels)) < len(labels):
        raise UsageError("a strategy is named twice", hint="a sweep compares parameters: --param rsi_period=7,14")
    return Combinations(wishes, [sweeping.parse_param(text) for text in params], bars, config)


def run(what: Combinations, series: Sequence[Series], wanted: Wanted) -> Made:
    """Run it: once, or once for each set of parameters and then with the best. Raises UsageError, DataQuality."""
    every, swept = what.every, None
    if len(every) > 1:
        swept = sweep(what, series, wanted)
        best = sweeping.best(swept.cells, wanted.by)
        every = [best.params if best else every[0]]
    return Made(once(what.roster(every[0]), series, wanted), swept)


def once(roster: Roster, series: Sequence[Series], wanted: Wanted) -> Result:
    """One run over every pair, with candles and indicators."""
    tasks = tasks_of(roster, series, wanted, charts=True)
    with advancing("running") as seen:
        pairs = _each(tasks, worth(wanted.jobs, series, 1), seen)
    return result_of(pairs, roster, series, wanted)


def result_of(pairs: Sequence[PairResult], roster: Roster, series: Sequence[Series], wanted: Wanted) -> Result:
    """All pairs together."""
    bars = getattr(series[0], "interval", "") or roster.bars.text
    return portfolio.result(pairs, source=wanted.source, bars=bars, terms=wanted.terms, params=roster.params)


def tasks_of(roster: Roster, series: Sequence[Series], wanted: Wanted, *, charts: bool) -> list[Task]:
    """A task for each pair, which gets its share of the cash."""
    terms = replace(wanted.terms, cash=wanted.terms.cash / len(series))
    return [Task(one, roster, terms, wanted.mode, charts=charts, start=wanted.start, end=wanted.end) for one in series]


def worth(jobs: int, series: Sequence[Series], times: int) -> int:
    """How many processes are worth their start, where the series are gone through so many times."""
    return jobs if sum(one.size for one in series) * times >= _WORTH else 1


def _each(tasks: Sequence[Task], jobs: int, seen: Seen) -> list[PairResult]:
    """Every pair; of a single process, the trades that it has done are told."""
    if min(jobs, len(tasks)) > 1:
        return run_all(jobs, tasks, work, seen)
    done, total = 0, sum(task.series.size for task in tasks)

    def count(more: int) -> None:
        nonlocal done
        done += more
        seen(done, max(done, total))

    return [work(task, count) for task in tasks]


def sweep(what: Combinations, series: Sequence[Series], wanted: Wanted) -> Sweep:
    """How each set of parameters went; those that make no sense together say why. Raises UsageError if none does."""
    sweeping.ranked([], wanted.by)
    rosters_of = [_possible(what, params) for params in what.every]
    trials = [tasks_of(one, series, wanted, charts=False) for one in rosters_of if isinstance(one, Roster)]
    if not trials:
        raise UsageError(f"none of {len(rosters_of)} sets of parameters makes sense: {rosters_of[0]}")
    with advancing("sweeping") as seen:
        found = iter(run_all(worth(wanted.jobs, series, len(trials)), trials, try_out, seen))
    cells: list[Cell] = []
    for params, one in zip(what.every, rosters_of, strict=True):
        if isinstance(one, Roster):
            cells += [Cell(params, name, figures) for name, figures in next(found).items()]
        else:
            cells += [Cell(params, each.label, None, one) for each in what.wishes]
    return Sweep(what.params, cells, wanted.by)


def _possible(what: Combinations, params: Params) -> Roster | str:
    """The strategies with these parameters, or why they cannot be made with them: fast may be above slow."""
    try:
        return what.roster(params)
    except UsageError as error:
        if error.hint:  # a name that is wrong, and so wrong every time
            raise
        return str(error)


def try_out(tasks: Sequence[Task]) -> dict[str, Figures]:
    """The figures of each strategy over all pairs."""
    pairs = [work(task) for task in tasks]
    names = dict.fromkeys(name for pair in pairs for name in pair.books)
    return {name: portfolio.curve(name, [pair.books[name] for pair in pairs]).figures for name in names}
