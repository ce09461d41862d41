"""Windows that move on by their test, and what the tests make of the cash one after the other."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.backtest.result import Book, Curve, Figures, Fill, PairResult, Result, Trip
from cryptostream.backtest.walk import Window, combine, windows
from cryptostream.errors import UsageError
from cryptostream.model.events import Micros, Signal
from tests.backtest.results import candles

DAY = 86_400_000_000
NONE: dict[str, Any] = dict.fromkeys(Figures.__struct_fields__, 0.0)


def ran(start: int, *equity: float, cash: float = 100.0, trips: int = 0) -> Result:
    """A test that marked its equity at these times, and bought 2 at 10 and sold them, so many times."""
    figures = Figures(**{**NONE, "start": Micros(0), "end": Micros(0), "cash": cash})
    ts = np.arange(start, start + len(equity), dtype=np.int64)
    marks = np.array(equity, np.float64)
    fills = [Fill("1-1", "1-2", Micros(start), "buy", 10.0, 2.0, 0.5, 2.0)] * trips
    closed = [Trip("long", 2.0, Micros(start), Micros(start + 1), 10.0, 12.0, 3.0, 1.0, "", "")] * trips
    book = Book("rsi", "binance", "BTCUSDT", cash, [Signal("buy")] * trips, fills, closed, ts, marks, marks)
    pair = PairResult("binance", "BTCUSDT", "trades:BTCUSDT", 0, 0, candles(len(equity)), {"rsi": book})
    curve = Curve("rsi", ts, marks, figures)
    return Result("", "1m", {}, {}, [pair], [curve], replace(curve, name="buy & hold"), {})


def test_windows_move_on_by_the_length_of_a_test() -> None:
    assert windows("3d/1d", 10 * DAY, 15 * DAY) == [
        Window(10 * DAY, 13 * DAY, 13 * DAY, 14 * DAY),
        Window(11 * DAY, 14 * DAY, 14 * DAY, 15 * DAY),
    ]


def test_what_does_not_fill_a_test_is_left_out() -> None:
    assert len(windows("3d/1d", 0, 4 * DAY)) == 1
    assert len(windows("3d/1d", 0, 5 * DAY - 1)) == 1
    assert len(windows("3d/1d", 0, 5 * DAY)) == 2


@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 10**15), st.integers(0, 3000))
def test_tests_follow_on_each_other_and_nothing_is_tested_that_was_trained_on(
    train: int, test: int, start: int, extra: int
) -> None:
    end = start + (train + test + extra) * 1_000_000
    made = windows(f"{train}s/{test}s", start, end)
    for window in made:
        assert window.train_end == window.test_start
        assert window.train_end - window.train_start == train * 1_000_000
        assert window.test_end - window.test_start == test * 1_000_000
    assert all(one.test_end == other.test_start for one, other in pairwise(made))
    assert made[0].train_start == start
    assert end - test * 1_000_000 < made[-1].test_end <= end


def test_window_longer_than_the_data_is_told_with_the_numbers() -> None:
    with pytest.raises(UsageError, match="30d to train and 7d to test is 37d, and there is 12d12h of data"):
        windows("30d/7d", 0, 25 * DAY // 2)
    with pytest.raises(UsageError, match="there is 36d of data"):
        windows("30d/7d", 0, 36 * DAY)


@pytest.mark.parametrize("spec", ["30d", "30d/", "/7d", "30/7", "0s/1d", "1d/0s", "1ms/1d", "1d/7d/3d", "-1d/1d"])
def test_walk_that_cannot_be_read_is_a_mistake(spec: str) -> None:
    with pytest.raises(UsageError) as raised:
        windows(spec, 0, 100 * DAY)
    assert raised.value.hint


def test_walk_of_too_many_windows_is_refused() -> None:
    with pytest.raises(UsageError, match="more than 10,000"):
        windows("1s/1s", 0, 100 * DAY)


def test_each_test_goes_on_with_what_the_one_before_it_left() -> None:
    made = combine([ran(0, 100.0, 110.0), ran(10, 100.0, 90.0), ran(20, 105.0)], "rsi")
    assert made.ts.tolist() == [0, 1, 10, 11, 20]
    assert made.equity == pytest.approx([100.0, 110.0, 110.0, 99.0, 103.95])
    assert (made.figures.cash, made.figures.final) == pytest.approx((100.0, 103.95))


def test_tests_of_other_sizes_are_scaled_to_the_cash_of_the_first() -> None:
    made = combine([ran(0, 200.0, 300.0, cash=200.0), ran(5, 40.0, cash=50.0)], "rsi")
    assert made.equity == pytest.approx([200.0, 300.0, 240.0])


def test_fills_and_trips_count_at_the_size_they_have_then() -> None:
    made = combine([ran(0, 100.0, 200.0, trips=1), ran(5, 100.0, 100.0, trips=2)], "rsi").figures
    assert (made.trips, made.fills, made.signals) == (3, 3, 3)
    assert made.fees == pytest.approx(0.5 + 2 * 1.0)
    assert made.turnover == pytest.approx((20 + 2 * 40) / 175)
    assert made.win_rate == 1.0


def test_tests_without_bars_change_nothing() -> None:
    made = combine([ran(0), ran(3, 120.0), ran(9)], "rsi")
    assert (made.ts.tolist(), made.equity.tolist()) == ([3], [120.0])
    assert combine([ran(0)], "rsi").equity.tolist() == []


def test_tests_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="order of time"):
        combine([ran(10, 1.0, 2.0), ran(0, 1.0)], "rsi")


def test_tests_without_the_strategy_are_refused() -> None:
    with pytest.raises(ValueError, match="no strategy macd"):
        combine([ran(0, 1.0)], "macd")
    with pytest.raises(ValueError, match="without tests"):
        combine([], "rsi")
