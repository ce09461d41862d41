"""Counters of several feeds and sinks, as one, and what is told of them."""

import pytest

from cryptostream.engine.stats import (
    UNWELL_SHOWN,
    FeedStats,
    Histogram,
    PairFacts,
    PublisherStats,
    delay_s,
    merged,
    quantile,
    standing,
)
from cryptostream.model.events import KlineRecord, Ledger, LedgerRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription

NOW_NS = 1_731_605_400_000_000_000
BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)


def observed(*values: float) -> Histogram:
    made = Histogram((1.0, 2.0))
    for value in values:
        made.observe(value)
    return made


def test_counters_add_up_and_the_worst_lag_is_shown() -> None:
    one = FeedStats(total_messages=5, lag_ms=3.0, reconnects_by={"closed": 1})
    other = FeedStats(total_messages=7, lag_ms=9.0, reconnects_by={"closed": 2, "silent": 1})
    whole = merged([FeedStats(), one, other])
    assert (whole.total_messages, whole.lag_ms, whole.reconnects_by) == (12, 9.0, {"closed": 3, "silent": 1})


def test_the_first_trouble_is_told() -> None:
    parts = [PublisherStats(), PublisherStats(trouble="no answer", published=1), PublisherStats(published=2)]
    assert (merged(parts).trouble, merged(parts).published) == ("no answer", 3)


def test_histograms_add_up_bound_by_bound_and_the_parts_stay_as_they_are() -> None:
    parts = [
        FeedStats(exchange_to_socket=observed(0.5, 7.0)),
        FeedStats(exchange_to_socket=observed(1.5, 0.1)),
    ]
    whole = merged(parts).exchange_to_socket
    assert (whole.counts, whole.total, whole.sum) == ([2, 1, 1], 4, 9.1)
    assert parts[0].exchange_to_socket.counts == [1, 0, 1]


def test_a_value_on_a_bound_belongs_to_it() -> None:
    assert observed(1.0, 2.0).counts == [1, 1, 0]


@pytest.mark.parametrize(("share", "expected"), [(0.01, 0.00002), (0.5, 0.01), (0.75, 0.1), (0.99, 30.0), (1.0, 30.0)])
def test_a_quantile_lies_where_its_share_is_reached(share: float, expected: float) -> None:
    counts = [25, 0, 0, 0, 25, 0, 0, 25, *[0] * 7, 25]
    assert quantile(counts, share) == pytest.approx(expected)


def trade(ms_ago: float, *, filled: bool = False) -> TradeRecord:
    ts = Micros(int(NOW_NS / 1000 - ms_ago * 1000))
    return TradeRecord(BTC, "1", "1", ts, "buy", 1, filled=filled)


def kline(event_after_close_ms: int, *, closed: bool) -> KlineRecord:
    """Of a window that ended a second ago."""
    close_time = NOW_NS // 1_000_000 - 1000
    ts = Micros((close_time + event_after_close_ms) * 1000)
    return KlineRecord(MINUTES, close_time - 59_999, close_time, *("1",) * 6, 1, "1", "1", closed, ts)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (trade(250), 0.25),
        (trade(-5000), 0.0),
        (trade(250, filled=True), None),
        (kline(100, closed=True), 0.9),
        (kline(-500, closed=False), 1.5),
        (kline(0, closed=True), None),
        (LedgerRecord(Ledger("binance"), "connected", Micros(1)), None),
    ],
    ids=["trade", "trade of the future", "fetched trade", "closed kline", "update", "fetched kline", "ledger"],
)
def test_only_what_a_socket_brought_has_a_delay(record: Record, expected: float | None) -> None:
    assert delay_s([record], NOW_NS) == (None if expected is None else pytest.approx(expected))


def test_the_delay_of_a_write_is_that_of_the_oldest_that_has_one() -> None:
    assert delay_s([trade(900, filled=True), trade(500), trade(100)], NOW_NS) == pytest.approx(0.5)
    assert delay_s([], NOW_NS) is None


def test_other_processes_are_told_of_every_pair_once_and_of_the_first_that_are_not_live() -> None:
    pairs = [
        PairFacts(exchange="binance", channel=channel, pair=f"P{number}", state="live" if number < 10 else "silent")
        for number in range(300)
        for channel in ("trades", "klines:1m")
    ]
    told = standing([*pairs, PairFacts(exchange="binance", channel="", pair="GONE", state="left out", note="unknown")])
    assert told["followed"] == [f"binance:P{number}" for number in range(300)]
    unwell = told["unwell"]
    assert isinstance(unwell, list)
    assert (len(unwell), unwell[0].pair) == (UNWELL_SHOWN, "P10")
