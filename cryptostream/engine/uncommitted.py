"""What sinks have been given and do not call safe yet: entry ids by stream, in the order of their delivery.

A recorder gathers for a quarter of an hour, so there may be millions of ids. They are kept as text in chunks, a
quarter of what so many objects take, and come out as entries without their fields. Only gaps keep theirs: one that a
source found itself is no entry of a stream, so a source has to know it again.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry

MOST = 1_000_000
"""Entries of all streams together that may wait."""
_stream = attrgetter("stream")
_entry_id = attrgetter("entry_id")


class Uncommitted:
    """Entries that wait for their sinks; at most one of a stream and id."""

    def __init__(self, most: int = MOST) -> None:
        self.count = 0
        self._most = most
        self._queues: dict[str, _Queue] = {}
        self._gaps: dict[tuple[str, str], Entry] = {}

    def fresh(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Those of the entries that do not wait already: what was delivered and not acknowledged comes again."""
        if not self.count:
            return entries
        return [entry for stream, run in groupby(entries, _stream) for entry in self._fresh(stream, list(run))]

    def add(self, entries: Sequence[Entry]) -> None:
        """Have fresh entries wait."""
        self.count += len(entries)
        self._gaps.update({(entry.stream, entry.entry_id): entry for entry in entries if "kind" in entry.fields})
        for stream, run in groupby(entries, _stream):
            self._queues.setdefault(stream, _Queue()).add(list(map(_entry_id, run)))

    def safe(self, held: Sequence[Mapping[str, str]]) -> Iterator[list[Entry]]:
        """Take out what comes before the first that is `held`, of each stream and by any sink; in pages.

        What is held and never came by here keeps all of its stream.
        """
        for stream in list(self._queues):
            queue = self._queues[stream]
            for ids in queue.before({by[stream] for by in held if stream in by}):
                self.count -= len(ids)
                yield [self._entry(stream, entry_id) for entry_id in ids]
            if not queue.count:
                del self._queues[stream]

    def crowded(self, most_of_one: int) -> Collection[str]:
        """Streams of which too many wait: above `most_of_one` each (0: no such bound), or the most of too many."""
        over = [stream for stream, queue in self._queues.items() if 0 < most_of_one < queue.count]
        if over or self.count <= self._most:
            return over
        return [max(self._queues, key=lambda stream: self._queues[stream].count)]

    def _entry(self, stream: str, entry_id: str) -> Entry:
        gap = self._gaps.pop((stream, entry_id), None) if self._gaps else None
        return gap or Entry(stream, entry_id, {})

    def _fresh(self, stream: str, run: list[Entry]) -> Sequence[Entry]:
        queue = self._queues.get(stream)
        return run if queue is None else [entry for entry in run if not queue.has(entry.entry_id)]


class _Queue:
    """The ids of one stream, in chunks as they came: " 1-0 1-1 1-2 "."""

    def __init__(self) -> None:
        self.count = 0
        self._chunks: deque[str] = deque()
        self._newest = (-1, -1)
        self._all: set[str] | None = None
        """Every id, once one came that is not above all others: then each has to be looked for."""
        self._stops: set[str] = set()

    def has(self, entry_id: str) -> bool:
        if self._all is None:
            if parse_id(entry_id) > self._newest:
                return False
            self._all = {one for chunk in self._chunks for one in chunk.split()}
        return entry_id in self._all

    def add(self, ids: list[str]) -> None:
        self.count += len(ids)
        self._chunks.append(f" {' '.join(ids)} ")
        self._newest = max(self._newest, max(map(parse_id, ids)))
        if self._all is not None:
            self._all.update(ids)

    def before(self, stops: set[str]) -> Iterator[list[str]]:
        """Take out, chunk by chunk, what comes before the first of the stops; all of it where there is none."""
        if stops and stops == self._stops:
            return  # one of them has been the first of ours since the last time
        place = self._place(stops)
        if place is None:
            return
        self._stops = stops
        for _ in range(place[0]):
            yield self._taken(self._chunks.popleft())
        if place[1]:
            whole = self._chunks.popleft()
            self._chunks.appendleft(whole[place[1] :])
            yield self._taken(whole[: place[1]])

    def _place(self, stops: set[str]) -> tuple[int, int] | None:
        """The chunk, and where in it, that the first of the stops stands in; None where they are nowhere."""
        if not stops:
            return len(self._chunks), 0
        for index, chunk in enumerate(self._chunks):
            found = [at for stop in stops if (at := chunk.find(f" {stop} ")) >= 0]
            if found:
                return index, min(found)
        return None

    def _taken(self, chunk: str) -> list[str]:
        ids = chunk.split()
        self.count -= len(ids)
        if self._all is not None:
            self._all.difference_update(ids)
        return ids
