"""The process under test of `publish`: writes as many trades as it is told, by one of three ways, and says how fast."""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from benchmarks.market import pairs
from benchmarks.meter import cost, tell
from benchmarks.ours import loop_factory
from benchmarks.publish import BATCH, HANDED, PAIRS
from cryptostream import logs
from cryptostream.bus.connect import connect
from cryptostream.bus.publish import Publisher
from cryptostream.engine.clock import SystemClock
from cryptostream.model import codec
from cryptostream.model.events import Micros, TradeRecord
from cryptostream.model.instrument import Channel, Subscription

_T0 = 1_731_605_400_123_000
Write = Callable[[Sequence[TradeRecord]], Awaitable[object]]


async def serve(url: str, way: str) -> None:
    """Answer each number with the rate at which so many trades were written."""
    ids = count(1)
    clock = SystemClock()
    async with connect(url, data_dir=Path(), clock=clock) as bus, Publisher(bus, clock=clock) as publisher:
        client = Redis.from_url(url)
        write = {"ours": publisher.write, "pipeline": _pipeline(client), "xadd": _one_by_one(client)}[way]
        for line in sys.stdin:
            tell(await _rate(write, ids, int(line), HANDED if way == "ours" else BATCH))
        await client.aclose()


async def _rate(write: Write, ids: Iterator[int], number: int, size: int) -> dict[str, float]:
    """Batch by batch: made, which is not counted, and written while it is fresh, as a feed's are."""
    seconds = used = 0.0
    for _ in range(0, number, size):
        batch = _trades(size, ids)
        before, started = cost()["cpu_s"], time.perf_counter()
        await write(batch)
        seconds += time.perf_counter() - started
        used += cost()["cpu_s"] - before
    return {"rate": number / seconds, "us": used / number * 1e6}


def _trades(number: int, ids: Iterator[int]) -> list[TradeRecord]:
    """Trades of all pairs by turns, ten in each millisecond."""
    wanted = [Subscription("binance", Channel.TRADES, pair) for pair in pairs(PAIRS)]
    return [
        TradeRecord(
            wanted[place % PAIRS],
            "45123.50000000",
            "0.12300000",
            Micros(_T0 + place // 10 * 1000),
            "buy",
            10_000_000 + place,
        )
        for place in (next(ids) for _ in range(number))
    ]


def _pipeline(client: Redis) -> Write:
    async def write(trades: Sequence[TradeRecord]) -> None:
        async with client.pipeline(transaction=False) as pipe:
            for trade in trades:
                pipe.xadd(f"pipe:{trade.subscription.pair}", _fields(trade), maxlen=10_000)
            await pipe.execute()

    return write


def _one_by_one(client: Redis) -> Write:
    async def write(trades: Sequence[TradeRecord]) -> None:
        for trade in trades:
            await client.xadd(f"each:{trade.subscription.pair}", _fields(trade), maxlen=10_000)

    return write


def _fields(trade: TradeRecord) -> dict[Any, Any]:
    return dict(codec.fields(trade))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--way", required=True, choices=["ours", "pipeline", "xadd"])
    chosen = parser.parse_args()
    logs.configure(verbosity=-1)
    with asyncio.Runner(loop_factory=loop_factory("uvloop")) as runner:
        runner.run(serve(chosen.redis, chosen.way))


if __name__ == "__main__":
    main()
