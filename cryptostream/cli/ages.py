"""Moments as programs and people read them: in UTC to the millisecond, and how long ago that was."""

from cryptostream.model.codec import iso
from cryptostream.model.entryid import parse_id
from cryptostream.model.times import LATEST_MS


def stamp(ms: int | None) -> str | None:
    """Milliseconds since the epoch as JSON says it; None for what is no time.

    >>> stamp(1731605400123), stamp(None)
    ('2024-11-14T17:30:00.123Z', None)
    """
    return None if ms is None or ms > LATEST_MS else f"{iso(ms * 1000)[:23]}Z"


def said(stamped: str | None) -> str:
    """A stamp for a person, who knows that times are UTC.

    >>> said("2024-11-14T17:30:00.123Z"), said(None)
    ('2024-11-14 17:30:00.123', '')
    """
    return (stamped or "").rstrip("Z").replace("T", " ")


def place(entry_id: str) -> str:
    """The time of an entry id for a person; for the id of no entry, what it stands for.

    >>> place("1731605400123-42"), place("0-0")
    ('2024-11-14 17:30:00.123', 'the beginning')
    """
    ms = parse_id(entry_id)[0]
    return (said(stamp(ms)) or entry_id) if ms else "the beginning"


def span(ms: int) -> str:
    """A stretch of time, its largest unit only.

    >>> [span(ms) for ms in (40, 61_000, 3_700_000, 90_000_000)]
    ['0s', '1m', '1h', '1d']
    """
    for unit, length_s in (("d", 86_400), ("h", 3600), ("m", 60)):
        if ms >= length_s * 1000:
            return f"{ms // (length_s * 1000)}{unit}"
    return f"{ms // 1000}s"


def ago(ms: int | None, now_ms: int) -> str:
    """How long ago that was; an exchange's clock may be ahead of ours.

    >>> ago(90_061_500, 90_061_000), ago(86_461_000, 90_061_000), ago(None, 0)
    ('now', '1h ago', '')
    """
    if ms is None:
        return ""
    return "now" if now_ms - ms < 1000 else f"{span(now_ms - ms)} ago"
