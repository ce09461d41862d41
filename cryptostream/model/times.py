"""Times as people type them, and places in streams: `2024-11-14T17:30:00Z`, `1731605400000`, `-15m`, `earliest`."""

import re
from datetime import UTC, datetime

from cryptostream.errors import UsageError
from cryptostream.model.duration import seconds

LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""

BEGINNING, NEW = "0-0", "$"
_ENTRY_ID = re.compile(r"(\(?)(\d{1,19})-(\d{1,19})", re.ASCII)
_LAST_SEQUENCE = 2**64 - 1


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


def place(text: str, now_ns: int = 0) -> str:
    """Where a consumer group stands that begins there: the id of the entry before the first one that it will read.

    `earliest`, `new`, an entry id (`(` before it leaves that entry out), or a time as `moment` reads it.

    >>> place("earliest"), place("new"), place("1731605400123-42"), place("(1731605400123-42")
    ('0-0', '$', '1731605400123-41', '1731605400123-42')
    >>> place("2024-11-14T17:30:00Z")
    '1731605399999-18446744073709551615'

    Raises UsageError.
    """
    if text in ("earliest", "new"):
        return BEGINNING if text == "earliest" else NEW
    if not (found := _ENTRY_ID.fullmatch(text)):
        return _before(moment(text, now_ns), 0)
    after, ms, sequence = found[1], int(found[2]), int(found[3])
    return f"{ms}-{sequence}" if after else _before(ms, sequence)


def _before(ms: int, sequence: int) -> str:
    if sequence:
        return f"{ms}-{sequence - 1}"
    return f"{ms - 1}-{_LAST_SEQUENCE}" if ms else BEGINNING
