"""The recorder: entries a second into Parquet files and the memory it takes, beside the way one writes it first."""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.processes import Child
from benchmarks.report import Report, mid, say, spread

PAIRS = 50
TARGET_RATE, TARGET_MIB = 200_000, 400
_ENTRIES, _QUICK = 4_000_000, 1_000_000
_WAYS = {
    "cryptostream": ("ours", 1.0),
    "cryptostream, with raw_json": ("raw", 0.5),
    "dicts to Table.from_pylist, text": ("pylist", 0.25),
}
"""The way, and the share of the entries that it is given."""


def measure(*, quick: bool, rounds: int) -> Report:
    """Each way in a process of its own, which is new every round so that its memory can be told."""
    entries = _QUICK if quick else _ENTRIES
    report = Report("recorder", f"{entries:,} entries of {PAIRS} pairs to Parquet, all of them safe on the disk")
    found: dict[str, list[dict[str, Any]]] = {}
    for number in range(rounds):
        for name, (way, share) in _WAYS.items():
            told = _recorded(way, int(entries * share))
            found.setdefault(name, []).append(told)
            say(f"recorder {number + 1}/{rounds}: {name} {told['rate']:,.0f}/s, {told['rss_mib']:.0f} MiB")
    for name, runs in found.items():
        report.rows.append(_row(name, runs))
    ours = found["cryptostream"]
    report.at_least("cryptostream: entries/s", mid(run["rate"] for run in ours), TARGET_RATE)
    report.at_most("cryptostream: most memory held, MiB", max(run["rss_mib"] for run in ours), TARGET_MIB, " MiB")
    report.notes.append("rates are of wall time, with the making of the entries in it; CPU is without it")
    return report


def _recorded(way: str, entries: int) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="cs-recorder-") as folder,
        Child("-m", "benchmarks.recording", "--folder", str(Path(folder, "data")), "--way", way) as child,
    ):
        return child.ask(str(entries))


def _row(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    rates = [run["rate"] for run in runs]
    return {
        "who": name,
        "entries/s": mid(rates),
        "least-most, thousands": spread([rate / 1000 for rate in rates]),
        "CPU us/entry": mid(run["us"] for run in runs),
        "entries/s of one core": 1e6 / mid(run["us"] for run in runs),
        "most RSS, MiB": max(run["rss_mib"] for run in runs),
        "bytes/entry on disk": mid(run["bytes"] for run in runs),
        "files": mid(run["files"] for run in runs),
    }
