"""The live feed against the local exchange, over both transports: what is traded arrives, whatever befalls sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from cryptostream.engine.clock import SystemClock
from cryptostream.errors import VenueUnavailable
from cryptostream.feed.source import Feed
from cryptostream.feed.transport import transport
from cryptostream.model.events import DeadLetter, KlineRecord, Record, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.sim.exchange import LocalExchange
from cryptostream.venues.base import Limits
from cryptostream.venues.binance import Binance

PAIRS = ("BTCUSDT", "ETHUSDT")
TRADES = [Subscription("binance", Channel.TRADES, pair) for pair in PAIRS]


@pytest.fixture(params=["websockets", "picows"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "picows":
        pytest.importorskip("picows")
    return str(request.param)


class Hasty(SystemClock):
    """The machine's time, twenty times as fast."""

    def monotonic(self) -> float:
        return super().monotonic() * 20

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(delay_s / 20)


def feed(
    exchange: LocalExchange,
    kind: str,
    wanted: Sequence[Subscription] = TRADES,
    *,
    per_connection: int = 50,
    **more: Any,
) -> Feed:
    venue = Binance(ws_url=exchange.ws_url)
    limits: Limits = more.pop("limits", venue.limits)
    return Feed(
        venue.sessions(wanted, per_connection),
        connect=transport(kind),
        limits=limits,
        clock=more.pop("clock", Hasty()),
        random=Random(1),
        **more,
    )


@asynccontextmanager
async def reading(source: Feed) -> AsyncIterator[list[Record]]:
    """The records that have arrived so far, in a list that grows."""
    found: list[Record] = []

    async def read() -> None:
        async for batch in source.batches():
            found.extend(batch.events)

    async with source:
        task = asyncio.ensure_future(read())
        try:
            yield found
        finally:
            source.stop()
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await Hasty().sleep(0.2)


def ids(records: Sequence[Record], pair: str = "BTCUSDT") -> list[int]:
    return [r.trade_id for r in records if isinstance(r, TradeRecord) and r.subscription.pair == pair]


