"""Which node of a Redis Cluster takes a command, and what to do with one that has to go elsewhere.

Every key hashes to one of 16384 slots, and one master serves each slot. A node that has given a slot away answers
MOVED; while it is giving one away, ASK for the keys that have gone. Whoever lags behind learns so from these answers:
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#redirection-and-resharding

The house rule is order. All commands of a slot go to one node, in theirs; of those that come back, the first decides
where the rest of its slot goes, so that no command of a stream overtakes another on the way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import hiredis
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError

from cryptostream.bus.address import Node
from cryptostream.errors import BusUnavailable

_ROUNDS = 6
"""How often a command may be sent on before the cluster counts as busy with itself."""
_AFTER_A_WORD = frozenset({"XINFO", "XGROUP", "OBJECT", "MEMORY"})
"""Commands whose first argument says what they do; the key is the second."""

Send = Callable[[Node, Sequence[int], Collection[int]], Coroutine[Any, Any, Sequence[Any]]]
"""Sends the commands in these places to a node, those of the last with ASKING before them; the replies in order."""
_Answer = tuple[Node, int, Any]


@lru_cache(maxsize=1 << 14)
def slot_of(key: str) -> int:
    """The slot of a key, or of its hash tag where it has one.

    >>> slot_of("123456789") == 0x31C3 and slot_of("{a}x") == slot_of("{a}y") == slot_of("a")
    True
    """
    return key_slot(key.encode())


def key_of(packed: str) -> str:
    r"""The key of a packed command that has one key; empty for a command that consists of one word.

    >>> key_of("*2\r\n$4\r\nXLEN\r\n$1\r\ns\r\n"), key_of("*3\r\n$5\r\nXINFO\r\n$6\r\nSTREAM\r\n$1\r\ns\r\n")
    ('s', 's')
    """
    words = packed.split("\r\n", 7)
    place = 6 if words[2] in _AFTER_A_WORD else 4
    if len(words) <= place:
        return ""
    key = words[place]
    if words[place - 1] == f"${len(key)}":  # as many bytes as characters, and no line end among them
        return key
    return _arguments(packed.encode(), place // 2)[-1].decode()


class Slots:
    """Which master serves each slot, as far as we know. Starts knowing nothing but whom to ask.

    `ask` returns a node's reply to CLUSTER SLOTS; it raises BusUnavailable, BusRefused.
    """

    def __init__(self, url: str, nodes: Sequence[Node], ask: Callable[[Node], Awaitable[Any]]) -> None:
        self._url = url
        self._seeds = nodes
        self._ask = ask
        self._nodes: list[Node] = list(nodes)
        self._masters: dict[int, Node] = {}

    @property
    def seed(self) -> Node:
        """The first node that we were told of."""
        return self._seeds[0]

    async def learn(self) -> None:
        """Ask one node after the other, the one that answered last first. Raises BusUnavailable, BusRefused."""
        trouble = BusUnavailable(f"no node of {self._url} knows who serves what", hint="see redis-cli CLUSTER SLOTS")
        for node in self._nodes:
            try:
                told = await self._ask(node)
            except BusUnavailable as error:
                trouble = error
                continue
            if told:
                self._take(node, told)
                return
        raise trouble

    async def known(self) -> None:
        """Learn unless we know already."""
        if not self._masters:
            await self.learn()

    def doubt(self) -> None:
        """Something went wrong: learn anew before the next use."""
        self._masters.clear()

    def master(self, slot: int) -> Node:
        """Raises BusUnavailable where nobody serves a slot."""
        try:
            return self._masters[slot]
        except KeyError:
            hint = "see redis-cli CLUSTER INFO"
            raise BusUnavailable(f"no node of {self._url} serves slot {slot}", hint=hint) from None

    def masters(self) -> list[Node]:
        """Every node that serves a slot."""
        return sorted(set(self._masters.values()))

    def moved(self, slot: int, node: Node) -> None:
        """A node told us that another serves a slot from now on."""
        self._masters[slot] = node

    def _take(self, asked: Node, told: Any) -> None:
        """Believe a reply: `[[first, last, [host, port, id], [host, port, id] of a replica, ...], ...]`."""
        self._masters = {}
        found = [asked]
        for first, last, *nodes in told:
            places = [_node(host.decode() if host else "", port, asked) for host, port, *_ in nodes]
            found += places
            self._masters |= dict.fromkeys(range(first, last + 1), places[0])
        self._nodes = list(dict.fromkeys([*found, *self._seeds]))


async def routed(slots: Slots, wanted: Sequence[int], send: Send) -> list[Any]:
    """The replies to commands, in order, wherever the cluster has them answered; `wanted` is the slot of each.

    Raises what `send` raises, and BusUnavailable where a command is sent on and on.
    """
    replies: list[Any] = [None] * len(wanted)
    parts = _grouped(range(len(wanted)), lambda place: slots.master(wanted[place]))
    asking: frozenset[int] = frozenset()
    for _ in range(_ROUNDS):
        ways: dict[int, _Way] = {}
        astray: list[int] = []
        for node, place, reply in await _answers(parts, asking, send):
            replies[place] = reply
            if type(reply) is not bytes and (way := _way_on(reply, node)):
                ways.setdefault(wanted[place], way)
                astray.append(place)
        if not astray:
            return replies
        for slot, way in ways.items():
            if not way.asking:
                slots.moved(slot, way.node)
        parts = _grouped(sorted(astray), lambda place, ways=ways: ways[wanted[place]].node)  # type: ignore[misc]
        asking = frozenset(place for place in astray if ways[wanted[place]].asking)
    raise BusUnavailable("the cluster sends us from node to node", hint="see redis-cli --cluster check")


def without_asking(replies: Iterable[Any], places: Iterable[int], asking: Collection[int]) -> list[Any]:
    """The replies to commands alone, where that to ASKING stands before those of some places.

    >>> without_asking(["one", "OK", "two"], [7, 8], {8})
    ['one', 'two']
    """
    rest = iter(replies)

    def reply_in(place: int) -> Any:
        if place in asking:
            next(rest)
        return next(rest)

    return [reply_in(place) for place in places]


class _Way(NamedTuple):
    """Where a node sends us with a command: from now on, or `asking`, with this one alone."""

    node: Node
    asking: bool


def _way_on(reply: Any, asked: Node) -> _Way | None:
    """Read `MOVED 3999 10.0.0.1:6381` or `ASK ...`, raw or as redis-py's error, whose text has lost the code."""
    if isinstance(reply, AskError):
        code, text = "MOVED" if isinstance(reply, MovedError) else "ASK", str(reply.message)
    elif isinstance(reply, hiredis.ReplyError):
        code, _, text = str(reply).partition(" ")
    else:
        return None
    if code not in ("MOVED", "ASK"):
        return None
    host, _, port = text.rpartition(" ")[2].rpartition(":")
    return _Way(_node(host, port, asked), code == "ASK")


