"""The process under test of `consume`: FastStream's subscribers of Redis Streams, one a stream, as its docs have it.

Runs in a venv of its own. Each entry is decoded by a pydantic model, and acknowledged when its handler returns.
"""

import argparse
import asyncio
import logging
import sys
import time

import uvloop
from faststream.redis import RedisBroker, StreamSub
from pydantic import BaseModel

from benchmarks.market import pairs
from benchmarks.meter import cost, tell

COUNT = 100


class Trade(BaseModel):
    """One execution."""

    exchange: str
    pair: str
    price: float
    qty: float
    ts: str
    side: str
    trade_id: int


async def read(url: str, keys: list[str], group: str, wanted: int) -> int:
    """Read so many entries as a group."""
    seen = 0
    done = asyncio.Event()
    broker = RedisBroker(url, logger=None, log_level=logging.CRITICAL)

    async def handle(trade: Trade) -> None:
        nonlocal seen
        seen += 1
        if seen >= wanted:
            done.set()

    for key in keys:
        sub = StreamSub(key, group=group, consumer="me", max_records=COUNT, last_id=">", polling_interval=100)
        broker.subscriber(stream=sub)(handle)
    async with broker:
        await broker.start()
        await done.wait()
    return seen


async def serve(url: str, number_of_pairs: int) -> None:
    """Answer each line, a group and a number, with what reading so many entries as that group has cost."""
    keys = [f"trades:{pair}" for pair in pairs(number_of_pairs)]
    for line in sys.stdin:
        group, number = line.split()
        before, started = cost()["cpu_s"], time.perf_counter()
        seen = await read(url, keys, group, int(number))
        seconds, used = time.perf_counter() - started, cost()["cpu_s"] - before
        tell({"entries": seen, "rate": seen / seconds, "us": used / seen * 1e6})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--pairs", type=int, default=50)
    chosen = parser.parse_args()
    uvloop.install()
    asyncio.run(serve(chosen.redis, chosen.pairs))


if __name__ == "__main__":
    main()
