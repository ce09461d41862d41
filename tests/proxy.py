"""A TCP proxy that makes a network go wrong: in front of Redis or of an exchange, told what to do while it runs.

    async with Proxy("127.0.0.1", 6379) as proxy:
        client = connect("127.0.0.1", proxy.port)
        proxy.swallow(1)  # the next reply is lost, and its connection with it

Every fault is a property of the network, not of a protocol: bytes come late, come never, stop coming, or come wrong.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Literal, Self

from cryptostream.engine.clock import SystemClock

Way = Literal["up", "down"]
"""`up` is from whoever connected to the server behind the proxy, `down` is its answers."""

_READ_BYTES = 65536
_NO_LINGER = struct.pack("ii", 1, 0)  # closing discards what waits and sends RST


class Proxy:
    """Takes connections on a free port of the loopback (`port`) and passes them on to `host:port`.

    `latency_s` is added to each chunk each way. `swallowed` and `accepted` count. `heal` ends every fault; what a
    black hole had taken in is delivered then, as a network does that was only away.
    """

    def __init__(self, host: str, port: int, *, random: Random | None = None) -> None:
        self._target = (host, port)
        self._random = random or Random(0)
        self._clock = SystemClock()
        self._links: set[_Link] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.port = 0
        self.accepted = 0
        self.swallowed = 0
        self.heal()

    def heal(self) -> None:
        """Everything works again; connections that were cut stay cut."""
        self.latency_s = 0.0
        self.refusing = False
        self.swallow_chance = 0.0
        self._to_swallow = 0
        self._cuts: dict[Way, int | None] = {"up": None, "down": None}
        self._corrupt: dict[Way, int | None] = {"up": None, "down": None}
        self._flows.set()

    def black_hole(self) -> None:
        """Connections are accepted and stay open, and nothing comes through either way."""
        self._flows.clear()

    def refuse(self) -> None:
        """Cut every connection, and reset each new one at once."""
        self.refusing = True
        self.reset()

    def reset(self) -> int:
        """Reset every connection now (RST both ways); returns how many there were."""
        cut = list(self._links)
        for link in cut:
            link.reset()
        return len(cut)

    def close(self) -> None:
        """End every connection in order (FIN both ways)."""
        for link in self._links:
            link.close()

    def cut_after(self, count: int, way: Way = "down") -> None:
        """Let `count` more bytes through that way, over all connections, then reset the one that carried the last."""
        self._cuts[way] = count

    def swallow(self, replies: int = 1) -> None:
        """Lose the next chunks that come down, each with its connection: what was asked was done, nobody learns it."""
        self._to_swallow = replies

    def corrupt(self, at: int = 0, way: Way = "down") -> None:
        """Change the byte at this place of the next chunk that way."""
        self._corrupt[way] = at

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self._flows.set()
        self.reset()
        await self._server.wait_closed()
        while self._links:
            await self._clock.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            if self.refusing:
                raise ConnectionRefusedError
            up_reader, up_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        link = _Link(writer, up_writer)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(link, reader, up_writer, "up"))
                group.create_task(self._pump(link, up_reader, writer, "down"))
        finally:
            self._links.discard(link)

    async def _pump(self, link: "_Link", source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: Way) -> None:
        try:
            while chunk := await source.read(_READ_BYTES):
                await self._clock.sleep(self.latency_s)
                await self._flows.wait()
                if not await self._pass_on(chunk, sink, way):
                    link.reset()
                    return
            link.close()
        except OSError:
            link.reset()

    async def _pass_on(self, chunk: bytes, sink: asyncio.StreamWriter, way: Way) -> bool:
        """Send a chunk on as the faults want it; False when its connection is to be cut now."""
        if way == "down" and self._swallows():
            self.swallowed += 1
            return False
        place, self._corrupt[way] = self._corrupt[way], None
        if place is not None:
            place = min(place, len(chunk) - 1)
            chunk = chunk[:place] + bytes([chunk[place] ^ 0x55]) + chunk[place + 1 :]
        left = self._cuts[way]
        if left is not None:
            self._cuts[way] = None if len(chunk) >= left else left - len(chunk)
            chunk = chunk[:left]
        sink.write(chunk)
        await sink.drain()
        return left is None or self._cuts[way] is not None

    def _swallows(self) -> bool:
        if self._to_swallow:
            self._to_swallow -= 1
            return True
        return self.swallow_chance > 0 and self._random.random() < self.swallow_chance


class _Link:
    """One connection on both its sides."""

    def __init__(self, *sides: asyncio.StreamWriter) -> None:
        self._sides = sides

    def reset(self) -> None:
        for side in self._sides:
            _reset(side)

    def close(self) -> None:
        for side in self._sides:
            side.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()
