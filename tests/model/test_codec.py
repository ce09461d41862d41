"""Records, entries and events say the same, derived from the Structs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.errors import DataQuality
from cryptostream.model import codec
from cryptostream.model.events import Gap, GapRecord, Kline, KlineRecord, Micros, Trade, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
MINUTES = Subscription("kraken", Channel.KLINES, "BTCUSD", Interval.M1)
TRADE = TradeRecord(BTC, "45123.50000000", "0.12300000", Micros(1_731_605_400_123_456), "buy", 12_345_678)
KLINE = KlineRecord(MINUTES, 1, 60_000, "1.5", "2.0", "1.0", "1.75", "0", "0", 0, "0", "0", False, Micros(30_000_000))


def test_a_trade_is_read_back_as_numbers() -> None:
    assert codec.event("trades:BTCUSDT", "1-2", codec.fields(TRADE)) == Trade(
        "1-2", "binance", "BTCUSDT", 45123.5, 0.123, 1_731_605_400_123_456, "buy", 12_345_678
    )


def test_a_kline_is_read_back_as_numbers_with_its_interval() -> None:
    found = codec.event("klines:kraken:BTCUSD:1m", "1-0", codec.fields(KLINE))
    assert isinstance(found, Kline)
    assert (found.interval, found.high, found.closed, found.open_time) == (Interval.M1, 2.0, False, 1)


def test_a_gap_is_read_back_as_a_gap() -> None:
    found = codec.event("trades:BTCUSDT", "1-5", codec.fields(GapRecord(BTC, 5, 9, "drop", Micros(1))))
    assert isinstance(found, Gap)
    assert (found.gap_from, found.gap_to, found.cause) == (5, 9, "drop")


def test_a_stream_with_a_name_of_its_own_is_read_too() -> None:
    assert isinstance(codec.event("market_data_stream:BTCUSDT", "1-2", codec.fields(TRADE)), Trade)


def test_what_is_not_market_data_is_none() -> None:
    assert codec.event("events:binance", "1-0", {"kind": "connected"}) is None


@pytest.mark.parametrize("broken", [{"price": "x"}, {"trade_id": "1.5"}, {"side": "up"}, {"ts": "yesterday"}])
def test_an_entry_that_does_not_fit_names_itself(broken: dict[str, str]) -> None:
    with pytest.raises(DataQuality, match="entry 1-2 of trades:BTCUSDT"):
        codec.event("trades:BTCUSDT", "1-2", codec.fields(TRADE) | broken)


@given(st.integers(0, 253_402_300_799_999_999))
def test_time_text_reads_back_to_the_microsecond(ts: int) -> None:
    assert codec.micros(codec.iso(ts)) == ts
