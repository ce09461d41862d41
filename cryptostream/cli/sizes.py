"""Bytes as a person says them."""


def size(count: int | None) -> str:
    """A number of bytes, short; nothing for None.

    >>> size(117), size(5833), size(31_300_000), size(None)
    ('117 B', '5.8 kB', '31.3 MB', '')
    """
    if count is None:
        return ""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
