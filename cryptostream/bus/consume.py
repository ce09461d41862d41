"""A consumer group as a source: own pending entries first, then new ones; acknowledged once the sinks have them.

XREADGROUP: https://redis.io/docs/latest/commands/xreadgroup/
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from redis.exceptions import ResponseError

from cryptostream import logs
from cryptostream.bus import history
from cryptostream.bus.ask import asking, heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.outage import Outage
from cryptostream.errors import BusUnavailable
from cryptostream.model.events import Entry
from cryptostream.model.ports import Batch, Clock, Source

_COUNT = 100
_BLOCK_S = 1.0
_RESCAN_S = 5.0
_PENDING, _NEW = "0", ">"
_log = logs.get("bus")


class Group(Source):
    """Entries of every stream that matches one of `patterns`, read as one member of a consumer group.

    Groups are made where they are missing, from the stream's beginning; streams that appear later are picked up.
    Delivery is at least once: what a `consumer` of this name read and did not commit is read again at the next start.
    """

    def __init__(self, bus: Bus, patterns: Sequence[str], *, group: str, consumer: str, clock: Clock) -> None:
        self._bus = bus
        self._patterns = patterns
        self._group = group
        self._consumer = consumer
        self._clock = clock
        self._places: dict[str, str] = {}
        self._stopped = False

    async def batches(self) -> AsyncIterator[Batch[Entry]]:
        """Batches of entries, in order within a stream, until stopped; waits while the bus is away."""
        outage = Outage(self._clock)
        look_at = self._clock.monotonic()
        while not self._stopped:
            heed_cancellation()
            try:
                if not self._places or self._clock.monotonic() >= look_at:
                    await self._discover()
                    look_at = self._clock.monotonic() + _RESCAN_S
                entries = await self._read()
            except BusUnavailable as trouble:
                self._read_pending_first()
                await outage.wait(trouble)
                continue
            outage.over()
            if entries:
                yield Batch(entries)

    async def commit(self, batch: Batch[Entry]) -> None:
        """Acknowledge a batch. While the bus is away nothing is lost: what is not acknowledged is read again."""
        by_stream: dict[str, list[str]] = {}
        for entry in batch.events:
            by_stream.setdefault(entry.stream, []).append(entry.entry_id)
        pipeline = self._bus.command.pipeline(transaction=False)
        for stream, ids in by_stream.items():
            pipeline.xack(stream, self._group, *ids)
        try:
            with asking(self._bus):
                await pipeline.execute()
        except BusUnavailable as trouble:
            _log.warning("group.unacknowledged", group=self._group, entries=len(batch.events), why=str(trouble))
            self._read_pending_first()

    def stop(self) -> None:
        """Read nothing more; a read that is under way ends within a second."""
        self._stopped = True

    def _read_pending_first(self) -> None:
        """What a lost reply held, and what could not be acknowledged, is ours and comes no more as new."""
        self._places = dict.fromkeys(self._places, _PENDING)

    async def _discover(self) -> None:
        for pattern in self._patterns:
            for stream in await history.streams(self._bus, pattern):
                if stream not in self._places:
                    await self._join(stream)
                    self._places[stream] = _PENDING

    async def _join(self, stream: str) -> None:
        with asking(self._bus, stream):
            try:
                await self._bus.command.xgroup_create(stream, self._group, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def _read(self) -> list[Entry]:
        """What was given to us before and never acknowledged, stream by stream, then whatever is new."""
        if not self._places:
            await self._clock.sleep(_BLOCK_S)
            return []
        pending = {stream: place for stream, place in self._places.items() if place != _NEW}
        found = await self._ask(pending or self._places, block_ms=None if pending else round(_BLOCK_S * 1000))
        returned = {stream: entries for stream, entries in found if entries}
        for stream in pending:
            self._places[stream] = returned[stream][-1][0] if stream in returned else _NEW
        return [Entry(stream, entry_id, fields) for stream, read in returned.items() for entry_id, fields in read]

    async def _ask(self, places: dict[str, str], block_ms: int | None) -> list[tuple[str, list[Any]]]:
        with asking(self._bus, ", ".join(places) if len(places) == 1 else ""):
            found: Any = await self._bus.blocking.xreadgroup(
                self._group, self._consumer, dict[Any, Any](places), count=_COUNT, block=block_ms
            )
        return cast(list[tuple[str, list[Any]]], found or [])