def _node(host: str, port: str | int, asked: Node) -> Node:
    """A node as another names it; one that does not know its own name is where we asked."""
    return Node(asked.host if host in ("", "?") else host, int(port))


def _grouped(places: Iterable[int], node_of: Callable[[int], Node]) -> dict[Node, list[int]]:
    parts: dict[Node, list[int]] = {}
    for place in places:
        parts.setdefault(node_of(place), []).append(place)
    return parts


async def _answers(parts: Mapping[Node, Sequence[int]], asking: frozenset[int], send: Send) -> list[_Answer]:
    """Every node at work at once; the first failure ends them all."""
    sent = [send(node, places, asking.intersection(places)) for node, places in parts.items()]
    if len(sent) == 1:
        found = [await sent[0]]
    else:
        found = await _together(sent)
    return [
        (node, place, reply)
        for (node, places), replies in zip(parts.items(), found, strict=True)
        for place, reply in zip(places, replies, strict=True)
    ]


async def _together(sent: Iterable[Coroutine[Any, Any, Sequence[Any]]]) -> list[Sequence[Any]]:
    # No TaskGroup: before Python 3.13 one whose child fails leaves its parent with `cancelling()` for ever
    # (https://github.com/python/cpython/issues/116720), which `heed_cancellation` would obey.
    tasks = [asyncio.create_task(one) for one in sent]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _arguments(packed: bytes, count: int) -> list[bytes]:
    """The first arguments of a packed command by the bytes their lengths count, whatever these are."""
    found: list[bytes] = []
    rest = packed.partition(b"\r\n")[2]
    for _ in range(count):
        size, _, rest = rest.partition(b"\r\n")
        found.append(rest[: int(size[1:])])
        rest = rest[int(size[1:]) + 2 :]
    return found
