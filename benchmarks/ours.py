"""The process under test: cryptostream from the socket to Redis, put together as `cryptostream ingest` does it."""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from benchmarks.market import pairs
from benchmarks.meter import listen
from cryptostream import logs
from cryptostream.bus import pack
from cryptostream.bus.connect import connect
from cryptostream.bus.pack import Stream
from cryptostream.bus.publish import Publisher
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.pipeline import Pipeline
from cryptostream.engine.runtime import Runtime
from cryptostream.feed import source
from cryptostream.feed.source import Feed, FeedSettings
from cryptostream.feed.transport import transport
from cryptostream.model import codec
from cryptostream.model.events import Record, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.venues.binance import Binance
from cryptostream.venues.continuity import Continuity


class _Unordered(Continuity):
    """Lets everything through as it comes."""

    def receive(self, records: Sequence[Record]) -> Sequence[Record]:
        return records


class _Unnumbered(Stream):
    """Lets the server number the entries."""

    def pack(self, record: Record) -> str:
        if not isinstance(record, TradeRecord):
            return super().pack(record)
        price, qty, trade_id = record.price, record.qty, str(record.trade_id)
        return (
            f"{self._trade}$1\r\n*\r\n{self._constants}${len(price)}\r\n{price}\r\n"
            f"$3\r\nqty\r\n${len(qty)}\r\n{qty}\r\n"
            f"$2\r\nts\r\n$26\r\n{codec.iso(record.ts)}\r\n{pack._SIDES[record.side]}"
            f"$8\r\ntrade_id\r\n${len(trade_id)}\r\n{trade_id}\r\n"
        )


def strip() -> None:
    """Take continuity and explicit entry ids out of the program, to see what they cost."""
    source.Continuity = _Unordered  # type: ignore[misc]
    pack.Stream = _Unnumbered  # type: ignore[misc]


async def ingest(chosen: argparse.Namespace) -> None:
    """Publish aggregated trades until the process is ended."""
    clock = SystemClock()
    venue = Binance(ws_url=chosen.ws, time_unit=chosen.time_unit, raw_json=False)
    wanted = [Subscription(venue.name, Channel.AGG_TRADES, pair) for pair in pairs(chosen.pairs)]
    settings = FeedSettings(pairs_per_connection=chosen.pairs_per_connection)
    feed = Feed(venue, wanted, connect=transport(chosen.transport), clock=clock, settings=settings)
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
    parser.add_argument("--bare", action="store_true", help="without continuity and without ids of our own")
    chosen = parser.parse_args()
    logs.configure(verbosity=-1)
    if chosen.bare:
        strip()
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
