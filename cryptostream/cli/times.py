"""Times and durations as people type them: `2024-11-14T17:30:00Z`, `1731605400000`, `-15m`; `30s`, `1h30m`."""

import re
from datetime import UTC, datetime

from cryptostream.errors import UsageError

_PART = r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)"
_DURATION = re.compile(rf"(?:{_PART})+", re.ASCII)
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""


def seconds(text: str) -> float:
    """Read a duration.

    >>> seconds("30s"), seconds("1h30m"), seconds("250ms")
    (30.0, 5400.0, 0.25)

    Raises UsageError.
    """
    if not _DURATION.fullmatch(text):
        raise UsageError(f'not a duration: "{text}"', hint="a number and its unit, as in 500ms, 30s, 15m, 2h, 1d")
    return float(sum(float(number) * _UNIT_S[unit] for number, unit in re.findall(_PART, text)))


def moment(text: str, now_ns: int) -> int:
    """Read a time as milliseconds since the epoch: RFC 3339 (UTC where it names no zone), epoch ms, or `-15m` from now.

    >>> moment("2024-11-14T17:30:00Z", 0), moment("1731605400000", 0), moment("-15m", 1731605400_000000000)
    (1731605400000, 1731605400000, 1731604500000)

    Raises UsageError.
    """
    if text.startswith("-"):
        return max(0, now_ns // 1_000_000 - round(seconds(text[1:]) * 1000))
    if text.isdecimal() and text.isascii():
        return _checked(int(text), text)
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f'not a time: "{text}"', hint="as in 2024-11-14T17:30:00Z, 1731605400000 or -15m") from None
    read = read.replace(tzinfo=UTC) if read.tzinfo is None else read
    return _checked(round(read.timestamp() * 1000), text)


def _checked(ms: int, text: str) -> int:
    if not 0 <= ms <= LATEST_MS:
        raise UsageError(f'not a time after 1970 and before 10000: "{text}"', hint="epoch times are in milliseconds")
    return ms
