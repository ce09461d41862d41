"""Hashes that a keyed handler keeps up to date, in the commit of the work that made them."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from cryptostream import Consumer, Output, Trade
from cryptostream.bus.effects.transact import Effects
from cryptostream.errors import BusRefused
from cryptostream.model.events import Latest
from tests.client.conftest import Market

Make = Callable[..., Consumer]


class Prices:
    """Writes each price, and keeps the newest in a hash."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, trade: Trade) -> Iterable[Output | Latest]:
        self.count += 1
        yield Output(f"prices:{trade.pair}", {"price": f"{trade.price:g}"})
        yield Latest(f"latest:{trade.pair}", {"price": f"{trade.price:g}", "count": str(self.count)}, ttl_s=60)


async def run(reading: Consumer, made: Callable[[], object]) -> None:
    reading.keyed("trades:*")(made)  # type: ignore[type-var]
    await reading.run()


async def latest(market: Market, pair: str = "BTCUSDT") -> Any:
    return await market.bus.command.hgetall(f"latest:{pair}")


async def test_each_pair_has_the_newest_of_its_values(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)
    await market.trades("ETHUSDT", 7)
    await run(consumer(until_idle_s=0.1), Prices)
    assert await latest(market) == {"price": "3", "count": "3"}
    assert await latest(market, "ETHUSDT") == {"price": "7", "count": "1"}
    assert 0 < await market.bus.command.pttl("latest:BTCUSDT") <= 60_000


async def test_of_work_that_is_not_committed_there_is_no_latest_value(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.trades("BTCUSDT", 1)

    async def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Effects, "commit", dies)
    with pytest.raises(KeyboardInterrupt):
        await run(consumer(), Prices)
    monkeypatch.undo()
    assert (await latest(market), await market.pending()) == ({}, 1)
    await run(consumer(until_idle_s=0.1), Prices)
    assert (await latest(market), await market.pending()) == ({"price": "1", "count": "1"}, 0)


async def test_a_latest_value_that_cannot_be_written_sets_its_entry_aside(market: Market, consumer: Make) -> None:
    class Never:
        def __call__(self, trade: Trade) -> list[Latest]:
            return [Latest("latest:A", {"price": "1"}, ttl_s=0 if trade.trade_id == 1 else 60)]

    await market.trades("BTCUSDT", 1, 2)
    await run(consumer(until_idle_s=0.5, max_deliveries=1), Never)
    [(_, letter)] = await market.entries("dlq:g")
    assert "to live 0 seconds" in letter["error"]
    assert await market.pending() == 0


async def test_a_hash_that_is_none_ends_the_consumer_and_nothing_is_done(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    await market.bus.command.set("latest:BTCUSDT", "text")
    with pytest.raises(BusRefused, match="latest:BTCUSDT is not a hash"):
        await run(consumer(), Prices)
    assert (await market.pending(), await market.entries("prices:BTCUSDT")) == (1, [])
