"""What a sink is told in a configuration, read and checked: durations, sizes, counts."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from cryptostream.errors import ConfigError, UsageError
from cryptostream.model import duration

_SIZE = re.compile(r"(\d{1,12})\s?(B|KiB|MiB|GiB|kB|KB|MB|GB)?", re.ASCII)
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def folder(name: str, value: Any) -> Path:
    """A folder's path; `~` is the home. Raises ConfigError, as all of these do."""
    if not isinstance(value, str | Path) or not str(value):
        raise _wrong(name, value, "a folder's path")
    return Path(value).expanduser()


def seconds(name: str, value: Any) -> float:
    """A duration as people write it, or a number of seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        return duration.seconds(str(value))
    except UsageError as error:
        raise _wrong(name, value, "a duration as in 30s, 15m or 1h30m") from error


def size(name: str, value: Any) -> int:
    """A size in bytes.

    >>> size("size", "64MiB"), size("size", 65536)
    (67108864, 65536)
    """
    found = _SIZE.fullmatch(str(value)) if not isinstance(value, bool) else None
    if found is None or not int(found[1]):
        raise _wrong(name, value, "a size as in 4MiB, 100MB or 65536")
    return int(found[1]) * _UNITS[found[2] or "B"]


def count(name: str, value: Any) -> int:
    """A number of things, at least one."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _wrong(name, value, "a whole number from 1")
    return value


def switch(name: str, value: Any) -> bool:
    """Yes or no."""
    if not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return value


def one_of(name: str, value: Any, known: Collection[str]) -> str:
    """One of some words."""
    if value not in known:
        raise _wrong(name, value, f"one of {', '.join(known)}")
    return str(value)


def _wrong(name: str, value: Any, wanted: str) -> ConfigError:
    return ConfigError(f"parquet: {name} should be {wanted}, got {str(value)[:40]!a}")
