"""The only buffer: everything since last asked, a bound, and how long the oldest of it has waited."""

import asyncio

from cryptostream.feed.inbox import Inbox
from cryptostream.model.events import Micros, TradeRecord
from cryptostream.model.instrument import Channel, Subscription

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")


def trades(*ids: int) -> list[TradeRecord]:
    return [TradeRecord(BTC, "1", "1", Micros(number * 1000), "buy", number) for number in ids]


async def test_it_hands_over_all_that_came_since_it_was_last_asked() -> None:
    inbox = Inbox(10)
    inbox.put(trades(1, 2), 0)
    inbox.put(trades(3), 0)
    assert (await inbox.take())[0] == trades(1, 2, 3)
    assert len(inbox) == 0


async def test_it_waits_until_something_comes() -> None:
    inbox = Inbox(10)
    waiting = asyncio.ensure_future(inbox.take())
    await asyncio.wait([waiting], timeout=0)
    assert not waiting.done()
    inbox.put(trades(1), 0)
    assert (await waiting)[0] == trades(1)


async def test_it_tells_when_the_oldest_of_what_it_hands_over_arrived() -> None:
    inbox = Inbox(10)
    inbox.put(trades(1), 5)
    inbox.put(trades(2), 7)
    first = await inbox.take()
    inbox.put(trades(3), 9)
    assert (first[1], (await inbox.take())[1]) == (5, 9)


async def test_closed_it_hands_over_the_rest_and_then_nothing() -> None:
    inbox = Inbox(10)
    inbox.put(trades(1), 0)
    inbox.close()
    assert [(await inbox.take())[0], (await inbox.take())[0]] == [trades(1), []]


async def test_what_does_not_fit_is_not_taken_at_all() -> None:
    inbox = Inbox(3)
    assert inbox.put(trades(1, 2), 0)
    assert not inbox.put(trades(3, 4), 0)
    assert inbox.put(trades(5), 0)
    assert (await inbox.take())[0] == trades(1, 2, 5)


async def test_empty_it_takes_a_batch_of_any_size() -> None:
    inbox = Inbox(2)
    assert inbox.put(trades(1, 2, 3), 0)
    assert not inbox.put(trades(4), 0)
    await inbox.take()
    assert inbox.put(trades(4), 0)


async def test_it_is_roomy_up_to_half_of_its_limit() -> None:
    inbox = Inbox(4)
    inbox.put(trades(1, 2), 0)
    assert inbox.roomy
    inbox.put(trades(3), 0)
    assert not inbox.roomy
