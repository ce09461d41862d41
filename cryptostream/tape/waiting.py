"""All that was written and is not safe yet, in its order: entries as they came, files that fill, files being closed."""

from collections.abc import Callable, Collection, Sequence
from math import inf

from cryptostream.model.events import Entry
from cryptostream.tape.gather import Part, by_day
from cryptostream.tape.shelf import Shelf

FRESH = 8192
"""So many entries are kept as they came before they become columns; fewer of large ones."""
_FRESH_BYTES = 16 << 20
_SAMPLED = 16


class Waiting:
    """Entries on their way to files; `held` is, of each stream that has any, the id of the first that is not safe."""

    def __init__(self, shelf: Callable[[str, int, Sequence[Entry]], Shelf], leave_out: str) -> None:
        """`shelf` gives the place of a stream's entries of a day, some of which it is shown."""
        self.held: dict[str, str] = {}
        self.oldest_s = inf
        """The clock's time when the oldest came that is not being closed."""
        self._shelf = shelf
        self._leave_out = leave_out
        self._fresh: dict[str, list[Entry]] = {}
        self._fresh_rows = self._fresh_bytes = 0
        self._fresh_since_s = inf
        self._open: dict[tuple[str, int], Part] = {}
        self._parts: dict[str, list[Part]] = {}
        """Of each stream, those that are not safe, in the order they were begun."""

    @property
    def nbytes(self) -> int:
        """What files to be take in memory."""
        return sum(part.nbytes for parts in self._parts.values() for part in parts)

    @property
    def open_bytes(self) -> int:
        """What those of them take that are not closed."""
        return sum(part.nbytes for part in self._open.values())

    @property
    def crowded(self) -> bool:
        """Whether so many entries wait as they came that they should become columns."""
        return self._fresh_rows >= FRESH or self._fresh_bytes >= _FRESH_BYTES

    def add(self, entries: Sequence[Entry], now_s: float) -> None:
        """Take in entries."""
        if not entries:
            return
        for entry in entries:
            if entry.stream in self._fresh:
                self._fresh[entry.stream].append(entry)
            else:
                self._fresh[entry.stream] = [entry]
                self.held.setdefault(entry.stream, entry.entry_id)
        self._fresh_rows += len(entries)
        self._fresh_bytes += _SAMPLED * sum(sum(map(len, entry.fields.values())) for entry in entries[::_SAMPLED])
        self._fresh_since_s = min(self._fresh_since_s, now_s)
        self.oldest_s = min(self.oldest_s, now_s)

    def gather(self) -> None:
        """Make columns of the entries."""
        fresh, self._fresh = self._fresh, {}
        for stream, entries in fresh.items():
            for day, first, text in by_day(entries, self._leave_out):
                self._part(stream, day, first, entries).add(text)
        self._fresh_rows = self._fresh_bytes = 0
        self._fresh_since_s = inf

    def take(self, full: Callable[[Part], bool]) -> list[Part]:
        """Close the open files of which this holds: they take nothing more."""
        taken = {place: part for place, part in self._open.items() if full(part)}
        for place, part in taken.items():
            part.closed = True
            del self._open[place]
        self.oldest_s = min((part.begun_s for part in self._open.values()), default=self._fresh_since_s)
        return list(taken.values())

    def take_largest(self) -> list[Part]:
        """Close the open file that takes most memory."""
        largest = max(self._open.values(), key=lambda part: part.nbytes)
        return self.take(lambda part: part is largest)

    def closing(self, streams: Collection[str] | None) -> bool:
        """Whether files of these streams, of any unless told, are closed and not safe yet."""
        wanted = self._parts if streams is None else streams
        return any(part.closed for stream in wanted for part in self._parts.get(stream, ()))

    def safe(self, part: Part) -> None:
        """A file is in its place."""
        parts = self._parts[part.stream]
        parts.remove(part)
        fresh = self._fresh.get(part.stream)
        if parts:
            self.held[part.stream] = parts[0].first
        elif fresh:
            self.held[part.stream] = fresh[0].entry_id
        else:
            del self.held[part.stream]
        if not parts:
            del self._parts[part.stream]

    def _part(self, stream: str, day: int, first: str, entries: Sequence[Entry]) -> Part:
        part = self._open.get((stream, day))
        if part is None:
            part = self._open[stream, day] = Part(self._shelf(stream, day, entries), first, self._fresh_since_s)
            self._parts.setdefault(stream, []).append(part)
        return part
