"""Ledgers worked out by hand, and what holds for every ledger."""

from collections.abc import Mapping
from math import fsum, inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.backtest.broker import RUINED, Account, Broker
from cryptostream.backtest.result import Book, Fill
from cryptostream.backtest.terms import Size, Terms
from cryptostream.model.events import Micros, Opinion, Signal


def told(side: Opinion, at: int) -> Signal:
    return Signal(side, reason=f"{side} {at}", strategy="one", price=1.0, ts=Micros(at), entry_id=f"{at}-0")


def ledger(prices: list[float], opinions: Mapping[int, Opinion], **terms: Any) -> Book:
    """Each price is a trade and a bar, a microsecond after the one before; opinions by the trade that causes them."""
    account = Account(Terms(**{"cash": 1000.0, "fee_bps": 0.0} | terms))
    for at, price in enumerate(prices):
        gone = account.mark(Micros(at), price)
        if account.order is not None and account.order.due <= at:
            account.fill(f"{at}-0", Micros(at), price)
        if gone:
            account.give_up(f"{at}-0", Micros(at))
        if at in opinions:
            account.take(told(opinions[at], at))
    account.mark(Micros(len(prices)), prices[-1])
    return account.book("one", "binance", "BTCUSDT", prices[-1])


def rows(book: Book) -> list[tuple[str, str, float, float, float, float]]:
    return [(each.entry_id, each.side, each.price, each.qty, each.fee, each.position) for each in book.fills]


UNITS = Size(2.0, "base")
# At 100 bought and at 110 sold with a fee of 100 bps: 1000 / (100 * 1.01) are bought.
BOUGHT = 1000 / 101


@pytest.mark.parametrize(
    ("prices", "opinions", "terms", "fills", "final"),
    [
        pytest.param(
            [99, 100, 110], {0: "buy"}, {}, [("1-0", "buy", 100.0, 10.0, 0.0, 10.0)], 1100.0, id="all of it, no costs"
        ),
        pytest.param(
            [99, 100, 105, 110, 120],
            {0: "buy", 2: "exit"},
            {"fee_bps": 100.0},
            [("1-0", "buy", 100.0, BOUGHT, BOUGHT, BOUGHT), ("3-0", "sell", 110.0, BOUGHT, BOUGHT * 1.1, 0.0)],
            BOUGHT * 110 * 0.99,
            id="fees both ways come out of the cash",
        ),
        pytest.param(
            [99, 100, 105, 110],
            {0: "buy", 2: "exit"},
            {"slippage_bps": 100.0},
            [("1-0", "buy", 101.0, 1000 / 101, 0.0, 1000 / 101), ("3-0", "sell", 108.9, 1000 / 101, 0.0, 0.0)],
            1000 / 101 * 108.9,
            id="slippage is against us both ways",
        ),
        pytest.param(
            [99, 100, 110],
            {0: "buy"},
            {"size": Size.parse("50%")},
            [("1-0", "buy", 100.0, 5.0, 0.0, 5.0)],
            1050.0,
            id="half of the equity",
        ),
        pytest.param(
            [99, 100, 110],
            {0: "buy"},
            {"size": Size.parse("300"), "fee_bps": 100.0},
            [("1-0", "buy", 100.0, 3.0, 3.0, 3.0)],
            1027.0,
            id="an amount of the quote currency, the fee on top",
        ),
        pytest.param(
            [99, 100, 110],
            {0: "buy"},
            {"size": Size.parse("20 base"), "fee_bps": 100.0},
            [("1-0", "buy", 100.0, BOUGHT, BOUGHT, BOUGHT)],
            BOUGHT * 110,
            id="never more than there is cash for",
        ),
        pytest.param(
            [99, 100, 90, 80],
            {0: "sell"},
            {"size": UNITS, "fee_bps": 100.0},
            [("1-0", "sell", 100.0, 2.0, 2.0, -2.0)],
            1000 + 200 - 2 - 160,
            id="short earns when it falls",
        ),
        pytest.param(
            [99, 100, 105, 110, 120],
            {0: "buy", 2: "sell"},
            {"size": UNITS, "fee_bps": 100.0},
            [("1-0", "buy", 100.0, 2.0, 2.0, 2.0), ("3-0", "sell", 110.0, 4.0, 2.2 + 2.2, -2.0)],
            1000 - 2 + 20 - 4.4 - 20,
            id="sell while long turns around with one order",
        ),
        pytest.param(
            [99, 100, 105, 110, 120],
            {0: "sell", 2: "buy"},
            {"size": UNITS},
            [("1-0", "sell", 100.0, 2.0, 0.0, -2.0), ("3-0", "buy", 110.0, 4.0, 0.0, 2.0)],
            1000 - 20 + 20,
            id="buy while short turns around with one order",
        ),
        pytest.param(
            [99, 100, 105, 110, 120],
            {0: "buy", 2: "sell", 3: "sell"},
            {"size": UNITS, "long_only": True},
            [("1-0", "buy", 100.0, 2.0, 0.0, 2.0), ("3-0", "sell", 110.0, 2.0, 0.0, 0.0)],
            1020.0,
            id="long only: sell ends it, and sells nothing that is not there",
        ),
        pytest.param(
            [99, 100, 110, 120, 130],
            {0: "buy", 1: "buy", 2: "buy"},
            {"size": UNITS},
            [("1-0", "buy", 100.0, 2.0, 0.0, 2.0)],
            1060.0,
            id="buying again adds nothing",
        ),
        pytest.param([99, 100, 110], {0: "exit", 1: "exit"}, {}, [], 1000.0, id="nothing to exit from"),
        pytest.param([99, 100, 110], {2: "buy"}, {}, [], 1000.0, id="nothing after the signal, nothing filled"),
        pytest.param(
            [99, 100, 101, 102, 103, 104],
            {0: "buy"},
            {"size": UNITS, "latency_ms": 0.003},
            [("3-0", "buy", 102.0, 2.0, 0.0, 2.0)],
            1004.0,
            id="not before the latency is over",
        ),
        pytest.param(
            [99, 100, 101, 102, 103, 104],
            {0: "buy", 2: "sell"},
            {"size": UNITS, "latency_ms": 0.003},
            [("5-0", "sell", 104.0, 2.0, 0.0, -2.0)],
            1000.0,
            id="a newer signal replaces the order",
        ),
        pytest.param(
            [99, 100, 101, 102, 103, 104],
            {0: "buy", 1: "buy", 2: "buy"},
            {"size": UNITS, "latency_ms": 0.003},
            [("3-0", "buy", 102.0, 2.0, 0.0, 2.0)],
            1004.0,
            id="the same opinion again leaves the order as it stands",
        ),
        pytest.param(
            [99, 100, 101, 102, 103, 104],
            {0: "buy", 2: "exit"},
            {"size": UNITS, "latency_ms": 0.003},
            [],
            1000.0,
            id="exit before anything was bought takes the order back",
        ),
    ],
)
def test_ledger(
    prices: list[float],
    opinions: dict[int, Opinion],
    terms: dict[str, Any],
    fills: list[tuple[str, str, float, float, float, float]],
    final: float,
) -> None:
    book = ledger(prices, opinions, **terms)
    assert [row[:2] for row in rows(book)] == [row[:2] for row in fills]
    assert [row[2:] for row in rows(book)] == [pytest.approx(row[2:], abs=1e-9) for row in fills]
    assert book.equity[-1] == pytest.approx(final)
    assert len(book.signals) == len(opinions)


