"""The fast way to pack a trade gives the same bytes as the contract's fields."""

from hypothesis import given
from hypothesis import strategies as st

from cryptostream.bus.pack import Entries, Stream
from cryptostream.bus.resp import command
from cryptostream.model import codec
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import DeadLetter, GapRecord, KlineRecord, Micros, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
CHINESE = Subscription("binance", Channel.TRADES, "币安人生USDT")
MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
T0 = 1_731_605_400_123_000


def trade(trade_id: int, ts: int = T0, subscription: Subscription = BTC, raw: str = "") -> TradeRecord:
    return TradeRecord(subscription, "45123.50000000", "0.12300000", Micros(ts), "buy", trade_id, raw)


def kline(*, closed: bool, event_ms: int, open_time: int = 60_000) -> KlineRecord:
    prices, volumes = ("1.0", "2.0", "0.5", "1.5"), ("10", "15", 3, "4", "6")
    ts = Micros(event_ms * 1000)
    return KlineRecord(MINUTES, open_time, open_time + 59_999, *prices, *volumes, closed, ts, '{"k":1}')


@given(
    price=st.decimals("0.00000001", "999999", places=8).map(str),
    trade_id=st.integers(0, 2**63 - 1),
    ts=st.integers(1, 253_402_300_799_999_999),
    raw=st.text(max_size=50),
    subscription=st.sampled_from([BTC, CHINESE]),
    maxlen=st.sampled_from([0, 10_000]),
)
def test_a_packed_trade_is_the_command_made_of_its_fields(
    price: str, trade_id: int, ts: int, raw: str, subscription: Subscription, maxlen: int
) -> None:
    record = TradeRecord(subscription, price, "1.5", Micros(ts), "sell", trade_id, raw)
    fields = [word for pair in codec.fields(record).items() for word in pair]
    trim = ["MAXLEN", "~", maxlen] if maxlen else []
    expected = command("XADD", "some:key", *trim, f"{ts // 1000}-{trade_id}", *fields)
    assert Stream("some:key", subscription, maxlen=maxlen).pack(record) == expected


def test_time_that_steps_back_is_clamped_in_the_id_and_kept_in_ts() -> None:
    entries = Entries()
    first, second, third = (entries(trade(i, ts)) for i, ts in ((1, T0), (2, T0 - 5_000_000), (3, T0 + 1_000)))
    assert first.entry_id == "1731605400123-1"
    assert second.entry_id == "1731605400123-2"
    assert second.fields["ts"] == "2024-11-14T17:29:55.123000"
    assert third.entry_id == "1731605400124-3"


def test_a_trade_has_the_contracts_fields_in_their_order() -> None:
    assert list(Entries()(trade(7, raw="{}")).fields.items()) == [
        ("exchange", "binance"),
        ("pair", "BTCUSDT"),
        ("price", "45123.50000000"),
        ("qty", "0.12300000"),
        ("ts", "2024-11-14T17:30:00.123000"),
        ("side", "buy"),
        ("trade_id", "7"),
        ("raw_json", "{}"),
    ]


def test_a_kline_has_the_contracts_fields_in_their_order() -> None:
    entry = Entries()(kline(closed=True, event_ms=120_005))
    assert entry.stream == "klines:BTCUSDT:1m"
    assert list(entry.fields) == [
        "exchange",
        "pair",
        "interval",
        "open_time",
        "close_time",
        "open",
        "high",
        "low",
        "close",
        "volume",
        "quote_volume",
        "trades",
        "taker_buy_volume",
        "taker_buy_quote_volume",
        "closed",
        "ts",
        "raw_json",
    ]
    assert entry.fields["closed"] == "true"


def test_a_closed_kline_stands_at_its_close_time_and_updates_before_it() -> None:
    ids = [Entries()(kline(closed=closed, event_ms=ms)).entry_id for closed, ms in ((0, 90_000), (0, 130_000), (1, 1))]
    assert ids == ["90000-0", "119999-0", "119999-1"]


def test_a_gap_stands_where_the_first_missing_trade_would() -> None:
    entries = Entries()
    entries(trade(10))
    gap = entries(GapRecord(BTC, 11, 14, "drop", Micros(T0 - 1)))
    assert gap.entry_id == "1731605400123-11"
    assert gap.fields | {"kind": "gap", "gap_from": "11", "gap_to": "14", "cause": "drop"} == gap.fields


def test_a_gap_stands_at_the_trade_before_it_whenever_it_was_noticed() -> None:
    entries = Entries()
    entries(trade(1, T0))
    gap = entries(GapRecord(BTC, 2, 3, "inbox full", Micros(T0 + 5_000_000)))
    late = entries(trade(4, T0 + 1_000))
    assert (gap.entry_id, late.entry_id) == ("1731605400123-2", "1731605400124-4")


def test_a_gap_of_klines_stands_where_its_last_missing_kline_would() -> None:
    entries = Entries()
    before = entries(kline(closed=True, event_ms=120_005))
    gap = entries(GapRecord(MINUTES, 120_000, 240_000, "deadline", Micros(119_999_000)))
    assert (before.entry_id, gap.entry_id) == ("119999-1", "299999-1")
    assert gap.stream == "klines:BTCUSDT:1m"
    assert gap.fields | {"kind": "gap", "interval": "1m", "gap_from": "120000", "gap_to": "240000"} == gap.fields


def test_a_gap_of_klines_comes_after_updates_of_its_window_and_before_those_of_the_next() -> None:
    update, following = (
        Entries()(kline(closed=False, event_ms=ms, open_time=opened))
        for ms, opened in ((900_000, 60_000), (120_000, 120_000))
    )
    gap = Entries()(GapRecord(MINUTES, 60_000, 60_000, "deadline", Micros(59_999_000)))
    ids = [parse_id(entry.entry_id) for entry in (update, gap, following)]
    assert sorted(set(ids)) == ids


def test_a_dead_letter_belongs_to_no_pair_and_the_server_numbers_it() -> None:
    entry = Entries()(DeadLetter("wss://x", "not JSON", "<html>", 6, Micros(T0)))
    assert (entry.stream, entry.entry_id) == ("dlq:ingest", "*")
    assert list(entry.fields) == ["source", "reason", "frame", "size", "ts"]
