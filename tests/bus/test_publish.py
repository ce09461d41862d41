"""The publisher on both engines: each record once, in order, whatever is sent twice and whoever else writes."""

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.publish import Publisher
from cryptostream.errors import BusRefused
from cryptostream.model.events import DeadLetter, GapRecord, KlineRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.testing import ManualClock

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
ETH = Subscription("binance", Channel.TRADES, "ETHUSDT")
MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
T0 = 1_731_605_400_000


def trade(trade_id: int, ms: int = T0, of: Subscription = BTC) -> TradeRecord:
    return TradeRecord(of, "45123.50000000", "0.1", Micros(ms * 1000), "buy", trade_id)


def kline(close_ms: int, *, closed: bool, event_ms: int) -> KlineRecord:
    prices = ("1.0", "2.0", "0.5", "1.5")
    return KlineRecord(
        MINUTES, close_ms - 59_999, close_ms, *prices, "10", "15", 3, "4", "6", closed, Micros(event_ms * 1000)
    )


@pytest.fixture
async def bus(bus_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=tmp_path, clock=clock) as opened:
        yield opened


def publisher(bus: Bus, clock: ManualClock, maxlen: int = 10_000) -> Publisher:
    return Publisher(bus, clock=clock, maxlen=maxlen, random=Random(1))


async def ids(bus: Bus, stream: str = "trades:BTCUSDT") -> list[str]:
    return [entry_id for entry_id, _ in await bus.command.xrange(stream)]


async def test_a_batch_over_several_streams_is_written_in_order(bus: Bus, clock: ManualClock) -> None:
    async with publisher(bus, clock) as sink:
        await sink.write([trade(1), trade(5, of=ETH), trade(2), trade(6, of=ETH)])
    assert await ids(bus) == [f"{T0}-1", f"{T0}-2"]
    assert await ids(bus, "trades:ETHUSDT") == [f"{T0}-5", f"{T0}-6"]
    assert sink.stats.published == 4


async def test_more_records_than_one_write_holds_all_arrive(bus: Bus, clock: ManualClock) -> None:
    async with publisher(bus, clock, maxlen=0) as sink:
        await sink.write([trade(number) for number in range(1, 2502)])
    assert await bus.command.xlen("trades:BTCUSDT") == 2501


async def test_the_same_trades_sent_twice_stand_once(bus: Bus, clock: ManualClock) -> None:
    async with publisher(bus, clock) as sink:
        await sink.write([trade(1), trade(2)])
        await sink.write([trade(1), trade(2), trade(3)])
    assert await ids(bus) == [f"{T0}-{n}" for n in (1, 2, 3)]
    assert (sink.stats.published, sink.stats.duplicates) == (3, 2)


async def test_duplicates_between_new_trades_of_one_batch_are_told_apart(bus: Bus, clock: ManualClock) -> None:
    async with publisher(bus, clock) as sink:
        await sink.write([trade(number, T0 + number) for number in (1, 1, 2, 1, 2, 3)])
    assert await ids(bus) == [f"{T0 + n}-{n}" for n in (1, 2, 3)]
    assert (sink.stats.published, sink.stats.duplicates, sink.stats.refused) == (3, 3, 0)


async def test_a_second_writer_adds_only_what_the_first_did_not(bus: Bus, clock: ManualClock) -> None:
    async with publisher(bus, clock) as one, publisher(bus, clock) as other:
        await one.write([trade(1), trade(2)])
        await other.write([trade(1), trade(2), trade(3)])
        await one.write([trade(3), trade(4)])
    assert await ids(bus) == [f"{T0}-{n}" for n in (1, 2, 3, 4)]
    assert (one.stats.duplicates, other.stats.duplicates) == (1, 2)


async def test_a_trade_clamped_differently_by_another_writer_is_sent_again_at_the_tops_time(
    bus: Bus, clock: ManualClock
) -> None:
    async with publisher(bus, clock) as one, publisher(bus, clock) as other:
        await one.write([trade(1)])
        await other.write([trade(2, T0 + 50)])
        await one.write([trade(3, T0 + 10), trade(4, T0 + 20)])
    assert await ids(bus) == [f"{T0}-1", f"{T0 + 50}-2", f"{T0 + 50}-3", f"{T0 + 50}-4"]
    assert (one.stats.published, one.stats.duplicates, one.stats.refused) == (3, 0, 0)


