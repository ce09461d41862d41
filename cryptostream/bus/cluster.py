"""A Redis Cluster as a bus: one wire that finds each command's node, and clients that know all of them.

Needs the right to CLUSTER SLOTS besides those of a single server. A node that dies ends a wire; the next one learns
from any that lives who serves what, and gets nowhere until a replica has taken over.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any

import hiredis
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection

from cryptostream.bus.address import Address, Node
from cryptostream.bus.everynode import ClusterClient
from cryptostream.bus.resp import ServerWire, Wire, command
from cryptostream.bus.server import TEXT, Connections
from cryptostream.bus.slots import Slots, key_of, routed, slot_of, without_asking
from cryptostream.bus.translate import translate, translate_reply
from cryptostream.model.ports import Clock

_ASKING = command("ASKING")


class Cluster:
    """The way to a cluster: `wire()` and a client whose node does not answer learn anew who serves what."""

    def __init__(self, url: str, address: Address, clock: Clock) -> None:
        self._url = url
        self._options = address.options
        self._clock = clock
        self._connections = Connections(url, address.options)
        self._slots = Slots(url, address.nodes, self._ask)
        self._clients: list[ClusterClient] = []

    def client(self, timeout_s: float) -> Redis:
        def client_of(node: Node) -> Redis:
            place: dict[str, Any] = {"host": node.host, "port": node.port, "socket_timeout": timeout_s}
            return Redis.from_pool(ConnectionPool(**self._options, **TEXT, **place))

        self._clients.append(ClusterClient(self._slots, client_of, self._clock))
        return self._clients[-1]

    async def connection(self) -> AbstractConnection:
        await self._slots.known()
        return await self._open(self._slots.masters()[0])

    async def wire(self) -> Wire:
        await self._slots.learn()
        return ClusterWire(self._slots, self._wire_to)

    async def masters(self) -> Sequence[Redis]:
        return await self._clients[0].masters()

    async def aclose(self) -> None:
        await self._connections.aclose()
        for client in self._clients:
            await client.aclose()

    async def _ask(self, node: Node) -> Any:
        """What a node believes about the slots."""
        wire = await self._wire_to(node)
        try:
            [told] = await wire.send([command("CLUSTER", "SLOTS")], 1)
        except (OSError, TimeoutError) as error:
            raise translate(error, self._url) from error
        finally:
            await wire.close()
        if isinstance(told, hiredis.ReplyError):
            raise translate_reply(told, self._url)
        return told

    async def _wire_to(self, node: Node) -> Wire:
        return ServerWire(await self._open(node))

    async def _open(self, node: Node) -> AbstractConnection:
        return await self._connections.open(host=node.host, port=node.port)


class ClusterWire:
    """One wire to every node that is needed, opened when it is. A command has one key, or none."""

    def __init__(self, slots: Slots, wire_to: Callable[[Node], Awaitable[Wire]]) -> None:
        self._slots = slots
        self._wire_to = wire_to
        self._wires: dict[Node, Wire] = {}

    async def send(self, commands: Iterable[str], count: int) -> list[Any]:
        """Write to each node its part, all at once, and return the `count` replies in the order of the commands.

        Commands of one stream keep their order, also where its slot moves meanwhile. BusUnavailable where nobody
        serves a slot; one node that does not answer fails them all, though others may have done theirs.
        """
        texts = list(islice(commands, count))
        wanted = [slot_of(key_of(text)) for text in texts]
        return await routed(self._slots, wanted, partial(self._send, texts))

    async def close(self) -> None:
        for wire in self._wires.values():
            await wire.close()

    async def _send(
        self, texts: Sequence[str], node: Node, places: Sequence[int], asking: Collection[int]
    ) -> Sequence[Any]:
        wire = self._wires.get(node)
        if wire is None:
            wire = self._wires[node] = await self._wire_to(node)
        if not asking:
            return await wire.send([texts[place] for place in places], len(places))
        words = [_ASKING + texts[place] if place in asking else texts[place] for place in places]
        return without_asking(await wire.send(words, len(places) + len(asking)), places, asking)
