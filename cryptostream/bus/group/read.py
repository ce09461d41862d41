"""The wire of a consumer group: acknowledgements ride in front of the next read, what is read comes as plain rows.

By hand because redis-py spends 16 to 40 us on an entry and this 1. A cluster has no single wire for streams of several
slots, so there the same questions go through redis-py. XREADGROUP: https://redis.io/docs/latest/commands/xreadgroup/
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeAlias

import hiredis
from redis.exceptions import ResponseError

from cryptostream.bus.ask import asking
from cryptostream.bus.connect import Bus
from cryptostream.bus.group.trimmed import Facts, facts_of
from cryptostream.bus.resp import ServerWire, bulk, command
from cryptostream.bus.translate import translate, translate_reply
from cryptostream.model.events import Entry

Row: TypeAlias = list[Any]
"""`[id, [name, value, name, value, ...]]`, all text; None in the place of the fields of an entry that was trimmed."""
NEW = ">"
"""The place of a stream of which only what nobody has read yet is wanted."""
BLOCK_S = 1.0
"""The longest that a read waits for something new."""
_REPLY_S = 5.0


class Slice(NamedTuple):
    """What one read gave of one stream: first what was lost before the rows, if anything, then the rows in order."""

    stream: str
    rows: list[Row]
    gap: Entry | None = None
    redelivered: bool = False
    """These rows were handed to somebody before and never acknowledged."""


class Read(NamedTuple):
    """Streams that are read in one go: from the place of each, at most `most` entries of each."""

    places: Mapping[str, str]
    most: int


class Answer(NamedTuple):
    """The rows of each stream that was read, in the order of the reads; how many acknowledgements were news.

    `facts` tell how the watched streams stood right before they were read.
    """

    rows: list[tuple[str, list[Row]]]
    facts: dict[str, Facts | None]
    acked: int


class GroupGone(Exception):
    """A stream that was to be read, or its group, is not there."""


class Reader(Protocol):
    """Reads as one member of a group. After any exception it is of no further use, except to be closed."""

    async def read(
        self,
        reads: Sequence[Read],
        acks: Mapping[str, Sequence[str]],
        *,
        watched: Collection[str] = (),
        block_ms: int | None = None,
    ) -> Answer:
        """Acknowledge, look at the watched streams, and read; looking and reading are one step for the server.

        Waits up to `block_ms` for something new where nothing is watched. Raises GroupGone, BusUnavailable,
        BusRefused.
        """

    async def close(self) -> None:
        """Hang up."""


async def reader(bus: Bus, group: str, consumer: str) -> Reader:
    """A reader on a connection of its own. Raises BusUnavailable, BusRefused."""
    if bus.is_cluster:
        return _ClientReader(bus, group, consumer)
    wire = ServerWire(await bus.raw_connection(), timeout_s=BLOCK_S + _REPLY_S, text=True)
    return _WireReader(bus, wire, group, consumer)


class _WireReader:
    def __init__(self, bus: Bus, wire: ServerWire, group: str, consumer: str) -> None:
        self._bus = bus
        self._wire = wire
        self._group = group
        self._head = f"{bulk('XREADGROUP')}{bulk('GROUP')}{bulk(group)}{bulk(consumer)}"
        self._last: tuple[Read, int | None, str] | None = None

    async def read(
        self,
        reads: Sequence[Read],
        acks: Mapping[str, Sequence[str]],
        *,
        watched: Collection[str] = (),
        block_ms: int | None = None,
    ) -> Answer:
        words = [xack(stream, self._group, ids) for stream, ids in acks.items()]
        asked = [self._command(each, None if watched else block_ms) for each in reads]
        if watched:
            asked = [command("MULTI"), *map(_look, watched), *asked, command("EXEC")]
        count = len(acks) + len(asked) + len(watched) * (1 if watched else 0)  # a look is two commands
        try:
            replies = await self._wire.send([*words, *asked], count)
        except (OSError, TimeoutError, RuntimeError, hiredis.HiredisError) as error:
            raise translate(error, self._bus.url) from error
        acked = self._acked(replies[: len(acks)])
        if not watched:
            return Answer(self._rows(replies[len(acks) :]), {}, acked)
        done = self._checked(replies[-1])
        looked = dict(zip(watched, self._facts(done[: 2 * len(watched)]), strict=True))
        return Answer(self._rows(done[2 * len(watched) :]), looked, acked)

    async def close(self) -> None:
        await self._wire.close()

    def _command(self, read: Read, block_ms: int | None) -> str:
        """The same read as before, of maybe a thousand streams, is written once."""
        if self._last is None or self._last[0] is not read or self._last[1] != block_ms:
            self._last = read, block_ms, self._written(read, block_ms)
        return self._last[2]

    def _written(self, read: Read, block_ms: int | None) -> str:
        block = "" if block_ms is None else f"{bulk('BLOCK')}{bulk(str(block_ms))}"
        size = 4 + 2 + (2 if block else 0) + 1 + 2 * len(read.places)
        keys = "".join(map(bulk, read.places))
        ids = "".join(map(bulk, read.places.values()))
        return f"*{size}\r\n{self._head}{bulk('COUNT')}{bulk(str(read.most))}{block}{bulk('STREAMS')}{keys}{ids}"

    def _acked(self, replies: Sequence[Any]) -> int:
        return sum(self._checked(reply) for reply in replies)

    def _rows(self, replies: Sequence[Any]) -> list[tuple[str, list[Row]]]:
        return [(stream, rows) for reply in replies for stream, rows in self._checked(reply) or ()]

    def _facts(self, replies: Sequence[Any]) -> list[Facts | None]:
        told = [self._checked(reply) for reply in replies]
        return [
            facts_of(_mapping(stream), map(_mapping, groups), self._group)
            for stream, groups in zip(told[::2], told[1::2], strict=True)
        ]

    def _checked(self, reply: Any) -> Any:
        if isinstance(reply, hiredis.ReplyError):
            if is_gone(str(reply)):
                raise GroupGone(str(reply))
            raise translate_reply(reply, self._bus.url)
        return reply


class _ClientReader:
    """The same through redis-py. Looking and reading are two steps here: what a trim takes between them is missed."""

    def __init__(self, bus: Bus, group: str, consumer: str) -> None:
        self._bus = bus
        self._group = group
        self._consumer = consumer

    async def read(
        self,
        reads: Sequence[Read],
        acks: Mapping[str, Sequence[str]],
        *,
        watched: Collection[str] = (),
        block_ms: int | None = None,
    ) -> Answer:
        with asking(self._bus):
            try:
                acked, facts = await self._look(acks, watched)
                rows = [row for each in reads for row in await self._read(each, None if watched else block_ms)]
            except ResponseError as error:
                if is_gone(str(error)):
                    raise GroupGone(str(error)) from error
                raise
        return Answer(rows, facts, acked)

    async def close(self) -> None:
        return None

    async def _look(
        self, acks: Mapping[str, Sequence[str]], watched: Collection[str]
    ) -> tuple[int, dict[str, Facts | None]]:
        pipeline = self._bus.command.pipeline(transaction=False)
        for stream, ids in acks.items():
            pipeline.xack(stream, self._group, *ids)
        for stream in watched:
            pipeline.xinfo_stream(stream)
            pipeline.xinfo_groups(stream)
        replies = await pipeline.execute()
        told = replies[len(acks) :]
        facts = [facts_of(stream, groups, self._group) for stream, groups in zip(told[::2], told[1::2], strict=True)]
        return sum(replies[: len(acks)]), dict(zip(watched, facts, strict=True))

    async def _read(self, read: Read, block_ms: int | None) -> list[tuple[str, list[Row]]]:
        found: Any = await self._bus.blocking.xreadgroup(
            self._group, self._consumer, dict[Any, Any](read.places), count=read.most, block=block_ms
        )
        return [(stream, [_row(*entry) for entry in entries]) for stream, entries in found or ()]


def xack(stream: str, group: str, ids: Sequence[str]) -> str:
    r"""One XACK; ids are ASCII.

    >>> xack("s", "g", ["1-1"])
    '*4\r\n$4\r\nXACK\r\n$1\r\ns\r\n$1\r\ng\r\n$3\r\n1-1\r\n'
    """
    head = f"*{len(ids) + 3}\r\n$4\r\nXACK\r\n{bulk(stream)}{bulk(group)}"
    if len(set(map(len, ids))) == 1:  # as mostly they are: one join is four times as fast
        size = f"${len(ids[0])}\r\n"
        return head + size + ("\r\n" + size).join(ids) + "\r\n"
    return head + "".join(map(bulk, ids))


def is_gone(error: str) -> bool:
    """Whether an error reply says that there is no such stream or group; fakeredis has words of its own.

    A reader that waits when its stream goes is UNBLOCKED.
    """
    return any(words in error for words in ("NOGROUP ", "UNBLOCKED ", "no such key", "requires the key to exist"))


@lru_cache(maxsize=10_000)
def _look(stream: str) -> str:
    return command("XINFO", "STREAM", stream) + command("XINFO", "GROUPS", stream)


def _mapping(told: Sequence[Any]) -> Mapping[str, Any]:
    return dict(zip(told[::2], told[1::2], strict=True))


def _row(entry_id: str, fields: Mapping[str, str] | None) -> Row:
    """redis-py's entry as the wire has it; it tells a trimmed one by None or by no fields."""
    return [entry_id, [text for pair in fields.items() for text in pair] if fields else None]
