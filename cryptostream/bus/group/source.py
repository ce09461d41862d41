"""A consumer group as a source: own pending entries first, then new ones; acknowledged once the sinks have them.

Delivery is at least once. What was trimmed before it was read is counted and told in its place, what nobody can handle
is set aside, what others left behind is taken over, and a group that Redis has lost is made again.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from types import TracebackType

from cryptostream import logs
from cryptostream.bus.ask import heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.group import join, poison, trimmed
from cryptostream.bus.group.claims import Claims
from cryptostream.bus.group.delivery import Delivery
from cryptostream.bus.group.ownership import EVERYTHING
from cryptostream.bus.group.place import Place
from cryptostream.bus.group.plan import Plan, plan
from cryptostream.bus.group.read import BLOCK_S, NEW, Answer, GroupGone, Reader, Slice, reader
from cryptostream.bus.outage import Outage
from cryptostream.engine.stats import GroupStats
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.events import Entry
from cryptostream.model.ports import Batch, Clock, Ownership, Rejecting, Source

__all__ = ["Group", "GroupSettings", "Slice"]

_RESCAN_S = 5.0
_SOON_S = 0.5
"""When to look again for a stream that is gone."""
_LAST_WORD_S = 2.0
"""How long the end waits for a bus that does not answer; what is not acknowledged comes again."""
_LATE_S = 0.1
"""After a longer pause than this, entries may have been trimmed that were not read."""
_NOTHING = Plan((), (), (), 0, 0.0)
_log = logs.get("bus")


@dataclass(frozen=True, kw_only=True)
class GroupSettings:
    """How a group reads.

    `start` is the last-delivered id of groups that are made: "0" for all that is there, "$" for what is new, or an id
    above which entries are read. `count`: entries a read takes from each stream. `claim_idle_s`: what is pending so
    long with another member is taken over, 0 for never. After `max_deliveries` an entry is a dead letter. `until`: ids
    up to which to read before it ends; None to go on for ever.
    """

    start: str = "0"
    count: int = 100
    claim_idle_s: float = 30.0
    max_deliveries: int = 5
    until: Mapping[str, str] | None = None


class Group(Source, Rejecting):
    """Entries of every stream that matches one of `patterns`, read as one member of a consumer group.

    Groups are made where they are missing; streams that appear later are picked up, and read from their beginning.
    While the bus is away this waits. One reader at a time: `slices` or `batches`.
    """

    def __init__(
        self,
        bus: Bus,
        patterns: Sequence[str],
        *,
        group: str,
        consumer: str,
        clock: Clock,
        settings: GroupSettings | None = None,
        ownership: Ownership = EVERYTHING,
    ) -> None:
        self.stats = GroupStats(group=group)
        self._bus = bus
        self._group = group
        self._clock = clock
        self._settings = settings or GroupSettings()
        self._ownership = ownership
        self._joining = join.Joining(bus, patterns, group=group, consumer=consumer, start=self._settings.start)
        self._claims = Claims(
            bus,
            group,
            consumer,
            idle_s=self._settings.claim_idle_s,
            exclusive=ownership.exclusive,
            clock=clock,
        )
        self._consumer = consumer
        self._places: dict[str, Place] = {}
        self._delivery = Delivery(bus, group, self.stats, clock)
        self._reader: Reader | None = None
        self._plan: Plan | None = None  # the last one, while it still holds
        self._look_at_s = clock.monotonic()
        self._answered_s = clock.monotonic()
        self._has_looked = False
        self._stopped = False

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self._leave()
        await self._close()

    async def slices(self) -> AsyncIterator[list[Slice]]:
        """What each read gave, by stream; nothing about once a second while nothing comes. Raises BusRefused."""
        outage = Outage(self._clock, self._bus)
        try:
            while not self._stopped and not self._is_through():
                heed_cancellation()
                try:
                    found = await self._next()
                except BusUnavailable as trouble:
                    self.stats.trouble = str(trouble)
                    await outage.wait(trouble)
                    found = []
                else:
                    outage.over()
                    self.stats.trouble = ""
                if found is not None:
                    yield found
        finally:
            await self._close()

    async def batches(self) -> AsyncIterator[Batch[Entry]]:
        """The same as entries, a gap in its place among them; an empty batch says that time has passed."""
        async with aclosing(self.slices()) as read:  # type: ignore[type-var]
            async for slices in read:
                yield Batch([entry for one in slices for entry in _entries(one)])

    async def commit(self, batch: Batch[Entry]) -> None:
        """Acknowledge a batch, along with the next read: what is not acknowledged by then is read again some day."""
        by_stream: dict[str, list[str]] = {}
        for entry in batch.events:
            if not _is_ours(entry):
                by_stream.setdefault(entry.stream, []).append(entry.entry_id)
        for stream, ids in by_stream.items():
            self.acknowledge(stream, ids)

    def acknowledge(self, stream: str, ids: Sequence[str]) -> None:
        """Acknowledge entries of a stream, given in their order, along with the next read."""
        self._delivery.acknowledge(stream, ids)
        if ids and stream in self._places:
            self._places[stream].acknowledged(ids)

    async def reject(self, entry: Entry, error: str) -> None:
        """Nobody could handle an entry: it comes again after a moment, and what follows it in its stream after it.

        Other streams go on. After `max_deliveries` it is set aside in `dlq:<group>`.
        """
        self.stats.rejected += 1
        place = self._places.get(entry.stream)
        if place is None:
            return
        self._plan = None
        self._delivery.survived.pop(entry.stream, None)
        place.back_to(entry.entry_id)
        place.rests_until_s = self._clock.monotonic() + poison.pause_s(place.tries)
        with suppress(BusUnavailable):
            times = await poison.deliveries(self._bus, self._group, entry)
            if times >= self._settings.max_deliveries:
                await self._set_aside(entry, error, times)
                place.pass_over(entry.entry_id)
                place.rests_until_s = 0.0

    def listen(self, patterns: Sequence[str]) -> None:
        """Read the streams of these patterns too, from the next read on."""
        self._joining.listen(patterns)
        self._look_at_s = self._clock.monotonic()

    def ignore(self, patterns: Sequence[str]) -> None:
        """Read no more what only these patterns matched; what is pending of it stays pending."""
        self._joining.ignore(patterns)
        self._look_at_s = self._clock.monotonic()

    def reread(self, streams: Collection[str]) -> None:
        """What is pending of these streams is handed over again, from its beginning."""
        self._plan = None
        for stream in streams:
            if stream in self._places:
                self._places[stream].reread()

    @property
    def leaving(self) -> Collection[str]:
        """Streams that will be another member's: what was read of them is to be safe soon."""
        return self._ownership.leaving

    def stop(self) -> None:
        """Read nothing more; a read that is under way ends within a second."""
        self._stopped = True

    def _is_through(self) -> bool:
        """Whether this was to end, and all it was to read has been handed over."""
        until = self._settings.until
        if until is None or not self._has_looked:
            return False
        return all(place.is_through(until.get(stream)) for stream, place in self._places.items())

    async def _next(self) -> list[Slice] | None:
        """What the next read gives; None where it gave nothing and took no time."""
        try:
            if not self._places or self._clock.monotonic() >= self._look_at_s:
                await self._look_around()
            await self._clear_survivors()
            return await self._read()
        except GroupGone as gone:
            _log.warning("group.gone", group=self._group, reason=str(gone))
            await self._lose_touch()
            await self._joining.restore(self._places, self.stats)
            self._look_at_s = self._clock.monotonic() + _SOON_S
            return None
        except BaseException:
            await self._lose_touch()
            raise

    async def _look_around(self) -> None:
        """Find streams, take those that are ours, and let go of those that are not any more."""
        names = await self._joining.names()
        mine = set(await self._ownership.mine(names))
        for stream in self._places.keys() - mine:
            del self._places[stream]
        new = [name for name in names if name in mine and (name not in self._places or self._places[name].is_gone)]
        joined = await self._joining.join(new, self._places, self.stats)
        await self._take_over(joined)
        self._places |= {place.stream: place for place in joined}
        self._doubt()
        self.stats.streams = len(self._places)
        self._has_looked = True
        some_gone = any(place.is_gone for place in self._places.values())
        self._look_at_s = self._clock.monotonic() + (_SOON_S if some_gone else _RESCAN_S)

    async def _take_over(self, joined: Sequence[Place]) -> None:
        """What is pending becomes ours where it may, and what of it kills is set aside."""
        there = [place for place in self._places.values() if not place.is_gone]
        taken = await self._claims.take_idle(there)
        taken += await self._claims.take_all(joined) if self._ownership.exclusive else 0
        self.stats.claimed += taken
        looked = [*joined, *(there if taken else ())]
        most = self._settings.max_deliveries
        for entry, times in await poison.suspect(self._bus, self._group, self._consumer, looked, most):
            await self._set_aside(entry, poison.KILLER, times)
        await self._claims.remove_leavers(there)

    async def _read(self) -> list[Slice] | None:
        """One read: whatever is pending of some streams, what is new of the others; waits if there is nothing."""
        now_s = self._clock.monotonic()
        if now_s - self._answered_s > _LATE_S:
            self._doubt()
        planned = self._plan or plan(self._places.values(), self._settings.count, now_s)
        if not planned.reads:
            await self._flush()
            await self._clock.sleep(planned.rest_s)
            return []
        waits = planned.is_calm and self._settings.until is None
        answer = await self._asked(planned, max(1, round(planned.rest_s * 1000)) if waits else None)
        full = any(len(rows) >= planned.most for _, rows in answer.rows)
        self._plan = planned if waits and not full and planned.rest_s == BLOCK_S else None
        if self._settings.until is not None:
            self._note_dry(answer)
        line = await self._line()
        slices = await self._delivery.slices(self._places, line, answer, planned.pending, planned.most)
        return slices if slices or waits else None

    def _note_dry(self, answer: Answer) -> None:
        came = {stream for stream, rows in answer.rows if rows}
        for place in self._places.values():
            place.is_dry = place.at == NEW and place.stream not in came

    def _doubt(self) -> None:
        """Entries may have been trimmed since the last read, of any stream."""
        self._plan = None
        for place in self._places.values():
            place.is_doubtful = True

    async def _asked(self, planned: Plan, block_ms: int | None) -> Answer:
        """Read, with whatever there is to acknowledge in front of it."""
        line = await self._line()
        acks, asked_s = self._delivery.take_acks(), self._clock.monotonic()
        try:
            answer = await line.read(planned.reads, acks, watched=planned.watched, block_ms=block_ms)
        except BaseException:
            self._delivery.keep(acks)
            raise
        self.stats.acked += answer.acked
        # Stopped while it waited, a process finds a reply that is old.
        waited_s = self._clock.monotonic() - asked_s
        self._answered_s = self._clock.monotonic() if waited_s <= BLOCK_S + _LATE_S else asked_s
        return answer

    async def _line(self) -> Reader:
        if self._reader is None:
            self._reader = await reader(self._bus, self._group, self._consumer)
        return self._reader

    async def _flush(self) -> None:
        """Acknowledge now what waits for the next read."""
        if self._delivery.unsent and self._reader is not None:
            await self._asked(_NOTHING, None)
        elif self._delivery.unsent:
            await self._delivery.flush()

    async def _clear_survivors(self) -> None:
        """Nobody died of what was handed over last."""
        survived, self._delivery.survived = self._delivery.survived, {}
        if survived:
            try:
                await poison.clear(self._bus, self._group, self._consumer, survived)
            except BusRefused as refused:
                _log.warning("group.untidy", group=self._group, reason=str(refused), hint=refused.hint)

    async def _set_aside(self, entry: Entry, error: str, times: int) -> None:
        await poison.set_aside(self._bus, self._group, entry, error, times, self._clock)
        self.stats.dead_letters += 1
        _log.error("group.dead_letter", group=self._group, stream=entry.stream, entry=entry.entry_id, why=error)

    async def _lose_touch(self) -> None:
        """Whatever was on its way is lost, and will be asked for again."""
        self._plan = None
        for place in self._places.values():
            place.doubt()
        await self._hang_up()

    async def _hang_up(self) -> None:
        await self._claims.close()
        wire, self._reader = self._reader, None
        if wire is not None:
            await wire.close()

    async def _leave(self) -> None:
        """Whoever leaves in order did not die of what was handed over."""
        with suppress(BusUnavailable):
            await self._clear_survivors()

    async def _close(self) -> None:
        """Send what is to be acknowledged, and hang up; whoever reads again begins with what is pending."""
        try:
            async with asyncio.timeout(_LAST_WORD_S):
                await self._flush()
        except (BusUnavailable, BusRefused, TimeoutError) as trouble:
            entries, why = self._delivery.unsent, str(trouble) or "the bus does not answer"
            _log.warning("group.unacknowledged", group=self._group, entries=entries, why=why)
        self.reread(self._places)
        await self._hang_up()


def _entries(one: Slice) -> list[Entry]:
    stream = one.stream
    entries = [Entry(stream, row[0], dict(zip(row[1][::2], row[1][1::2], strict=True))) for row in one.rows]
    return entries if one.gap is None else [one.gap, *entries]


def _is_ours(entry: Entry) -> bool:
    """Whether an entry is a gap that was found here, so that no stream holds it."""
    return entry.fields.get("kind") == "gap" and entry.fields.get("cause") == trimmed.CAUSE
