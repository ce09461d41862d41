"""Times as the API writes them: RFC 3339, in UTC. What an entry says may be no time at all, and is none then."""

from cryptostream.model.codec import iso, micros
from cryptostream.model.times import LATEST_MS

HORIZON_MS = LATEST_MS - 62 * 86_400_000
"""A calendar's windows reach so far: the month that a time lies in, and the one after it."""


def stamp(ms: int | None) -> str | None:
    """Milliseconds since the epoch; None for what is no date, as the largest id that an entry can have.

    >>> stamp(1731605400123), stamp(None), stamp(2**64 - 1)
    ('2024-11-14T17:30:00.123Z', None, None)
    """
    return None if ms is None or not 0 <= ms <= LATEST_MS else f"{iso(ms * 1000)[:23]}Z"


def utc(text: str | None) -> str | None:
    """The text of a stream, which leaves the zone out; None for what is no time.

    >>> utc("2024-11-14T17:30:00.123000"), utc("2024-11-14T18:30:00+01:00"), utc("soon"), utc(None)
    ('2024-11-14T17:30:00.123000Z', '2024-11-14T17:30:00.000000Z', None, None)
    """
    try:
        ts = micros(text or "")
    except ValueError:
        return None
    return f"{iso(ts)}Z" if 0 <= ts // 1000 <= LATEST_MS else None
