"""MACD + RSI on bars of a minute over the same made-up trades, from the files to the result: ours beside four others.

What each of them reads is made before: ours the recorder's Parquet, with an id, a digest and decimals for each trade;
the others what is quickest for them. Those that read Parquet by pandas are also given the recorder's.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

from benchmarks.contenders import BACKTESTING, HFTBACKTEST, NAUTILUS, VECTORBT, Contender, python
from benchmarks.days import DAYS, Made, made
from benchmarks.processes import Child, Unavailable
from benchmarks.report import Report, mid, say, spread

OF_NAUTILUS, OF_OTHERS, EVENTS_OF_NAUTILUS = 40, 2, 10
MOST_MIB, GROWTH = 800, 1.1
_TRADES, _QUICK = 5_000_000, 1_000_000
_LONG_S = 600.0
_SLOW = 3
"""How often the slow one runs at most."""
_FILES = (
    "recorded: Parquet as our recorder writes it, with ids and decimals; floats: Parquet of nothing but numbers; "
    "its own: NautilusTrader's catalogue, hftbacktest's npz that is not packed"
)
_CONVENTIONS = (
    "orders are filled by the next trade (ours), at the last one (NautilusTrader), at the open of the next bar "
    "(vectorbt, backtesting.py), against quotes a cent around the last price (hftbacktest): so round trips may differ "
    "by one or two"
)
Runs = dict[str, list[dict[str, Any]]]


class Entrant(NamedTuple):
    """Who runs, on which files, and how it is asked."""

    name: str
    files: str
    who: Contender | None = None
    """None for ours."""
    arguments: tuple[str, ...] = ()
    rounds: int | None = None
    """All unless said; then without one that warms up, for there is nothing to compile."""


def measure(*, quick: bool, rounds: int) -> Report:
    """Interleaved rounds after one that warms up; the figure of record is the median CPU time from file to result."""
    trades = _QUICK if quick else _TRADES
    files = made(trades)
    report = Report("backtest", f"MACD + RSI, 1 m bars, {trades:,} trades of one pair in {DAYS} days, file to result")
    runs = _run(report, trades, files, rounds)
    halves = {mode: _half(trades, mode) for mode in ("bars", "events")}
    _check_alike(runs)
    for name, found in runs.items():
        report.rows.append(_row(name, found, runs["bars"]))
    _conclude(report, runs)
    _tell_memory(report, runs, halves)
    report.notes += [
        _FILES,
        "both modes gave the same signals, fills and equity, bit by bit, in every round",
        _CONVENTIONS,
    ]
    return report


def _run(report: Report, trades: int, files: Made, rounds: int) -> Runs:
    runs: Runs = {}
    with ExitStack() as opened:
        children = [(one, opened.enter_context(child)) for one, child in _children(report, trades, files)]
        for number in range(rounds + 1):
            for one, child in children:
                if one.rounds is not None and not 1 <= number <= one.rounds:
                    continue
                found = child.ask("run", timeout_s=_LONG_S)
                if number:
                    runs.setdefault(one.name, []).append({**found, "files": one.files})
                    say(f"backtest {number}/{rounds}: {one.name} {found['cpu_s']:.2f} s of CPU")
    return runs


def _children(report: Report, trades: int, files: Made) -> Iterator[tuple[Entrant, Child]]:
    for one in _entrants(files):
        if one.who is None:
            command = ["-m", "benchmarks.backtesting", "--trades", str(trades), *one.arguments]
            yield one, Child(*command)
            continue
        try:
            yield one, Child(str(one.who.path), *one.arguments, python=python(one.who))
        except Unavailable as error:
            report.notes.append(str(error))


def _entrants(files: Made) -> list[Entrant]:
    plain, recorded = ("--file", str(files.plain)), ("--file", str(files.folder / "recorded"))
    return [
        Entrant("bars", "recorded", None, ("--mode", "bars")),
        Entrant("events", "recorded", None, ("--mode", "events")),
        Entrant("nautilus", "its own", NAUTILUS, plain, _SLOW),
        Entrant("hftbacktest", "its own", HFTBACKTEST, ("--file", str(files.events))),
        Entrant("vectorbt", "floats", VECTORBT, plain),
        Entrant("backtesting", "floats", BACKTESTING, plain),
        Entrant("vectorbt, recorded", "recorded", VECTORBT, recorded),
        Entrant("backtesting, recorded", "recorded", BACKTESTING, recorded),
    ]


def _half(trades: int, mode: str) -> dict[str, Any]:
    """The same over the first half of the days, in a process of its own that ran before as often."""
    with Child("-m", "benchmarks.backtesting", "--trades", str(trades), "--mode", mode, "--share", "0.5") as child:
        child.ask("run")
        return child.ask("run")


def _check_alike(runs: Runs) -> None:
    """Raise RuntimeError where the two modes, or two rounds, gave something else."""
    books = {run["book"] for mode in ("bars", "events") for run in runs[mode]}
    if len(books) > 1:
        raise RuntimeError("bars mode and event mode gave other signals, fills or equity")


_NAMES = {
    "bars": "cryptostream, bars",
    "events": "cryptostream, events",
    "nautilus": f"NautilusTrader {NAUTILUS.version}",
    "hftbacktest": f"hftbacktest {HFTBACKTEST.version}",
    "vectorbt": f"vectorbt {VECTORBT.version}",
    "backtesting": f"backtesting.py {BACKTESTING.version}",
    "vectorbt, recorded": f"vectorbt {VECTORBT.version}",
    "backtesting, recorded": f"backtesting.py {BACKTESTING.version}",
}


def _row(name: str, found: list[dict[str, Any]], ours: list[dict[str, Any]]) -> dict[str, Any]:
    last = found[-1]
    return {
        "who": _NAMES[name],
        "reads": last["files"],
        "CPU s": mid(run["cpu_s"] for run in found),
        "least-most": spread([run["cpu_s"] for run in found]),
        "wall s": mid(run["wall_s"] for run in found),
        "trades/s of CPU": _rate(found),
        "ours is": f"{_rate(ours) / _rate(found):.2f} x",
        "RSS, MiB": max(run["rss_mib"] for run in found),
        "round trips": last["trips"],
    }


def _conclude(report: Report, runs: Runs) -> None:
    bars, events = _rate(runs["bars"]), _rate(runs["events"])
    if "nautilus" in runs:
        nautilus = _rate(runs["nautilus"])
        report.at_least("bars: trades/s of NautilusTrader's", bars / nautilus, OF_NAUTILUS, " x")
        report.at_least("events: trades/s of NautilusTrader's", events / nautilus, EVENTS_OF_NAUTILUS, " x")
    for name in ("hftbacktest", "vectorbt", "backtesting", "vectorbt, recorded", "backtesting, recorded"):
        if name in runs:
            told = f"bars: trades/s of those of {_NAMES[name]}, {runs[name][0]['files']}"
            report.at_least(told, bars / _rate(runs[name]), OF_OTHERS, " x")


def _tell_memory(report: Report, runs: Runs, halves: dict[str, dict[str, Any]]) -> None:
    for mode, half in halves.items():
        most = max(run["rss_mib"] for run in runs[mode])
        report.at_most(f"{mode}: most memory held, MiB", most, MOST_MIB, " MiB")
        report.at_most(f"{mode}: of what {half['entries']:,} trades take", most / half["rss_mib"], GROWTH, " x")


def _rate(found: list[dict[str, Any]]) -> float:
    """Trades a second of CPU, the median."""
    return mid(run["entries"] / run["cpu_s"] for run in found)
