"""What one browser watches of backtests, and what it is to be told next: differences, as plain data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cryptostream.backtest.report.words import BY_FIELD, ROWS
from cryptostream.errors import CryptostreamError
from cryptostream.web import shown
from cryptostream.web.dashboard.differences import Rows
from cryptostream.web.dashboard.telling import Message
from cryptostream.web.dashboard.watching import liveliest, pair_of
from cryptostream.web.probes import Probes

_SLOW_TURNS = 4
_MOST_SOURCES = 200
_MOST_TOLD = 300
_LISTED = ("total_return", "sharpe", "max_drawdown", "trips")


class _Figures(msgspec.Struct):
    """Figures as they were read: each a number, or nothing."""

    told: Mapping[str, float | None]

    def __getattr__(self, name: str) -> float | None:
        return self.told.get(name)


class Reviewing:
    """Reports, jobs, what can be run on what; and the one report that is open."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._reports: dict[str, shown.Report] = {}
        self._done: frozenset[str] = frozenset()
        self.forget()

    def forget(self) -> None:
        """The browser has nothing: the next message tells it everything."""
        self._turn = 0
        self._told: dict[str, Rows] = {}

    async def message(self) -> Message:
        """What has changed since the last message; empty where nothing has."""
        jobs = self._probes.jobs()
        tables: dict[str, Mapping[str, Mapping[str, Any]]] = {"jobs": {each.id: _job(each) for each in jobs}}
        if self._turn % _SLOW_TURNS == 0 or self._ended(jobs):
            self._reports = {each.name: each for each in await self._probes.reports()}
            tables["reports"] = {name: _report(each) for name, each in self._reports.items()}
            form = {"sources": await self._sources(), "strategies": self._strategies(), "liveliest": self._liveliest()}
            tables["form"] = {"form": form}
        self._turn += 1
        told = {name: self._told.setdefault(name, Rows()).changed(rows) for name, rows in tables.items()}
        return {name: change for name, change in told.items() if change}

    async def opened(self, name: str) -> Message:
        """A report as a whole: its curves, and its figures as people read them."""
        report = self._reports.get(name)
        if report is None:
            return {"open": {"name": name, "failed": "this report is not there any more"}}
        try:
            curves = (await self._probes.curves(name)).model_dump()
        except CryptostreamError as error:
            return {"open": {"name": name, "failed": str(error)}}
        return {"open": {**_report(report), **curves, "table": figures(report), **_beside(report)}}

    def _ended(self, jobs: Sequence[shown.Job]) -> bool:
        """Whether a job ended since the last look: then there is a report that is new."""
        before, self._done = self._done, frozenset(job.id for job in jobs if job.state != "running")
        return before != self._done

    async def _sources(self) -> list[str]:
        streams = [each.stream for each in self._probes.streams() if each.stream.startswith(("trades:", "klines:"))]
        return [*await self._probes.recordings(), *streams][:_MOST_SOURCES]

    def _liveliest(self) -> str:
        """The stream of a pair of which strategies speak most, else of the one that is traded most: not a dull one."""
        quotes = {pair_of(each): each for each in self._probes.quotes()}
        signals = [each for each in self._probes.streams() if each.stream.startswith("signals:")]
        spoken = Counter[str]()
        for each in signals:
            spoken[each.stream.split(":", 2)[-1]] += each.length
        most = max((spoken[pair].bit_length() for pair in quotes), default=0)
        lively = {pair: quote for pair, quote in quotes.items() if spoken[pair].bit_length() == most}
        return lively[liveliest(lively)].stream if lively else ""

    def _strategies(self) -> dict[str, Mapping[str, Any]]:
        """Those that are installed, by what they are called there, with their parameters as a form takes them.

        Of several of a kind the one that runs is told, and of those the first by name.
        """
        found = sorted(self._probes.strategies(), key=lambda each: (each.kind, each.state == "running", each.name))
        return {each.kind: _strategy(each) for each in found}


def _strategy(strategy: shown.Strategy) -> Mapping[str, Any]:
    return {
        "runs": strategy.state != "installed",
        "parameters": _written(strategy.parameters),
        "bars": strategy.bars or "",
    }


def _written(parameters: Mapping[str, Any]) -> str:
    """Parameters as a form takes them: those that are a word or a number, as many as have room."""
    told = ""
    for name, value in parameters.items():
        if isinstance(value, str | int | float) and len(told) < _MOST_TOLD:
            told += f"{', ' if told else ''}{name}={_plain(value)}"
    return told


def _plain(value: object) -> str:
    """As it is typed: true, not True; 50, not 50.0."""
    return (
        str(value).lower() if isinstance(value, bool) else f"{value:.12g}" if isinstance(value, float) else str(value)
    )


def figures(report: shown.Report) -> list[list[str]]:
    """A row for each figure: what it is called, and its value for each strategy in the order of the report."""
    columns = [_Figures(told) for told in report.figures.values()]
    heads = ["", *report.figures]
    return [heads, *([row.label, *(row.of(each) for each in columns)] for row in ROWS)]  # type: ignore[arg-type]


def _report(report: shown.Report) -> Mapping[str, Any]:
    """A line of the list: of several strategies the one that returned most."""
    own = {name: report.figures.get(name, {}) for name in report.strategies}
    best = max(own, key=lambda name: own[name].get("total_return") or float("-inf"), default="")
    chosen = own.get(best, {})
    won = report.parameters.get(best, {})
    shown_as = {f"{name}_text": BY_FIELD[name].of(_Figures(chosen)) for name in _LISTED}  # type: ignore[arg-type]
    return {
        "name": report.name,
        "made": report.made,
        "source": report.source,
        "strategies": ", ".join(report.strategies),
        "page": report.page,
        "with": ", ".join(filter(None, (report.bars, _written(won)))),
        **{name: chosen.get(name) for name in _LISTED},
        **shown_as,
    }


def _beside(report: shown.Report) -> Mapping[str, Any]:
    """What a report was run with, and what to know when reading it; of several values those that won."""
    ran = {name: _written(told) for name, told in report.parameters.items()}
    return {
        "strategies": report.strategies,
        "bars": report.bars,
        "ran": [[name, told] for name, told in ran.items() if told],
        "tried": report.tried,
        "notes": report.notes,
    }


def _job(job: shown.Job) -> Mapping[str, Any]:
    return {**job.model_dump(), "done": round(job.done, 3)}
