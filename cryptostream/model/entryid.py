"""Ids of entries, as numbers that sort."""

from cryptostream.model.events import Entry


def parse_id(entry_id: str) -> tuple[int, int]:
    """The two halves of an entry id.

    >>> parse_id("1731605400123-42")
    (1731605400123, 42)
    """
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence or 0)


class Rising:
    """Tells of each entry whether its id is above its stream's newest: Redis would refuse any other.

    >>> rising = Rising()
    >>> [rising.takes(Entry("s", entry_id, {})) for entry_id in ("5-1", "5-1", "5-2")]
    [True, False, True]
    """

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, int]] = {}

    def takes(self, entry: Entry) -> bool:
        """Whether it is the next of its stream; then it is the newest."""
        this = parse_id(entry.entry_id)
        if this <= self._newest.get(entry.stream, (-1, -1)):
            return False
        self._newest[entry.stream] = this
        return True
