"""One Redis server: how clients, connections and wires reach it. Sentinels and clusters are made of these."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, Connection
from redis.exceptions import RedisError

from cryptostream.bus.address import COMMAND_TIMEOUT_S
from cryptostream.bus.resp import ServerWire, Wire
from cryptostream.bus.translate import translate

TEXT: dict[str, Any] = {"decode_responses": True, "encoding_errors": "backslashreplace"}
"""Options of a client whose replies are text; bytes that are no UTF-8 stay readable."""
_POOL_ONLY = ("connection_class", "max_connections")


class Way(Protocol):
    """How a bus is reached; nothing on it ever retries, and all it gave away ends with `aclose`."""

    def client(self, timeout_s: float) -> Redis:
        """A client for commands whose reply comes within a time. Raises redis-py's errors."""

    async def connection(self) -> AbstractConnection:
        """A connection of one's own, to one server. Raises BusUnavailable, BusRefused."""

    async def wire(self) -> Wire:
        """A wire of one's own. Raises BusUnavailable, BusRefused."""

    async def masters(self) -> Sequence[Redis]:
        """A client of each server that takes writes. Raises BusUnavailable, BusRefused."""

    async def aclose(self) -> None:
        """Close every client and connection."""


class Connections:
    """Opens connections of one's own with the options of a bus, and closes those that are left."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url = url
        self._class: type[AbstractConnection] = options.get("connection_class", Connection)
        self._options = {name: value for name, value in options.items() if name not in _POOL_ONLY}
        self._open: list[AbstractConnection] = []

    async def open(self, **place: Any) -> AbstractConnection:
        """Connect, in RESP2 and bytes; `place` is a host and a port where the options name none."""
        connection = self._class(**self._options, **place, socket_timeout=COMMAND_TIMEOUT_S)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            raise translate(error, self._url) from error
        self._open = [*(other for other in self._open if other.is_connected), connection]
        return connection

    async def aclose(self) -> None:
        for connection in self._open:
            await connection.disconnect(nowait=True)


class Server:
    """The way to a single server."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._options = options
        self._connections = Connections(url, options)
        self._clients: list[Redis] = []

    def client(self, timeout_s: float) -> Redis:
        self._clients.append(Redis.from_pool(ConnectionPool(**self._options, **TEXT, socket_timeout=timeout_s)))
        return self._clients[-1]

    async def connection(self) -> AbstractConnection:
        return await self._connections.open()

    async def wire(self) -> Wire:
        return ServerWire(await self.connection())

    async def masters(self) -> Sequence[Redis]:
        return self._clients[:1]

    async def aclose(self) -> None:
        await self._connections.aclose()
        for client in self._clients:
            await client.aclose()
