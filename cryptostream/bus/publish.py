"""Records to streams: each once, in order. While the bus is away they wait on disk, and nobody waits for the bus.

Two ways lead to the bus, never both at once. *Directly*: a batch is written as it comes (`writer.py`). When that fails,
the batch and all after it go into the *spool*, from where a task of its own brings them to the bus, oldest first; once
the spool is empty, batches go directly again. Entry ids make it harmless that some are sent twice.
"""

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import hiredis

from cryptostream import logs
from cryptostream.bus.ask import heed_cancellation
from cryptostream.bus.awaited import Awaited, Rewind
from cryptostream.bus.connect import Bus, translate
from cryptostream.bus.keys import stream_key
from cryptostream.bus.spool import Spool, Unreadable
from cryptostream.bus.writer import OutOfMemory, Writer
from cryptostream.engine.backoff import backoff
from cryptostream.engine.clock import within
from cryptostream.engine.stats import PublisherStats
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.events import Ledger, LedgerRecord, Micros, Record
from cryptostream.model.instrument import Subscription
from cryptostream.model.ports import Clock

_WRITE_ENTRIES = 1000
_CAREFUL_ENTRIES = 16
"""Redis reads so few at once: no memory can become free between two of them, so that it takes the later one alone."""
_ROOM = 0.75
_SYNC_S = 1.0
_PROGRESS_S = 5.0
_LAST_DRAIN_S = 2.0
_AWAY_CAP_S = 0.5
_REFUSED_CAP_S = 5.0
_TROUBLE = (OSError, TimeoutError, hiredis.HiredisError, BusUnavailable, BusRefused)
_log = logs.get("bus")


@dataclass
class _Outage:
    """From the first batch that the bus did not take until it has all of them."""

    since_s: float
    exchanges: Sequence[str]
    drained: int = 0
    overflowed: int = 0
    told: bool = False


