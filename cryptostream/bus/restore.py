"""Entries back into streams, as they were: under their own names and ids, each once."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import hiredis

from cryptostream.bus.connect import Bus, translate, translate_reply
from cryptostream.bus.resp import NOT_ABOVE, command
from cryptostream.engine.stats import PublisherStats
from cryptostream.model.events import Entry

_WRITE_ENTRIES = 1000


class Restorer:
    """The sink that writes entries. `prefix` goes before every stream's name; `maxlen` 0 keeps all.

    An entry whose id the stream holds already is counted as a duplicate, one that the stream has grown past as refused.
    Raises BusUnavailable and BusRefused; what was written is there, and writing it again changes nothing.
    """

    def __init__(self, bus: Bus, stats: PublisherStats, *, prefix: str = "", maxlen: int = 0) -> None:
        self._bus = bus
        self._stats = stats
        self._prefix = prefix
        self._trim = ("MAXLEN", "~", maxlen) if maxlen else ()

    async def __aenter__(self) -> Self:
        self._wire = await self._bus.wire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._wire.close()

    async def write(self, events: Sequence[Entry]) -> None:
        """Write entries in order and return once Redis has answered for each of them."""
        for start in range(0, len(events), _WRITE_ENTRIES):
            await self._write(events[start : start + _WRITE_ENTRIES])

    async def _write(self, entries: Sequence[Entry]) -> None:
        replies = await self._send([self._xadd(entry) for entry in entries])
        missed = [entry for entry, reply in zip(entries, replies, strict=True) if not self._taken(entry, reply)]
        self._stats.published += len(entries) - len(missed)
        held = await self._send([command("XRANGE", self._key(e), e.entry_id, e.entry_id) for e in missed])
        duplicates = sum(1 for reply in held if reply)
        self._stats.duplicates += duplicates
        self._stats.refused += len(missed) - duplicates

    def _taken(self, entry: Entry, reply: Any) -> bool:
        """Whether Redis took an entry; False where its id is not above the stream's newest."""
        if not isinstance(reply, hiredis.ReplyError):
            return True
        if NOT_ABOVE in str(reply):
            return False
        self._stats.errors += 1
        raise translate_reply(reply, self._bus.url, key=self._key(entry))

    def _xadd(self, entry: Entry) -> str:
        fields = (text for field in entry.fields.items() for text in field)
        return command("XADD", self._key(entry), *self._trim, entry.entry_id, *fields)

    def _key(self, entry: Entry) -> str:
        return self._prefix + entry.stream

    async def _send(self, commands: Sequence[str]) -> list[Any]:
        try:
            return await self._wire.send(commands, len(commands))
        except (OSError, RuntimeError) as error:  # uvloop's, for a connection that has been lost
            raise translate(error, self._bus.url) from error
