"""Records to streams: each once, in order, one write for a whole batch; an outage is waited out, never skipped.

The entry id makes it safe to send anything twice: Redis refuses what is not above the stream's top, and a refusal is
settled by looking at what stands there. XADD: https://redis.io/docs/latest/commands/xadd/
"""

import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from random import Random
from types import TracebackType
from typing import Any, Self

import hiredis

from cryptostream import logs
from cryptostream.bus.connect import Bus, translate_reply
from cryptostream.bus.keys import kline_id, parse_id, stream_key
from cryptostream.bus.pack import Stream, dead_letters, number
from cryptostream.bus.resp import NOT_ABOVE, Wire, command
from cryptostream.engine.backoff import backoff
from cryptostream.engine.stats import PublisherStats
from cryptostream.errors import BusUnavailable
from cryptostream.model.events import KlineRecord, Record
from cryptostream.model.instrument import Subscription
from cryptostream.model.ports import Clock

_WRITE_ENTRIES = 1000
_subscription = attrgetter("subscription")
_log = logs.get("bus")


class Publisher:
    """The sink that writes records to Redis Streams.

    `key_of` names the stream of a subscription, `maxlen` is about how many entries a stream keeps (0: all).
    Raises BusRefused when Redis refuses for good (rights, a key of another type); waits through everything else.
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
    ) -> None:
        self.stats = stats or PublisherStats()
        self._bus = bus
        self._clock = clock
        self._maxlen = maxlen
        self._key_of = key_of
        self._random = random or Random()  # noqa: S311 - jitter, not a secret
        self._streams: dict[Subscription | None, Stream] = {}
        self._wire: Wire | None = None

    async def __aenter__(self) -> Self:
        self._wire = Wire(await self._bus.raw_connection())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._disconnect()

    async def write(self, events: Sequence[Record]) -> None:
        """Publish records in order and return once Redis has answered for each of them."""
        for start in range(0, len(events), _WRITE_ENTRIES):
            await self._through_outages(self._publish, events[start : start + _WRITE_ENTRIES])

    async def _publish(self, records: Sequence[Record]) -> None:
        await self._open_streams(records)
        streams = self._streams
        replies = await self._send((streams[record.subscription].pack(record) for record in records), len(records))
        if set(map(type, replies)) == {bytes}:
            self.stats.published += len(records)
            return
        errors = [place for place, reply in enumerate(replies) if type(reply) is not bytes]
        self.stats.published += len(records) - len(errors)
        await self._settle(records, replies, errors)

    async def _open_streams(self, records: Sequence[Record]) -> None:
        """Learn the top entry of each stream that is new to us: no entry of ours may precede it."""
        new = [wanted for wanted in dict.fromkeys(map(_subscription, records)) if wanted not in self._streams]
        if not new:
            return
        opened = [self._stream(wanted) for wanted in new]
        replies = await self._send([_newest(stream.key) for stream in opened], len(opened))
        for wanted, stream, reply in zip(new, opened, replies, strict=True):
            self._check(reply, stream.key)
            stream.ms = _id_of(reply)[0]
            self._streams[wanted] = stream

    def _stream(self, wanted: Subscription | None) -> Stream:
        return dead_letters() if wanted is None else Stream(self._key_of(wanted), wanted, maxlen=self._maxlen)

    async def _settle(self, records: Sequence[Record], replies: Sequence[Any], errors: Sequence[int]) -> None:
        """Find out what became of each record that was not accepted, stream by stream."""
        refused: dict[Subscription | None, list[int]] = {}
        for place in errors:
            subscription = records[place].subscription
            if NOT_ABOVE not in str(replies[place]):
                self._check(replies[place], self._streams[subscription].key)
            refused.setdefault(subscription, []).append(place)
        for subscription, places in refused.items():
            klines = [record for place in places if isinstance(record := records[place], KlineRecord)]
            if klines:
                await self._settle_klines(klines, self._streams[subscription].key)
            else:
                await self._settle_numbered(records, replies, places)

    async def _settle_numbered(self, records: Sequence[Record], replies: Sequence[Any], places: Sequence[int]) -> None:
        """Refused trades and gaps of one stream: there already, or clamped differently by another writer.

        What stands below our next accepted entry decides, so that our own later entries do not pass for the refused.
        """
        for above, run in groupby(places, key=lambda place: _next_accepted(records, replies, place)):
            await self._settle_run([records[place] for place in run], above)

    async def _settle_run(self, refused: Sequence[Record], above: str | None) -> None:
        """Refused records of one stream with none accepted between them; `above` is the accepted entry that follows."""
        stream = self._streams[refused[0].subscription]
        ms, newest = await self._newest_id(stream.key, f"({above}" if above else "+")
        missing = [record for record in refused if number(record) > newest]
        self.stats.duplicates += len(refused) - len(missing)
        if above is not None:
            self._too_late(stream.key, len(missing))
            return
        stream.ms = ms
        if missing:
            await self._publish(missing)

    async def _settle_klines(self, records: Sequence[KlineRecord], key: str) -> None:
        """Refused klines: there already, or overtaken; only a closed one that is absent is a loss."""
        for record in records:
            entry_id = kline_id(record.ts // 1000, record.close_time, closed=record.closed)
            if record.closed and not await self._ask(command("XRANGE", key, entry_id, entry_id)):
                self._too_late(key, 1)
            else:
                self.stats.duplicates += 1

    async def _newest_id(self, key: str, end: str) -> tuple[int, int]:
        """The newest id up to `end`; of a stream emptied by others, the last one it ever gave out."""
        found = await self._ask(_newest(key, end))
        if found:
            return _id_of(found)
        if end != "+":  # retention took all that stood below: what it took is not missing
            return 0, sys.maxsize
        info = await self._ask(command("XINFO", "STREAM", key))
        self._check(info, key)
        facts = info if isinstance(info, dict) else dict(zip(info[::2], info[1::2], strict=True))
        return parse_id(facts[b"last-generated-id"].decode())

    def _too_late(self, key: str, count: int) -> None:
        if count:
            self.stats.refused += count
            _log.error("bus.refused", stream=key, entries=count, why="newer entries stand above them")

    def _check(self, reply: Any, key: str) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self.stats.errors += 1
            raise translate_reply(reply, self._bus.url, key=key)

    async def _ask(self, one: str) -> Any:
        return (await self._send([one], 1))[0]

    async def _send(self, commands: Iterable[str], count: int) -> list[Any]:
        if self._wire is None:
            self._wire = Wire(await self._bus.raw_connection())
        return await self._wire.send(commands, count)

    async def _through_outages(self, work: Callable[[Any], Awaitable[None]], items: Sequence[Record]) -> None:
        """Do the work; when Redis goes away, wait for it and do all of it again: entry ids make that safe."""
        delays = backoff(self._random, base_s=0.1, cap_s=2.0, floor_s=0.02)
        while True:
            try:
                return await work(items)
            except (OSError, TimeoutError, BusUnavailable) as error:
                await self._disconnect()
                delay_s = next(delays)
                _log.warning("bus.retrying", error=error, delay_s=round(delay_s, 2))
                await self._clock.sleep(delay_s)

    async def _disconnect(self) -> None:
        self._streams.clear()  # what the stream holds decides where we go on, not what we sent
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()


def _newest(key: str, end: str = "+") -> str:
    return command("XREVRANGE", key, end, "-", "COUNT", 1)


def _id_of(reply: Any) -> tuple[int, int]:
    return parse_id(reply[0][0].decode()) if reply else (0, -1)


def _next_accepted(records: Sequence[Record], replies: Sequence[Any], after: int) -> str | None:
    """The id of the first record of the same stream that Redis took after a refused one."""
    wanted = records[after].subscription
    for place in range(after + 1, len(records)):
        if records[place].subscription == wanted and type(replies[place]) is bytes:
            return str(replies[place], "ascii")
    return None
