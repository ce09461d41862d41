"""Looking at streams without taking anything from the group."""

from collections.abc import Callable

import pytest

from cryptostream import Consumer, Entry, Trade
from cryptostream.errors import NotFound
from tests.client.conftest import T0_MS, Market

Make = Callable[..., Consumer]


async def test_the_latest_of_a_pair_is_its_newest_trade(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    await market.gap("BTCUSDT", 3, 4)
    async with consumer() as reading:
        found = await reading.latest("BTCUSDT")
        assert isinstance(found, Trade)
        assert found.trade_id == 2


async def test_the_latest_of_a_stream_is_its_newest_entry(market: Market, consumer: Make) -> None:
    await market.add("notes:a", "1-0", {"text": "hello"})
    async with consumer() as reading:
        assert await reading.latest("notes:a") == Entry("notes:a", "1-0", {"text": "hello"})


async def test_there_is_no_latest_of_what_is_not_there(market: Market, consumer: Make) -> None:
    async with consumer() as reading:
        assert await reading.latest("BTCUSDT") is None


async def test_a_stream_tells_what_it_holds_and_where_its_groups_stand(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)
    await market.bus.command.xgroup_create("trades:BTCUSDT", "others", id=f"{T0_MS + 1000}-1")
    async with consumer() as reading:
        found = await reading.stream_info("trades:BTCUSDT")
    assert (found.length, found.first_id, found.last_id) == (3, f"{T0_MS + 1000}-1", f"{T0_MS + 3000}-3")
    assert [(group.name, group.pending, group.last_delivered_id) for group in found.groups] == [
        ("others", 0, f"{T0_MS + 1000}-1")
    ]


async def test_a_stream_that_is_not_there_is_not_found(market: Market, consumer: Make) -> None:
    async with consumer() as reading:
        with pytest.raises(NotFound, match="trades:NONE"):
            await reading.stream_info("trades:NONE")


async def test_a_range_is_by_the_exchanges_time_both_ends_included(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2, 3, 4)
    async with consumer() as reading:
        found = reading.between("trades:BTCUSDT", "2024-11-14T17:30:02Z", T0_MS + 3000)
        assert [trade.trade_id async for trade in found if isinstance(trade, Trade)] == [2, 3]
