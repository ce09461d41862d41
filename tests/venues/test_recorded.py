"""A tape's records in order, each once; what is not on it is a gap."""

from collections.abc import Sequence

from cryptostream.model.events import GapRecord, KlineRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.venues.base import Rule
from cryptostream.venues.recorded import CAUSE, PATIENCE_NS, Recorded

TRADES = Subscription("binance", Channel.TRADES, "BTCUSDT")
KLINES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
MINUTE = 60_000
NOON = 28_700_000 * MINUTE


def recorded() -> Recorded:
    return Recorded(lambda channel: Rule.NONE if channel is Channel.KLINES else Rule.CONTIGUOUS)


def trades(*ids: int) -> list[Record]:
    return [TradeRecord(TRADES, "1", "1", Micros(one * 1000), "buy", one) for one in ids]


def kline(minute: int) -> KlineRecord:
    opened, amounts = NOON + minute * MINUTE, ("0", "0", 0, "0", "0")
    closes = opened + MINUTE - 1
    return KlineRecord(KLINES, opened, closes, "1", "1", "1", "1", *amounts, True, Micros(closes * 1000))


def told(records: Sequence[Record]) -> list[object]:
    return [
        ("gap", record.gap_from, record.gap_to, record.cause) if isinstance(record, GapRecord) else _id(record)
        for record in records
    ]


def _id(record: Record) -> int:
    return record.trade_id if isinstance(record, TradeRecord) else (record.open_time - NOON) // MINUTE  # type: ignore[union-attr]


def test_two_sockets_that_overlap_give_each_trade_once() -> None:
    order = recorded()
    assert [told(order.receive(trades(*ids), at)) for at, ids in enumerate([(1, 2), (2, 1), (3, 2), (3, 4)])] == [
        [1, 2],
        [],
        [3],
        [4],
    ]


def test_a_trade_that_comes_late_finds_its_place() -> None:
    order = recorded()
    assert told(order.receive(trades(1, 3, 4), 0)) == [1]
    assert told(order.receive(trades(2), PATIENCE_NS - 1)) == [2, 3, 4]


def test_what_does_not_come_in_recorded_time_is_a_gap() -> None:
    order = recorded()
    assert told(order.receive(trades(1, 4), 0)) == [1]
    assert told(order.receive(trades(5), PATIENCE_NS - 1)) == []
    assert told(order.receive(trades(6), PATIENCE_NS)) == [("gap", 2, 3, CAUSE), 4, 5, 6]


def test_the_end_of_the_tape_waits_for_nothing() -> None:
    order = recorded()
    order.receive(trades(1, 4), 0)
    assert told(order.finish()) == [("gap", 2, 3, CAUSE), 4]
    assert order.finish() == []


def test_a_closed_kline_that_is_missing_is_a_gap_too() -> None:
    order = recorded()
    assert told(order.receive([kline(0), kline(2)], 0)) == [0]
    first = NOON + MINUTE
    assert told(order.finish()) == [("gap", first, first, CAUSE), 2]
