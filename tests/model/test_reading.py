"""Rows read fast are what `codec.event` reads slowly, whatever stands in them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.errors import DataQuality
from cryptostream.model import codec, reading
from cryptostream.model.events import Entry, GapRecord, Kline, KlineRecord, Micros, Record, Trade, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
T0 = 1_731_605_400_123_456


def trade(number: int, ts: int = T0, **other: Any) -> TradeRecord:
    return TradeRecord(BTC, "45123.50000000", "0.12300000", Micros(ts), "buy", number, **other)


def row(record: Record | dict[str, str], entry_id: str = "1-2") -> list[Any]:
    fields = record if isinstance(record, dict) else codec.fields(record)
    return [entry_id, [text for field in fields.items() for text in field]]


def changed(name: str, text: str) -> list[Any]:
    return row({**codec.fields(trade(7)), name: text})


def test_trades_are_read_with_their_numbers_in_order() -> None:
    found, trouble = reading.events("trades:BTCUSDT", [row(trade(7), "1-7"), row(trade(8, T0 + 1_500_000), "1-8")])
    assert found == [
        Trade("1-7", "binance", "BTCUSDT", 45123.5, 0.123, Micros(T0), "buy", 7),
        Trade("1-8", "binance", "BTCUSDT", 45123.5, 0.123, Micros(T0 + 1_500_000), "buy", 8),
    ]
    assert trouble is None


def test_fields_are_found_by_their_names_wherever_they_stand() -> None:
    turned = dict(reversed(codec.fields(trade(7, raw_json="{}")).items()))
    [found] = reading.events("trades:BTCUSDT", [row(turned)]).events
    assert found == codec.event("trades:BTCUSDT", "1-2", turned)


def test_a_row_of_another_order_among_its_like_is_read_by_its_own_names() -> None:
    rows = [row(trade(7)), row(dict(reversed(codec.fields(trade(8)).items()))), row(trade(9))]
    found = reading.events("trades:BTCUSDT", rows).events
    assert [event.trade_id for event in found if isinstance(event, Trade)] == [7, 8, 9]


def test_a_gap_between_trades_keeps_its_place() -> None:
    rows = [row(trade(7)), row(GapRecord(BTC, 8, 9, "drop", Micros(T0))), row(trade(10))]
    assert [type(event).__name__ for event in reading.events("trades:BTCUSDT", rows).events] == [
        "Trade",
        "Gap",
        "Trade",
    ]


def test_what_is_not_market_data_stays_an_entry() -> None:
    assert reading.events("notes", [["1-0", ["text", "hello"]]]).events == [Entry("notes", "1-0", {"text": "hello"})]


def test_reading_ends_before_a_row_that_is_none_and_says_why() -> None:
    found, trouble = reading.events("trades:BTCUSDT", [row(trade(7)), changed("price", "much"), row(trade(9))])
    assert len(found) == 1
    assert "1-2 of trades:BTCUSDT" in str(trouble)


def test_no_rows_are_no_events() -> None:
    assert reading.events("trades:BTCUSDT", []) == ([], None)


@pytest.mark.parametrize(
    ("ts", "micros"),
    [
        ("2024-11-14T17:30:00.123", 1_731_605_400_123_000),
        ("2024-11-14T17:30:00", 1_731_605_400_000_000),
        ("2024-11-14T17:30:00+00:00", 1_731_605_400_000_000),
        ("2024-11-14T19:30:00.123456+02:00", 1_731_605_400_123_456),
        ("2024-11-14T17:30:00.12345Z", 1_731_605_400_123_450),
    ],
)
def test_a_time_that_others_write_otherwise_is_read_too(ts: str, micros: int) -> None:
    found = reading.events("trades:BTCUSDT", [row(trade(6)), changed("ts", ts)]).events[1]
    assert isinstance(found, Trade)
    assert found.ts == micros


@pytest.mark.parametrize(
    ("name", "text"),
    [("side", "hold"), ("trade_id", "7.5"), ("qty", ""), ("ts", "now"), ("ts", "2024-11-14T17:30:0x.1")],
)
def test_a_trade_with_a_value_that_is_none_is_refused(name: str, text: str) -> None:
    assert isinstance(reading.events("trades:BTCUSDT", [row(trade(6)), changed(name, text)]).trouble, DataQuality)


def test_candles_are_read_with_their_interval() -> None:
    record = KlineRecord(MINUTES, 1, 60_000, "1.5", "2", "1", "1.75", "9", "8", 3, "2", "1", True, Micros(T0))
    [found] = reading.events("klines:BTCUSDT:1m", [row(record)]).events
    assert isinstance(found, Kline)
    assert (found.interval, found.high, found.closed, found.trades, found.ts) == (Interval.M1, 2.0, True, 3, T0)
    assert found == codec.event("klines:BTCUSDT:1m", "1-2", codec.fields(record))


amounts = st.decimals(min_value=0, max_value=10**9, places=8, allow_nan=False).map(lambda number: f"{number:.8f}")
moments = st.integers(min_value=0, max_value=4_000_000_000_000_000)


@given(st.lists(st.tuples(amounts, amounts, moments, st.booleans(), st.sampled_from(["buy", "sell"])), max_size=8))
def test_fast_and_slow_reading_agree(wanted: list[Any]) -> None:
    records = [
        TradeRecord(BTC, price, qty, Micros(ts), side, number, raw_json="{}" if raw else "")
        for number, (price, qty, ts, raw, side) in enumerate(wanted)
    ]
    rows = [row(record, f"1-{record.trade_id}") for record in records]
    slow = [
        codec.event("trades:BTCUSDT", entry_id, codec.fields(one))
        for (entry_id, _), one in zip(rows, records, strict=True)
    ]
    assert reading.events("trades:BTCUSDT", rows).events == slow
