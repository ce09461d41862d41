"""Several pairs as one, and the benchmark beside them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.backtest.figures import of_book
from cryptostream.backtest.portfolio import merged, result
from cryptostream.backtest.result import PairResult
from cryptostream.backtest.run import BENCHMARK, run
from cryptostream.backtest.terms import Size, Terms
from cryptostream.errors import UsageError
from cryptostream.model.events import Opinion
from cryptostream.transforms.bars import parse_bars
from tests.backtest.traded import S, Says, Trades, desk_of, prices

TERMS = Terms(cash=500.0, fee_bps=0.0, size=Size(1.0, "base"))

SHORT = "less than a day of data: what is annualised (volatility, Sharpe, Sortino) says little"


def pair(name: str, *each: float, says: dict[int, Opinion] | None = None, every_us: int = S) -> PairResult:
    series = Trades(prices(*each, every_us=every_us), pair=name, stream=f"trades:{name}")
    desk = desk_of("2s", one=lambda: Says(says or {0: "buy"}), other=Says)
    return run(series, desk, parse_bars("2s"), TERMS)


def test_equities_are_added_and_the_last_value_is_carried_on() -> None:
    ts, equity = merged(
        [
            (np.array([10, 30], np.int64), np.array([1.0, 2.0]), 100.0),
            (np.array([20, 30, 40], np.int64), np.array([10.0, 20.0, 30.0]), 200.0),
            (np.array([5], np.int64), np.array([1000.0]), 300.0),
        ]
    )
    assert ts.tolist() == [5, 10, 20, 30, 40]
    assert equity.tolist() == [1300.0, 1201.0, 1011.0, 1022.0, 1032.0]


marks = st.lists(st.tuples(st.integers(0, 30), st.floats(-100, 100)), max_size=10)


@given(st.lists(marks, max_size=6))
def test_sum_at_any_time_is_that_of_what_each_was_last(each: list[list[tuple[int, float]]]) -> None:
    sides = [(np.array([t for t, _ in side], np.int64), np.array([v for _, v in side], np.float64)) for side in each]
    sides = [(np.maximum.accumulate(ts), equity) for ts, equity in sides]
    ts, equity = merged([(*side, 50.0) for side in sides])
    for at, value in zip(ts.tolist(), equity.tolist(), strict=True):
        last = [([50.0] + [v for t, v in zip(*side, strict=True) if t <= at])[-1] for side in sides]
        assert value == pytest.approx(sum(last), abs=1e-9) or len(sides) == 1


def test_strategy_has_a_curve_over_all_its_pairs() -> None:
    pairs = [pair("BTCUSDT", 10, 11, 12, 13, 14, 15), pair("ETHUSDT", 1, 2, 3, 4, 3, 2, 1, every_us=700_000)]
    whole = result(pairs, source="a test", bars="2s", terms=replace(TERMS, cash=1000.0), params={"one": {"fast": 3}})
    one, other = whole.curves
    assert (one.name, other.name) == ("one", "other")
    assert one.equity[-1] == 500.0 + 2 + 500.0 - 2
    assert (one.figures.cash, one.figures.final, one.figures.trips) == (1000.0, 1000.0, 2)
    assert one.ts.tolist() == sorted({*pairs[0].books["one"].ts.tolist(), *pairs[1].books["one"].ts.tolist()})
    assert set(other.equity.tolist()) == {1000.0}
    assert whole.of_pairs["one", "ETHUSDT"] == of_book(pairs[1].books["one"])
    assert (whole.terms["cash"], whole.params, whole.notes) == (1000.0, {"one": {"fast": 3}}, (SHORT,))


def test_benchmark_buys_every_pair_with_its_share_of_the_cash() -> None:
    pairs = [pair("BTCUSDT", 10, 11, 12, 13, 14, 26), pair("ETHUSDT", 4, 4, 4, 4, 4, 2)]
    whole = result(pairs, source="a test", bars="2s", terms=TERMS, params={})
    assert whole.benchmark.name == BENCHMARK
    assert whole.benchmark.figures.final == pytest.approx(500 * 2 + 500 / 2)
    assert whole.benchmark.figures.fills == 2


def test_one_pair_is_its_own_curve_to_the_last_bit() -> None:
    alone = pair("BTCUSDT", 10, 11, 12, 13, 14, 15)
    (one, _) = result([alone], source="", bars="2s", terms=TERMS, params={}).curves
    assert one.equity.tobytes() == alone.books["one"].equity.tobytes()
    assert one.figures == of_book(alone.books["one"])


def test_pair_that_comes_twice_is_refused() -> None:
    pairs = [pair("BTCUSDT", 1, 2), replace(pair("BTCUSDT", 1, 2), stream="trades:kraken:BTCUSDT")]
    with pytest.raises(UsageError, match="trades:BTCUSDT, trades:kraken:BTCUSDT"):
        result(pairs, source="", bars="2s", terms=TERMS, params={})


def test_ruin_and_an_order_that_was_not_filled_are_said() -> None:
    short = pair("BTCUSDT", *[1, 1, 1, 1] * 2, *[600] * 8, says={0: "sell"})
    late = pair("ETHUSDT", 1, 1, 1, says={0: "buy"})
    notes = result([short, late], source="", bars="2s", terms=TERMS, params={}, notes=["first"]).notes
    assert list(notes) == [
        "first",
        SHORT,
        "one on BTCUSDT lost all its equity and stopped trading",
        "one on ETHUSDT had an order that the data ended before it was filled",
    ]
