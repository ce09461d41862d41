"""The consumer of scripts: no asyncio in sight, and the same promises."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cryptostream
from cryptostream import Trade
from cryptostream.client.blocking import Blocking
from cryptostream.errors import BusUnavailable
from tests.client.conftest import T0_MS, Market

Make = Callable[..., Blocking]


@pytest.fixture
def consume(bus_url: str, tmp_path: Path) -> Make:
    def make(**options: Any) -> Blocking:
        return cryptostream.consume(bus_url, group="g", streams="trades:*", data_dir=tmp_path, **options)

    return make


def read(consumer: Blocking, count: int) -> list[int]:
    found: list[int] = []
    for trade in consumer:
        assert isinstance(trade, Trade)
        found.append(trade.trade_id)
        if len(found) == count:
            consumer.stop()
    return found


async def test_a_plain_loop_reads_and_acknowledges(market: Market, consume: Make) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)

    def script() -> list[int]:
        with consume() as consumer:
            return read(consumer, 2)

    assert await asyncio.to_thread(script) == [1, 2]
    assert await market.pending() == 1


async def test_an_exception_in_the_body_leaves_its_event_pending(market: Market, consume: Make) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)

    def script() -> None:
        with consume() as consumer:
            for trade in consumer:
                assert isinstance(trade, Trade)
                assert trade.trade_id < 2

    with pytest.raises(AssertionError):
        await asyncio.to_thread(script)
    assert await market.pending() == 2


async def test_an_event_that_ends_every_run_is_set_aside_after_the_fifth(market: Market, consume: Make) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)

    def script() -> None:
        with consume() as consumer:
            for trade in consumer:
                assert isinstance(trade, Trade)
                assert trade.trade_id != 2, "not this one"

    for _ in range(5):
        assert not await market.entries("dlq:g")
        with pytest.raises(AssertionError, match="not this one"):
            await asyncio.to_thread(script)
    [(_, letter)] = await market.entries("dlq:g")
    assert letter["entry_id"] == f"{T0_MS + 2000}-2"


async def test_a_loop_that_is_left_and_begun_again_begins_with_the_same_event(market: Market, consume: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)

    def script() -> list[int]:
        with consume() as consumer:
            for _ in consumer:
                break
            return read(consumer, 2)

    assert await asyncio.to_thread(script) == [1, 2]


async def test_it_ends_when_nothing_comes_any_more(market: Market, consume: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)

    def script() -> int:
        with consume(until_idle_s=0.1) as consumer:
            return sum(1 for _ in consumer)

    assert await asyncio.to_thread(script) == 2
    assert await market.pending() == 0


async def test_gaps_go_to_whoever_asked_for_them(market: Market, consume: Make) -> None:
    await market.gap("BTCUSDT", 1, 4)
    await market.trades("BTCUSDT", 5)
    gaps: list[object] = []

    def script() -> list[int]:
        with consume(on_gap=gaps.append) as consumer:
            return read(consumer, 1)

    assert await asyncio.to_thread(script) == [5]
    assert len(gaps) == 1


async def test_streams_can_be_looked_at(market: Market, consume: Make) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)

    def script() -> tuple[Any, ...]:
        with consume() as consumer:
            some = consumer.between("trades:BTCUSDT", T0_MS + 1000, T0_MS + 2000)
            return (
                consumer.latest("BTCUSDT"),
                consumer.stream_info("trades:BTCUSDT").length,
                len(some),
                consumer.trouble,
            )

    latest, length, some, trouble = await asyncio.to_thread(script)
    assert (latest.trade_id, length, some, trouble) == (3, 3, 2, "")


def test_a_bus_that_is_not_there_is_told_and_nothing_is_left_behind(tmp_path: Path) -> None:
    from tests.conftest import free_port

    url = f"redis://127.0.0.1:{free_port()}"
    consumer = cryptostream.consume(url, group="g", streams="trades:*", data_dir=tmp_path, connect_timeout_s=0.1)
    with pytest.raises(BusUnavailable), consumer:
        pass
