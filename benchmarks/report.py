"""What a benchmark found: rows side by side, each with its ratio and its target, as a table or as JSON."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

_PACKAGES = ("cryptostream", "picows", "uvloop", "websockets", "redis", "hiredis", "msgspec")


@dataclass(frozen=True)
class Check:
    """One target: a figure, the bound it has to keep, and whether it does."""

    what: str
    value: float
    bound: str
    met: bool


@dataclass
class Report:
    """One benchmark: what was done, a row for each contestant, and the targets."""

    name: str
    about: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: bool = False
    """It did not come to an end. A missed target is a result and no failure."""

    def at_most(self, what: str, value: float, bound: float, unit: str = "") -> None:
        """Note a target that the value must not exceed."""
        self.checks.append(Check(what, value, f"<= {bound:g}{unit}", value <= bound))

    def at_least(self, what: str, value: float, bound: float, unit: str = "") -> None:
        """Note a target that the value must reach."""
        self.checks.append(Check(what, value, f">= {bound:g}{unit}", value >= bound))


def spread(values: Sequence[float]) -> str:
    """The least and the most of several runs.

    >>> spread([1.26, 1.0, 1.1])
    '1.00-1.26'
    """
    return f"{min(values):.2f}-{max(values):.2f}"


def mid(values: Iterable[float]) -> float:
    """The median."""
    return median(values)


def machine() -> dict[str, Any]:
    """Where this ran and with what: figures mean nothing without it."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "redis-server": _redis_version(),
        "load": round(os.getloadavg()[0], 2),
        **{name: _version(name) for name in _PACKAGES},
    }


def show(report: Report) -> None:
    """Print a report as a table with its targets below it."""
    console = Console(width=max(110, Console().width), highlight=False)
    table = Table(title=f"{report.name}: {report.about}", title_justify="left", title_style="bold")
    columns = list(dict.fromkeys(name for row in report.rows for name in row))
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place == 0 else "right")
    for row in report.rows:
        table.add_row(*(_text(row.get(name)) for name in columns))
    console.print(table if report.rows else table.title)
    for check in report.checks:
        console.print(
            f"  {'met ' if check.met else 'MISSED'}  {check.what}: {_text(check.value)} (target {check.bound})"
        )
    for note in report.notes:
        console.print(f"  note: {note}")
    console.print()


def show_machine(facts: dict[str, Any]) -> None:
    """Print the machine in one line."""
    print(" · ".join(f"{name} {value}" for name, value in facts.items() if value), end="\n\n")


def as_json(reports: Sequence[Report], facts: dict[str, Any]) -> dict[str, Any]:
    """All of it as one JSON object."""
    return {"machine": facts, "benchmarks": [asdict(report) for report in reports]}


def say(text: str) -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _redis_version() -> str:
    try:
        told = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.partition("v=")[2].partition(" ")[0]


def _cpu() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
