"""Backtests at work: which strategies with which parameters, one run or a sweep or a walk, over processes."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace

from cryptostream.backtest import portfolio
from cryptostream.backtest import sweep as sweeping
from cryptostream.backtest.block import BarSeries, TradeSeries
from cryptostream.backtest.report.words import when
from cryptostream.backtest.result import Figures, PairResult, Result
from cryptostream.backtest.run import Mode, Progress
from cryptostream.backtest.sweep import Cell, Param, Params, Sweep
from cryptostream.backtest.terms import Terms
from cryptostream.backtest.walk import Walk
from cryptostream.cli.advancing import Seen, advancing
from cryptostream.cli.jobs import run_all
from cryptostream.config import Config
from cryptostream.config.strategies import AS, Wish, wish
from cryptostream.errors import NotFound, UsageError
from cryptostream.registry import did_you_mean
from cryptostream.strategies import loading
from cryptostream.strategies.names import is_label, label
from cryptostream.wiring import roster as rosters
from cryptostream.wiring.backtests import Task, work
from cryptostream.wiring.roster import Roster

Series = TradeSeries | BarSeries
_WORTH = 2_000_000
"""Trades that one process has done by the time that another one has begun."""
_TOLD = 10
_ELSEWHEN = "leave out --since and --until to see what there is"


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

    def __post_init__(self) -> None:
        sweeping.ranked([], self.by)  # says what is no figure


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

    @property
    def known(self) -> dict[str, set[str]]:
        """What each strategy can be told. Raises what `loading.find` raises."""
        with redirect_stdout(sys.stderr):
            kinds = {each.label: loading.find(each.name, paths=self.config.plugins.paths) for each in self.wishes}
        return {label: {one.name for one in loading.params(kind)} for label, kind in kinds.items()}

    def apart(self) -> "list[Combinations]":
        """Each strategy alone, with the parameters that are for it."""
        known = self.known
        parts = ((each, _own(self.params, each.label, known[each.label])) for each in self.wishes)
        return [replace(self, wishes=[each], params=own) for each, own in parts]

    def only(self) -> Roster:
        """The strategies with their one set of parameters. Raises UsageError where there are several."""
        parts = self.apart()
        if any(len(each.every) > 1 for each in parts):
            raise UsageError("one set of parameters is looked at, and there are several", hint="give each one value")
        return _together([each.roster(each.every[0]) for each in parts])

    def roster(self, params: Params) -> Roster:
        """The strategies with these parameters. Raises UsageError."""
        paths = self.config.plugins.paths
        told = sweeping.addressed(params, self.known)
        wishes = [each._replace(params={**each.params, **told[each.label]}) for each in self.wishes]
        with redirect_stdout(sys.stderr):
            for each in wishes:
                loading.make(each.name, each.params, paths=paths)
        return rosters.of(wishes, self.bars, paths)


def _own(params: Sequence[Param], label: str, known: set[str]) -> list[Param]:
    """The parameters that a strategy is told: bare ones that it has, but those that it is told by its name."""
    by_name = {param.name.removeprefix(f"{label}.") for param in params if param.name.startswith(f"{label}.")}
    bare = known - by_name
    return [param for param in params if param.name in bare or param.name.startswith(f"{label}.")]


def _together(alone: Sequence[Roster]) -> Roster:
    return replace(alone[0], wishes=tuple(each for one in alone for each in one.wishes))


def combinations(
    config: Config, names: Sequence[str], consumer: str | None, params: Sequence[str], bars: str | None
) -> Combinations:
    """Strategies by their names, or those of a configured consumer; `as=NAME` among the parameters renames one.

    Raises UsageError, and what `loading.find` raises.
    """
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
        hint = "--strategy macd_rsi; cryptostream list strategies shows them"
        raise UsageError("backtest-stream names no strategy", hint=hint)
    wishes, told_params = _renamed(wishes, params)
    labels = [each.label for each in wishes]
    if len(set(labels)) < len(labels):
        raise UsageError("a strategy is named twice", hint="a sweep compares parameters: --param rsi_period=7,14")
    made = Combinations(wishes, told_params, bars, config)
    sweeping.addressed({param.name: param.values[0] for param in made.params}, made.known)
    return made


def _renamed(wishes: Sequence[Wish], params: Sequence[str]) -> tuple[list[Wish], list[Param]]:
    """Strategies under the names that `as` gives them, and the other parameters, addressed to these names."""
    names: dict[str, str] = {}
    others = []
    for text in params:
        told, _, value = text.strip().partition("=")
        owner, _, own = told.rpartition(".")
        if own != AS:
            others.append(sweeping.parse_param(text))
            continue
        names[_meant(owner, wishes, value)] = value
        if not is_label(value):
            raise UsageError(f"{value[:80]!a} cannot name the signals of a strategy", hint="letters, digits and ._-")
    renamed = [each._replace(label=names.get(each.label, each.label)) for each in wishes]
    return renamed, [_readdressed(param, names) for param in others]


def _meant(owner: str, wishes: Sequence[Wish], value: str) -> str:
    """The strategy that gets another name."""
    labels = [each.label for each in wishes]
    if not owner and len(labels) > 1:
        raise UsageError(f"which strategy is {AS}={value} for?", hint=f"-p {labels[0]}.{AS}={value}")
    if owner and owner not in labels:
        hint = did_you_mean(owner, labels) or f"strategies: {', '.join(labels)}"
        raise UsageError(f'"{owner}" is none of the strategies', hint=hint)
    return owner or labels[0]


def _readdressed(param: Param, names: Mapping[str, str]) -> Param:
    """A parameter under the name that its strategy has now: it may be told by either."""
    owner, dot, own = param.name.rpartition(".")
    return replace(param, name=f"{names.get(owner, owner)}{dot}{own}")


def run(what: Combinations, series: Sequence[Series], wanted: Wanted) -> Made:
    """Run it: once, or for each set of parameters and then every strategy with its best.

    Raises UsageError, DataQuality, NotFound where there is nothing to run on.
    """
    parts, swept = what.apart(), None
    if any(len(each.every) > 1 for each in parts):
        swept = sweep(what, series, wanted)
    chosen = [each.roster(_best(each, swept.cells if swept else (), wanted.by)) for each in parts]
    return Made(once(_together(chosen), series, wanted), swept)


def _best(alone: Combinations, cells: Sequence[Cell], by: str) -> Params:
    """What a strategy is shown with."""
    own = [cell for cell in cells if cell.strategy == alone.wishes[0].label and cell.figures is not None]
    best = sweeping.best(own, by) or next(iter(own), None)
    return best.params if best else alone.every[0]


def once(roster: Roster, series: Sequence[Series], wanted: Wanted) -> Result:
    """One run over every pair, with candles and indicators. Raises NotFound where there is nothing of any of them."""
    tasks = tasks_of(roster, series, wanted, charts=True)
    with advancing("running") as seen:
        pairs = _each(tasks, worth(wanted.jobs, series, 1), seen)
    if all(map(portfolio.is_empty, pairs)):
        raise _nothing(pairs, wanted)
    return result_of(pairs, roster, series, wanted)


def _nothing(pairs: Sequence[PairResult], wanted: Wanted) -> NotFound:
    names = ", ".join(pair.pair for pair in pairs[:_TOLD]) + (", ..." if len(pairs) > _TOLD else "")
    start = "" if wanted.start is None else when(wanted.start)
    end = "" if wanted.end is None else when(wanted.end - 1)
    if start and end:
        return NotFound(f"nothing of {names} between {start} and {end}", hint=_ELSEWHEN)
    if start or end:
        return NotFound(f"nothing of {names} {f'from {start} on' if start else f'up to {end}'}", hint=_ELSEWHEN)
    return NotFound(f"nothing of {names} in {wanted.source}", hint="no line of it is a trade or a closed kline")


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
        return run_all(jobs, tasks, worked, seen)
    done, total = 0, sum(task.series.size for task in tasks)

    def count(more: int) -> None:
        nonlocal done
        done += more
        seen(done, max(done, total))

    return [worked(task, count) for task in tasks]


def worked(task: Task, progress: Progress | None = None) -> PairResult:
    """A task done in any process: what strategies print is none of the data that stdout is for."""
    with redirect_stdout(sys.stderr):
        return work(task, progress)


def sweep(what: Combinations, series: Sequence[Series], wanted: Wanted) -> Sweep:
    """How each strategy went with each set of its own parameters; those that make no sense together say why.

    Strategies of which nothing is varied are left out, unless that is so of all. Raises UsageError for a strategy that
    none of its sets makes sense for.
    """
    parts = what.apart()
    parts = [each for each in parts if len(each.every) > 1] or parts
    tried = [(each.wishes[0].label, params, _possible(each, params)) for each in parts for params in each.every]
    _check_possible(tried)
    trials = [tasks_of(one, series, wanted, charts=False) for *_, one in tried if isinstance(one, Roster)]
    with advancing("sweeping") as seen:
        found = iter(run_all(worth(wanted.jobs, series, len(trials)), trials, try_out, seen))
    cells = [
        Cell(params, label, next(found)[label]) if isinstance(one, Roster) else Cell(params, label, None, one)
        for label, params, one in tried
    ]
    told = {name for cell in cells for name in cell.params}
    return Sweep([param for param in what.params if param.name in told], cells, wanted.by)


def _check_possible(tried: Sequence[tuple[str, Params, Roster | str]]) -> None:
    for name in dict.fromkeys(name for name, *_ in tried):
        made = [one for of, _, one in tried if of == name]
        if not any(isinstance(one, Roster) for one in made):
            raise UsageError(f"none of {len(made)} sets of parameters makes sense for {name}: {made[0]}")


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
    pairs = [worked(task) for task in tasks]
    names = dict.fromkeys(name for pair in pairs for name in pair.books)
    return {name: portfolio.curve(name, [pair.books[name] for pair in pairs]).figures for name in names}
