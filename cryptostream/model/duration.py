"""Durations as people write them: `30s`, `1h30m`, `250ms`."""

import re

from cryptostream.errors import UsageError

_PART = r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d|w)"
_DURATION = re.compile(rf"(?:{_PART})+", re.ASCII)
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def seconds(text: str) -> float:
    """Read a duration.

    >>> seconds("30s"), seconds("1h30m"), seconds("250ms"), seconds("1d")
    (30.0, 5400.0, 0.25, 86400.0)

    Raises UsageError.
    """
    if not _DURATION.fullmatch(text):
        raise UsageError(f"not a duration: {text[:40]!a}", hint="a number and its unit, as in 500ms, 30s, 15m, 1h30m")
    return sum(float(number) * _UNIT_MS[unit] for number, unit in re.findall(_PART, text)) / 1_000


def spelled(duration_s: float) -> str:
    """Write a duration so that `seconds` reads it again, to the millisecond.

    >>> spelled(30.0), spelled(5400.0), spelled(0.25), spelled(0.0)
    ('30s', '1h30m', '250ms', '0s')
    """
    left, parts = round(duration_s * 1_000), []
    for unit in ("d", "h", "m", "s", "ms"):
        whole, left = divmod(left, _UNIT_MS[unit])
        parts += [f"{whole}{unit}"] if whole else []
    return "".join(parts) or "0s"
