"""Where a feed goes on: behind the newest entry of each stream, on both engines."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.keys import stream_key
from cryptostream.bus.publish import Publisher
from cryptostream.bus.resume import positions
from cryptostream.errors import BusRefused
from cryptostream.model.events import GapRecord, KlineRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.model.ports import Position
from cryptostream.testing import ManualClock

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
ETH = Subscription("binance", Channel.TRADES, "ETHUSDT")
AGGREGATE = Subscription("binance", Channel.AGG_TRADES, "BTCUSDT")
MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
T0 = 1_731_605_400_000


def trade(trade_id: int, of: Subscription = BTC, ms: int = T0) -> TradeRecord:
    return TradeRecord(of, "1", "1", Micros(ms * 1000), "buy", trade_id)


def kline(open_ms: int, *, closed: bool) -> KlineRecord:
    close = open_ms + 59_999
    return KlineRecord(MINUTES, open_ms, close, *("1",) * 6, 3, "4", "6", closed, Micros((open_ms + 5) * 1000))


@pytest.fixture
async def bus(bus_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=tmp_path, clock=clock) as opened:
        yield opened


async def publish(bus: Bus, *records: Record) -> None:
    async with Publisher(bus, clock=ManualClock()) as sink:
        await sink.write(records)


@pytest.mark.parametrize(
    ("records", "wanted", "last_id"),
    [
        ((trade(1), trade(7)), BTC, 7),
        ((trade(3, AGGREGATE),), AGGREGATE, 3),
        ((trade(1), GapRecord(BTC, 2, 9, "deadline", Micros(T0 * 1000))), BTC, 9),
        ((kline(T0, closed=True),), MINUTES, T0),
        ((kline(T0, closed=True), kline(T0 + 60_000, closed=False)), MINUTES, T0 + 59_999),
        ((GapRecord(MINUTES, T0, T0 + 60_000, "deadline", Micros(T0 * 1000)),), MINUTES, T0 + 60_000),
    ],
    ids=["trades", "aggregate trades", "a gap", "a closed kline", "an open kline", "a gap of klines"],
)
async def test_a_line_goes_on_behind_its_newest_entry(
    bus: Bus, records: tuple[Record, ...], wanted: Subscription, last_id: int
) -> None:
    await publish(bus, *records)
    found = await positions(bus, stream_key, [ETH, wanted])
    assert {one: position.last_id for one, position in found.items()} == {wanted: last_id}
    assert found[wanted].ts == records[-1].ts


async def test_more_streams_than_are_asked_for_at_once(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryptostream.bus.resume._AT_ONCE", 1)
    await publish(bus, trade(1), trade(2, ETH))
    assert await positions(bus, stream_key, [BTC, ETH]) == {
        BTC: Position(1, Micros(T0 * 1000)),
        ETH: Position(2, Micros(T0 * 1000)),
    }


async def test_a_stream_of_somebody_elses_entries_is_left_out_with_a_warning(
    bus: Bus, capsys: pytest.CaptureFixture[str]
) -> None:
    await bus.command.xadd("trades:BTCUSDT", {"price": "1"})
    await publish(bus, trade(2, ETH))
    assert list(await positions(bus, stream_key, [BTC, ETH])) == [ETH]
    assert "bus.foreign" in capsys.readouterr().err


async def test_a_key_of_another_type_is_named(bus: Bus) -> None:
    await bus.command.set("trades:ETHUSDT", "mine")
    with pytest.raises(BusRefused, match="trades:ETHUSDT"):
        await positions(bus, stream_key, [BTC, ETH])
