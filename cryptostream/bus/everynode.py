"""redis-py's client for a cluster, out of a plain client for each node.

Not redis-py's own RedisCluster: without retries its pipelines never learn that a master has gone, it runs each command
of a transaction in a thread, wants every replica to answer a PING, and falls over an ASK to a node it does not know.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import AskError, ClusterCrossSlotError, RedisError, ResponseError, TryAgainError

from cryptostream.bus.address import Node
from cryptostream.bus.ask import heed_cancellation
from cryptostream.bus.slots import Send, Slots, routed, slot_of, without_asking
from cryptostream.model.ports import Clock

_KEYLESS = frozenset({"PING", "INFO", "CONFIG GET", "TIME", "ECHO"})
_MANY_STREAMS = ("XREAD", "XREADGROUP")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.25
_ASKING: Any = (("ASKING",), {})

Command = tuple[tuple[Any, ...], Mapping[str, Any]]


class ClusterClient(Redis):
    """Commands and pipelines go to the nodes of their keys; a command without a key goes to one of the masters.

    A command has one key, except XREAD and XREADGROUP, whose streams may be anywhere. Those of one slot are waited for
    by the server as usual. Nobody can wait for those of several: they are asked for again and again while nothing
    comes, after 20 ms at first and after 250 ms at last. This costs up to a quarter of a second of delay, and four
    small reads a second for each slot. The ids are to be plain ones: `$` would be a later entry each time.
    """

    def __init__(self, slots: Slots, client_of: Callable[[Node], Redis], clock: Clock) -> None:
        self._slots = slots
        self._client_of = client_of
        self._clock = clock
        self._clients: dict[Node, Redis] = {}
        super().__init__(connection_pool=self._client(slots.seed).connection_pool)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] in _MANY_STREAMS:
            return await self._read(args, options)
        return (await self._answered([(args, options)]))[0]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Commands in one write to each node; those of a transaction have keys of one slot."""
        return _ClusterPipeline(self, transaction, shard_hint)

    async def scan_iter(self, *args: Any, **options: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        """The keys of every master; one whose slot moves meanwhile may come twice, or not at all."""
        for client in await self.masters():
            async for key in client.scan_iter(*args, **options):
                yield key

    async def masters(self) -> Sequence[Redis]:
        """A client of each node that serves slots now: of one that has joined, nothing else need ever tell us."""
        await self._slots.learn()
        return [self._client(node) for node in self._slots.masters()]

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Hang up on every node."""
        for client in self._clients.values():
            await client.aclose(close_connection_pool)

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands in order, an exception in the place of one that was refused."""

        async def send(node: Node, places: Sequence[int], asking: Collection[int]) -> Sequence[Any]:
            pipeline = self._client(node).pipeline(transaction=False)
            for place in places:
                pipeline.command_stack += [_ASKING] * (place in asking) + [commands[place]]
            return without_asking(await pipeline.execute(raise_on_error=False), places, asking)

        return await self._routed([slot_of(_key(args)) for args, _ in commands], send)

    async def transact(self, commands: Sequence[Command], *, raise_on_error: bool) -> list[Any]:
        """The replies to commands that one node does at once, or not at all."""
        slots = {slot_of(_key(args)) for args, _ in commands}
        if len(slots) > 1:
            raise ClusterCrossSlotError("the keys of a transaction are not in one slot", status_code="CROSSSLOT")

        async def send(node: Node, _places: Sequence[int], asking: Collection[int]) -> Sequence[Any]:
            if asking:  # its keys may be on both nodes until the slot has moved
                raise TryAgainError("the slot is moving", status_code="TRYAGAIN")
            pipeline = self._client(node).pipeline(transaction=True)
            pipeline.command_stack = list(commands)
            try:
                return [await pipeline.execute(raise_on_error)]
            except AskError as moved:
                return [moved]

        [replies] = await self._routed(list(slots), send)
        return list(replies)

    async def _routed(self, wanted: Sequence[int], send: Send) -> list[Any]:
        try:
            await self._slots.known()
            return await routed(self._slots, wanted, send)
        except (RedisError, OSError):
            self._slots.doubt()
            raise

    async def _answered(self, commands: Sequence[Command]) -> list[Any]:
        """The replies; raises the first error among them."""
        replies = await self.run(commands)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    async def _read(self, args: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        """What XREAD or XREADGROUP finds, of streams that may be in any slot."""
        at = args.index(b"STREAMS") + 1
        half = (len(args) - at) // 2
        places = dict(zip(args[at : at + half], args[at + half :], strict=True))
        slots: dict[int, list[Any]] = {}
        for stream in places:
            slots.setdefault(slot_of(stream), []).append(stream)
        if len(slots) == 1:
            return list((await self._answered([(tuple(args), options)]))[0])
        words, block_s = _without_block(args[:at])
        reads = [(*words, *streams, *(places[stream] for stream in streams)) for streams in slots.values()]
        return await self._poll([(read, {}) for read in reads], block_s)

    async def _poll(self, reads: Sequence[Command], block_s: float) -> list[Any]:
        pause_s = _FIRST_PAUSE_S
        deadline = self._clock.monotonic() + block_s
        while True:
            heed_cancellation()
            found = [stream for reply in await self._answered(reads) for stream in reply]
            left_s = deadline - self._clock.monotonic()
            if found or left_s <= 0:
                return found
            await self._clock.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _client(self, node: Node) -> Redis:
        if node not in self._clients:
            self._clients[node] = self._client_of(node)
        return self._clients[node]


class _ClusterPipeline(Pipeline):
    """Collects commands as redis-py's pipelines do, and has the cluster's client run them."""

    def __init__(self, cluster: ClusterClient, transaction: bool, shard_hint: str | None) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, transaction, shard_hint)
        self._cluster = cluster

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """The replies, in order."""
        stack, self.command_stack = self.command_stack, []
        if not stack:
            return []
        if self.is_transaction:
            return await self._cluster.transact(stack, raise_on_error=raise_on_error)
        replies = await self._cluster.run(stack)
        if raise_on_error:
            self.raise_first_error(stack, replies)
        return replies


def _key(args: Sequence[Any]) -> str:
    """The key of a command, the first of several; empty where it has none."""
    if args[0] in _MANY_STREAMS:
        return str(args[args.index(b"STREAMS") + 1])
    return "" if args[0] in _KEYLESS or len(args) < 2 else str(args[1])


def _without_block(words: Sequence[Any]) -> tuple[Sequence[Any], float]:
    """The words of a read before its streams without BLOCK, and for how many seconds that was."""
    if b"BLOCK" not in words:
        return words, 0.0
    at = words.index(b"BLOCK")
    return (*words[:at], *words[at + 2 :]), int(words[at + 1]) / 1000
