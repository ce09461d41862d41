"""Lines that lost something: nothing later of them goes on, nothing of others is held back, all is asked for once."""

import pytest

from cryptostream.bus.awaited import Awaited
from cryptostream.model.events import DeadLetter, GapRecord, KlineRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.testing import ManualClock

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
ETH = Subscription("binance", Channel.TRADES, "ETHUSDT")
MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
LETTER = DeadLetter("ws://x", "not JSON", "<", 1, Micros(1))


def trade(trade_id: int, of: Subscription = BTC) -> TradeRecord:
    return TradeRecord(of, "1", "1", Micros(trade_id), "buy", trade_id)


def gap(first: int, last: int) -> GapRecord:
    return GapRecord(BTC, first, last, "deadline", Micros(1))


def kline(open_ms: int, *, closed: bool) -> KlineRecord:
    return KlineRecord(MINUTES, open_ms, open_ms + 59_999, *("1",) * 6, 3, "4", "6", closed, Micros(1))


class Asked:
    """A feed that notes what it is asked for, and says whether it can have it."""

    def __init__(self, *, can: bool = True) -> None:
        self.asked: list[tuple[Subscription, int]] = []
        self._can = can

    def __call__(self, wanted: Subscription, last_id: int) -> bool:
        self.asked.append((wanted, last_id))
        return self._can


@pytest.fixture
def feed() -> Asked:
    return Asked()


@pytest.fixture
def awaited(feed: Asked, clock: ManualClock) -> Awaited:
    return Awaited(feed, cause="overflow", clock=clock)


def test_each_line_is_asked_once_for_what_it_lost_first(awaited: Awaited, feed: Asked) -> None:
    awaited.lose([trade(3), trade(9, ETH), trade(4), LETTER])
    awaited.lose([trade(5)])
    assert feed.asked == [(BTC, 2), (ETH, 8)]


def test_a_line_waits_for_the_lost_and_others_do_not(awaited: Awaited) -> None:
    awaited.lose([trade(3)])
    assert awaited.sift([trade(4), trade(9, ETH), LETTER, trade(5)]) == [trade(9, ETH), LETTER]
    assert awaited.sift([trade(6), trade(3), trade(4)]) == [trade(3), trade(4)]
    assert (awaited.dropped, bool(awaited)) == (3, False)


def test_what_precedes_the_lost_may_pass_and_does_not_end_the_waiting(awaited: Awaited) -> None:
    awaited.lose([trade(3)])
    assert awaited.sift([trade(2), trade(4)]) == [trade(2)]


@pytest.mark.parametrize(("record", "ends"), [(gap(3, 9), True), (gap(1, 3), True), (gap(1, 2), False)])
def test_a_gap_over_the_lost_is_the_lost(awaited: Awaited, record: Record, ends: bool) -> None:
    awaited.lose([trade(3)])
    assert awaited.sift([record, trade(10)]) == ([record, trade(10)] if ends else [record])


def test_of_klines_only_closed_ones_are_missed(awaited: Awaited, feed: Asked) -> None:
    awaited.lose([kline(0, closed=False)])
    assert (feed.asked, bool(awaited)) == ([], False)
    awaited.lose([kline(60_000, closed=True)])
    assert feed.asked == [(MINUTES, 59_999)]
    later = [kline(120_000, closed=False), kline(120_000, closed=True)]
    assert awaited.sift([*later, kline(60_000, closed=True), *later]) == [kline(60_000, closed=True), *later]


def test_what_cannot_come_again_is_a_gap_before_the_next(clock: ManualClock) -> None:
    awaited = Awaited(Asked(can=False), cause="overflow", clock=clock)
    awaited.lose([trade(3), trade(4)])
    assert awaited.sift([trade(9, ETH), trade(5), trade(6)]) == [
        trade(9, ETH),
        GapRecord(BTC, 3, 4, "overflow", Micros(3)),
        trade(5),
        trade(6),
    ]


def test_a_line_that_goes_on_as_if_nothing_had_been_asked_is_asked_again(
    awaited: Awaited, feed: Asked, clock: ManualClock
) -> None:
    awaited.lose([trade(3)])
    clock.advance(9)
    awaited.sift([trade(4)])
    once = len(feed.asked)
    clock.advance(2)
    awaited.sift([trade(5), trade(6)])
    assert (once, feed.asked) == (1, [(BTC, 2), (BTC, 2)])


def test_what_cannot_come_again_and_comes_all_the_same_needs_no_gap(clock: ManualClock) -> None:
    awaited = Awaited(Asked(can=False), cause="overflow", clock=clock)
    awaited.lose([trade(3)])
    assert awaited.sift([trade(3), trade(4)]) == [trade(3), trade(4)]


def test_a_line_that_is_asked_in_vain_goes_on_after_a_gap(awaited: Awaited, feed: Asked, clock: ManualClock) -> None:
    awaited.lose([trade(3)])
    kept: list[Record] = []
    for trade_id in range(4, 12):
        clock.advance(10)
        kept += awaited.sift([trade(trade_id)])
    assert kept == [GapRecord(BTC, 3, 8, "overflow", Micros(3)), trade(9), trade(10), trade(11)]
    assert (len(feed.asked), bool(awaited)) == (6, False)


def test_a_line_of_which_nothing_comes_for_a_minute_goes_on_with_whatever_comes_then(
    awaited: Awaited, clock: ManualClock
) -> None:
    awaited.lose([trade(3), trade(5, ETH)])
    clock.advance(60)
    awaited.sift([LETTER])
    assert awaited.sift([trade(3), trade(4)]) == [trade(3), trade(4)]
    assert awaited.sift([trade(9, ETH)]) == [GapRecord(ETH, 5, 8, "overflow", Micros(5)), trade(9, ETH)]


def test_what_was_on_its_way_while_all_stood_still_is_not_taken_for_a_line_that_goes_on(
    awaited: Awaited, clock: ManualClock
) -> None:
    awaited.lose([trade(3)])
    clock.advance(120)
    assert awaited.sift([trade(4)]) == []
    assert awaited.sift([trade(5)]) == []
    assert awaited.sift([trade(3), trade(4)]) == [trade(3), trade(4)]


def test_a_line_that_nobody_follows_any_more_is_forgotten(awaited: Awaited, clock: ManualClock) -> None:
    awaited.lose([trade(3)])
    for _ in range(2):
        clock.advance(3600)
        awaited.sift([LETTER])
    assert not awaited
