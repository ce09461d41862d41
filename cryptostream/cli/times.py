"""Times as people type them: `2024-11-14T17:30:00Z`, `1731605400000`, `-15m`."""

from datetime import UTC, datetime

from cryptostream.errors import UsageError
from cryptostream.model.duration import seconds

LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""


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
