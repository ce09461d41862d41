"""Handlers by decorator: functions, plain or async, and what becomes of an event that one of them cannot take."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cryptostream import Consumer, Gap, Trade
from cryptostream.bus.group import join
from cryptostream.errors import UsageError
from tests.client.conftest import Market

Make = Callable[..., Consumer]


async def test_events_go_to_the_functions_that_want_their_stream(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    await market.trades("ETHUSDT", 7)
    reading, all_of_them, of_one = consumer([]), [], []

    @reading.on("trades:*")
    def plain(trade: Trade) -> None:
        all_of_them.append(trade.trade_id)
        if len(all_of_them) == 3:
            reading.stop()

    @reading.on("trades:BTCUSDT")
    async def waiting(trade: Trade) -> None:
        of_one.append(trade.trade_id)

    await reading.run()
    assert (sorted(all_of_them), of_one) == ([1, 2, 7], [1, 2])
    assert await market.pending() == 0


async def test_an_event_that_a_handler_raises_at_comes_again_before_what_follows_it(
    market: Market, consumer: Make
) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)
    reading, seen = consumer(), list[int]()

    @reading.on("trades:*")
    def once_bad(trade: Trade) -> None:
        seen.append(trade.trade_id)
        if seen == [1, 2]:
            raise ZeroDivisionError
        if trade.trade_id == 3:
            reading.stop()

    await reading.run()
    assert seen == [1, 2, 2, 3]


async def test_an_event_that_no_handler_can_take_is_set_aside_with_the_reason(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    reading = consumer(max_deliveries=2)

    @reading.on("trades:*")
    async def picky(trade: Trade) -> None:
        assert trade.trade_id != 1, "not this one"
        reading.stop()

    await reading.run()
    [(_, letter)] = await market.entries("dlq:g")
    assert "AssertionError: not this one" in letter["error"]


async def test_an_async_handler_that_takes_too_long_is_ended_and_named(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    reading = consumer(deadline_s=0.02, max_deliveries=1)

    @reading.on("trades:*")
    async def dawdle(trade: Trade) -> None:
        if trade.trade_id == 1:
            await asyncio.Event().wait()
        reading.stop()

    await reading.run()
    [(_, letter)] = await market.entries("dlq:g")
    assert "dawdle took longer than 0.02 s" in letter["error"]


async def test_trouble_names_the_handler_that_has_an_event_for_too_long(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    reading, found = consumer(deadline_s=0.0), list[str]()

    @reading.on("trades:*")
    def stubborn(_: Trade) -> None:
        found.append(reading.trouble)
        reading.stop()

    await reading.run()
    assert found[0].startswith("stubborn has been at ")
    assert "of trades:BTCUSDT" in found[0]


async def test_what_is_handled_is_acknowledged_though_the_rest_of_the_read_takes_its_time(
    market: Market, consumer: Make
) -> None:
    await market.trades("BTCUSDT", 1, 2)
    reading, pending = consumer(), list[int]()

    @reading.on("trades:*")
    async def slow(trade: Trade) -> None:
        if trade.trade_id == 2:
            async with asyncio.timeout(5):
                while await market.pending() == 2:
                    pass
            pending.append(await market.pending())
            reading.stop()

    await reading.run()
    assert pending == [1]


async def test_what_is_on_its_way_to_be_acknowledged_when_it_leaves_is_sent_again(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.trades("BTCUSDT", 1, 2)
    reading, on_its_way, answered = consumer(), asyncio.Event(), join.acknowledge

    async def hangs(*_: Any) -> int:
        on_its_way.set()
        monkeypatch.setattr(join, "acknowledge", answered)
        return await asyncio.Future()

    @reading.on("trades:*")
    async def slow(trade: Trade) -> None:
        if trade.trade_id == 2:
            monkeypatch.setattr(join, "acknowledge", hangs)
            await on_its_way.wait()
            reading.stop()

    await reading.run()
    assert await market.pending() == 0


async def test_gaps_go_past_the_handlers_to_whoever_asked_for_them(market: Market, consumer: Make) -> None:
    await market.gap("BTCUSDT", 1, 4)
    await market.trades("BTCUSDT", 5)
    gaps: list[Gap] = []

    async def note(gap: Gap) -> None:
        gaps.append(gap)

    reading = consumer(on_gap=note)

    @reading.on("trades:*")
    def price(trade: Trade) -> None:
        assert trade.price == 5.0
        reading.stop()

    await reading.run()
    assert [gap.gap_to for gap in gaps] == [4]


def test_a_handler_that_yields_is_refused_for_nobody_would_take_it() -> None:
    reading = Consumer("redis://localhost", group="g")

    def yields(_: Any) -> Any:
        yield 1

    with pytest.raises(UsageError, match="yields"):
        reading.on("trades:*")(yields)


async def test_without_streams_and_handlers_there_is_nothing_to_read(market: Market, consumer: Make) -> None:
    with pytest.raises(UsageError, match="nothing to read"):
        await consumer([]).run()
