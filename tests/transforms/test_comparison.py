"""Our account of trades beside the venue's: every way to differ, and what neither side can be blamed for."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from cryptostream.model.codec import fields, iso
from cryptostream.model.events import KlineRecord, Micros, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.transforms.comparison import Comparison, OfKlines

START = 1_731_605_400_000_000
LINE = Subscription("binance", Channel.TRADES, "BTCUSDT")


def row(number: int, price: str = "100.50", qty: str = "0.10000000") -> TradeRecord:
    return TradeRecord(LINE, price, qty, Micros(START + number * 1000), "buy", number)


def ours(number: int, **changed: str) -> dict[str, str]:
    fields = {"price": "100.50", "qty": "0.10000000", "ts": iso(START + number * 1000), "side": "buy"}
    return {**fields, "trade_id": str(number), **changed}


def gap(first: int, last: int) -> dict[str, str]:
    return {"kind": "gap", "gap_from": str(first), "gap_to": str(last)}


def compared(
    entries: Sequence[dict[str, str]], rows: Sequence[TradeRecord], *, starts: int = 1, page: int = 2
) -> Comparison:
    """All entries against rows that come a page at a time, as late as they can."""
    comparison = Comparison(starts)
    pages = [rows[at : at + page] for at in range(0, len(rows), page)]
    for entry in entries:
        first = int(entry.get("trade_id") or entry["gap_from"])
        while not comparison.settle(first, int(entry.get("gap_to", first)), entry):
            if pages:
                comparison.take(pages.pop(0))
            else:
                comparison.end()
    return comparison


def test_the_same_trades_agree_in_number_range_and_sums() -> None:
    found = compared([ours(n) for n in range(1, 6)], [row(n) for n in range(1, 9)])

    assert found.failures == {}
    assert found.ours == found.theirs
    assert (found.ours.facts, found.ours.first_id, found.ours.last_id) == (5, 1, 5)
    assert (found.ours.qty, found.ours.quote) == (Decimal("0.5"), Decimal("50.25"))


DIFFERING = {
    "a price": (ours(2, price="100.51"), "2: price 100.51, venue 100.50"),
    "a quantity": (ours(2, qty="0.2"), "2: qty 0.2, venue 0.10000000"),
    "a time": (ours(2, ts=iso(START)), f"2: ts {iso(START)}, venue {iso(START + 2000)}"),
    "a side": (ours(2, side="sell"), "2: side sell, venue buy"),
    "what is no price": (ours(2, price="x"), "2: price 'x', qty '0.10000000'"),
}


@pytest.mark.parametrize(("entry", "told"), DIFFERING.values(), ids=DIFFERING)
def test_what_differs_is_named(entry: dict[str, str], told: str) -> None:
    found = compared([ours(1), entry, ours(3)], [row(n) for n in range(1, 4)])

    assert (found.differing.count, found.differing.examples) == (1, [told])


def test_numbers_are_compared_by_value_and_times_by_the_millisecond() -> None:
    found = compared([ours(1, price="100.5000", ts=iso(START + 1999))], [row(1)])

    assert found.failures == {}


def test_what_the_venue_has_and_we_have_not() -> None:
    found = compared([ours(1), ours(5), ours(6)], [row(n) for n in range(1, 7)])

    assert found.failures == {"missing here": 3}
    assert found.missing_here.first == [(2, 4)]
    assert (found.ours.facts, found.theirs.facts) == (3, 6)


def test_what_we_say_is_missing_is_no_failure() -> None:
    found = compared([ours(1), gap(2, 5), ours(6)], [row(n) for n in range(1, 7)])

    assert (found.failures, found.known_missing) == ({}, 4)


def test_what_we_have_and_the_venue_has_not() -> None:
    found = compared([ours(n) for n in range(1, 7)], [row(1), row(2), row(5), row(6)])

    assert found.failures == {"missing there": 2}
    assert found.missing_there.first == [(3, 4)]


def test_what_lies_outside_of_the_venues_account_is_only_counted() -> None:
    found = compared([ours(n) for n in range(1, 10)], [row(n) for n in range(4, 7)], starts=4)

    assert (found.failures, found.outside) == ({}, 6)
    assert (found.ours.first_id, found.ours.last_id) == (4, 6)


def test_what_the_venue_has_before_our_first_is_not_asked_for() -> None:
    found = compared([ours(5), ours(6)], [row(n) for n in range(1, 8)])

    assert (found.failures, found.theirs.facts) == ({}, 2)


def test_a_venue_with_nothing_covers_nothing() -> None:
    assert compared([ours(1), ours(2)], []).outside == 2


def test_an_entry_that_comes_again_is_passed_over() -> None:
    found = compared([ours(1), ours(2), ours(1), ours(3)], [row(n) for n in range(1, 4)])

    assert (found.failures, found.ours.facts) == ({}, 3)


def test_sums_are_exact_to_the_last_digit() -> None:
    price, qty = "123456789012.00000001", "98765432109.00000001"
    numbers = range(1, 4)
    found = compared([ours(n, price=price, qty=qty) for n in numbers], [row(n, price, qty) for n in numbers])

    exact = 3 * int(price.replace(".", "")) * int(qty.replace(".", ""))
    assert str(found.ours.quote).replace(".", "") == str(exact)


def test_a_long_gap_holds_one_page_at_most() -> None:
    comparison = Comparison(1)
    comparison.take([row(1)])
    assert comparison.settle(1, 1, ours(1))
    for number in range(2, 1000):
        assert not comparison.settle(2, 5000, gap(2, 5000))
        comparison.take([row(number)])

    assert len(comparison._rows) == 1


MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
OPENED = START // 1000


def candle(window: int) -> KlineRecord:
    opened = OPENED + window * 60_000
    closes = opened + 59_999
    prices, volumes, taker = ("10.0", "12.0", "9.0", "11.0"), ("3.0", "30.0"), ("1.0", "10.0")
    return KlineRecord(MINUTES, opened, closes, *prices, *volumes, 7, *taker, True, Micros(closes * 1000))


def compared_klines(entries: Sequence[dict[str, str]], rows: Sequence[KlineRecord]) -> Comparison:
    comparison = Comparison(OPENED, OfKlines(Interval.M1))
    comparison.take(rows)
    comparison.end()
    for entry in entries:
        comparison.settle(int(entry["open_time"]), int(entry["open_time"]), entry)
    return comparison


def test_the_same_klines_agree_whenever_and_with_however_many_zeros_they_were_told() -> None:
    entries = [{**fields(candle(n)), "ts": iso(START), "high": "12.000"} for n in range(3)]
    found = compared_klines(entries, [candle(n) for n in range(3)])

    assert (found.failures, found.ours == found.theirs) == ({}, True)
    assert (found.ours.facts, found.ours.qty, found.ours.quote) == (3, Decimal(9), Decimal(90))


@pytest.mark.parametrize(
    "name",
    [
        *("close_time", "open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume"),
        *("taker_buy_quote_volume", "closed", "interval"),
    ],
)
def test_a_kline_differs_in_any_field(name: str) -> None:
    entry = fields(candle(0))
    [example] = compared_klines([{**entry, name: "8"}], [candle(0)]).differing.examples

    assert example == f"{OPENED}: {name} 8, venue {entry[name]}"


def test_klines_that_one_side_misses_are_stretches_of_windows() -> None:
    mine, theirs = [fields(candle(n)) for n in (0, 3, 4, 5, 6)], [candle(n) for n in (0, 1, 2, 3, 6)]
    found = compared_klines(mine, theirs)

    assert found.missing_here.first == [(OPENED + 60_000, OPENED + 120_000)]
    assert found.missing_there.first == [(OPENED + 240_000, OPENED + 300_000)]