class Publisher:
    """The sink that writes records to Redis Streams.

    `key_of` names the stream of a subscription, `maxlen` is about how many entries a stream keeps (0: all). What the
    bus has lost, or the spool had no room for, is asked of `rewind`. Without a `spool`, `write` waits for the bus.

    Raises BusRefused where Redis refuses (rights, a key of another type) before it ever took anything. After that, and
    whatever else goes wrong, records wait in the spool.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        clock: Clock,
        maxlen: int = 10_000,
        key_of: Callable[[Subscription], str] = stream_key,
        random: Random | None = None,
        stats: PublisherStats | None = None,
        spool: Spool | None = None,
        rewind: Rewind | None = None,
        ingester: str = "",
    ) -> None:
        self.stats = stats or PublisherStats()
        self._url = bus.url
        self._waiting = bus.waiting
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - jitter, not a secret
        self._spool = spool
        self._rewind = rewind
        self._ingester = ingester
        self._unstored = Awaited(self._go_back, cause="overflow", clock=clock)
        self._unjoined = Awaited(self._go_back, cause="bus_reset", clock=clock)
        self._writer = Writer(
            bus,
            clock=clock,
            maxlen=maxlen,
            key_of=key_of,
            stats=self.stats,
            awaited=self._unjoined,
            goes_back=rewind is not None,
            ingester=ingester,
        )
        self._outage: _Outage | None = None
        self._away, self._back = asyncio.Event(), asyncio.Event()
        self._accepted = self._adopting = self._refused = False
        self._step = _WRITE_ENTRIES
        self._damaged = 0
        self._jobs = asyncio.TaskGroup()
        self._running: list[asyncio.Task[None]] = []

    @property
    def full(self) -> bool:
        """Whether there is no room yet for what was lost for want of it."""
        if self._outage is None or self._spool is None or not self._outage.overflowed:
            return False
        return self._spool.failed or self._spool.bytes > self._spool.max_bytes * _ROOM

    async def __aenter__(self) -> Self:
        """Connect, and bring to the bus what dead writers have left for it. Raises BusUnavailable, BusRefused.

        Cancelled meanwhile, it leaves the rest on disk for the next start.
        """
        await self._writer.connect()
        await self._jobs.__aenter__()
        if self._spool is not None:
            try:
                heed_cancellation()
                await self._adopt(self._spool)
                heed_cancellation()
            except BaseException:
                await self._leave()
                raise
            drain, sync = self._drain_whenever_away(self._spool), self._sync_while_away(self._spool)
            self._running = [self._jobs.create_task(drain), self._jobs.create_task(sync)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave what the bus does not take now in the spool, for the next start."""
        if kind is None and self._outage is not None and not self.stats.trouble:
            with suppress(TimeoutError):
                await within(self._clock, _LAST_DRAIN_S, self._back.wait())
        await self._leave()

    async def write(self, events: Sequence[Record]) -> None:
        """Publish records in order; return once each is in Redis or, while that is away, in the spool."""
        if self._unstored:
            events = self._sifted(events)
        for start in range(0, len(events), _WRITE_ENTRIES):
            piece = events[start : start + _WRITE_ENTRIES]
            if self._outage is None and await self._taken(piece):
                continue
            if self._spool is None:
                await self._insist(piece)
            else:
                self._store(self._spool, piece)
        if self._outage is not None and self._spool is not None and self._spool.fsync == "always":
            await self._spool.sync()

    # Directly.

    async def _taken(self, records: Sequence[Record]) -> bool:
        """Whether the bus has these records; if not, it is away from now on."""
        try:
            await self._writer.write(records)
        except _TROUBLE as error:
            await self._retreat(error)
            if self._spool is not None:
                self._begin_outage(self._spool, records)
            return False
        self._accepted = True
        return True

    async def _insist(self, records: Sequence[Record]) -> None:
        """Write records however long it takes."""
        self._writer.resending = True
        for delay_s in self._delays():
            await self._pause(delay_s)
            heed_cancellation()
            if await self._taken(records):
                break
        self._writer.resending = False
        self._waiting.discard(self)
        self.stats.trouble = ""

    async def _retreat(self, error: BaseException) -> None:
        """Hang up, so that the address is resolved anew; say why, once. Raises what a running ingester cannot survive.

        A server that is full is helped first: our own streams may be longer than they should.
        """
        if isinstance(error, OutOfMemory):
            self._step = _CAREFUL_ENTRIES
            with suppress(*_TROUBLE):
                if trimmed := await self._writer.trim():
                    _log.warning("bus.trimmed", entries=trimmed, why="it is out of memory")
        await self._writer.disconnect()
        self._refused = isinstance(error, BusRefused)
        if self._refused and not (self._accepted and self._spool is not None):
            raise error
        told = error if isinstance(error, BusRefused | BusUnavailable) else translate(error, self._url)
        is_told = any(one is not self for one in self._waiting) and not (self._refused or self.stats.trouble)
        if str(told) != self.stats.trouble and not is_told:
            tell = _log.error if self._refused else _log.warning
            tell("bus.away", reason=str(told), hint=told.hint)
        self._waiting.add(self)
        self.stats.trouble = str(told)

    def _delays(self) -> Generator[float, float | None, None]:
        return backoff(self._random, base_s=0.1, cap_s=_REFUSED_CAP_S, floor_s=0.02)

    async def _pause(self, delay_s: float) -> None:
        """Wait to try again: a bus that is away may be back any moment, one that refuses waits for a person."""
        await self._clock.sleep(delay_s if self._refused else min(delay_s, _AWAY_CAP_S))

    # Into the spool.

    def _begin_outage(self, spool: Spool, records: Sequence[Record]) -> None:
        exchanges = {one.subscription.exchange for one in records if one.subscription is not None}
        self._outage = _Outage(self._clock.monotonic(), sorted(exchanges))
        self._back.clear()
        self._away.set()
        if told := self._ledger("spooling", cause=self.stats.trouble):
            self._store(spool, told)

    def _store(self, spool: Spool, records: Sequence[Record]) -> None:
        """Into the spool; what it has no room for is dropped, and asked for again once there is."""
        if self._unstored:
            records = self._sifted(records)
        if spool.append(records):
            self.stats.spooled += len(records)
        else:
            self._unstored.lose(records)
            self._count_overflow(len(records))
        self.stats.spool_bytes = spool.bytes

    def _sifted(self, records: Sequence[Record]) -> Sequence[Record]:
        before = self._unstored.dropped
        kept = self._unstored.sift(records)
        self._count_overflow(self._unstored.dropped - before)
        return kept

    def _count_overflow(self, count: int) -> None:
        self.stats.overflowed += count
        if self._outage is not None:
            if count and not self._outage.overflowed:
                _log.error("spool.overflow", hint="raise spool.max_bytes; trades are fetched again once there is room")
            self._outage.overflowed += count

    def _go_back(self, wanted: Subscription, last_id: int) -> bool:
        """Have a line's records after an id come again; while old ones are adopted its feed has not begun, and will."""
        if self._rewind is None:
            return False
        return self._adopting or self._rewind(wanted, last_id) is not False

    async def _sync_while_away(self, spool: Spool) -> None:
        while True:
            await self._away.wait()
            await self._clock.sleep(_SYNC_S)
            await spool.sync()
            if spool.failed:
                spool.append(())

    # Out of the spool.

    async def _adopt(self, spool: Spool) -> None:
        """Bring what dead writers have left to the bus, before anything newer. If it goes away, the rest is ours."""
        waiting = spool.adopt()
        if not waiting:
            return
        _log.info("spool.adopted", records=waiting, bytes=spool.bytes, folders=_named(spool.folders))
        self._adopting = True
        try:
            await self._empty(spool, waiting)
        except _TROUBLE as error:
            await self._retreat(error)
            self._begin_outage(spool, spool.read() or ())
        except Unreadable:
            self._begin_outage(spool, ())
        finally:
            self._adopting = False
            self._unjoined.clear()

    async def _empty(self, spool: Spool, waiting: int) -> None:
        told_s, done = self._clock.monotonic(), 0
        while (records := spool.read(_WRITE_ENTRIES)) is not None:
            heed_cancellation()
            await self._drain(spool, records)
            done += len(records)
            if self._clock.monotonic() - told_s >= _PROGRESS_S:
                told_s = self._clock.monotonic()
                _log.info("spool.draining", records=done, of=waiting)
        _log.info("spool.drained", records=done)

    async def _drain_whenever_away(self, spool: Spool) -> None:
        while True:
            await self._away.wait()
            if self._outage is not None:
                await self._sit_out(spool, self._outage)

    async def _sit_out(self, spool: Spool, outage: _Outage) -> None:
        """Try again and again until the spool is empty; from then on batches go directly."""
        delays, brought = self._delays(), not self.stats.trouble
        while self._outage is outage:
            heed_cancellation()
            if not brought:
                await self._pause(next(delays))
            brought = await self._bring(spool, outage)
            if brought:
                delays = self._delays()

    async def _bring(self, spool: Spool, outage: _Outage) -> bool:
        """Bring to the bus what is next, or end the outage where nothing is. False: try again, but not at once."""
        try:
            records = self._next(spool, outage)
        except Unreadable:  # this machine's trouble: the bus is not hung up on
            return False
        if records is None:
            self._end_outage(spool, outage)
            return True
        try:
            await self._drain(spool, records)
        except _TROUBLE as error:
            outage.told = False
            await self._retreat(error)
            return False
        outage.drained += len(records)
        return True

    def _next(self, spool: Spool, outage: _Outage) -> Sequence[Record] | None:
        """What to bring to the bus next: the oldest that waits, and behind all of it how long that took."""
        records = spool.read(_WRITE_ENTRIES)
        if records is not None or outage.told:
            return records
        outage.told = True
        seconds = round(self._clock.monotonic() - outage.since_s, 3)
        lost = self._ledger("overflow", count=outage.overflowed) if outage.overflowed else []
        return [*lost, *self._ledger("drained", count=outage.drained, seconds=seconds)]

    def _end_outage(self, spool: Spool, outage: _Outage) -> None:
        self._waiting.clear()
        _log.info("bus.back", drained=outage.drained, seconds=round(self._clock.monotonic() - outage.since_s, 3))
        self._outage = None
        self._step = _WRITE_ENTRIES
        self.stats.trouble = ""
        self.stats.spool_bytes = spool.bytes
        self._away.clear()
        self._back.set()

    async def _drain(self, spool: Spool, records: Sequence[Record]) -> None:
        """Bring one batch of the spool to the bus. What a damaged file held is missing, which a new look shows."""
        if spool.damaged != self._damaged:
            self._damaged = spool.damaged
            self._writer.reopen()
        self._writer.resending = True
        try:
            for start in range(0, len(records), self._step):
                await self._writer.write(records[start : start + self._step])
        finally:
            self._writer.resending = False
        spool.acknowledge()
        self._accepted = True
        self.stats.trouble = ""
        self.stats.spool_bytes = spool.bytes

    def _ledger(self, event: str, **facts: Any) -> list[Record]:
        """Lines for the ledgers of the venues concerned."""
        now = Micros(self._clock.now_ns() // 1000)
        exchanges = self._outage.exchanges if self._outage else ()
        return [LedgerRecord(Ledger(one), event, now, ingester=self._ingester, **facts) for one in exchanges]

    async def _leave(self) -> None:
        for job in self._running:
            job.cancel()
        try:
            await self._jobs.__aexit__(None, None, None)
        finally:
            if self._spool is not None:  # first: what is on disk waits for nobody
                self._close(self._spool)
            await self._writer.disconnect()

    def _close(self, spool: Spool) -> None:
        if spool.records:
            _log.warning("spool.kept", records=spool.records, bytes=spool.bytes, folders=_named(spool.folders))
        spool.close()


def _named(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))
