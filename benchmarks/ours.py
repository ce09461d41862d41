"""The process under test: cryptostream from the socket to Redis, put together as `cryptostream ingest` does it."""

import argparse
import asyncio
from pathlib import Path

from benchmarks.market import pairs
from benchmarks.meter import listen
from cryptostream import logs
from cryptostream.bus.connect import connect
from cryptostream.bus.publish import Publisher
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.pipeline import Pipeline
from cryptostream.engine.runtime import Runtime
from cryptostream.feed.source import Feed
from cryptostream.feed.transport import transport
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.venues.binance import Binance


async def ingest(chosen: argparse.Namespace) -> None:
    """Publish aggregated trades until the process is ended."""
    clock = SystemClock()
    venue = Binance(ws_url=chosen.ws, time_unit=chosen.time_unit, raw_json=False)
    wanted = [Subscription(venue.name, Channel.AGG_TRADES, pair) for pair in pairs(chosen.pairs)]
    sessions = venue.sessions(wanted, chosen.pairs_per_connection)
    feed = Feed(sessions, connect=transport(chosen.transport), limits=venue.limits, clock=clock)
    async with connect(chosen.redis, data_dir=Path(), clock=clock) as bus:
        sink = Publisher(bus, clock=clock, maxlen=chosen.maxlen)
        listen(lambda _word: {"published": sink.stats.published, "dropped": feed.stats.dropped})
        await Runtime([Pipeline("ingest", feed, [sink])], clock=clock).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ws", required=True)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--transport", default="picows", choices=["picows", "websockets"])
    parser.add_argument("--loop", default="uvloop", choices=["uvloop", "asyncio"])
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--pairs-per-connection", type=int, default=50)
    parser.add_argument("--time-unit", default="millisecond")
    parser.add_argument("--maxlen", type=int, default=0)
    chosen = parser.parse_args()
    logs.configure(verbosity=-1)
    with asyncio.Runner(loop_factory=loop_factory(chosen.loop)) as runner:
        runner.run(ingest(chosen))


def loop_factory(name: str):  # type: ignore[no-untyped-def]  # uvloop is an extra
    """The event loop of that name."""
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
