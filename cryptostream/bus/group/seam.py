"""One cursor over recordings, streams and what comes: recorded entries first, then a consumer group from there on.

A stream that was recorded and has no group yet is read from the archive, above the place where the group is to start.
Its progress is the hash `cursor:<group>`, written by `commit`. When the archive ends, the stream itself goes on: the
group is made at the last recorded entry. The order of the steps is what makes a crash between any two of them harmless:

1. look at the stream's oldest entry, *then* at the archive: what is trimmed from here on has been recorded;
2. write the seam into the cursor, *then* make the group: a seam without a group is not one, and the archive goes on;
3. drop the cursor once everything up to the seam is committed, which a sink that gathers may make much later.

Where trades are missing inside the recording, they are read from the stream in their place; see `inner.py`.

Streams are read one after the other, so that memory holds a page of one of them; no order holds across streams.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from redis.exceptions import ResponseError

from cryptostream import logs
from cryptostream.bus.ask import asking, heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.group.cursor import Cursor, Cursors
from cryptostream.bus.group.hole import NOT_RECORDED, hole
from cryptostream.bus.group.inner import Inner, Tape
from cryptostream.bus.group.ownership import EVERYTHING
from cryptostream.bus.group.place import before
from cryptostream.bus.group.poison import pause_s, set_aside
from cryptostream.bus.group.source import Group, GroupSettings
from cryptostream.bus.outage import Outage
from cryptostream.engine.stats import GroupStats
from cryptostream.errors import BusUnavailable
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry
from cryptostream.model.ports import Archive, Batch, Clock, Ownership, Rejecting, Source

_NEW = "$"
_PAGE = 1000
_log = logs.get("bus")

T = TypeVar("T")


class Seam(Source, Rejecting):
    """A Group that begins with what an archive holds of its streams. Parameters as Group's, and the archive.

    `settings.start` says from where, for streams whose group is not there yet. Where neither the archive nor the
    stream holds what lies between them, a gap entry tells it, as Group tells what was trimmed.
    """

    def __init__(
        self,
        bus: Bus,
        patterns: Sequence[str],
        archive: Archive,
        *,
        group: str,
        consumer: str,
        clock: Clock,
        settings: GroupSettings | None = None,
        ownership: Ownership = EVERYTHING,
    ) -> None:
        self._bus = bus
        self._patterns = patterns
        self._archive = archive
        self._name = group
        self._clock = clock
        self._settings = settings or GroupSettings()
        self._gate = _Gate(ownership)
        self._cursors = Cursors(bus, group)
        self._tapes: dict[str, Tape] = {}
        self._unsaved: set[str] = set()
        self._tries: dict[tuple[str, str], int] = {}
        self._inner = Inner(self._held, self._late, self._tell)
        self._stopped = False
        self.group = Group(
            bus, patterns, group=group, consumer=consumer, clock=clock, settings=settings, ownership=self._gate
        )

    @property
    def stats(self) -> GroupStats:
        """The group's; entries from the archive are counted in it too."""
        return self.group.stats

    @property
    def leaving(self) -> Collection[str]:
        return self._gate.leaving

    async def __aenter__(self) -> Self:
        await self.group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._save()
        finally:
            await self.group.__aexit__(kind, error, trace)

    async def batches(self) -> AsyncIterator[Batch[Entry]]:
        """What was recorded, stream by stream, then what the group reads; waits while the bus is away.

        Raises DataQuality for a recording that is damaged.
        """
        self._gate.recorded.update(await asyncio.to_thread(self._archive.streams, self._patterns))
        await self._insist(partial(self._gate.mine, ()))
        async with aclosing(self.group.batches()) as following:  # type: ignore[type-var]
            while True:
                async for batch in self._recorded():
                    yield batch
                if self._stopped:
                    return
                try:
                    yield await anext(following)
                except StopAsyncIteration:
                    return

    async def commit(self, batch: Batch[Entry]) -> None:
        """What came from the archive moves its cursor, what came from the group is acknowledged."""
        if not self._tapes:
            await self.group.commit(batch)
            return
        live: list[Entry] = []
        for entry in batch.events:
            tape = self._tapes.get(entry.stream)
            if tape is None or not tape.covers(entry):
                live += () if entry.fields.get("cause") == NOT_RECORDED else (entry,)
            else:
                tape.commit(entry)
                self._unsaved.add(entry.stream)
        await self._save()
        if live:
            await self.group.commit(Batch(live, batch.token))

    async def reject(self, entry: Entry, error: str) -> None:
        """Read again from this entry; after `max_deliveries` times it is a dead letter."""
        tape = self._tapes.get(entry.stream)
        if tape is None or not tape.covers(entry):
            await self.group.reject(entry, error)
            return
        tries = self._tries[entry.stream, entry.entry_id] = self._tries.get((entry.stream, entry.entry_id), 0) + 1
        self.stats.rejected += 1
        if tries < self._settings.max_deliveries:
            tape.back_to(before(entry.entry_id))
            await self._clock.sleep(pause_s(tries))
            return
        await self._set_aside(entry, error, tries)
        tape.commit(entry)
        tape.back_to(tape.safe)
        self._unsaved.add(entry.stream)
        await self._save()

    def stop(self) -> None:
        """Read nothing more."""
        self._stopped = True
        self.group.stop()

    # What was recorded.

    async def _recorded(self) -> AsyncIterator[Batch[Entry]]:
        """All that the archive holds of streams that are ours and before their seam, and then hand them over."""
        ours, self._gate.waiting = self._gate.waiting, []
        for stream in ours:
            await self._insist(partial(self._begin, stream))
            async for batch in self._played(stream):
                yield batch
        for stream in ours:
            async for batch in self._joined(stream):
                yield batch

    async def _begin(self, stream: str) -> None:
        """Find out where a stream stands. One whose group is there needs nothing, or the rest up to its seam."""
        if stream in self._tapes:
            return
        cursor = await self._cursors.get(stream)
        if await self._has_group(stream):
            if cursor and cursor.seam:
                is_entry = parse_id(cursor.safe)[1] > 0  # not a time to start from, before which nothing is missed
                self._tapes[stream] = Tape(cursor.safe, cursor.safe, cursor.seam, begun=is_entry)
            elif cursor:
                await self._cursors.drop([stream])
            return
        if cursor or self._settings.start != _NEW:
            safe = cursor.safe if cursor else self._settings.start
            self._tapes[stream] = Tape(safe, safe, begun=cursor is not None)

    async def _played(self, stream: str) -> AsyncIterator[Batch[Entry]]:
        """What is recorded of a stream above its place, up to its seam if it has one, and what is missing in that."""
        tape = self._tapes.get(stream)
        while tape and not self._stopped:
            is_known = tape.last or not tape.begun
            pages = self._archive.after(stream, tape.place if is_known else before(tape.place))
            while not self._stopped and (page := await asyncio.to_thread(next, pages, None)):
                heed_cancellation()
                if not (page := _up_to(tape.seam, page)):
                    return
                if page[0].entry_id == tape.place:
                    tape.last = page.pop(0)  # handed over before; whether it is a gap, and how far it goes, counts
                async for batch in self._pieces(stream, tape, page):
                    yield batch
                if page and parse_id(tape.place) < parse_id(page[-1].entry_id):
                    break  # an entry of it was rejected: from there again
            else:
                return

    async def _pieces(self, stream: str, tape: Tape, page: list[Entry]) -> AsyncIterator[Batch[Entry]]:
        """A page with what is missing in it, until an entry is rejected."""
        if not page:
            return
        async with aclosing(self._inner.whole(stream, tape, page)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                if self._stopped:
                    return
                place = tape.hand(piece)
                self.stats.read += len(piece)
                yield Batch(piece)
                if tape.place != place:
                    return

    async def _joined(self, stream: str) -> AsyncIterator[Batch[Entry]]:
        """Read on until the stream reaches back to where the archive ends; then the group takes over there."""
        tape = self._tapes.get(stream)
        while tape and not tape.seam and not self._stopped:
            oldest = await self._insist(partial(self._oldest, stream))
            place = tape.place
            if oldest and parse_id(oldest.entry_id) > parse_id(place):
                async for batch in self._played(stream):
                    yield batch
            if tape.place == place and not self._stopped:
                lost = hole(tape.last, tape.place, oldest) if oldest and tape.begun else None
                await self._insist(partial(self._hand_over, stream, tape))
                if lost:
                    self._tell(lost)
                    yield Batch([lost])
        if not self._stopped:
            self._gate.recorded.discard(stream)
            await self._finish(stream)

    async def _finish(self, stream: str) -> None:
        """The archive may hold less than it did when the seam was made: its end is the end then."""
        if (tape := self._tapes.get(stream)) and (tape.place != tape.seam or tape.committed):
            tape.seam = tape.place
            self._unsaved.add(stream)
            await self._save()

    async def _hand_over(self, stream: str, tape: Tape) -> None:
        """Make the group at the place; written down first, so that the recording is read up to there whatever comes."""
        await self._cursors.put({stream: Cursor(tape.safe, tape.place)})
        with asking(self._bus, stream):
            try:
                await self._bus.command.xgroup_create(stream, self._name, id=tape.place, mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise
        tape.seam = tape.place
        _log.info("seam.passed", group=self._name, stream=stream, entry_id=tape.place)
        self._unsaved.add(stream)
        await self._save()

    async def _save(self) -> None:
        """Write down how far streams are committed; while the bus is away that is kept for the next time."""
        if not self._unsaved:
            return
        done = {stream for stream in self._unsaved if self._tapes[stream].committed}
        left = {stream: self._tapes[stream].cursor for stream in self._unsaved - done}
        try:
            if left:
                await self._cursors.put(left)
            if done:
                await self._cursors.drop(done)
        except BusUnavailable as trouble:
            _log.warning("seam.unsaved", group=self._name, streams=len(self._unsaved), why=str(trouble))
            return
        for stream in done:
            del self._tapes[stream]
        self._unsaved.clear()

    # What is asked of the bus.

    async def _insist(self, work: Callable[[], Awaitable[T]]) -> T:
        """The answer to a question, however long the bus is away."""
        outage = Outage(self._clock, self._bus)
        while True:
            heed_cancellation()
            try:
                answer = await work()
            except BusUnavailable as trouble:
                await outage.wait(trouble)
            else:
                outage.over()
                return answer

    async def _has_group(self, stream: str) -> bool:
        with asking(self._bus, stream):
            try:
                groups: Any = await self._bus.command.xinfo_groups(stream)
            except ResponseError as error:
                if "no such key" in str(error).lower():
                    return False
                raise
        return any(group["name"] == self._name for group in groups)

    async def _oldest(self, stream: str) -> Entry | None:
        with asking(self._bus, stream):
            found: Any = await self._bus.command.xrange(stream, count=1)
        return Entry(stream, *found[0]) if found else None

    async def _held(self, stream: str, above: str, below: str) -> list[Entry]:
        return await self._insist(partial(self._range, stream, above, below))

    async def _range(self, stream: str, above: str, below: str) -> list[Entry]:
        with asking(self._bus, stream):
            found: Any = await self._bus.command.xrange(stream, min=f"({above}", max=f"({below}", count=_PAGE)
        return [Entry(stream, *row) for row in found]

    async def _late(self, stream: str, above: str, below: str) -> list[Entry]:
        """What has been recorded there by now."""
        page = await asyncio.to_thread(next, self._archive.after(stream, above), None) or []
        return [entry for entry in page if parse_id(entry.entry_id) < parse_id(below)]

    async def _set_aside(self, entry: Entry, error: str, tries: int) -> None:
        """Make it a dead letter. Written again after a crash in between, for then it is read again too."""
        await self._insist(partial(set_aside, self._bus, self._name, entry, error, tries, self._clock))
        self.stats.dead_letters += 1
        _log.error("group.dead_letter", group=self._name, stream=entry.stream, entry=entry.entry_id, why=error)

    def _tell(self, lost: Entry) -> None:
        self.stats.lost += int(lost.fields.get("count", 0))
        told = {name: lost.fields[name] for name in ("gap_from", "gap_to", "cause")}
        _log.warning("group.lost", group=self._name, stream=lost.stream, **told)


class _Gate(Ownership):
    """Holds streams back from the group while they are before their seam."""

    def __init__(self, ownership: Ownership) -> None:
        self.recorded: set[str] = set()
        """All that are, whosever they are."""
        self.waiting: list[str] = []
        """Those of them that are ours since somebody asked last, sorted."""
        self.exclusive = ownership.exclusive
        self._ownership = ownership

    async def mine(self, streams: Sequence[str]) -> Collection[str]:
        """Those that are ours and behind their seam."""
        ours = await self._ownership.mine(sorted(self.recorded.union(streams)))
        self.waiting = sorted(self.recorded.intersection(ours))
        return [stream for stream in ours if stream not in self.recorded]

    @property
    def leaving(self) -> Collection[str]:
        return self._ownership.leaving


def _up_to(seam: str, page: list[Entry]) -> list[Entry]:
    if not seam or parse_id(page[-1].entry_id) <= parse_id(seam):
        return page
    return [entry for entry in page if parse_id(entry.entry_id) <= parse_id(seam)]
