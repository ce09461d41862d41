"""From what a read brought to what is handed over: losses in their place, nothing twice, and what is acknowledged."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from cryptostream import logs
from cryptostream.bus.connect import Bus
from cryptostream.bus.group import trimmed
from cryptostream.bus.group.join import acknowledge
from cryptostream.bus.group.place import Place
from cryptostream.bus.group.read import Answer, Reader, Row, Slice
from cryptostream.bus.group.trimmed import Facts
from cryptostream.engine.stats import GroupStats
from cryptostream.errors import BusUnavailable
from cryptostream.model.events import Entry
from cryptostream.model.ports import Clock

_log = logs.get("bus")


class _Missing(NamedTuple):
    """How a stream stands of which something slipped away, and how much that is."""

    facts: Facts
    entries: int


class Delivery:
    """Makes slices of answers, counts them, and keeps what is to be acknowledged until somebody sends it."""

    def __init__(self, bus: Bus, group: str, stats: GroupStats, clock: Clock) -> None:
        self.survived: dict[str, list[str]] = {}
        """Suspects of each stream that were handed over last."""
        self._bus = bus
        self._group = group
        self._stats = stats
        self._clock = clock
        self._acks: dict[str, list[str]] = {}
        self._told = False

    def acknowledge(self, stream: str, ids: Sequence[str]) -> None:
        """Have entries acknowledged with what is sent next."""
        if ids:
            self._acks.setdefault(stream, []).extend(ids)

    @property
    def unsent(self) -> int:
        """How many entries wait to be acknowledged."""
        return sum(map(len, self._acks.values()))

    def take_acks(self) -> dict[str, list[str]]:
        """What is to be sent now; `keep` it where nobody knows whether it arrived."""
        acks, self._acks = self._acks, {}
        return acks

    def keep(self, acks: Mapping[str, Sequence[str]]) -> None:
        """Send these again: once more does no harm."""
        for stream, ids in acks.items():
            self._acks[stream] = [*ids, *self._acks.get(stream, ())]

    async def flush(self) -> None:
        """Acknowledge now. Raises BusUnavailable, BusRefused."""
        acks = self.take_acks()
        try:
            self._stats.acked += await acknowledge(self._bus, self._group, acks)
        except BaseException:
            self.keep(acks)
            raise

    async def slices(
        self, places: Mapping[str, Place], reader: Reader, answer: Answer, old: Collection[str], count: int
    ) -> list[Slice]:
        """What is to be handed over of an answer; `old` are the streams that were asked for what was pending.

        Raises what the reader raises, BusUnavailable and BusRefused, all before anything counts as handed over.
        """
        found = dict(answer.rows)
        new = {stream: rows for stream, rows in found.items() if stream not in old and stream not in answer.facts}
        missing = await self._missing(places, reader, new)
        made: list[Slice] = []
        for stream in old:
            made += await self._pending(places[stream], found.get(stream, []))
        for stream, facts in answer.facts.items():
            made += await self._looked_at(places[stream], facts, found.get(stream, []), count)
        for stream, rows in new.items():
            made += await self._unlooked(places[stream], rows, count, missing.get(stream))
        return made

    def tell_uncountable(self, stream: str) -> None:
        """Say, once, that this server does not count what a stream has seen."""
        if not self._told:
            self._told = True
            _log.warning("group.uncountable", group=self._group, stream=stream, why="Redis 7 counts what is trimmed")

    async def _pending(self, place: Place, rows: list[Row]) -> list[Slice]:
        slices, done, lost = place.take_old(rows)
        self.acknowledge(place.stream, done)
        if lost:
            await self._tell_lost(place.stream, lost, [one.gap for one in slices if one.gap])
        ids = [row[0] for one in slices for row in one.rows]
        suspects = [entry_id for entry_id in ids if entry_id in place.suspects]
        if suspects:
            place.suspects.difference_update(suspects)
            self.survived.setdefault(place.stream, []).extend(suspects)
        self._stats.read += len(ids)
        self._stats.redelivered += len(ids)
        return slices

    async def _new(self, place: Place, rows: list[Row], count: int) -> list[Slice]:
        newest, is_anew = place.newest, place.is_anew
        rows, done = place.take_new(rows, count)
        self.acknowledge(place.stream, done)
        self._stats.read += len(rows)
        if not rows:
            return []
        place.is_anew = False
        lost = trimmed.between(newest, rows[0], delivered="0-0") if is_anew else None
        if not lost:
            return [Slice(place.stream, rows)]
        gap = trimmed.gap(place.stream, lost, before=newest, after=rows[0])
        await self._tell_lost(place.stream, lost, [gap])
        return [Slice(place.stream, rows, gap)]

    async def _missing(
        self, places: Mapping[str, Place], reader: Reader, new: Mapping[str, list[Row]]
    ) -> dict[str, _Missing]:
        """Of new rows of streams that nobody looked at: what slipped away before them, where trades do not join on.

        One question for all streams, and a second one for those that were given less than was added.
        """
        most = {stream: _jump(places[stream], rows) for stream, rows in new.items()}
        jumped = [stream for stream, trades in most.items() if trades]
        told = (await reader.read((), {}, watched=jumped)).facts if jumped else {}
        short = {stream: one for stream, one in told.items() if one and one.read is not None and one.added > one.read}
        above = await trimmed.count_above(self._bus, {stream: one.delivered for stream, one in short.items()})
        lost = {stream: min(most[stream], one.added - (one.read or 0) - above[stream]) for stream, one in short.items()}
        return {stream: _Missing(short[stream], entries) for stream, entries in lost.items() if entries > 0}

    async def _unlooked(self, place: Place, rows: list[Row], count: int, missing: _Missing | None) -> list[Slice]:
        """New rows of a stream that nobody looked at right before they were read."""
        newest = place.newest
        slices = await self._new(place, rows, count)
        if missing is None or not slices:
            return slices
        facts, lost = missing
        rows = slices[0].rows
        gap = trimmed.gap(place.stream, lost, before=newest, after=rows[0], delivered=facts.delivered)
        await self._tell_lost(place.stream, lost, [gap])
        await self._repair(place, facts, (), lost, is_drained=False)
        return [Slice(place.stream, rows, gap)]

    async def _looked_at(self, place: Place, facts: Facts | None, rows: list[Row], count: int) -> list[Slice]:
        """New rows of a stream that was looked at right before they were read."""
        seen, newest = place.seen, place.newest
        slices = await self._new(place, rows, count)
        place.seen = place.newest
        if facts is None:
            self.tell_uncountable(place.stream)
            return slices
        place.added = facts.added
        was_counted, is_drained = place.is_counted, facts.is_caught_up or len(rows) < count
        place.is_counted = was_counted or is_drained
        lost = trimmed.lost(facts) if was_counted or not facts.is_caught_up else 0
        if lost:
            left, right = newest, slices[0].rows[0] if slices else None
            if facts.is_caught_up:  # it slipped away between two looks, while nobody noticed
                left, right = seen, newest
            less = min(lost, trimmed.between(left, right, delivered=facts.delivered) or lost)
            gap = trimmed.gap(place.stream, less, before=left, after=right, delivered=facts.delivered)
            await self._tell_lost(place.stream, less, [gap])
            slices = [Slice(place.stream, slices[0].rows if slices else [], gap)]
        await self._repair(place, facts, rows, lost, is_drained=is_drained and not was_counted)
        return slices

    async def _repair(self, place: Place, facts: Facts, rows: Sequence[Row], lost: int, *, is_drained: bool) -> None:
        """Have the server count what was lost as read; of a group that `is_drained` it is known what it has read.

        After the loss was told: whoever finds the count right has no reason to tell it.
        """
        told = (facts.read or 0) + len(rows)
        right = facts.added if is_drained else told + lost
        if right == told:
            return
        delivered = rows[-1][0] if rows else facts.delivered
        try:
            await trimmed.repair(self._bus, self._group, place.stream, delivered, right, told=told)
        except BusUnavailable:
            place.is_counted = False  # put right later, as after any new connection

    async def _tell_lost(self, stream: str, lost: int, gaps: Sequence[Entry]) -> None:
        self._stats.lost += lost
        _log.warning("group.lost", group=self._group, stream=stream, entries=lost, cause=trimmed.CAUSE)
        for gap in gaps:
            await trimmed.record(self._bus, self._group, gap, self._clock)


def _jump(place: Place, rows: Sequence[Row]) -> int:
    """How many trades may be missing before new rows: none where they join on, or where nobody counts."""
    if not rows or not place.is_counted or not trimmed.is_jump(place.newest, rows[0]):
        return 0
    return trimmed.between(place.newest, rows[0], delivered="0-0") or 0
