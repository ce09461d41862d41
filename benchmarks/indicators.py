"""SMA, EMA, RSI, MACD and Bollinger bands together, an update: ours, talipp's, TA-Lib's stream API; and drift."""

from contextlib import ExitStack
from typing import Any

from benchmarks.indicating import FORGET
from benchmarks.processes import Child
from benchmarks.report import Report, mid, say, spread

TARGET_US = 1.2
_NAMES = {"ours": "cryptostream", "talipp": "talipp", "talib": "TA-Lib streams (C)"}
_SHARE = {"ours": 1.0, "talipp": 0.1, "talib": 1.0}
"""How many of the updates each makes: the slow ones show what they are with fewer."""
_FIVE = ("SMA", "EMA", "RSI", "MACD", "Bollinger")


def measure(*, quick: bool, rounds: int) -> Report:
    """Interleaved rounds, each in a process of its own; the figure of record is the median CPU of an update."""
    updates, long = (100_000, 1_000_000) if quick else (400_000, 10_000_000)
    report = Report("indicators", f"SMA 20, EMA 20, RSI 14, MACD 12/26/9, Bollinger 20/2, {updates:,} closes")
    runs: dict[str, list[dict[str, Any]]] = {who: [] for who in _NAMES}
    with ExitStack() as opened:
        children = {who: opened.enter_context(Child("-m", "benchmarks.indicating", "--who", who)) for who in _NAMES}
        for number in range(rounds):
            for who, child in children.items():
                runs[who].append(child.ask(str(int(updates * _SHARE[who]))))
                say(f"indicators {number + 1}/{rounds} {_NAMES[who]}: {runs[who][-1].get('together', 0):.2f} us")
        away = opened.enter_context(Child("-m", "benchmarks.indicating", "--who", "drift"))
        off = away.ask(str(long), timeout_s=300)
    _conclude(report, runs)
    _tell_drift(report, off, long)
    return report


def _conclude(report: Report, runs: dict[str, list[dict[str, Any]]]) -> None:
    base = mid(run["together"] for run in runs["ours"])
    for who, found in runs.items():
        if "missing" in found[0]:
            report.notes.append(f"{_NAMES[who]} was not measured: {found[0]['missing']}")
            continue
        together = [run["together"] for run in found]
        row: dict[str, Any] = {"who": _NAMES[who], "CPU us/update": mid(together), "least-most": spread(together)}
        row |= {name: mid(run[name] for run in found) for name in _FIVE}
        report.rows.append(row | {"of ours": f"{mid(together) / base:.1f} x"})
    report.at_most("all five an update, us of CPU", base, TARGET_US, " us")
    report.notes.append(f"talipp keeps all it saw and is purged every {FORGET:,} closes")


def _tell_drift(report: Report, off: dict[str, Any], updates: int) -> None:
    report.at_most(f"SMA after {updates:,} updates with spikes, relative error", off["SMA"], 1e-12)
    report.at_most(f"Bollinger's deviation after {updates:,} updates, relative error", off["Bollinger"], 1e-9)
    report.notes.append(f"a running sum that is only corrected is off by {off['running']:.1g} after these updates")
