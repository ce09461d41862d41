"""The live source, in virtual time: where lines go on, which pairs are followed, what is told at the end."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from cryptostream.feed.source import Feed, FeedSettings
from cryptostream.feed.transport import Refused
from cryptostream.model.events import GapRecord, LedgerRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.model.ports import Position
from cryptostream.venues.binance import Binance
from tests.feed.wires import Wires, elapse

pytestmark = pytest.mark.looptime
BTC, ETH, SOL, XRP = (
    Subscription("binance", Channel.TRADES, pair) for pair in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
)
MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
OPEN_MS = 1_731_605_400_000


class Streams:
    """Where streams stand, and who asked for it after how many sockets."""

    def __init__(self, wires: Wires, positions: Mapping[Subscription, Position]) -> None:
        self.positions = positions
        self.asked: list[tuple[int, Sequence[Subscription]]] = []
        self._wires = wires

    async def __call__(self, wanted: Sequence[Subscription]) -> Mapping[Subscription, Position]:
        self.asked.append((len(self._wires.opened), wanted))
        return {each: self.positions[each] for each in wanted if each in self.positions}


class Reading:
    """A feed over wires, and the records it handed over."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.records: list[Record] = []

    async def read(self) -> None:
        async for batch in self.feed.batches():
            self.records += batch.events
            await self.feed.commit(batch)

    def ids(self, pair: str = "BTCUSDT") -> list[int]:
        trades = (record for record in self.records if isinstance(record, TradeRecord))
        return [trade.trade_id for trade in trades if trade.subscription.pair == pair]

    def ledger(self, *events: str) -> list[LedgerRecord]:
        return [line for line in self.records if isinstance(line, LedgerRecord) and line.event in events]


@asynccontextmanager
async def reading(wires: Wires, wanted: Sequence[Subscription] = (BTC,), **more: Any) -> AsyncIterator[Reading]:
    settings = FeedSettings(**more.pop("settings", {}))
    feed = Feed(
        Binance(ws_url="ws://nowhere"),
        wanted,
        connect=wires.connect,
        clock=wires.clock,
        random=Random(1),
        settings=settings,
        **more,
    )
    found = Reading(feed)
    async with feed:
        task = asyncio.ensure_future(found.read())
        await elapse(0.1)
        yield found
        feed.stop()
        await task


async def test_a_line_goes_on_from_where_its_stream_stands() -> None:
    wires = Wires()
    streams = Streams(wires, {BTC: Position(41, Micros(1))})
    async with reading(wires, [BTC, ETH], resume=streams) as found:
        assert streams.asked == [(0, (BTC, ETH))]
        wires[0].trade(40, 41, 42)
        wires[0].trade(7, pair="ETHUSDT")
        await elapse(0.1)
        assert (found.ids(), found.ids("ETHUSDT")) == ([42], [7])
        assert [(line.pair, line.gap_from) for line in found.ledger("resumed")] == [("BTCUSDT", 42)]
        assert found.feed.stats.duplicates == 2


async def test_many_lines_that_go_on_are_told_of_at_once() -> None:
    wanted = [Subscription("binance", Channel.TRADES, f"P{number}USDT") for number in range(50)]
    wires = Wires()
    streams = Streams(wires, dict.fromkeys(wanted, Position(1, Micros(1))))
    async with reading(wires, wanted, resume=streams) as found:
        assert [(line.pair, line.count) for line in found.ledger("resumed")] == [("", 50)]


async def test_what_nobody_can_fetch_is_given_up_after_the_deadline() -> None:
    async with reading(wires := Wires(), settings={"deadline_s": 20.0}) as found:
        wires[0].trade(1)
        wires[0].trade(4)
        await elapse(10)
        assert found.ids() == [1]
        await elapse(30)
        wires[0].trade(5)
        await elapse(0.1)
        assert found.ids() == [1, 4, 5]
        [gap] = [record for record in found.records if isinstance(record, GapRecord)]
        assert (gap.gap_from, gap.gap_to) == (2, 3)


