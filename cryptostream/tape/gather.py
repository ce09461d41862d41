"""Entries that wait for their file: by stream and day, as columns, a tenth of what entries take."""

from collections.abc import Iterator, Sequence
from itertools import chain

import pyarrow.compute as pc  # type: ignore[import-untyped]

from cryptostream.model.events import Entry
from cryptostream.tape.parts import DAY_MS
from cryptostream.tape.shelf import Packed, Shelf
from cryptostream.tape.text import Text, gathered, joined, millis

_MERGED = 16
_LEVELS = 4


class Part:
    """One file to be: entries of one stream and day, gathered in the order they came, then packed, then in its place.

    `first` is the id of the first that came, `begun_s` the clock's time when it did.
    """

    def __init__(self, shelf: Shelf, first: str, begun_s: float) -> None:
        self.stream = shelf.stream
        self.folder = shelf.folder
        self.first = first
        self.begun_s = begun_s
        self.rows = 0
        self.closed = False
        self._shelf = shelf
        self._gathered_bytes = 0
        self._packed: Packed | None = None
        # A small text takes more memory than what is in it: 16 of one level become one of the next.
        self._levels: list[list[Text]] = [[] for _ in range(_LEVELS)]

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self._gathered_bytes + (self._packed.data.size if self._packed else 0)

    def add(self, text: Text) -> None:
        """Take in what came next."""
        self.rows += text.rows
        self._gathered_bytes += text.nbytes
        self._levels[0].append(text)
        for level, above in zip(self._levels, self._levels[1:], strict=False):
            if len(level) < _MERGED:
                break
            merged = joined(level)
            self._gathered_bytes += merged.nbytes - sum(text.nbytes for text in level)
            above.append(merged)
            level.clear()

    def finish(self) -> int:
        """Bring it to the disk; how many entries were new. Raises OSError, and may be asked again then."""
        if self._levels:
            self._packed = self._shelf.pack(self._whole())
            self._levels, self._gathered_bytes = [], 0
        return self._shelf.put(self._packed) if self._packed else 0

    def _whole(self) -> Text:
        text = joined(list(chain.from_iterable(reversed(self._levels))))
        self._levels = [[text]]  # so that the pieces can go
        return text


def by_day(entries: Sequence[Entry], leave_out: str = "") -> Iterator[tuple[int, str, Text]]:
    """At least one entry of one stream as texts, each with the day since the epoch that its ids are of, and the first.

    The entries come without the field that is named.
    """
    text = gathered(entries, leave_out)
    ends = pc.min_max(millis(text.ids))
    first, last = (ends[end].as_py() // DAY_MS for end in ("min", "max"))
    if first == last:
        yield first, entries[0].entry_id, text
        return
    days: dict[int, list[Entry]] = {}
    for entry in entries:
        days.setdefault(int(entry.entry_id.partition("-")[0]) // DAY_MS, []).append(entry)
    yield from ((day, those[0].entry_id, gathered(those, leave_out)) for day, those in days.items())
