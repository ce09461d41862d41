"""A master that changes: every new connection asks the sentinels which server it is now.

A connection that is lost, or whose server has become a read-only replica, is given up; the next one asks again.
https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.exceptions import RedisError

from cryptostream.bus.address import Address
from cryptostream.bus.resp import ServerWire, Wire
from cryptostream.bus.server import TEXT, Connections
from cryptostream.bus.translate import translate


class Sentinels:
    """The way to the master that sentinels name."""

    def __init__(self, url: str, address: Address) -> None:
        self._url = url
        self._master = address.master
        self._options = _managed(address.options)
        self._connections = Connections(url, address.options)
        # The constructor would make clients out of hosts and ports, and passes them no connection_class.
        self._sentinel = Sentinel([])  # type: ignore[no-untyped-call]
        self._sentinel.sentinels = [
            Redis.from_pool(ConnectionPool(host=node.host, port=node.port, **address.sentinel))
            for node in address.nodes
        ]
        self._clients: list[Redis] = []

    def client(self, timeout_s: float) -> Redis:
        pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
            self._master, self._sentinel, **self._options, **TEXT, socket_timeout=timeout_s
        )
        self._clients.append(Redis.from_pool(pool))
        return self._clients[-1]

    async def connection(self) -> AbstractConnection:
        try:
            host, port = await self._sentinel.discover_master(self._master)
        except (RedisError, OSError) as error:
            raise translate(error, self._url) from error
        return await self._connections.open(host=host, port=port)

    async def wire(self) -> Wire:
        return ServerWire(await self.connection())

    async def masters(self) -> Sequence[Redis]:
        return self._clients[:1]

    async def aclose(self) -> None:
        await self._connections.aclose()
        for client in (*self._clients, *self._sentinel.sentinels):
            await client.aclose()


def _managed(options: dict[str, Any]) -> dict[str, Any]:
    """The options of connections that ask the sentinels before they connect."""
    tls = "connection_class" in options
    return options | {"connection_class": SentinelManagedSSLConnection if tls else SentinelManagedConnection}
