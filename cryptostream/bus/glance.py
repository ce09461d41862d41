"""Streams at a glance: what a thousand of them hold, each second, at a few per cent of a core.

By hand over a wire of its own, for redis-py spends a hundred microseconds on an XINFO. Every question is a small piece
of work, so that nobody else on the loop waits for long; of the fields of entries none is looked at before it is asked.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import hiredis
import msgspec

from cryptostream.bus.admin import GroupFacts, lag
from cryptostream.bus.ask import asking
from cryptostream.bus.connect import Bus, translate_reply
from cryptostream.bus.resp import Wire, command
from cryptostream.errors import BusRefused
from cryptostream.model.events import Entry

PIECE = 16
"""Streams that are looked at in one go."""
PAGE = 100
"""Entries that are read in one go."""
MOST_FIELDS = 5_000
"""Of an entry or a hash that has more the others are not looked at."""
_NOT_TOLD = frozenset({"raw_json"})

Raw = Sequence[Any]
"""An entry as the server sent it: its id, and its fields and their values in a row; all bytes."""


class Glimpse(msgspec.Struct, frozen=True):
    """What a stream held at one moment. `added` is None where the server does not count; an empty one has no ends."""

    name: str
    length: int
    added: int | None
    groups: int
    first: Raw | None
    last: Raw | None

    @property
    def first_ms(self) -> int | None:
        return None if self.first is None else ms_of(self.first)

    @property
    def last_ms(self) -> int | None:
        return None if self.last is None else ms_of(self.last)

    @property
    def is_trimmed(self) -> bool:
        """Whether entries are gone from it, as far as anybody knows."""
        return self.added is None or self.added > self.length


class GroupAt(msgspec.Struct, frozen=True):
    """A group on a stream, and the id that it was given last."""

    facts: GroupFacts
    delivered: str


class Glance:
    """Looks at a bus over a wire of its own, opened when it is needed and again after it broke.

    For many tasks of one loop; each question is one piece. Raises BusUnavailable, BusRefused.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._wire: Wire | None = None
        self._turn = asyncio.Lock()

    async def streams(self, names: Sequence[str]) -> list[Glimpse | None]:
        """These streams, in their order; None for what is gone, or is none."""
        replies = await self.ask([command("XINFO", "STREAM", name) for name in names])
        return [
            _glimpse(name, reply) if self._told(name, reply) else None
            for name, reply in zip(names, replies, strict=True)
        ]

    async def groups(self, seen: Sequence[Glimpse]) -> list[list[GroupAt]]:
        """The groups of these streams."""
        replies = await self.ask([command("XINFO", "GROUPS", one.name) for one in seen])
        return [
            [_group(_pairs(each), one) for each in reply] if self._told(one.name, reply) else []
            for one, reply in zip(seen, replies, strict=True)
        ]

    async def idle_ms(self, stream: str, group: str) -> int | None:
        """For how long no member of a group has asked for anything of a stream; None where it has no member."""
        [reply] = await self.ask([command("XINFO", "CONSUMERS", stream, group)])
        idle = [int(_pairs(each)[b"idle"]) for each in reply] if self._told(stream, reply) else []
        return min(idle, default=None)

    async def memory(self, names: Sequence[str]) -> list[int | None]:
        """Bytes of each; None where the server does not know, or does not tell us."""
        replies = await self.ask([command("MEMORY", "USAGE", name) for name in names])
        return [None if isinstance(reply, hiredis.ReplyError) else reply for reply in replies]

    async def page(self, stream: str, since: str = "-", until: str = "+", count: int = PAGE) -> list[Raw]:
        """The first entries from one place to another, both included (`(` before an id leaves it out)."""
        return (await self.pages([(stream, since, until, count)]))[0]

    async def pages(self, wanted: Sequence[tuple[str, str, str, int]]) -> list[list[Raw]]:
        """Several such pages at once: stream, since, until, count."""
        asked = [command("XRANGE", stream, since, until, "COUNT", count) for stream, since, until, count in wanted]
        replies = await self.ask(asked)
        return [
            list(reply) if self._told(stream, reply) else []
            for (stream, *_), reply in zip(wanted, replies, strict=True)
        ]

    async def newest(self, wanted: Mapping[str, str], count: int) -> list[list[Raw]]:
        """The newest entries of each stream up to an id, the newest first."""
        replies = await self.ask([command("XREVRANGE", *each, "-", "COUNT", count) for each in wanted.items()])
        return [list(reply) if self._told(stream, reply) else [] for stream, reply in zip(wanted, replies, strict=True)]

    async def hashes(self, keys: Sequence[str]) -> list[dict[str, str]]:
        """What these hashes hold; nothing for one that is not there."""
        replies = await self.ask([command("HGETALL", key) for key in keys])
        return [_text(reply) if self._told(key, reply) else {} for key, reply in zip(keys, replies, strict=True)]

    async def ask(self, commands: Sequence[str]) -> list[Any]:
        """The replies to some commands, an error in the place of one that was refused."""
        if not commands:
            return []
        async with self._turn:
            try:
                if self._wire is None:
                    self._wire = await self._bus.wire()
                with asking(self._bus):
                    return await self._wire.send(commands, len(commands))
            except BaseException:  # also one who waits no more: the replies that come now belong to nobody
                await self._hang_up()
                raise

    async def aclose(self) -> None:
        """Hang up; the next question opens anew."""
        async with self._turn:
            await self._hang_up()

    async def _hang_up(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    def _told(self, name: str, reply: Any) -> bool:
        """Whether there is an answer: what is gone, or is of another type, has none. Raises BusRefused for a right."""
        if not isinstance(reply, hiredis.ReplyError):
            return True
        error = translate_reply(reply, self._bus.url, key=name)
        if str(reply).startswith("NOPERM") or not isinstance(error, BusRefused):
            raise error
        return False


def id_of(raw: Raw) -> str:
    """An entry's id."""
    return str(raw[0].decode())


def ms_of(raw: Raw) -> int:
    """The milliseconds of an entry's id."""
    return int(raw[0].partition(b"-")[0])


def field(raw: Raw, name: bytes) -> str | None:
    """One field of an entry, the others left alone.

    >>> field([b"5-1", [b"pair", b"BTCUSDT", b"raw_json", b"{}"]], b"pair")
    'BTCUSDT'
    """
    told = raw[1]
    for at in range(0, min(len(told), 2 * MOST_FIELDS), 2):
        if told[at] == name:
            return _decoded(told[at + 1])
    return None


def entry(stream: str, raw: Raw) -> Entry:
    """An entry with its fields as text; without the frame that it was made of.

    >>> entry("s", [b"5-1", [b"pair", b"BTCUSDT", b"raw_json", b"{}"]])
    Entry(stream='s', entry_id='5-1', fields={'pair': 'BTCUSDT'})
    """
    return Entry(stream, id_of(raw), _text(raw[1], _NOT_TOLD))


def _glimpse(name: str, reply: Raw) -> Glimpse:
    told = _pairs(reply)
    return Glimpse(
        name, told[b"length"], told.get(b"entries-added"), told[b"groups"], told[b"first-entry"], told[b"last-entry"]
    )


def _group(told: Mapping[bytes, Any], on: Glimpse) -> GroupAt:
    delivered = told[b"last-delivered-id"].decode()
    behind = lag(
        {"last-delivered-id": delivered, "lag": told.get(b"lag")},
        {
            "length": on.length,
            "first-entry": (id_of(on.first),) if on.first else None,
            "last-entry": (id_of(on.last),) if on.last else None,
        },
    )
    name = _decoded(told[b"name"])
    return GroupAt(GroupFacts(name, told[b"consumers"], told[b"pending"], behind), delivered)


def _pairs(row: Raw) -> dict[bytes, Any]:
    return dict(zip(row[::2], row[1::2], strict=True))


def _text(row: Raw, without: frozenset[str] = frozenset()) -> dict[str, str]:
    named = {_decoded(row[at]): at for at in range(0, min(len(row), 2 * MOST_FIELDS), 2)}
    return {name: _decoded(row[at + 1]) for name, at in named.items() if name not in without}


def _decoded(told: bytes) -> str:
    return told.decode("utf-8", "backslashreplace")
