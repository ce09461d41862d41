"""The process under test of `consume`: reads, decodes and acknowledges so many entries by one way, and says the cost.

`bare` is the floor that Python can reach: a blocking socket, `hiredis.Reader`, and nothing done with what was read but
to acknowledge it. All ways run in one kind of process, with the same modules loaded and gc as Python has it.
"""

import argparse
import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import hiredis
from redis.asyncio import Redis

from benchmarks.market import pairs
from benchmarks.meter import cost, tell
from benchmarks.ours import loop_factory
from cryptostream import logs
from cryptostream.bus.resp import command
from cryptostream.client.consumer import Consumer
from cryptostream.model import codec

COUNT = 100
_PIECE = 3
_READ_BYTES = 1 << 16


@dataclass
class Work:
    """So many entries of some streams of a server, to be read as a group, and what that costs from `begin` on."""

    url: str
    keys: Sequence[str]
    group: str
    wanted: int
    cpu_s: float = 0.0
    at_s: float = 0.0

    def begin(self) -> None:
        """What came before, connecting and joining the group, is not counted."""
        self.cpu_s, self.at_s = cost()["cpu_s"], time.perf_counter()

    def told(self, seen: int) -> dict[str, float]:
        """What it has cost so far."""
        seconds, used = time.perf_counter() - self.at_s, cost()["cpu_s"] - self.cpu_s
        return {"entries": seen, "rate": seen / seconds, "us": used / seen * 1e6}


Read = Callable[[Work], Awaitable[int]]
"""Reads the entries and says how many they were since `begin`."""


async def bare(work: Work) -> int:
    """By hand: XACKs of what was read ride in front of the next XREADGROUP of all streams; replies stay bytes."""
    return _by_hand(work, len(work.keys))


async def pieces(work: Work) -> int:
    """The same, with as few streams in an XREADGROUP as ours, so that a reply stays in the core's cache."""
    return _by_hand(work, _PIECE)


def _by_hand(work: Work, at_once: int) -> int:
    names = [work.keys[start : start + at_once] for start in range(0, len(work.keys), at_once)]
    head = ("XREADGROUP", "GROUP", work.group, "me", "COUNT", COUNT, "STREAMS")
    asks = cycle([command(*head, *some, *[">"] * len(some)).encode() for some in names])
    replies = hiredis.Reader(notEnoughData=Ellipsis)
    acks, owed, seen = b"", 0, 0
    with socket.create_connection(("127.0.0.1", int(work.url.rpartition(":")[2].partition("/")[0]))) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def answer() -> Any:
            while (reply := replies.gets()) is Ellipsis:
                replies.feed(wire.recv(_READ_BYTES))
            return reply

        while seen < work.wanted:
            wire.sendall(acks + next(asks))
            for _ in range(owed):
                answer()
            found = answer() or ()
            seen += sum(len(rows) for _, rows in found)
            acks, owed = b"".join([_xack(key, work.group.encode(), rows) for key, rows in found]), len(found)
        wire.sendall(acks)
        for _ in range(owed):
            answer()
    return seen


def _xack(key: bytes, group: bytes, rows: Sequence[Any]) -> bytes:
    ids = b"".join([b"$%d\r\n%b\r\n" % (len(row[0]), row[0]) for row in rows])
    head = b"*%d\r\n$4\r\nXACK\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
    return head % (3 + len(rows), len(key), key, len(group), group) + ids


async def events(work: Work) -> int:
    """Ours, event by event: `async for event in consumer`."""
    seen = 0
    async with _consumer(work) as consumer:
        entries = aiter(consumer)
        await anext(entries)
        work.begin()
        async for _ in entries:
            seen += 1
            if seen == work.wanted - 1:
                consumer.stop()
    return seen


async def batches(work: Work) -> int:
    """Ours, batch by batch: `async for batch in consumer.batches()`."""
    seen = 0
    async with _consumer(work) as consumer:
        found = aiter(consumer.batches())
        first = len(await anext(found))
        work.begin()
        async for batch in found:
            seen += len(batch)
            if seen >= work.wanted - first:
                consumer.stop()
    return seen


def _consumer(work: Work) -> Consumer:
    return Consumer(work.url, group=work.group, streams=["trades:*"], name="me", batch=COUNT)


async def pipelined(work: Work) -> int:
    """redis-py, decoded, one XACK a stream and read, all of them in one pipeline."""
    seen = 0
    async with Redis.from_url(work.url, decode_responses=True) as client:
        while seen < work.wanted:
            found = await _ask(client, work)
            async with client.pipeline(transaction=False) as pipe:
                for key, rows in found:
                    seen += sum(codec.event(key, *row) is not None for row in rows)
                    pipe.xack(key, work.group, *[row[0] for row in rows])
                await pipe.execute()
    return seen


async def each(work: Work) -> int:
    """redis-py as its tutorials have it: decoded, one `await xack` a message."""
    seen = 0
    async with Redis.from_url(work.url, decode_responses=True) as client:
        while seen < work.wanted:
            for key, rows in await _ask(client, work):
                for entry_id, fields in rows:
                    seen += codec.event(key, entry_id, fields) is not None
                    await client.xack(key, work.group, entry_id)
    return seen


async def _ask(client: Redis, work: Work) -> Sequence[tuple[str, Any]]:
    places = dict[Any, Any](dict.fromkeys(work.keys, ">"))
    found: Any = await client.xreadgroup(work.group, "me", places, count=COUNT)
    return found or []


WAYS: dict[str, Read] = {
    "bare": bare,
    "pieces": pieces,
    "events": events,
    "batches": batches,
    "pipelined": pipelined,
    "each": each,
}


async def serve(url: str, way: str, streams: int) -> None:
    """Answer each line, a group and a number, with what reading so many entries as that group has cost."""
    keys = [f"trades:{pair}" for pair in pairs(streams)]
    for line in sys.stdin:
        group, number = line.split()
        work = Work(url, keys, group, int(number))
        work.begin()
        tell(work.told(await WAYS[way](work)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--way", required=True, choices=WAYS)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--loop", default="uvloop", choices=["uvloop", "asyncio"])
    chosen = parser.parse_args()
    logs.configure(verbosity=-1)
    with asyncio.Runner(loop_factory=loop_factory(chosen.loop)) as runner:
        runner.run(serve(chosen.redis, chosen.way, chosen.streams))


if __name__ == "__main__":
    main()