def test_equity_is_marked_before_the_trade_that_closed_the_bar_fills_anything() -> None:
    book = ledger([99, 100, 110], {0: "buy"}, fee_bps=100.0)
    assert book.equity.tolist() == pytest.approx([1000, 1000, BOUGHT * 110, BOUGHT * 110])
    assert book.position.tolist() == pytest.approx([0, 0, BOUGHT, BOUGHT])


def test_trip_is_a_position_from_flat_to_flat_after_fees() -> None:
    (trip,) = ledger([99, 100, 105, 110], {0: "buy", 2: "exit"}, size=UNITS, fee_bps=100.0).trips
    assert (trip.side, trip.qty, trip.opened, trip.closed) == ("long", 2.0, 1, 3)
    assert (trip.entry_price, trip.exit_price, trip.reason_in, trip.reason_out) == (100.0, 110.0, "buy 0", "exit 2")
    assert (trip.fees, trip.pnl) == pytest.approx((2 + 2.2, 20 - 4.2))


def test_turning_around_ends_one_trip_and_begins_another_and_splits_the_fee() -> None:
    first, second = ledger([99, 100, 105, 110, 120], {0: "buy", 2: "sell"}, size=UNITS, fee_bps=100.0).trips
    assert (first.closed, second.opened, second.closed) == (3, 3, None)
    assert (second.side, second.entry_price, second.exit_price, second.reason_out) == ("short", 110.0, 120.0, "")
    assert (first.fees, second.fees, second.pnl) == pytest.approx((4.2, 2.2, -22.2))


def test_order_that_the_data_ends_before_is_counted() -> None:
    assert ledger([99, 100], {1: "buy"}).unfilled == 1
    assert ledger([99, 100], {0: "buy"}).unfilled == 0


def test_short_that_lost_everything_is_closed_and_nothing_is_traded_after_it() -> None:
    book = ledger([99, 100, 150, 210, 220, 100, 100, 100], {0: "sell", 5: "buy", 6: "sell"})
    assert rows(book) == [("1-0", "sell", 100.0, 10.0, 0.0, -10.0), ("4-0", "buy", 220.0, 10.0, 0.0, 0.0)]
    assert book.fills[-1].reason == RUINED
    assert book.fills[-1].signal_id == "3-0"
    assert book.ruined == 3
    assert book.equity[-1] == 1000 + 1000 - 2200
    assert len(book.signals) == 3


