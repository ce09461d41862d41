"""A consumer as a program uses it: acknowledged after the body, left pending by whatever raises, never lost."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cryptostream import Consumer, Entry, Gap, Trade
from cryptostream.bus.group.ownership import Shard
from cryptostream.errors import UsageError
from tests.client.conftest import T0_MS, Market

Make = Callable[..., Consumer]


async def first(consumer: Consumer, count: int) -> list[int]:
    """The ids of the next so many trades, each handled."""
    found: list[int] = []
    async for trade in consumer:
        assert isinstance(trade, Trade)
        found.append(trade.trade_id)
        if len(found) == count:
            consumer.stop()
    return found


async def test_events_come_in_order_and_are_acknowledged(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)
    async with consumer() as reading:
        assert await first(reading, 3) == [1, 2, 3]
    assert await market.pending() == 0


async def test_an_event_is_pending_while_the_body_works_and_not_after(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    async with consumer() as reading:
        async for _ in reading:
            assert await market.pending() == 1
            reading.stop()
    assert await market.pending() == 0


async def test_an_exception_leaves_the_event_pending_and_what_came_before_acknowledged(
    market: Market, consumer: Make
) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)
    with pytest.raises(ZeroDivisionError):
        async with consumer() as reading:
            async for trade in reading:
                if isinstance(trade, Trade) and trade.trade_id == 2:
                    raise ZeroDivisionError
    assert await market.pending() == 2
    async with consumer() as again:
        assert await first(again, 2) == [2, 3]


async def test_a_loop_begun_again_begins_with_the_event_at_which_the_last_one_was_left(
    market: Market, consumer: Make
) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)
    async with consumer() as reading:
        with pytest.raises(ZeroDivisionError):
            async for trade in reading:
                if isinstance(trade, Trade) and trade.trade_id == 2:
                    raise ZeroDivisionError
        assert await first(reading, 2) == [2, 3]
        assert reading.stats.rejected == 1


async def test_an_event_that_a_body_raises_at_too_often_is_set_aside(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)
    seen: list[int] = []
    async with consumer(max_deliveries=2) as reading:
        while 3 not in seen:
            try:
                async for trade in reading:
                    assert isinstance(trade, Trade)
                    seen.append(trade.trade_id)
                    assert trade.trade_id != 2
                    if trade.trade_id == 3:
                        reading.stop()
            except AssertionError:
                pass
    assert seen == [1, 2, 2, 3]
    [(_, letter)] = await market.entries("dlq:g")
    assert letter["entry_id"] == f"{T0_MS + 2000}-2"
    assert await market.pending() == 0


async def until_it_is_set_aside(market: Market, run: Callable[[], Awaitable[None]]) -> int:
    """How often a program that is restarted ends with an error before there is a dead letter."""
    for runs in range(1, 9):
        with pytest.raises(ValueError, match="not this one"):
            await run()
        if await market.entries("dlq:g"):
            return runs
    raise AssertionError("never")


async def test_an_event_that_ends_every_run_is_set_aside_after_the_fifth(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2, 3, 4, 5)

    async def run() -> None:
        async with consumer() as reading:
            async for trade in reading:
                if isinstance(trade, Trade) and trade.trade_id == 3:
                    raise ValueError("not this one")

    assert await until_it_is_set_aside(market, run) == 5
    [(_, letter)] = await market.entries("dlq:g")
    assert (letter["entry_id"], letter["error"]) == (f"{T0_MS + 3000}-3", "ValueError: not this one")
    async with consumer() as again:
        assert await first(again, 2) == [4, 5]
    assert len(await market.entries("dlq:g")) == 1


async def test_an_event_that_ends_every_run_is_found_among_its_batch(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2, 3, 4)
    seen: set[int] = set()

    async def run() -> None:
        async with consumer(until_idle_s=0.2) as reading:
            async for batch in reading.batches():
                numbers = {trade.trade_id for trade in batch if isinstance(trade, Trade)}
                if 3 in numbers:
                    raise ValueError("not this one")
                seen.update(numbers)

    for _ in range(5):
        with pytest.raises(ValueError, match="not this one"):
            await run()
    await run()
    [(_, letter)] = await market.entries("dlq:g")
    assert (letter["entry_id"], seen) == (f"{T0_MS + 3000}-3", {1, 2, 4})


async def test_being_cancelled_is_no_fault_of_the_event_at_work(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            async with consumer(max_deliveries=1) as reading:
                async for _ in reading:
                    raise asyncio.CancelledError
    assert await market.pending() == 1
    assert not await market.entries("dlq:g")


async def test_its_counts_stay_when_it_is_closed(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    async with consumer() as reading:
        await first(reading, 2)
    assert (reading.stats.read, reading.stats.acked, reading.trouble) == (2, 2, "")


async def test_stop_hands_over_nothing_more_and_the_rest_comes_first_next_time(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)
    async with consumer() as reading:
        assert await first(reading, 1) == [1]
    assert await market.pending() == 2
    await market.trades("BTCUSDT", 4)
    async with consumer() as again:
        assert await first(again, 3) == [2, 3, 4]


async def test_batches_hold_what_a_read_gave_and_are_acknowledged_whole(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    await market.trades("ETHUSDT", 7)
    found: list[int] = []
    async with consumer() as reading:
        async for batch in reading.batches():
            found += [trade.trade_id for trade in batch if isinstance(trade, Trade)]
            if len(found) == 3:
                reading.stop()
    assert sorted(found) == [1, 2, 7]
    assert await market.pending() == 0


async def test_a_batch_whose_body_raises_stays_pending(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    with pytest.raises(ZeroDivisionError):
        async with consumer() as reading:
            async for _ in reading.batches():
                raise ZeroDivisionError
    assert await market.pending() == 2


async def test_batches_begun_again_begin_with_the_batch_at_which_they_were_left(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    async with consumer() as reading:
        async for _ in reading.batches():
            break
        assert await first(reading, 2) == [1, 2]
        assert reading.stats.rejected == 0


async def test_stop_ends_before_the_other_streams_of_the_same_read(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    await market.trades("ETHUSDT", 1)
    async with consumer() as reading:
        assert await first(reading, 1) == [1]
    assert await market.pending(pair="BTCUSDT") + await market.pending(pair="ETHUSDT") == 1


async def test_a_gap_is_an_event_in_its_place(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    await market.gap("BTCUSDT", 2, 4)
    await market.trades("BTCUSDT", 5)
    kinds: list[str] = []
    async with consumer() as reading:
        async for event in reading:
            kinds.append(type(event).__name__)
            if len(kinds) == 3:
                reading.stop()
    assert kinds == ["Trade", "Gap", "Trade"]


async def test_gaps_go_to_whoever_asked_for_them_and_not_to_the_body(market: Market, consumer: Make) -> None:
    await market.gap("BTCUSDT", 1, 4)
    await market.trades("BTCUSDT", 5)
    gaps: list[Gap] = []
    async with consumer(on_gap=gaps.append) as reading:
        assert await first(reading, 1) == [5]
    assert [(gap.gap_from, gap.gap_to) for gap in gaps] == [(1, 4)]
    assert await market.pending() == 0


async def test_entries_trimmed_before_they_were_read_are_a_gap_with_their_count(
    real_redis_url: str, market: Market, consumer: Make, bus_url: str
) -> None:
    if bus_url != real_redis_url:
        pytest.skip("fakeredis does not count what is trimmed")
    await market.trades("BTCUSDT", 1)
    async with consumer() as reading:
        assert await first(reading, 1) == [1]
    await market.trades("BTCUSDT", 2, 3, 4)
    await market.bus.command.xtrim("trades:BTCUSDT", maxlen=1, approximate=False)
    gaps: list[Gap] = []
    async with consumer(on_gap=gaps.append) as again:
        assert await first(again, 1) == [4]
        assert again.stats.lost == 2
    assert [(gap.gap_from, gap.gap_to, gap.count, gap.cause) for gap in gaps] == [(2, 3, 2, "trimmed")]


async def test_an_entry_that_cannot_be_read_is_set_aside_and_the_rest_goes_on(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    await market.add("trades:BTCUSDT", f"{T0_MS + 2000}-2", {"trade_id": "2", "price": "much"})
    await market.trades("BTCUSDT", 3)
    async with consumer(max_deliveries=2) as reading:
        assert await first(reading, 2) == [1, 3]
        assert reading.stats.dead_letters == 1


async def test_what_is_not_market_data_is_an_entry(market: Market, consumer: Make) -> None:
    await market.add("notes", "1-0", {"text": "hello"})
    async with consumer("notes") as reading:
        async for event in reading:
            assert event == Entry("notes", "1-0", {"text": "hello"})
            reading.stop()


@pytest.mark.parametrize(
    "place",
    [
        f"{T0_MS + 3000}-3",
        T0_MS + 3000,
        datetime.fromtimestamp(T0_MS / 1000, UTC) + timedelta(seconds=3),
        "2024-11-14T17:30:03Z",
    ],
)
async def test_a_new_group_begins_where_it_is_told(market: Market, consumer: Make, place: object) -> None:
    await market.trades("BTCUSDT", 1, 2, 3, 4)
    async with consumer(from_=place) as reading:
        assert await first(reading, 2) == [3, 4]


async def test_a_group_from_now_on_reads_nothing_older(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    async with consumer(from_="new", until_idle_s=0.1) as reading:
        assert [event async for event in reading] == []
    await market.trades("BTCUSDT", 2)
    async with consumer(from_="new") as again:
        assert await first(again, 1) == [2]


async def test_it_ends_when_nothing_came_for_as_long_as_it_was_told(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    async with consumer(until_idle_s=0.1) as reading:
        assert len([event async for event in reading]) == 2
    assert await market.pending() == 0


async def test_streams_are_subscribed_and_unsubscribed_while_it_reads(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    await market.trades("ETHUSDT", 2)
    found: list[int] = []
    async with consumer("trades:BTCUSDT") as reading:
        async for trade in reading:
            assert isinstance(trade, Trade)
            found.append(trade.trade_id)
            if found == [1]:
                reading.unsubscribe("trades:BTCUSDT")
                await market.trades("BTCUSDT", 3)
                reading.subscribe("trades:ETHUSDT")
            else:
                reading.stop()
    assert found == [1, 2]


async def test_a_shard_reads_its_own_streams_alone(market: Market, consumer: Make) -> None:
    pairs = ["BTCUSDT", "ETHUSDT", "XRPUSDT", "SOLUSDT"]
    for pair in pairs:
        await market.trades(pair, 1)
    async with consumer(shard="1/2", until_idle_s=0.1) as reading:
        found = {event.pair async for event in reading if isinstance(event, Trade)}
    assert found == {pair for pair in pairs if Shard(1, of=2).holds(f"trades:{pair}")}


@pytest.mark.parametrize("options", [{"shard": "5/4"}, {"from_": "yesterday"}, {"ownership": "mine"}])
def test_what_makes_no_sense_is_refused_at_once(options: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        Consumer("redis://localhost", group="g", streams="trades:*", **options)


async def test_a_consumer_that_is_not_open_says_so() -> None:
    with pytest.raises(UsageError, match="not open"):
        await Consumer("redis://localhost", group="g", streams="trades:*").latest("BTCUSDT")


async def test_two_of_one_machine_have_names_of_their_own(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    async with consumer(batch=1, name="me") as one, consumer(batch=1, name="me") as other:
        assert sorted([*await first(one, 1), *await first(other, 1)]) == [1, 2]
        told = await market.bus.command.xinfo_consumers("trades:BTCUSDT", "g")
        assert [each["name"] for each in told] == ["me", "me-2"]


async def test_the_embedded_bus_works_too(tmp_path: Path, redis_binary: str) -> None:
    async with Consumer(group="g", streams="trades:BTCUSDT", data_dir=tmp_path / "data", until_idle_s=0.1) as reading:
        assert [event async for event in reading] == []
        assert (await reading.stream_info("trades:BTCUSDT")).length == 0
