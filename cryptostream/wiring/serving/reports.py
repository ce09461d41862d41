"""Backtests that were kept in the data folder: read once each, and again only when their file changes."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from cryptostream import logs
from cryptostream.backtest.report import kept
from cryptostream.config import Config
from cryptostream.errors import NotFound
from cryptostream.registry import did_you_mean
from cryptostream.web import shown

MOST = 200
"""Reports that are listed, the newest."""
_LARGEST = 8 << 20
_log = logs.get("serve")


class Facts(msgspec.Struct, frozen=True):
    """What is read of `NAME.json`; all that stands in it is told by `backtest-stream -o json`."""

    made: str
    source: str
    strategies: dict[str, dict[str, Any]]
    benchmark: dict[str, Any]
    curves: dict[str, Any]
    bars: str = ""
    params: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    sweep: dict[str, Any] | None = None
    pairs: list[dict[str, Any]] = []


class Reports:
    """The reports of a data folder, by their names. What is in them is trusted as far as it is shown as text."""

    def __init__(self, config: Config) -> None:
        self.folder = config.data_dir / kept.FOLDER
        self._read: dict[str, tuple[tuple[int, int], shown.Report]] = {}

    def listed(self) -> list[shown.Report]:
        """Newest first; a file that cannot be read is told in the log, once, and left out."""
        known, found = self._read, {}
        for name, version in self._files().items():
            before = known.get(name)
            found[name] = before if before and before[0] == version else (version, self._look(name))
        self._read = found  # never changed: others list at the same time, in threads of their own
        reports = [report for _, report in found.values() if report.made]
        return sorted(reports, key=lambda report: (report.made, report.name), reverse=True)

    def curves(self, name: str) -> shown.Curves:
        """Raises NotFound."""
        facts = self._facts(name)
        try:
            return shown.Curves(name=name, **facts.curves)
        except (TypeError, ValueError) as error:
            raise NotFound(f'report "{name}" has no curves that can be read') from error

    def page(self, name: str) -> Path:
        """Raises NotFound."""
        path = self._path(name, ".html")
        if not _is_regular(path):
            raise NotFound(f'report "{name}" has no page', hint="pages need pip install 'cryptostream[report]'")
        return path

    def _files(self) -> dict[str, tuple[int, int]]:
        """The newest reports and the version of each file."""
        try:
            with os.scandir(self.folder) as entries:
                named = [(entry.name[:-5], entry.stat(follow_symlinks=False)) for entry in entries if _is_facts(entry)]
        except FileNotFoundError:
            return {}
        newest = sorted(named, key=lambda one: (one[1].st_mtime_ns, one[0]), reverse=True)[:MOST]
        return {name: (facts.st_mtime_ns, facts.st_size) for name, facts in newest}

    def _look(self, name: str) -> shown.Report:
        try:
            return self._report(name)
        except NotFound as error:
            _log.warning("serve.report_unreadable", report=name, why=str(error))
            return shown.Report(name=name, made="", source="", strategies=[], page=None, figures={})

    def _report(self, name: str) -> shown.Report:
        facts = self._facts(name)
        compared = {**facts.strategies, str(facts.benchmark.get("name", "benchmark")): facts.benchmark}
        return shown.Report(
            name=name,
            made=facts.made,
            source=facts.source.replace(f"{self.folder.parent}/", ""),
            strategies=list(facts.strategies),
            page=f"/reports/{name}" if _is_regular(self._path(name, ".html")) else None,
            figures={strategy: _numbers(figures) for strategy, figures in compared.items()},
            bars=facts.bars,
            parameters=facts.params,
            tried=len((facts.sweep or {}).get("cells", ())),
            notes=[*_without_trades(facts), *facts.notes],
        )

    def _facts(self, name: str) -> Facts:
        path = self._path(name, ".json")
        if not _is_regular(path):
            raise NotFound(f'no report "{name[:80]}"', hint=did_you_mean(name, self._read))
        if path.stat().st_size > _LARGEST:
            raise NotFound(f'report "{name}" is larger than {_LARGEST >> 20} MiB')
        try:
            return msgspec.json.decode(path.read_bytes(), type=Facts)
        except (OSError, msgspec.MsgspecError) as error:
            raise NotFound(f'report "{name}" cannot be read: {error}') from error

    def _path(self, name: str, suffix: str) -> Path:
        if not kept.is_name(name):
            raise NotFound(f"no report {name[:80]!a}")
        return self.folder / f"{name}{suffix}"


def _without_trades(facts: Facts) -> Iterator[str]:
    """Why a strategy has no trades, as far as that can be said."""
    bars = max((pair["bars"] for pair in facts.pairs if isinstance(pair.get("bars"), int)), default=0)
    for name, figures in facts.strategies.items():
        if figures.get("trips") == 0 and figures.get("signals") == 0:
            hint = "its indicators need bars to warm up: take shorter bars, smaller parameters, or more data"
            yield f"{name} gave no signal in {bars:,} bars of {facts.bars or 'klines'}; {hint}"
        elif figures.get("trips") == 0:
            yield f"{name} gave signals and has no trades: none was a reason to open a position, or no trade filled it"


def _is_facts(entry: "os.DirEntry[str]") -> bool:
    return entry.name.endswith(".json") and kept.is_name(entry.name[:-5]) and entry.is_file(follow_symlinks=False)


def _is_regular(path: Path) -> bool:
    """A file that is no link, so that nothing outside of the folder is shown."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _numbers(figures: dict[str, Any]) -> dict[str, float | None]:
    return {name: value for name, value in figures.items() if value is None or isinstance(value, int | float)}