async def test_a_refused_trade_below_our_own_later_one_is_told_and_never_taken_for_a_duplicate(
    bus: Bus, clock: ManualClock
) -> None:
    async with publisher(bus, clock) as one, publisher(bus, clock) as other:
        await one.write([trade(1)])
        await other.write([trade(2, T0 + 50)])
        await one.write([trade(3, T0 + 10), trade(4, T0 + 90)])
    assert await ids(bus) == [f"{T0}-1", f"{T0 + 50}-2", f"{T0 + 90}-4"]
    assert (one.stats.duplicates, one.stats.refused) == (0, 1)


async def test_a_new_writer_goes_on_from_the_streams_top_where_time_stepped_back(bus: Bus, clock: ManualClock) -> None:
    async with publisher(bus, clock) as one:
        await one.write([trade(1, T0 + 500)])
    async with publisher(bus, clock) as other:
        await other.write([trade(2, T0)])
    assert await ids(bus) == [f"{T0 + 500}-1", f"{T0 + 500}-2"]


async def test_a_stream_emptied_by_somebody_else_still_takes_new_trades(bus: Bus, clock: ManualClock) -> None:
    async with publisher(bus, clock) as sink:
        await sink.write([trade(1, T0 + 500)])
        await bus.command.xtrim("trades:BTCUSDT", maxlen=0, approximate=False)
    async with publisher(bus, clock) as other:
        await other.write([trade(1, T0 + 500), trade(2, T0)])
    assert await ids(bus) == [f"{T0 + 500}-2"]
    assert other.stats.duplicates == 1


async def test_a_stream_that_a_group_made_before_anybody_wrote_misses_nothing(bus: Bus, clock: ManualClock) -> None:
    wanted_back: list[int] = []
    await bus.command.xgroup_create("trades:BTCUSDT", "early", id="0", mkstream=True)
    sink = Publisher(bus, clock=clock, random=Random(1), rewind=lambda _, last_id: wanted_back.append(last_id))
    async with sink:
        await sink.write([trade(500), trade(501)])
    assert await ids(bus) == [f"{T0}-500", f"{T0}-501"]
    assert (wanted_back, sink.stats.gaps) == ([], 0)


async def test_an_emptied_stream_of_klines_goes_on_with_the_next_and_wants_nothing_back(
    bus: Bus, clock: ManualClock
) -> None:
    wanted_back: list[int] = []
    async with publisher(bus, clock) as sink:
        await sink.write([kline(T0 + 59_999, closed=True, event_ms=T0 + 60_000)])
        await bus.command.xtrim("klines:BTCUSDT:1m", maxlen=0, approximate=False)
    other = Publisher(bus, clock=clock, random=Random(1), rewind=lambda _, last_id: wanted_back.append(last_id))
    async with other:
        await other.write([kline(T0 + 119_999, closed=True, event_ms=T0 + 120_000)])
    assert await ids(bus, "klines:BTCUSDT:1m") == [f"{T0 + 119_999}-1"]
    assert wanted_back == []


async def test_a_gap_stands_between_the_trades_around_it(bus: Bus, clock: ManualClock) -> None:
    async with publisher(bus, clock) as sink:
        await sink.write([trade(1), GapRecord(BTC, 2, 4, "drop", Micros(T0 * 1000)), trade(5, T0 + 9)])
    assert await ids(bus) == [f"{T0}-1", f"{T0}-2", f"{T0 + 9}-5"]