def test_turning_around_with_nothing_left_only_closes() -> None:
    book = ledger([99, 100, 150, 210, 100], {0: "sell", 2: "buy"})
    assert rows(book)[-1] == ("3-0", "buy", 210.0, 10.0, 0.0, 0.0)
    assert book.ruined == 3
    assert len(book.trips) == 1


def test_order_on_its_way_when_all_is_lost_only_closes_even_if_the_price_comes_back() -> None:
    book = ledger([99, 100, 100, 210, 50, 50], {0: "sell", 2: "buy"}, latency_ms=0.002)
    assert rows(book) == [("2-0", "sell", 100.0, 10.0, 0.0, -10.0), ("4-0", "buy", 50.0, 10.0, 0.0, 0.0)]
    assert (book.ruined, book.equity[-1]) == (3, 1500.0)


def test_accounts_of_one_pair_do_not_touch_each_other() -> None:
    broker = Broker(["one", "other"], Terms(fee_bps=0.0))
    broker.take([told("buy", 0)])
    broker.trade("1-0", Micros(1), 100.0)
    assert broker.accounts["one"].position == 100.0
    assert (broker.accounts["other"].position, broker.accounts["other"].cash) == (0.0, 10_000.0)
    assert broker.waiting == []


opinions: st.SearchStrategy[Opinion | None] = st.sampled_from(["buy", "sell", "exit", None, None])
walks = st.lists(st.tuples(st.floats(0.5, 2.0), opinions), min_size=1, max_size=60)
sizes = st.sampled_from(["100%", "37%", "1000", "250.5", "3 base", "0.001 base", "1e6", "1e6 base"])


@given(
    walks,
    sizes.map(Size.parse),
    st.floats(0, 200),
    st.floats(0, 200),
    st.sampled_from([0.0, 0.001, 0.004]),
    st.booleans(),
    st.sampled_from([1e-4, 1.0, 12345.678]),
)
def test_every_ledger_adds_up(
    walk: list[tuple[float, Opinion | None]],
    size: Size,
    fee_bps: float,
    slippage_bps: float,
    latency_ms: float,
    long_only: bool,
    scale: float,
) -> None:
    prices = [100 * scale]
    for step, _ in walk:
        prices.append(prices[-1] * step)
    said = {at: side for at, (_, side) in enumerate(walk) if side is not None}
    terms = {"size": size, "fee_bps": fee_bps, "slippage_bps": slippage_bps, "latency_ms": latency_ms}
    book = ledger(prices, said, long_only=long_only, **terms)
    cash, position = book.cash, 0.0
    for fill in book.fills:
        cash, position = _after(fill, cash, position)
        assert fill.position == pytest.approx(position, rel=1e-9, abs=1e-12 * max(1.0, fill.qty))  # what is left of it
        assert fill.position <= 0 or cash >= -1e-9 * book.cash
        _came_in_time(fill, prices, terms)
    assert book.equity[-1] == pytest.approx(cash + position * prices[-1], rel=1e-9, abs=1e-6)
    assert not long_only or min(book.position) >= 0
    assert fsum(trip.fees for trip in book.trips) == pytest.approx(fsum(fill.fee for fill in book.fills))
    gained = fsum(trip.pnl for trip in book.trips)
    assert book.equity[-1] - book.cash == pytest.approx(gained, rel=1e-9, abs=1e-6)


def _after(fill: Fill, cash: float, position: float) -> tuple[float, float]:
    sign = 1 if fill.side == "buy" else -1
    assert fill.qty > 0
    return cash - sign * fill.qty * fill.price - fill.fee, position + sign * fill.qty


def _came_in_time(fill: Fill, prices: list[float], terms: dict[str, Any]) -> None:
    caused, filled = int(fill.signal_id[:-2]), int(fill.entry_id[:-2])
    worse = 1 + terms["slippage_bps"] / 1e4 * (1 if fill.side == "buy" else -1)
    assert filled > caused
    assert fill.ts == filled >= caused + terms["latency_ms"] * 1000
    assert fill.price == pytest.approx(prices[filled] * worse)
    assert fill.fee == pytest.approx(fill.price * fill.qty * terms["fee_bps"] / 1e4)


@given(st.floats(1e-8, 1e8), st.floats(1e-3, 1e9), st.floats(0, 5000), st.floats(0, 5000))
def test_buying_with_everything_never_overdraws_by_a_last_digit(
    price: float, cash: float, fee_bps: float, slippage_bps: float
) -> None:
    account = Account(Terms(cash=cash, fee_bps=fee_bps, slippage_bps=slippage_bps))
    account.take(told("buy", 0))
    account.fill("1-0", Micros(1), price)
    assert 0 <= account.cash <= cash * 1e-12
    assert 0 < account.position < inf
