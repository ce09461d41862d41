"""The one way in: order on the way to the inbox, nothing lost for want of room, a ledger of what befell."""

import json
from typing import Any

import pytest

from cryptostream import logs
from cryptostream.feed.door import Door
from cryptostream.feed.inbox import Inbox
from cryptostream.model.events import (
    DeadLetter,
    GapRecord,
    KlineRecord,
    Ledger,
    LedgerRecord,
    Micros,
    Record,
    TradeRecord,
)
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.testing import ManualClock
from cryptostream.venues.base import Rule
from cryptostream.venues.candles import Candles
from cryptostream.venues.continuity import Continuity

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
ETH = Subscription("binance", Channel.TRADES, "ETHUSDT")
MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
OPEN_MS = 1_731_605_400_000


class Entrance:
    """A door, what is behind it, and which lines came to wait."""

    def __init__(self, room: int = 100, *, klines: bool = True) -> None:
        self.inbox = Inbox(room)
        self.clock = ManualClock()
        self.waiting: list[Subscription] = []
        self.continuity = Continuity(lambda _: Rule.CONTIGUOUS, on_gap=self.waiting.append)
        self.candles = Candles() if klines else None
        self.door = Door(self.continuity, self.candles, self.inbox, self.clock, "binance", "here:1")

    async def taken(self) -> list[Record]:
        self.inbox.close()
        return (await self.inbox.take())[0]


def trades(*ids: int, of: Subscription = BTC) -> list[TradeRecord]:
    return [TradeRecord(of, "1", "1", Micros(number * 1000), "buy", number) for number in ids]


def kline(minute: int, *, closed: bool) -> KlineRecord:
    opens = OPEN_MS + minute * 60_000
    ts = Micros((opens + 60_000) * 1000 if closed else (opens + 30_000) * 1000)
    return KlineRecord(MINUTES, opens, opens + 59_999, "1", "1", "1", "1", "1", "1", 1, "1", "1", closed, ts)


async def test_trades_come_through_in_order_and_once() -> None:
    way = Entrance()
    way.door.receive(trades(1, 2))
    way.door.receive(trades(2, 3, 5))
    way.door.receive(trades(4))
    assert await way.taken() == trades(1, 2, 3, 4, 5)


async def test_closed_klines_come_through_once() -> None:
    way = Entrance()
    way.door.receive([kline(0, closed=True)])
    way.door.receive([kline(0, closed=True), kline(1, closed=True)])
    assert await way.taken() == [kline(0, closed=True), kline(1, closed=True)]


async def test_without_candles_klines_pass_as_they_come() -> None:
    way = Entrance(klines=False)
    way.door.receive([kline(0, closed=True)])
    way.door.receive([kline(0, closed=True)])
    assert await way.taken() == [kline(0, closed=True)] * 2


async def test_what_is_released_passes_by_the_order() -> None:
    way = Entrance()
    way.door.receive(trades(1))
    way.door.release([GapRecord(BTC, 2, 4, "unknown", Micros(1000)), *trades(5)])
    assert len(await way.taken()) == 3


async def test_the_inbox_knows_when_a_record_arrived_and_that_it_was_now_otherwise() -> None:
    way = Entrance()
    way.door.receive(trades(1), 17)
    assert (await way.inbox.take())[1] == 17
    way.door.receive(trades(2))
    assert (await way.inbox.take())[1] == way.clock.now_ns()


async def test_trades_without_room_are_counted_and_wanted_again() -> None:
    way = Entrance(room=2)
    way.door.receive(trades(1, 2))
    way.door.receive([*trades(3, 4), *trades(8, of=ETH)])
    assert way.door.dropped == 3
    assert way.waiting == [BTC, ETH]
    assert [(gap.first, gap.top) for gap in map(way.continuity.gap, (BTC, ETH)) if gap] == [(3, 4), (8, 8)]


async def test_what_follows_a_lost_trade_waits_until_that_was_fetched() -> None:
    way = Entrance(room=2)
    way.door.receive(trades(1, 2))
    way.door.receive(trades(3))
    await way.inbox.take()
    way.door.receive(trades(4, 5))
    assert len(way.inbox) == 0
    way.door.receive(trades(3))
    assert await way.taken() == trades(3, 4, 5)


async def test_a_gap_without_room_is_wanted_again_from_its_first_id() -> None:
    way = Entrance(room=1)
    way.door.receive(trades(1))
    way.door.receive(trades(5))
    way.door.release(way.continuity.give_up(BTC, "unknown"))
    gap = way.continuity.gap(BTC)
    assert gap is not None
    assert (gap.first, gap.top) == (2, 5)


async def test_a_closed_kline_without_room_is_wanted_again_and_an_update_is_not() -> None:
    way = Entrance(room=1)
    assert way.candles is not None
    way.door.receive([kline(0, closed=True)])
    way.door.receive([kline(1, closed=False)])
    assert way.candles.waiting(MINUTES) is None
    way.door.receive([kline(1, closed=True), kline(2, closed=True)])
    assert way.candles.waiting(MINUTES) == (OPEN_MS + 60_000, OPEN_MS + 120_000)
    assert way.door.dropped == 3


async def test_a_gap_of_klines_without_room_is_wanted_again() -> None:
    way = Entrance(room=1)
    assert way.candles is not None
    way.door.receive([kline(0, closed=True)])
    way.door.receive([kline(3, closed=True)])
    way.door.release(way.candles.give_up(MINUTES, "unknown"))
    assert way.candles.waiting(MINUTES) == (OPEN_MS + 60_000, OPEN_MS + 180_000)


async def test_dead_letters_without_room_are_only_counted() -> None:
    way = Entrance(room=1)
    way.door.receive(trades(1))
    way.door.receive([DeadLetter("here", "bad", "x", 1, Micros(1))])
    assert (way.door.dropped, way.waiting) == (1, [])


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (
            {"subscription": BTC, "gap_from": 3, "count": 2},
            {"pair": "BTCUSDT", "channel": "trades", "gap_from": 3, "count": 2},
        ),
        ({"subscription": MINUTES, "seconds": 1.5}, {"pair": "BTCUSDT", "channel": "klines:1m", "seconds": 1.5}),
        ({"url": "ws://x", "cause": "closed with 1006"}, {"url": "ws://x", "cause": "closed with 1006"}),
    ],
)
async def test_a_line_of_the_ledger_says_what_happened_when_and_where(
    told: dict[str, Any], line: dict[str, Any]
) -> None:
    way = Entrance()
    way.door.tell("gap_opened", **told)
    ts = Micros(way.clock.now_ns() // 1000)
    assert await way.taken() == [LedgerRecord(Ledger("binance"), "gap_opened", ts, ingester="here:1", **line)]


async def test_a_line_of_the_ledger_is_logged_once_with_what_applies(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(log_format="json")
    Entrance().door.tell("stale", subscription=BTC, seconds=61.5)
    [logged] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (logged["event"], logged["pair"], logged["seconds"]) == ("feed.stale", "BTCUSDT", 61.5)
    assert "url" not in logged
