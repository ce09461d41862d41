"""Ids of entries, as numbers that sort."""


def parse_id(entry_id: str) -> tuple[int, int]:
    """The two halves of an entry id.

    >>> parse_id("1731605400123-42")
    (1731605400123, 42)
    """
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence or 0)
