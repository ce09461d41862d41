"""Times as the API writes them: RFC 3339, in UTC."""

from cryptostream.model.codec import iso


def stamp(ms: int | None) -> str | None:
    """Milliseconds since the epoch.

    >>> stamp(1731605400123), stamp(None)
    ('2024-11-14T17:30:00.123Z', None)
    """
    return None if ms is None else f"{iso(ms * 1000)[:23]}Z"


def utc(text: str) -> str:
    """The text of a stream, which leaves the zone out.

    >>> utc("2024-11-14T17:30:00.123000"), utc("2024-11-14T17:30:00Z")
    ('2024-11-14T17:30:00.123000Z', '2024-11-14T17:30:00Z')
    """
    return text if text.endswith("Z") or "+" in text else f"{text}Z"