async def test_klines_are_written_once_and_an_overtaken_update_is_no_loss(bus: Bus, clock: ManualClock) -> None:
    close = T0 + 59_999
    sent: list[Record] = [
        kline(close, closed=False, event_ms=T0 + 2_000),
        kline(close, closed=False, event_ms=T0 + 4_000),
        kline(close, closed=True, event_ms=close + 6),
    ]
    async with publisher(bus, clock) as sink:
        await sink.write(sent)
        await sink.write(sent)
    assert await ids(bus, "klines:BTCUSDT:1m") == [f"{T0 + 2_000}-0", f"{T0 + 4_000}-0", f"{close}-1"]
    assert (sink.stats.duplicates, sink.stats.refused) == (3, 0)


async def test_a_closed_kline_that_comes_too_late_is_counted_as_refused(bus: Bus, clock: ManualClock) -> None:
    async with publisher(bus, clock) as sink:
        await sink.write([kline(T0 + 119_999, closed=True, event_ms=T0 + 120_000)])
        await sink.write([kline(T0 + 59_999, closed=True, event_ms=T0 + 60_000)])
    assert (sink.stats.published, sink.stats.refused) == (1, 1)


async def test_streams_are_kept_near_their_length(bus: Bus, clock: ManualClock) -> None:
    async with publisher(bus, clock, maxlen=100) as sink:
        await sink.write([trade(number) for number in range(1, 1001)])
    assert 100 <= await bus.command.xlen("trades:BTCUSDT") < 300


async def test_a_dead_letter_lands_in_its_own_stream(bus: Bus, clock: ManualClock) -> None:
    async with publisher(bus, clock) as sink:
        await sink.write([DeadLetter("ws://x", "not JSON", "<html>", 6, Micros(T0 * 1000))])
    [(_, fields)] = await bus.command.xrange("dlq:ingest")
    assert (fields["reason"], fields["frame"]) == ("not JSON", "<html>")


async def test_a_key_of_another_type_is_named_and_ends_the_work(bus: Bus, clock: ManualClock) -> None:
    await bus.command.set("trades:BTCUSDT", "mine")
    async with publisher(bus, clock) as sink:
        with pytest.raises(BusRefused, match="trades:BTCUSDT"):
            await sink.write([trade(1)])


async def test_text_from_a_venue_cannot_break_out_of_its_argument(bus: Bus, clock: ManualClock) -> None:
    hostile = '{"x":"\r\n*1\r\n$8\r\nFLUSHALL\r\n币"}'
    async with publisher(bus, clock) as sink:
        await sink.write([TradeRecord(BTC, "1", "1", Micros(T0 * 1000), "buy", 1, hostile), trade(2)])
    [(_, fields), _] = await bus.command.xrange("trades:BTCUSDT")
    assert fields["raw_json"] == hostile


async def test_a_server_that_was_killed_and_came_back_holds_every_trade_once(redis_server, tmp_path: Path) -> None:
    server = redis_server("--appendonly", "yes", "--appendfsync", "always")
    clock = RestartingClock(server)
    async with connect(server.unix_url, data_dir=tmp_path, clock=clock) as bus:
        async with publisher(bus, clock) as sink:
            await sink.write([trade(1), trade(2)])
            server.kill()
            await sink.write([trade(2), trade(3, T0 - 7), trade(4, T0 + 5)])
        assert await ids(bus) == [f"{T0}-1", f"{T0}-2", f"{T0}-3", f"{T0 + 5}-4"]


class RestartingClock(ManualClock):
    """The server is started again the first time anybody waits for it."""

    def __init__(self, server) -> None:
        super().__init__()
        self._server = server

    async def sleep(self, delay_s: float) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.start()
        await super().sleep(delay_s)


async def test_the_way_from_the_exchange_to_the_bus_is_timed_once_a_write(bus: Bus, clock: ManualClock) -> None:
    now_ms = clock.now_ns() // 1_000_000
    fetched = TradeRecord(BTC, "45123.5", "0.1", Micros(now_ms * 1000), "buy", 9, filled=True)
    async with publisher(bus, clock) as sink:
        await sink.write([trade(7, now_ms - 400), trade(8, now_ms - 100)])
        await sink.write([fetched])
    timed = sink.stats.exchange_to_bus
    assert (timed.total, round(timed.sum, 3)) == (1, 0.4)
