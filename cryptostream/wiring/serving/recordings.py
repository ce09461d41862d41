"""What a backtest that is asked for over HTTP may read: streams by their names, and files below a few folders."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from cryptostream.config import Config
from cryptostream.errors import NotFound, UsageError

FOLDER = "recordings"
"""Where recordings lie, in the data folder; what the configuration's consumers record to is known besides."""
_MOST_SHOWN = 100
_MOST_FILES = 100_000
_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".zip", ".raw", ".raw.gz", ".jsonl", ".jsonl.gz")
_STREAM = re.compile(r"[\w.*-]+(?::[\w.*{}-]+){0,4}")
_LONGEST = 512


class Recordings:
    """Files below the folders that are known, and the check that a word means nothing else."""

    def __init__(self, config: Config) -> None:
        sinks = [sink for consumer in config.consumers.values() for sink in consumer.write]
        told = [sink["parquet"].get("dir") for sink in sinks if "parquet" in sink]
        recorded = [Path(folder) for folder in told if isinstance(folder, str) and folder]
        self.roots = list(dict.fromkeys([config.data_dir / FOLDER, *recorded]))

    def listed(self) -> list[str]:
        """Folders with recordings and single files, as `resolved` takes them."""
        own, *told = self.roots
        found = [f"{FOLDER}/{name}" for name in _names(own)]
        found += [
            str(place) for root in told if (names := _names(root)) for place in (root, *map(root.joinpath, names))
        ]
        return found[:_MOST_SHOWN]

    def resolved(self, word: str) -> str:
        """A stream's name as it is, a recording as its absolute path.

        Raises UsageError for what is neither, or lies elsewhere; NotFound for a recording that is not there.
        """
        if len(word) > _LONGEST or not word.isprintable() or not word:
            raise UsageError("a source is the name of a stream or of a recording")
        if not _is_path(word):
            if _STREAM.fullmatch(word) is None:
                raise UsageError(f"{word[:80]!a} is no name of a stream", hint="as in trades:BTCUSDT")
            return word
        return str(self._below(word))

    def _below(self, word: str) -> Path:
        roots = [root.resolve() for root in self.roots]
        places = [Path(word).resolve(), *(base.joinpath(word).resolve() for base in (self.roots[0].parent, *roots))]
        known = [place for place in places if any(place.is_relative_to(root) for root in roots)]
        if not known:
            hint = f"recordings lie in {', '.join(map(str, self.roots))}"
            raise UsageError(f"{word[:80]} lies outside of the folders that are served", hint=hint)
        there = [place for place in known if place.exists()]
        if not there:
            raise NotFound(f"no recording {word[:80]}", hint=f"put it into {self.roots[0]}")
        _check_kinds(there[0], roots)
        return there[0]


def _is_path(word: str) -> bool:
    return "/" in word or "\\" in word or word.startswith(".") or word.endswith(_SUFFIXES)


def _names(root: Path) -> list[str]:
    """What lies right below a folder, if there is one."""
    try:
        return sorted(entry.name for entry in os.scandir(root) if not entry.name.startswith("."))[:_MOST_SHOWN]
    except OSError:
        return []


def _check_kinds(place: Path, roots: list[Path]) -> None:
    """Raise UsageError where a device, a FIFO or a link out of the folders is among what would be read."""
    for number, path in enumerate(_walked(place)):
        if number >= _MOST_FILES:
            raise UsageError(f"{place.name} has more than {_MOST_FILES:,} files", hint="name a folder inside of it")
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path.name} is no regular file")
        if path.is_symlink() and not any(path.resolve().is_relative_to(root) for root in roots):
            raise UsageError(f"{path.name} is a link out of the folder")


def _walked(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        yield place
        return
    for parent, _, names in os.walk(place):
        yield from (Path(parent, name) for name in names if not name.startswith("."))