async def test_every_pair_says_where_it_stands() -> None:
    async with reading(wires := Wires(), [BTC, ETH, SOL]) as found:
        wires[0].trade(1, 5)
        wires[0].trade(7, pair="ETHUSDT")
        facts = {one.pair: one for one in found.feed.pairs()}
        assert [facts[each.pair].state for each in (BTC, ETH, SOL)] == ["filling", "live", "silent"]
        btc = facts["BTCUSDT"]
        assert (btc.last_id, btc.gap_from, btc.gap_to, btc.held, btc.channel) == (1, 2, 4, 1, "trades")
        assert facts["ETHUSDT"].ts == Micros(wires.clock.now_ns() // 1_000_000 * 1000)


async def test_a_pair_the_venue_refuses_says_so() -> None:
    async with reading(wires := Wires(answering=False)) as found:
        wires[0].frames({"code": 2, "msg": "Invalid request", "id": 1})
        assert [one.note for one in found.feed.pairs()] == ["code 2: Invalid request"]


async def test_pairs_share_connections_up_to_the_limit() -> None:
    async with reading(wires := Wires(), [BTC, ETH, SOL], settings={"pairs_per_connection": 2}) as found:
        assert [wire.streams for wire in wires.opened] == [["btcusdt@trade", "ethusdt@trade"], ["solusdt@trade"]]
        assert found.feed.stats.active_connections == 2


async def test_pairs_come_and_go_without_a_trade_of_the_others_lost() -> None:
    wires = Wires()
    streams = Streams(wires, {XRP: Position(5, Micros(1))})
    async with reading(wires, [BTC, ETH, SOL], settings={"pairs_per_connection": 2}, resume=streams) as found:
        wires[0].trade(1)
        wires[1].trade(1, pair="SOLUSDT")
        await found.feed.change([BTC, SOL, XRP])
        assert streams.asked[1:] == [(2, (XRP,))]
        await elapse(0.5)
        untouched, new = wires[1], wires[2]
        assert new.streams == ["btcusdt@trade", "xrpusdt@trade"]
        wires[0].trade(2)
        new.trade(2, 3)
        await elapse(1)
        assert wires.open == [untouched, new]
        new.trade(6, pair="XRPUSDT")
        await elapse(0.1)
        assert (found.ids(), found.ids("XRPUSDT")) == ([1, 2, 3], [6])
        assert found.feed.subscriptions == (BTC, SOL, XRP)
        assert [line.count for line in found.ledger("pairs_changed")] == [2]


async def test_a_connection_whose_pairs_all_went_ends_and_a_new_one_follows_what_has_no_room() -> None:
    async with reading(wires := Wires(), [BTC, ETH], settings={"pairs_per_connection": 1}) as found:
        await found.feed.change([BTC])
        await elapse(0.5)
        assert wires.open == [wires[0]]
        await found.feed.change([BTC, SOL])
        await elapse(0.5)
        assert [wire.streams for wire in wires.open] == [["btcusdt@trade"], ["solusdt@trade"]]
        assert found.feed.stats.active_connections == 2


async def test_a_pair_that_went_and_came_back_starts_anew() -> None:
    async with reading(wires := Wires(), [BTC, ETH]) as found:
        wires[0].trade(1, pair="ETHUSDT")
        await found.feed.change([BTC])
        await elapse(20)
        await found.feed.change([BTC, ETH])
        await elapse(20)
        wires.open[0].trade(90, pair="ETHUSDT")
        await elapse(0.1)
        assert found.ids("ETHUSDT") == [1, 90]


async def test_pairs_that_come_to_a_feed_that_has_none_are_tried_for_ever() -> None:
    wires = Wires()
    wires.refusal = Refused(403, {})
    async with reading(wires, []) as found:
        await elapse(100)
        await found.feed.change([BTC])
        await elapse(100)
        wires.refusal = None
        await elapse(100)
        assert [wire.streams for wire in wires.open] == [["btcusdt@trade"]]


async def test_the_same_pairs_in_another_order_change_nothing() -> None:
    async with reading(wires := Wires(), [BTC, ETH]) as found:
        await found.feed.change([ETH, BTC])
        await elapse(20)
        assert len(wires.opened) == 1
        assert found.ledger("pairs_changed") == []


async def test_what_was_lost_further_on_is_wanted_again() -> None:
    async with reading(wires := Wires()) as found:
        wires[0].trade(1, 2, 3)
        await elapse(0.1)
        found.feed.rewind(BTC, 1)
        wires[0].trade(4)
        await elapse(0.1)
        assert found.ids() == [1, 2, 3]
        wires[0].trade(2, 3)
        await elapse(0.1)
        assert found.ids() == [1, 2, 3, 2, 3, 4]


@pytest.mark.row(8)
async def test_of_a_group_with_frames_too_large_only_the_pair_they_come_from_is_left_out() -> None:
    async with reading(wires := Wires(), [BTC, ETH, SOL, XRP]) as found:
        for _ in range(400):
            for wire in wires.open:
                if "solusdt@trade" in wire.streams:
                    wire.end(1009)
            await elapse(1)
        assert sorted(found.feed.subscriptions) == sorted([BTC, ETH, XRP])
        assert sorted(stream for wire in wires.open for stream in wire.streams) == [
            "btcusdt@trade",
            "ethusdt@trade",
            "xrpusdt@trade",
        ]
        assert [(one.pair, one.state) for one in found.feed.pairs()][-1] == ("SOLUSDT", "left out")
        assert found.feed.stats.reconnects_by["too large"] == 9
        assert len(found.feed.connections) == len(wires.open)
        await found.feed.change([BTC, SOL])  # somebody wants it again
        await elapse(20)
        assert [(one.pair, one.state) for one in found.feed.pairs()] == [("BTCUSDT", "silent"), ("SOLUSDT", "silent")]


async def test_pairs_that_change_while_it_stops_are_not_followed_any_more() -> None:
    wires = Wires()
    ready = asyncio.Event()

    async def slow(wanted: Sequence[Subscription]) -> Mapping[Subscription, Position]:
        if ETH in wanted:
            await ready.wait()
        return {}

    async with reading(wires, [BTC], resume=slow) as found:
        changing = asyncio.ensure_future(found.feed.change([ETH]))
        await elapse(1)
        found.feed.stop()
        ready.set()
        await changing
        await elapse(1)
    assert len(wires.opened) == 1


async def test_counters_outlive_the_sockets_they_were_counted_on() -> None:
    async with reading(wires := Wires()) as found:
        wires[0].trade(1, pair="ETHUSDT")
        wires[0].end()
        await elapse(1)
        wires[1].trade(1)
        assert (found.feed.stats.ignored_messages, found.feed.stats.total_messages) == (1, 4)


async def test_how_long_records_waited_is_observed_once_they_are_safe() -> None:
    wires = Wires()
    feed = Feed(Binance(ws_url="ws://nowhere"), [BTC], connect=wires.connect, clock=wires.clock)
    async with feed:
        await elapse(0.1)
        wires[0].trade(1)
        batch = await anext(batches := feed.batches())
        await elapse(2.9)
        await feed.commit(batch)
        await batches.aclose()
    waited = feed.stats.socket_to_published
    assert (waited.total, round(waited.sum, 3)) == (1, 3.0)


async def test_while_there_is_no_room_nothing_is_fetched() -> None:
    asked = []

    async def ask(request: Any) -> bytes:
        asked.append(request)
        return b"[]"

    async with reading(wires := Wires(), ask=ask, room=lambda: False):
        wires[0].trade(1, 5)
        await elapse(10)
        assert not [request for request in asked if "historicalTrades" in request.url]


async def test_at_the_end_the_ledger_says_that_every_socket_was_left() -> None:
    async with reading(Wires(), [BTC, ETH], settings={"pairs_per_connection": 1}) as found:
        pass
    assert [line.cause for line in found.ledger("disconnected")] == ["stopped", "stopped"]
    assert found.feed.stats.active_connections == 0
    assert found.feed.reached
    assert len(found.feed.connections) == 2


async def test_the_way_from_the_exchange_is_timed_once_a_batch_and_never_below_zero() -> None:
    async with reading(wires := Wires()) as found:
        before = found.feed.stats.exchange_to_socket.total
        late = wires[0]._trade("BTCUSDT", 1)
        await elapse(2)
        wires[0].frames(late, wires[0]._trade("BTCUSDT", 2))
        await elapse(0.1)
        early = wires[0]._trade("BTCUSDT", 3)
        assert isinstance(early, dict)
        early["data"]["T"] += 60_000
        wires[0].frames(early)
        await elapse(0.1)
        timed = found.feed.stats.exchange_to_socket
        assert (timed.total - before, round(timed.sum, 1)) == (2, 2.0)
