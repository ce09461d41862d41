"""Records to entries over one wire: where each stream stands is learnt first, and every reply is looked at.

Nothing here waits for a bus that is away: what fails is raised, and writing the same records again is safe, because
Redis refuses what is not above a stream's top. Why that is enough is told in `settle.py`. XADD:
https://redis.io/docs/latest/commands/xadd/
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import hiredis

from cryptostream import logs
from cryptostream.bus.awaited import Awaited
from cryptostream.bus.connect import Bus, translate_reply
from cryptostream.bus.pack import Source, Stream, stream_of, window_id
from cryptostream.bus.resp import ServerWire, Wire, command
from cryptostream.bus.settle import Verdict, is_refusal, next_accepted, verdict
from cryptostream.bus.top import EMPTY, Top, next_of, place_of, top_at, top_of
from cryptostream.engine.stats import PublisherStats, delay_s
from cryptostream.errors import BusUnavailable
from cryptostream.model.events import GapRecord, KlineRecord, Ledger, LedgerRecord, Micros, Record
from cryptostream.model.instrument import Subscription
from cryptostream.model.ports import Clock

_NO_STREAM = "no such key"
_ALL_THERE = Top((0, 0), sys.maxsize, sys.maxsize)
"""Of a stretch that retention has taken: what was in it is not missing."""
_subscription = attrgetter("subscription")
_log = logs.get("bus")


class OutOfMemory(BusUnavailable):
    """Redis takes no more entries before it holds less."""


class Writer:
    """Writes batches of records over a wire, which it opens when it has none.

    `awaited` is told of lines that do not join on to their streams; with `goes_back` False all lines go on as they are.
    `resending`: what is written may have been written before, so that finding it there says nothing about others.

    Raises OSError, TimeoutError, hiredis.HiredisError, BusUnavailable and BusRefused; `disconnect` after any of them.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        clock: Clock,
        maxlen: int,
        key_of: Callable[[Subscription], str],
        stats: PublisherStats,
        awaited: Awaited,
        goes_back: bool,
        ingester: str = "",
    ) -> None:
        self.resending = False
        self._bus = bus
        self._clock = clock
        self._maxlen = maxlen
        self._key_of = key_of
        self._stats = stats
        self._awaited = awaited
        self._goes_back = goes_back
        self._ingester = ingester
        self._wire: Wire | None = None
        self._streams: dict[Source, Stream] = {}
        self._after_gap: set[Source] = set()
        self._opening: dict[Source, int] = {}
        self._below: dict[Source, Top] = {}
        # What outlives a connection: of each stream the first number written, the clamp, the key; and what to tell.
        self._begun: dict[Source, int] = {}
        self._clamps: dict[Source, int] = {}
        self._keys: set[str] = set()
        self._notes: dict[Source, LedgerRecord] = {}

    async def connect(self) -> Wire:
        """The wire, opened where there is none."""
        if self._wire is None:
            self._wire = await self._bus.wire()
        return self._wire

    async def disconnect(self) -> None:
        """Close the wire, and forget where streams stand: what they hold decides where we go on, not what we sent."""
        self.reopen()
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    def reopen(self) -> None:
        """Learn anew where each stream stands before it is written to again."""
        self._clamps.update((wanted, stream.ms) for wanted, stream in self._streams.items())
        self._streams.clear()
        self._after_gap.clear()
        self._opening.clear()
        self._below.clear()

    async def write(self, records: Sequence[Record]) -> None:
        """Write records in order and return once Redis has answered for each of them."""
        await self._write(records)
        if (delay := delay_s(records, self._clock.now_ns())) is not None:
            self._stats.exchange_to_bus.observe(delay)
        while self._notes:
            told = dict(self._notes)
            await self._write(list(told.values()))
            for wanted in told:
                del self._notes[wanted]

    async def trim(self) -> int:
        """Cut the streams we write to exactly to their length; how many entries that were."""
        if not self._maxlen:
            return 0
        commands = [command("XTRIM", key, "MAXLEN", "=", self._maxlen) for key in sorted(self._keys)]
        return sum(reply for reply in await self._send(commands, len(commands)) if isinstance(reply, int))

    async def _write(self, records: Sequence[Record]) -> None:
        if self._awaited:
            records = self._awaited.sift(records)
        new = [wanted for wanted in dict.fromkeys(map(_subscription, records)) if wanted not in self._streams]
        if new:
            records = await self._open(records, new)
        if self._below:
            records = self._above_tops(records)
        if self._after_gap or GapRecord in set(map(type, records)):
            self._stats.gaps += sum(type(record) is GapRecord for record in records)
            for piece in self._pieces(records):
                await self._publish(piece)
        else:
            await self._publish(records)
        if self._opening:
            self._begun = {**self._opening, **self._begun}
            self._opening.clear()

    # Opening: where a stream stands, and whether our records join on to it.

    async def _open(self, records: Sequence[Record], new: Sequence[Source]) -> Sequence[Record]:
        """Learn where each new stream stands, and begin those that there are not; what is still to be written."""
        while True:
            tops = await self._tops(new)
            for wanted, first in _firsts(records, new).items():
                self._join(wanted, first, tops[wanted])
            if self._awaited:
                records = self._awaited.sift(records)
            begin = _firsts(records, [wanted for wanted in new if tops[wanted] is EMPTY and _is_numbered(wanted)])
            begin = {wanted: self._lost_before(first) or first for wanted, first in begin.items()}
            if not begin:
                return records
            if not isinstance(self._wire, ServerWire):  # the nodes of a cluster know no transaction over many keys
                return [*begin.values(), *_without(records, begin)]
            if await self._begin(begin):
                return _without(records, begin)
            new = list(begin)

    async def _tops(self, new: Sequence[Source]) -> dict[Source, Top]:
        opened = [stream_of(wanted, self._key_of, maxlen=self._maxlen) for wanted in new]
        infos = await self._send([command("XINFO", "STREAM", stream.key) for stream in opened], len(opened))
        tops: dict[Source, Top] = {}
        for wanted, stream, info in zip(new, opened, infos, strict=True):
            windows = isinstance(wanted, Subscription) and wanted.interval is not None
            tops[wanted] = self._top_of(info, stream.key, windows=windows)
            stream.ms = tops[wanted].ms
            self._streams[wanted] = stream
            if isinstance(wanted, Subscription):
                self._keys.add(stream.key)
        return tops

    def _join(self, wanted: Source, first: Record, top: Top) -> None:
        """See to it that the first record we have for a stream follows what it holds, or comes later."""
        if not isinstance(wanted, Subscription):
            return
        if top.is_gap:
            self._after_gap.add(wanted)
        if top is not EMPTY and wanted.interval is None:
            self._below[wanted] = top
        place = place_of(first)
        if top is EMPTY and wanted in self._begun:
            self._streams[wanted].ms = self._clamps.get(wanted, 0)
            self._note(wanted, self._begun[wanted], place)
        elif self._goes_back and top.last_id is not None:
            following = next_of(wanted, top.last_id)
            if place > following and self._awaited.expect(wanted, following, first.ts):
                if wanted in self._begun:  # else another writer is behind us, and nothing was lost
                    self._note(wanted, following, place)
                place = following
        self._opening[wanted] = place if top.first is None else min(place, top.first)

    def _lost_before(self, first: Record) -> GapRecord | None:
        """What an emptied stream once had from us, as the gap that stands before its first record."""
        wanted = first.subscription
        begun = self._begun.get(wanted, sys.maxsize)
        if not isinstance(wanted, Subscription) or begun >= place_of(first):
            return None
        ts = Micros(self._clamps.get(wanted, 0) * 1000)
        self._stats.gaps += 1
        return GapRecord(wanted, begun, place_of(first) - 1, "bus_reset", ts)

    async def _begin(self, first: Mapping[Source, Record]) -> bool:
        """Write the first entry of streams that do not exist, all at once; False if somebody else began one of them."""
        streams = [self._streams[wanted] for wanted in first]
        keys = [stream.key for stream in streams]
        looks = [command("XINFO", "STREAM", key) for key in keys]
        watched, *infos = await self._send([command("WATCH", *keys), *looks], 1 + len(keys))
        self._checked(watched, keys[0])
        begun = any(self._top_of(info, key) is not EMPTY for info, key in zip(infos, keys, strict=True))
        entries = [] if begun else [self._streams[wanted].pack(record) for wanted, record in first.items()]
        *queued, taken = await self._send([command("MULTI"), *entries, command("EXEC")], len(entries) + 2)
        for reply in (*queued, taken):
            self._checked(reply, ", ".join(keys))
        if not taken:
            return False
        for reply, key in zip(taken, keys, strict=True):
            self._checked(reply, key)
        self._stats.published += len(entries)
        self._after_gap.update(wanted for wanted, record in first.items() if isinstance(record, GapRecord))
        return True

    def _note(self, wanted: Subscription, first: int, following: int) -> None:
        """Tell of what the bus has lost: the numbers from the first to the one before those that follow."""
        if following <= first:
            return
        lost = (first, following - 1) if wanted.interval is None else (first, following)
        self._notes[wanted] = LedgerRecord(
            Ledger(wanted.exchange),
            "bus_reset",
            Micros(self._clock.now_ns() // 1000),
            pair=wanted.pair,
            channel=f"{wanted.channel}:{wanted.interval}" if wanted.interval else wanted.channel.value,
            gap_from=lost[0],
            gap_to=lost[1],
            count=None if wanted.interval else following - first,
            ingester=self._ingester,
        )
        _log.warning("bus.reset", stream=self._streams[wanted].key, gap_from=lost[0], gap_to=lost[1])

    def _above_tops(self, records: Sequence[Record]) -> list[Record]:
        """Leave out what is not above the top that its stream had when it was opened: it is there already.

        It must not be sent: no id is sure to be refused of a trade that precedes the stream's first one.
        """
        kept: list[Record] = []
        for record in records:
            top = self._below.get(record.subscription)
            if top is None:
                kept.append(record)
                continue
            found = verdict([record], top)
            self._count(found, self._streams[record.subscription].key)
            kept += found.missing
            if found.missing:
                del self._below[record.subscription]
        return kept

    # Writing: every record's reply is looked at, and what was refused is found out about.

    def _pieces(self, records: Sequence[Record]) -> Iterator[Sequence[Record]]:
        """Cut after each gap, and after the first record that follows one: see `settle.py`."""
        start = 0
        for place, record in enumerate(records):
            is_gap = type(record) is GapRecord
            if is_gap or record.subscription in self._after_gap:
                yield records[start : place + 1]
                start = place + 1
                (self._after_gap.add if is_gap else self._after_gap.discard)(record.subscription)
        yield records[start:]

    async def _publish(self, records: Sequence[Record]) -> None:
        if not records:
            return
        streams = self._streams
        replies = await self._send((streams[record.subscription].pack(record) for record in records), len(records))
        if set(map(type, replies)) == {bytes}:
            self._stats.published += len(records)
            return
        errors = [place for place, reply in enumerate(replies) if type(reply) is not bytes]
        self._stats.published += len(records) - len(errors)
        self._raise_faults(records, replies, [place for place in errors if not is_refusal(replies[place])])
        await self._settle(records, replies, errors)

    def _raise_faults(self, records: Sequence[Record], replies: Sequence[Any], faults: Sequence[int]) -> None:
        """Raise what Redis has against some records; those that a later one of ours has overtaken are lost."""
        if not faults:
            return
        taken = {record.subscription: place for place, record in enumerate(records) if type(replies[place]) is bytes}
        for place in faults:
            if taken.get(records[place].subscription, -1) > place:
                self._too_late(self._streams[records[place].subscription].key, 1)
        self._checked(replies[faults[0]], self._streams[records[faults[0]].subscription].key)
        raise ConnectionError("a reply that is none to XADD")

    async def _settle(self, records: Sequence[Record], replies: Sequence[Any], errors: Sequence[int]) -> None:
        """Find out what became of each record that was refused, stream by stream."""
        refused: dict[Source, list[int]] = {}
        for place in errors:
            refused.setdefault(records[place].subscription, []).append(place)
        for wanted, places in refused.items():
            if _is_numbered(wanted):
                for above, run in groupby(places, key=lambda place: next_accepted(records, replies, place)):
                    await self._settle_run([records[place] for place in run], above)
            else:
                await self._settle_windows([records[place] for place in places], self._streams[wanted].key)

    async def _settle_run(self, refused: Sequence[Record], above: str | None) -> None:
        """Refused records of one stream with none accepted between them; `above` is the accepted entry that follows.

        What stands below that decides, so that our own later entries do not pass for the refused.
        """
        stream = self._streams[refused[0].subscription]
        top = await self._top(stream.key, above)
        found = verdict(refused, top, overtaken=above is not None)
        self._count(found, stream.key)
        if above is None:
            stream.ms = top.ms
            await self._publish(found.missing[:1])
            await self._publish(found.missing[1:])

    async def _settle_windows(self, refused: Sequence[Record], key: str) -> None:
        """Refused klines: there already, or overtaken; only a closed one that is absent is a loss."""
        wanted = [window_id(one) for one in refused if not isinstance(one, KlineRecord) or one.closed]
        found = await self._send([command("XRANGE", key, one, one) for one in wanted], len(wanted))
        absent = sum(1 for entries in found if not self._checked(entries, key))
        self._stats.duplicates += len(refused) - absent
        self._too_late(key, absent)

    async def _top(self, key: str, above: str | None) -> Top:
        """The newest entry of a stream, or the newest below an entry."""
        if above is None:
            [info] = await self._send([command("XINFO", "STREAM", key)], 1)
            return self._top_of(info, key)
        [entries] = await self._send([command("XREVRANGE", key, f"({above}", "-", "COUNT", 1)], 1)
        return top_at(entries[0]) if self._checked(entries, key) else _ALL_THERE

    def _top_of(self, info: Any, key: str, *, windows: bool = False) -> Top:
        if isinstance(info, hiredis.ReplyError) and _NO_STREAM in str(info):
            return EMPTY
        return top_of(self._checked(info, key), windows=windows)

    def _count(self, found: Verdict, key: str) -> None:
        self._stats.duplicates += found.duplicates
        self._stats.saved += 0 if self.resending else found.saved
        self._too_late(key, found.too_late)

    def _too_late(self, key: str, count: int) -> None:
        if count:
            self._stats.refused += count
            _log.error("bus.refused", stream=key, entries=count, why="newer entries stand above them")

    def _checked(self, reply: Any, key: str) -> Any:
        """The reply, unless it is an error."""
        if not isinstance(reply, hiredis.ReplyError):
            return reply
        self._stats.errors += 1
        told = translate_reply(reply, self._bus.url, key=key)
        if str(reply).startswith("OOM "):
            raise OutOfMemory(str(told), hint=told.hint)
        raise told

    async def _send(self, commands: Iterable[str], count: int) -> list[Any]:
        wire = self._wire or await self.connect()
        try:
            replies = await wire.send(commands, count)
        except RuntimeError as error:  # so uvloop calls a write to a connection that has been lost
            raise ConnectionError("the connection was lost") from error
        if len(replies) != count:
            raise ConnectionError("not as many replies as commands")
        return replies


def _is_numbered(wanted: Source) -> bool:
    """Whether a stream's entry ids are made of the venue's own numbers."""
    return isinstance(wanted, Subscription) and wanted.interval is None


def _firsts(records: Sequence[Record], wanted: Iterable[Source]) -> dict[Source, Record]:
    """The first record of each of these streams."""
    among = set(wanted)
    found: dict[Source, Record] = {}
    for record in records:
        if record.subscription in among:
            found.setdefault(record.subscription, record)
    return found


def _without(records: Sequence[Record], written: Mapping[Source, Record]) -> list[Record]:
    return [record for record in records if record is not written.get(record.subscription)]
