"""The only buffer: everything since last asked, a bound, and a gap for what did not fit."""

import asyncio

from cryptostream.feed.inbox import Inbox
from cryptostream.model.events import GapRecord, Micros, TradeRecord
from cryptostream.model.instrument import Channel, Subscription

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
ETH = Subscription("binance", Channel.TRADES, "ETHUSDT")


def trades(*ids: int, of: Subscription = BTC) -> list[TradeRecord]:
    return [TradeRecord(of, "1", "1", Micros(number * 1000), "buy", number) for number in ids]


async def test_it_hands_over_all_that_came_since_it_was_last_asked() -> None:
    inbox = Inbox(10)
    inbox.put(trades(1, 2))
    inbox.put(trades(3))
    assert await inbox.take() == trades(1, 2, 3)
    assert len(inbox) == 0


async def test_it_waits_until_something_comes() -> None:
    inbox = Inbox(10)
    waiting = asyncio.ensure_future(inbox.take())
    await asyncio.wait([waiting], timeout=0)
    assert not waiting.done()
    inbox.put(trades(1))
    assert await waiting == trades(1)


async def test_closed_it_hands_over_the_rest_and_then_nothing() -> None:
    inbox = Inbox(10)
    inbox.put(trades(1))
    inbox.close()
    assert [await inbox.take(), await inbox.take()] == [trades(1), []]


async def test_what_does_not_fit_is_counted_and_leaves_one_gap_a_stream() -> None:
    inbox = Inbox(3)
    for batch in (trades(1, 2), trades(3, 4), trades(9, of=ETH), trades(5)):
        inbox.put(batch)
    taken = await inbox.take()
    assert taken[:2] == trades(1, 2)
    assert [(gap.subscription, gap.gap_from, gap.gap_to) for gap in taken[2:] if isinstance(gap, GapRecord)] == [
        (BTC, 3, 5),
        (ETH, 9, 9),
    ]
    assert inbox.dropped == 4


async def test_a_gap_covers_every_id_that_was_dropped_whatever_their_order() -> None:
    inbox = Inbox(0)
    inbox.put(trades(5, 8, 3))
    [gap] = await inbox.take()
    assert isinstance(gap, GapRecord)
    assert (gap.gap_from, gap.gap_to, gap.ts) == (3, 8, 5000)


async def test_after_a_gap_it_takes_trades_again() -> None:
    inbox = Inbox(1)
    inbox.put(trades(1, 2))
    await inbox.take()
    inbox.put(trades(3))
    assert await inbox.take() == trades(3)
