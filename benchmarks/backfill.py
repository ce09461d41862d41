"""100,000 missed trades fetched again: at the weight budget of the venue, neither below it nor beyond."""

import asyncio
import time
from math import ceil
from typing import Any

from benchmarks.report import Report, say
from cryptostream import logs
from cryptostream.engine.clock import SystemClock
from cryptostream.feed.rest import Rest
from cryptostream.feed.source import Feed, FeedSettings
from cryptostream.feed.transport import transport
from cryptostream.model.events import GapRecord, Micros, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.model.ports import Position
from cryptostream.sim.exchange import LocalExchange
from cryptostream.venues.binance import Binance

TRADES = 100_000
PAGE, PAGE_WEIGHT = 1_000, 25
PER_MINUTE = 1_300
"""Less than Binance's 6,000, under which the whole gap would be over before the budget is felt."""
_RATE, _PAIR = 1_000.0, "BTCUSDT"
_LONGEST_S = 300.0


def measure(*, quick: bool, rounds: int) -> Report:  # noqa: ARG001 - one gap
    """One gap, from the first page to the last trade."""
    logs.configure(verbosity=-1)
    about = f"{TRADES:,} missed trades of a pair, {PAGE:,} a page, {PAGE_WEIGHT} of {PER_MINUTE:,} weight a minute each"
    report = Report("backfill", about)
    found = asyncio.run(_fill())
    ideal_s = 60.0 * (ceil(TRADES / PAGE * PAGE_WEIGHT / PER_MINUTE) - 1)
    report.rows.append({"who": "cryptostream", "seconds": found["seconds"], "at the budget": ideal_s, **found["facts"]})
    report.at_most("time of what the budget allows", found["seconds"] / ideal_s, 1.1)
    report.at_most("calls the venue refused", found["facts"]["refused"], 0)
    report.at_least("trades in order, of those missed", found["facts"]["trades"], TRADES)
    return report


async def _fill() -> dict[str, Any]:
    clock = SystemClock()
    async with LocalExchange(
        pairs=[_PAIR], rate=_RATE, history_s=3 * TRADES / _RATE, weight_per_minute=PER_MINUTE
    ) as exchange:
        await _next_minute(clock)
        newest = exchange.market.last_id(_PAIR, exchange.time.now_us())
        last = newest - TRADES
        venue = Binance(ws_url=exchange.ws_url, rest_url=exchange.rest_url, raw_json=False)
        wanted = Subscription(venue.name, Channel.TRADES, _PAIR)

        async def resume(_: object) -> dict[Subscription, Position]:
            return {wanted: Position(last, Micros(0))}

        async with Rest(clock, weight_per_minute=PER_MINUTE, weight_header=venue.weight_header) as rest:
            feed = Feed(
                venue,
                [wanted],
                connect=transport("auto"),
                clock=clock,
                settings=FeedSettings(inbox_max=1_000_000, hold_events=500_000, hold_bytes=1 << 30, max_events=200_000),
                ask=rest.get,
                resume=resume,
            )
            seconds, trades = await _until(feed, last, newest)
        asked = [one for one in exchange.requests if "historicalTrades" in one.path]
        refused = sum(one.status != 200 for one in exchange.requests)
        return {"seconds": seconds, "facts": {"trades": trades, "pages": len(asked), "refused": refused}}


async def _next_minute(clock: SystemClock) -> None:
    """The venue counts by minutes of the clock, we by any sixty seconds: beginning together, both mean the same."""
    await clock.sleep(60.5 - clock.now_ns() / 1e9 % 60)


async def _until(feed: Feed, last: int, newest: int) -> tuple[float, int]:
    """Seconds until the newest of the missed trades has come, and how many came, each the one after the one before."""
    started = time.perf_counter()
    trades = 0
    async with asyncio.timeout(_LONGEST_S), feed:
        async for batch in feed.batches():
            for record in batch.events:
                if not isinstance(record, TradeRecord | GapRecord):
                    continue
                last, trades = last + 1, trades + 1
                if getattr(record, "trade_id", None) != last:
                    raise RuntimeError(f"{record} where trade {last} was due")
            await feed.commit(batch)
            if trades and trades % (10 * PAGE) == 0:
                say(f"backfill: {trades:,} trades after {time.perf_counter() - started:.1f} s")
            if last >= newest:
                break
    return time.perf_counter() - started, trades
