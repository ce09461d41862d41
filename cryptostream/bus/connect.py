"""A URL in, a Bus out: clients that never retry by themselves, and errors that a person can act on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from weakref import WeakSet

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from cryptostream import logs
from cryptostream.bus.address import COMMAND_TIMEOUT_S, Address, parse
from cryptostream.bus.cluster import Cluster
from cryptostream.bus.embedded import embedded
from cryptostream.bus.resp import Wire
from cryptostream.bus.sentinel import Sentinels
from cryptostream.bus.server import Server, Way
from cryptostream.bus.translate import only_refuses_writes, translate, translate_reply
from cryptostream.engine.backoff import backoff
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.ports import Clock

__all__ = ["Bus", "connect", "translate", "translate_reply"]

BLOCK_S = 5.0
"""The longest BLOCK that `Bus.blocking` sits out; `Bus.blocking_for` makes a client for more."""

_SHORTEST_TRY_S = 0.5
_QUIET_S = 1.0
"""A server that answers within it was only starting, and is not worth a line."""
_log = logs.get("bus")


class Bus:
    """A Redis that answered. Commands go to `command`, reads with BLOCK to `blocking`; neither ever retries.

    `url` may be printed. What the clients raise is redis-py's: hand it to `translate(error, bus.url)`; in a cluster,
    where they have to ask who serves what, BusUnavailable and BusRefused come from them too.
    """

    def __init__(self, url: str, way: Way) -> None:
        self.url = url
        self.waiting: WeakSet[object] = WeakSet()
        """Who waits for it while it is away: one of them tells."""
        self._way = way
        self.command = way.client(COMMAND_TIMEOUT_S)
        self.blocking = self.blocking_for(BLOCK_S)

    def __repr__(self) -> str:
        return f"Bus({self.url!r})"

    def blocking_for(self, block_s: float) -> Redis:
        """A client whose reads may block for `block_s` seconds; closed with the bus."""
        return self._way.client(block_s + COMMAND_TIMEOUT_S)

    async def raw_connection(self) -> AbstractConnection:
        """A connected redis-py connection of one's own, in RESP2 and bytes, for hand-made commands.

        TLS, AUTH and SELECT are done. From here on use its `_reader` (asyncio.StreamReader) and `_writer`
        (StreamWriter) alone: nothing is left unread in its parser, nothing is pushed into it, and its timeouts end
        here. It never reconnects: `await disconnect()` it and ask for another. It ends with the bus at the latest.
        Of a cluster it reaches one node.

        Raises BusUnavailable, BusRefused.
        """
        return await self._way.connection()

    @property
    def is_cluster(self) -> bool:
        """Whether keys of different slots may be on different servers."""
        return isinstance(self._way, Cluster)

    async def wire(self) -> Wire:
        """A connection of one's own for hand-made commands, many at once. Raises BusUnavailable, BusRefused."""
        return await self._way.wire()

    async def masters(self) -> Sequence[Redis]:
        """A client of each server that takes writes: one, or in a cluster several. Raises as `wire` does."""
        return await self._way.masters()

    async def aclose(self) -> None:
        """Close every client and connection this bus gave away."""
        await self._way.aclose()


@asynccontextmanager
async def connect(url: str, *, data_dir: Path, connect_timeout_s: float = 30.0, clock: Clock) -> AsyncIterator[Bus]:
    """Open the bus at a URL, waiting up to `connect_timeout_s` for one that is down or still loading.

    `address.parse` says what a URL may be; over TLS the certificate is checked (`?ssl_ca_certs=`, `ssl_certfile=`,
    `ssl_keyfile=`). The server of `embedded://` keeps its data under `data_dir`.

    Raises ConfigError for a URL that cannot be used, BusRefused at once and BusUnavailable after the time-out.
    """
    if not url.startswith("embedded:"):
        async with _connected(logs.mask(url), parse(url), connect_timeout_s, clock) as bus:
            yield bus
        return
    async with (
        embedded(data_dir, clock) as address,
        _connected(f"embedded://{data_dir}", parse(address), connect_timeout_s, clock) as bus,
    ):
        yield bus


@asynccontextmanager
async def _connected(url: str, address: Address, timeout_s: float, clock: Clock) -> AsyncIterator[Bus]:
    bus = Bus(url, _way(url, address, clock))
    try:
        await _answered(bus, timeout_s, clock)
        yield bus
    finally:
        await bus.aclose()


def _way(url: str, address: Address, clock: Clock) -> Way:
    if address.master:
        return Sentinels(url, address)
    return Cluster(url, address, clock) if address.nodes else Server(url, address.options)


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
    except (BusRefused, BusUnavailable) as trouble:
        return trouble
    except (RedisError, OSError) as error:
        if only_refuses_writes(error):
            return None
        told = translate(error, bus.url)
        told.__cause__ = error
        return told
    return None
