"""The process under test of `consume`: reads, decodes and acknowledges so many entries by one way, and says the cost.

`bare` is the floor that Python can reach: a blocking socket, `hiredis.Reader`, and nothing done with what was read.
"""

import argparse
import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
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
_READ_BYTES = 1 << 16
Read = Callable[[str, int], Awaitable[int]]


async def bare(url: str, group: str, wanted: int) -> int:
    """By hand: XACKs of what was read ride in front of the next XREADGROUP; replies stay bytes."""
    port = int(url.rpartition(":")[2].partition("/")[0])
    ask = command("XREADGROUP", "GROUP", group, "me", "COUNT", COUNT, "STREAMS", *keys(), *[">"] * len(keys())).encode()
    replies = hiredis.Reader(notEnoughData=Ellipsis)
    acks, owed, seen = b"", 0, 0
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def answer() -> Any:
            while (reply := replies.gets()) is Ellipsis:
                replies.feed(wire.recv(_READ_BYTES))
            return reply

        while seen < wanted:
            wire.sendall(acks + ask)
            for _ in range(owed):
                answer()
            found = answer()
            acks, owed = b"", len(found)
            for key, rows in found:
                seen += len(rows)
                ids = [row[0] for row in rows]
                head = b"*%d\r\n$4\r\nXACK\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
                acks += head % (3 + len(ids), len(key), key, len(group), group.encode())
                acks += b"".join([b"$%d\r\n%b\r\n" % (len(one), one) for one in ids])
        wire.sendall(acks)
        for _ in range(owed):
            answer()
    return seen


async def events(url: str, group: str, wanted: int) -> int:
    """Ours, event by event: `async for event in consumer`."""
    seen = 0
    async with _consumer(url, group) as consumer:
        async for _ in consumer:
            seen += 1
            if seen == wanted:
                consumer.stop()
    return seen


async def batches(url: str, group: str, wanted: int) -> int:
    """Ours, batch by batch: `async for batch in consumer.batches()`."""
    seen = 0
    async with _consumer(url, group) as consumer:
        async for batch in consumer.batches():
            seen += len(batch)
            if seen >= wanted:
                consumer.stop()
    return seen


def _consumer(url: str, group: str) -> Consumer:
    return Consumer(url, group=group, streams=["trades:*"], name="me", batch=COUNT)


async def pipelined(url: str, group: str, wanted: int) -> int:
    """redis-py, decoded, one XACK a stream and read, all of them in one pipeline."""
    seen = 0
    async with Redis.from_url(url, decode_responses=True) as client:
        while seen < wanted:
            found = await _ask(client, group)
            async with client.pipeline(transaction=False) as pipe:
                for key, rows in found:
                    seen += sum(codec.event(key, *row) is not None for row in rows)
                    pipe.xack(key, group, *[row[0] for row in rows])
                await pipe.execute()
    return seen


async def each(url: str, group: str, wanted: int) -> int:
    """redis-py as its tutorials have it: decoded, one `await xack` a message."""
    seen = 0
    async with Redis.from_url(url, decode_responses=True) as client:
        while seen < wanted:
            for key, rows in await _ask(client, group):
                for entry_id, fields in rows:
                    seen += codec.event(key, entry_id, fields) is not None
                    await client.xack(key, group, entry_id)
    return seen


async def _ask(client: Redis, group: str) -> Sequence[tuple[str, Any]]:
    found: Any = await client.xreadgroup(group, "me", dict[Any, Any](dict.fromkeys(keys(), ">")), count=COUNT)
    return found or []


def keys() -> list[str]:
    """The streams that are read."""
    from benchmarks.consume import PAIRS

    return [f"trades:{pair}" for pair in pairs(PAIRS)]


WAYS: dict[str, Read] = {"bare": bare, "events": events, "batches": batches, "pipelined": pipelined, "each": each}


async def serve(url: str, way: str) -> None:
    """Answer each line, a group and a number, with what reading so many entries as that group has cost."""
    for line in sys.stdin:
        group, number = line.split()
        before, started = cost()["cpu_s"], time.perf_counter()
        seen = await WAYS[way](url, group, int(number))
        seconds, used = time.perf_counter() - started, cost()["cpu_s"] - before
        tell({"entries": seen, "rate": seen / seconds, "us": used / seen * 1e6})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--way", required=True, choices=WAYS)
    parser.add_argument("--loop", default="uvloop", choices=["uvloop", "asyncio"])
    chosen = parser.parse_args()
    logs.configure(verbosity=-1)
    with asyncio.Runner(loop_factory=loop_factory(chosen.loop)) as runner:
        runner.run(serve(chosen.redis, chosen.way))


if __name__ == "__main__":
    main()