async def test_trades_of_every_pair_arrive_without_a_hole(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS, rate=500.0) as exchange, reading(feed(exchange, kind)) as found:
        await until(lambda: all(len(ids(found, pair)) > 100 for pair in PAIRS))
        for pair in PAIRS:
            seen = ids(found, pair)
            assert seen == list(range(seen[0], seen[0] + len(seen)))
            first = next(r for r in found if isinstance(r, TradeRecord) and r.subscription.pair == pair)
            traded = exchange.market.trade(pair, first.trade_id)
            assert (first.price, first.qty, first.ts // 1000) == (traded.price, traded.qty, traded.time_us // 1000)


async def test_klines_of_several_intervals_arrive(kind: str) -> None:
    wanted = [Subscription("binance", Channel.KLINES, "BTCUSDT", each) for each in (Interval.S1, Interval.M1)]
    async with LocalExchange(pairs=PAIRS, rate=50.0) as exchange, reading(feed(exchange, kind, wanted)) as found:
        await until(lambda: {r.subscription.interval for r in found if isinstance(r, KlineRecord)} == {"1s", "1m"})
        await until(lambda: any(isinstance(r, KlineRecord) and r.closed for r in found))


async def test_microseconds_are_asked_for_and_kept(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS, rate=500.0) as exchange:
        venue = Binance(ws_url=exchange.ws_url, time_unit="microsecond")
        source = Feed(venue.sessions(TRADES), connect=transport(kind), limits=venue.limits, clock=Hasty())
        async with reading(source) as found:
            await until(lambda: len(ids(found)) > 20)
        for record in found:
            if isinstance(record, TradeRecord):
                assert record.ts == exchange.market.trade(record.subscription.pair, record.trade_id).time_us
        assert any(record.ts % 1000 for record in found)


async def test_every_connection_resubscribes_after_its_socket_was_cut(kind: str) -> None:
    async with (
        LocalExchange(pairs=PAIRS, rate=500.0) as exchange,
        reading(source := feed(exchange, kind, per_connection=1)) as found,
    ):
        await until(lambda: all(ids(found, pair) for pair in PAIRS))
        exchange.faults.inject("drop")
        await until(lambda: source.stats.reconnects == 2)
        before = len(found)
        await until(lambda: all(len(ids(found[before:], pair)) > 50 for pair in PAIRS))
        assert source.stats.connection_errors == 2


async def test_an_announced_shutdown_moves_the_feed_to_a_new_socket(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS, rate=500.0) as exchange, reading(source := feed(exchange, kind)) as found:
        await until(lambda: bool(found))
        exchange.faults.inject("shutdown")
        await until(lambda: exchange.connects == 2)
        before = len(found)
        await until(lambda: len(ids(found[before:])) > 20)
        assert source.stats.active_connections == 1


async def test_a_half_open_socket_is_noticed_and_replaced(kind: str) -> None:
    limits = Limits(
        streams_per_connection=1024, control_per_s=4, control_bytes=4096, connects=60, connects_window_s=300
    )
    async with (
        LocalExchange(pairs=PAIRS, rate=500.0) as exchange,
        reading(source := feed(exchange, kind, limits=limits)) as found,
    ):
        await until(lambda: bool(found))
        exchange.faults.inject("halfopen")
        await until(lambda: exchange.connects == 2)
        before = len(found)
        await until(lambda: len(found) > before + 20)
        assert source.stats.connection_errors == 1


async def test_garbage_is_set_aside_and_every_good_frame_is_kept(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS, rate=500.0) as exchange, reading(source := feed(exchange, kind)) as found:
        await until(lambda: bool(found))
        exchange.faults.inject("garbage")
        await until(lambda: any(isinstance(r, DeadLetter) for r in found))
        await until(lambda: len(ids(found)) > 200)
        seen = ids(found)
        assert seen == list(range(seen[0], seen[0] + len(seen)))
        letters = [r for r in found if isinstance(r, DeadLetter)]
        assert len(letters) == source.stats.error_messages
        assert all(letter.reason and letter.source == f"{exchange.ws_url}/stream" for letter in letters)


async def test_a_socket_that_is_silent_but_alive_is_kept(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS, rate=500.0) as exchange:
        nothing = [Subscription("binance", Channel.TRADES, "NOSUCHUSDT")]
        async with reading(source := feed(exchange, kind, nothing)):
            await until(lambda: source.stats.active_connections == 1)
            await Hasty().sleep(50)  # three times the watchdog's patience
            assert (exchange.connects, source.stats.connection_errors) == (1, 0)


async def test_a_venue_that_forbids_us_ends_the_start_at_once(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS) as exchange:
        exchange.faults.inject("handshake,status=403")
        with pytest.raises(BaseExceptionGroup) as caught:
            async with reading(feed(exchange, kind)):
                await Hasty().sleep(200)
        assert caught.group_contains(VenueUnavailable, match="403")


async def test_nobody_listening_ends_the_start_after_the_time_out(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS) as exchange:
        gone = exchange
    with pytest.raises(BaseExceptionGroup) as caught:
        async with reading(feed(gone, kind, connect_timeout_s=0.2)):
            await Hasty().sleep(200)
    assert caught.group_contains(VenueUnavailable, match="no connection to ws://127.0.0.1")


async def test_a_full_inbox_leaves_a_gap_and_never_stops_the_socket(kind: str) -> None:
    async with LocalExchange(pairs=("BTCUSDT",), rate=2000.0) as exchange:
        source = feed(exchange, kind, TRADES[:1], inbox_max=100)
        async with source:
            await until(lambda: source.stats.dropped > 100)
            batches = source.batches()
            batch = (await anext(batches)).events
            await until(lambda: len(source.inbox) > 0)
            following = (await anext(batches)).events
            await batches.aclose()
        *kept, gap = batch
        assert gap.gap_from == ids(kept)[-1] + 1
        assert ids(following)[0] == gap.gap_to + 1


@pytest.mark.parametrize("status", [429, 418])
async def test_a_venue_that_asks_for_patience_is_not_tried_again_before(kind: str, status: int) -> None:
    async with LocalExchange(pairs=PAIRS, rate=500.0) as exchange:
        exchange.faults.inject(f"handshake,status={status},retry_after=40,count=1")
        async with reading(source := feed(exchange, kind, connect_timeout_s=100)) as found:
            await until(lambda: bool(found))
        refused, accepted = exchange.attempts
        assert accepted - refused >= 40 / 20 * 0.9
        assert source.stats.connection_errors == 1


async def test_a_storm_of_accepted_and_closed_sockets_stays_within_the_budget(kind: str) -> None:
    limits = Limits(streams_per_connection=1024, control_per_s=4, control_bytes=4096, connects=5, connects_window_s=300)
    async with LocalExchange(pairs=PAIRS) as exchange:
        exchange.faults.inject("accept_close,for=60s")
        async with reading(feed(exchange, kind, limits=limits)):
            await until(lambda: len(exchange.attempts) == 5)
            await Hasty().sleep(40)  # the window is three hundred
            assert len(exchange.attempts) == 5
