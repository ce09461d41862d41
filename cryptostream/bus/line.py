"""A connection of one's own for commands that belong together: WATCH, a look, MULTI and EXEC, with any bytes in them.

Neither redis-py's pooled clients nor a `Wire` serve here: a transaction lives on one connection, in a cluster on that
of the node its keys are on, and saved state is no text. https://redis.io/docs/latest/develop/interact/transactions/
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection

from cryptostream.bus.address import Node
from cryptostream.bus.ask import asking
from cryptostream.bus.cluster import Cluster
from cryptostream.bus.connect import Bus, translate, translate_reply
from cryptostream.bus.resp import ServerWire
from cryptostream.bus.slots import slot_of
from cryptostream.errors import BusUnavailable

Word = str | bytes | int
Command = tuple[Word, ...]

_ELSEWHERE = ("MOVED", "ASK", "TRYAGAIN")
_BECAUSE = "EXECABORT Transaction discarded because of: "


class Line:
    """Commands out, all in one write, and their replies in; replies are as the server sent them, text as bytes."""

    def __init__(self, connection: AbstractConnection, url: str) -> None:
        self._wire = ServerWire(connection)
        self._url = url

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """The reply to each command; a `hiredis.ReplyError` where one was refused."""
        packed = b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]
        return await self._wire.send_bytes(packed, len(commands))

    async def execute(self, commands: Sequence[Command]) -> list[Any] | None:
        """MULTI to EXEC in one write; None if EXEC did nothing because a key that is watched has changed.

        A `hiredis.ReplyError` where a command failed and the others were done all the same. Raises as `checked` does
        where nothing was done.
        """
        begun, *queued, done = await self.ask([("MULTI",), *commands, ("EXEC",)])
        self.checked(begun, str(commands[0][1]))  # where MULTI is not allowed, the others were done one by one
        for command, reply in zip(commands, queued, strict=True):
            self.checked(reply, str(command[1]))
        found: list[Any] | None = self.checked(done, str(commands[0][1]))
        return found

    def checked(self, reply: Any, key: str) -> Any:
        """The reply, unless it is an error: then BusUnavailable or BusRefused; `key` is what was asked about."""
        if not isinstance(reply, hiredis.ReplyError):
            return reply
        text = str(reply).removeprefix(_BECAUSE)
        if text.startswith(_ELSEWHERE):
            raise BusUnavailable(f"{key} is moving to another node of {self._url}", hint="it is found there soon")
        raise translate_reply(text, self._url, key=key)

    async def close(self) -> None:
        await self._wire.close()


class Lines:
    """The lines of one user to a bus: one to a server, in a cluster one to each master that it needs.

    Used by one task at a time.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._cluster = bus._way if isinstance(bus._way, Cluster) else None
        self._open: dict[Node | None, Line] = {}

    def parts(self, keys: Iterable[str]) -> list[list[str]]:
        """The keys that may be in one transaction with each other: all on a server, in a cluster those of one slot."""
        slots: dict[int, list[str]] = {}
        for key in keys:
            slots.setdefault(slot_of(key) if self._cluster else 0, []).append(key)
        return list(slots.values())

    @asynccontextmanager
    async def to(self, key: str) -> AsyncIterator[Line]:
        """The line to who serves a key; it is closed where its use fails, for what comes on it then is anybody's guess.

        Raises BusUnavailable, BusRefused.
        """
        node = await self._node(key)
        line = self._open.get(node)
        if line is None:
            line = self._open[node] = Line(await self._connection(node), self._bus.url)
        try:
            with asking(self._bus, key):
                yield line
        except BaseException as error:
            self._open.pop(node, None)
            self._doubt()
            await line.close()
            if isinstance(error, hiredis.HiredisError):
                raise translate(error, self._bus.url, key=key) from error
            raise

    async def close(self) -> None:
        """Hang up; the next use opens anew."""
        while self._open:
            await self._open.popitem()[1].close()

    async def _node(self, key: str) -> Node | None:
        if self._cluster is None:
            return None
        await self._cluster._slots.known()
        return self._cluster._slots.master(slot_of(key))

    async def _connection(self, node: Node | None) -> AbstractConnection:
        if node is None or self._cluster is None:
            return await self._bus.raw_connection()
        try:
            return await self._cluster._open(node)
        except BusUnavailable:
            self._doubt()
            raise

    def _doubt(self) -> None:
        if self._cluster is not None:
            self._cluster._slots.doubt()
