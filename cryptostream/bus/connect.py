"""A URL in, a Bus out: clients that never retry by themselves, and errors that a person can act on."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, Connection
from redis.exceptions import RedisError

from cryptostream import logs
from cryptostream.bus.address import COMMAND_TIMEOUT_S, options
from cryptostream.bus.embedded import embedded
from cryptostream.bus.translate import only_refuses_writes, translate, translate_reply
from cryptostream.engine.backoff import backoff
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.ports import Clock

__all__ = ["Bus", "connect", "translate", "translate_reply"]

BLOCK_S = 5.0
"""The longest BLOCK that `Bus.blocking` sits out; `Bus.blocking_for` makes a client for more."""

_SHORTEST_TRY_S = 0.5
_POOL_ONLY = ("connection_class", "max_connections")
_QUIET_S = 1.0
"""A server that answers within it was only starting, and is not worth a line."""
_log = logs.get("bus")


class Bus:
    """A Redis that answered. Commands go to `command`, reads with BLOCK to `blocking`; neither ever retries.

    `url` may be printed. What the clients raise is redis-py's: hand it to `translate(error, bus.url)`.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.url = url
        self._options = options
        self._clients: list[Redis] = []
        self._raw: list[AbstractConnection] = []
        self.command = self._client(COMMAND_TIMEOUT_S)
        self.blocking = self.blocking_for(BLOCK_S)

    def __repr__(self) -> str:
        return f"Bus({self.url!r})"

    def blocking_for(self, block_s: float) -> Redis:
        """A client whose reads may block for `block_s` seconds; closed with the bus."""
        return self._client(block_s + COMMAND_TIMEOUT_S)

    async def raw_connection(self) -> AbstractConnection:
        """A connected redis-py connection of one's own, in RESP2 and bytes, for hand-made commands.

        TLS, AUTH and SELECT are done. From here on use its `_reader` (asyncio.StreamReader) and `_writer`
        (StreamWriter) alone: nothing is left unread in its parser, nothing is pushed into it, and its timeouts end
        here. It never reconnects: `await disconnect()` it and ask for another. It ends with the bus at the latest.

        Raises BusUnavailable, BusRefused.
        """
        options = {name: value for name, value in self._options.items() if name not in _POOL_ONLY}
        connection: AbstractConnection = self._options.get("connection_class", Connection)(
            **options, socket_timeout=COMMAND_TIMEOUT_S
        )
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            raise translate(error, self.url) from error
        self._raw = [*(other for other in self._raw if other.is_connected), connection]
        return connection

    async def aclose(self) -> None:
        """Close every client and connection this bus gave away."""
        for connection in self._raw:
            await connection.disconnect(nowait=True)
        for client in self._clients:
            await client.aclose()

    def _client(self, timeout_s: float) -> Redis:
        text: dict[str, Any] = {"decode_responses": True, "encoding_errors": "backslashreplace"}
        pool = ConnectionPool(**self._options, **text, socket_timeout=timeout_s)
        self._clients.append(Redis.from_pool(pool))
        return self._clients[-1]


@asynccontextmanager
async def connect(url: str, *, data_dir: Path, connect_timeout_s: float = 30.0, clock: Clock) -> AsyncIterator[Bus]:
    """Open the bus at a URL, waiting up to `connect_timeout_s` for one that is down or still loading.

    `redis://`, `rediss://` (the certificate is checked; `?ssl_ca_certs=`, `ssl_certfile=`, `ssl_keyfile=`), `unix://`
    and `embedded://`, whose server keeps its data under `data_dir`.

    Raises ConfigError for a URL that cannot be used, BusRefused at once and BusUnavailable after the time-out.
    """
    if not url.startswith("embedded:"):
        async with _connected(logs.mask(url), options(url), connect_timeout_s, clock) as bus:
            yield bus
        return
    async with (
        embedded(data_dir, clock) as address,
        _connected(f"embedded://{data_dir}", options(address), connect_timeout_s, clock) as bus,
    ):
        yield bus


@asynccontextmanager
async def _connected(url: str, options: Mapping[str, Any], timeout_s: float, clock: Clock) -> AsyncIterator[Bus]:
    bus = Bus(url, options)
    try:
        await _answered(bus, timeout_s, clock)
        yield bus
    finally:
        await bus.aclose()


async def _answered(bus: Bus, timeout_s: float, clock: Clock) -> None:
    """Return once the server answers; raise what it has against us when that cannot be waited for."""
    deadline = clock.monotonic() + timeout_s
    delays = backoff(Random(), base_s=0.1, cap_s=2.0, floor_s=0.05)  # noqa: S311 - jitter, not a secret
    told = False
    while (trouble := await _trouble(bus, deadline - clock.monotonic())) is not None:
        left_s = deadline - clock.monotonic()
        if left_s <= 0 or isinstance(trouble, BusRefused):
            raise trouble
        if not told and left_s <= timeout_s - _QUIET_S:
            _log.warning("bus.waiting", reason=str(trouble), timeout_s=timeout_s)
            told = True
        await clock.sleep(min(next(delays), left_s))


async def _trouble(bus: Bus, left_s: float) -> BusRefused | BusUnavailable | None:
    try:
        async with asyncio.timeout(max(left_s, _SHORTEST_TRY_S)):
            await bus.command.ping()
    except (RedisError, OSError) as error:
        if only_refuses_writes(error):
            return None
        trouble = translate(error, bus.url)
        trouble.__cause__ = error
        return trouble
    return None
