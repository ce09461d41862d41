"""Figures by their standard definitions, held against empyrical-reloaded."""

from math import isfinite, isnan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.backtest.figures import YEAR_S, default_period_s, drawdown, figures, returns, sampled
from cryptostream.backtest.result import Figures, Fill, Trip
from cryptostream.model.events import Micros

empyrical: Any = pytest.importorskip("empyrical", reason="empyrical-reloaded is not installed")

S = 1_000_000
DAY = 86_400 * S


def marked(*equity: float, every_us: int = DAY, start: int = 0) -> tuple[Any, Any]:
    """One mark at the end of each period."""
    ts = start + every_us * np.arange(1, len(equity) + 1, dtype=np.int64)
    return ts, np.array(equity, np.float64)


def of(*equity: float, cash: float = 100.0, period_s: float = 86_400.0, **told: Any) -> Figures:
    ts, values = marked(*equity, every_us=round(period_s) * S)
    return figures(ts, values, cash, told.get("trips", []), told.get("fills", []), 0, period_s=period_s)


def trip(pnl: float, opened: int, closed: int | None) -> Trip:
    upto = None if closed is None else Micros(closed)
    return Trip("long", 1.0, Micros(opened), upto, 1.0, 1.0, pnl, 0.0, "", "")


def fill(price: float, qty: float, fee: float) -> Fill:
    return Fill("0-0", "1-0", Micros(0), "buy", price, qty, fee, qty)


changes = st.lists(st.floats(-0.5, 0.8), min_size=2, max_size=80)


@given(changes, st.sampled_from([1.0, 60.0, 3_600.0, 86_400.0, 7 * 86_400.0]))
def test_figures_are_those_of_empyrical(changes: list[float], period_s: float) -> None:
    equity = 100.0 * np.cumprod(1 + np.array(changes))
    found = of(*equity, period_s=period_s)
    after = np.diff(np.concatenate(([100.0], equity))) / np.concatenate(([100.0], equity[:-1]))
    told = {"returns": after, "annualization": YEAR_S / period_s}
    same(found.volatility, empyrical.annual_volatility(**told))
    same(found.sharpe, empyrical.sharpe_ratio(**told))
    same(found.sortino, empyrical.sortino_ratio(**told))
    same(found.max_drawdown, empyrical.max_drawdown(after))
    with np.errstate(over="ignore", invalid="ignore"):
        if len(changes) * period_s >= 86_400:
            same(found.cagr, empyrical.cagr(**told))
            same(found.calmar, empyrical.calmar_ratio(**told))
        same(found.total_return, empyrical.cum_returns_final(after))


def same(found: float | None, expected: float) -> None:
    if found is None:
        assert isnan(expected) or not isfinite(expected)
    else:
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_year_of_days_worked_out_by_hand() -> None:
    found = of(110.0, 99.0, 121.0)
    assert found.total_return == pytest.approx(0.21)
    assert found.cagr == pytest.approx(1.21 ** (365 / 3) - 1)
    assert found.max_drawdown == pytest.approx(-0.1)
    assert found.max_drawdown_s == 2 * 86_400
    assert (found.start, found.end, found.final, found.period_s) == (DAY, 3 * DAY, 121.0, 86_400.0)


@pytest.mark.parametrize(
    ("equity", "deepest", "longest_s"),
    [
        pytest.param([], 0.0, 0.0, id="no marks"),
        pytest.param([100.0, 100.0, 100.0], 0.0, 0.0, id="nothing happened"),
        pytest.param([101.0, 102.0, 103.0], 0.0, 0.0, id="only up"),
        pytest.param([90.0, 95.0, 99.0], -0.1, 2.0, id="below the cash from the start, to the end"),
        pytest.param([110.0, 99.0, 105.0, 110.0, 110.0, 109.0], -0.1, 3.0, id="reached again"),
        pytest.param([110.0, 99.0, 120.0, 119.0, 118.0, 117.0, 116.0], -0.1, 4.0, id="the longest is not the deepest"),
        pytest.param([50.0, -10.0], -1.1, 1.0, id="more than all of it"),
    ],
)
def test_drawdown(equity: list[float], deepest: float, longest_s: float) -> None:
    assert drawdown(*marked(*equity, every_us=S), cash=100.0) == pytest.approx((deepest, longest_s))


def test_last_value_at_or_before_the_end_of_each_period_counts() -> None:
    ts = np.array([1, S, S + 1, 4 * S, 4 * S + 1], np.int64)
    equity = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert sampled(ts, equity, 10.0, 1.0).tolist() == [10.0, 2.0, 3.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("days", "period_s"), [(400, 86_400), (30, 86_400), (29.9, 3_600), (2, 3_600), (1, 60), (1 / 24, 60), (0.01, 1)]
)
def test_period_leaves_at_least_thirty_returns(days: float, period_s: float) -> None:
    assert default_period_s(days * 86_400) == period_s


@pytest.mark.parametrize(
    ("equity", "unsaid"),
    [
        pytest.param([], {"cagr", "volatility", "sharpe", "sortino", "calmar"}, id="no marks"),
        pytest.param([110.0], {"volatility", "sharpe", "sortino", "calmar"}, id="one return"),
        pytest.param([100.0, 100.0, 100.0], {"sharpe", "sortino", "calmar"}, id="nothing happened"),
        pytest.param([101.0, 103.0, 104.0], {"sortino", "calmar"}, id="nothing lost"),
        pytest.param([50.0, 0.0, 0.0], {"volatility", "sharpe", "sortino"}, id="nothing left"),
        pytest.param([50.0, -5.0, -5.0], {"cagr", "volatility", "sharpe", "sortino", "calmar"}, id="less than nothing"),
    ],
)
def test_what_cannot_be_said_is_none(equity: list[float], unsaid: set[str]) -> None:
    found = of(*equity)
    assert {name for name in Figures.__struct_fields__ if getattr(found, name) is None} == unsaid | {
        "win_rate",
        "profit_factor",
    }


def test_growth_a_year_that_is_beyond_numbers_is_not_said() -> None:
    found = of(*[1e4 * 10.0**n for n in range(24)], 1.0, period_s=3_600.0, cash=1.0)
    assert found.cagr == 0.0
    assert of(*[10.0**n for n in range(25)], period_s=3_600.0, cash=1.0).cagr is None


def test_growth_a_year_is_not_told_of_less_than_a_day() -> None:
    for hours, told in ((23, False), (24, True)):
        found = of(*[100.0 + hour % 3 for hour in range(hours)], period_s=3_600.0)
        assert (found.cagr is not None, found.calmar is not None) == (told, told)
        assert found.sharpe is not None


@given(st.lists(st.floats(-1e6, 1e9), max_size=20), st.floats(1e-3, 1e9), st.sampled_from([1.0, 86_400.0]))
def test_no_figure_is_ever_infinite(equity: list[float], cash: float, period_s: float) -> None:
    found = of(*equity, cash=cash, period_s=period_s)
    for name in Figures.__struct_fields__:
        value = getattr(found, name)
        assert value is None or isfinite(value), name
        assert type(value) in (float, int, type(None)), name


def test_wins_losses_and_what_was_paid() -> None:
    trips = [trip(30.0, 0, S), trip(-10.0, S, 2 * S), trip(0.0, 2 * S, 3 * S), trip(-5.0, 3 * S, None)]
    fills = [fill(100.0, 2.0, 0.5), fill(50.0, 2.0, 0.25)]
    found = of(90.0, 110.0, trips=trips, fills=fills)
    assert (found.trips, found.win_rate, found.profit_factor) == (4, 0.25, 2.0)
    assert (found.fills, found.fees, found.turnover) == (2, 0.75, 3.0)


def test_profit_without_a_loss_has_no_factor() -> None:
    assert of(110.0, trips=[trip(10.0, 0, S)]).profit_factor is None


@pytest.mark.parametrize(
    ("held", "exposure"),
    [
        pytest.param([], 0.0, id="never"),
        pytest.param([(10, 20), (20, 30)], 0.2, id="one after the other"),
        pytest.param([(10, 30), (20, 40)], 0.3, id="at once counts once"),
        pytest.param([(10, 60), (20, 30)], 0.5, id="one inside the other"),
        pytest.param([(80, None)], 0.2, id="still held"),
        pytest.param([(-50, 10), (90, 200)], 0.2, id="no more than the time there is"),
    ],
)
def test_exposure_is_the_share_of_the_time_in_which_anything_was_held(
    held: list[tuple[int, int | None]], exposure: float
) -> None:
    ts, equity = np.array([0, 100 * S], np.int64), np.array([100.0, 100.0])
    trips = [trip(0.0, opened * S, None if closed is None else closed * S) for opened, closed in held]
    assert figures(ts, equity, 100.0, trips, [], 0).exposure == pytest.approx(exposure)


def test_returns_begin_with_the_cash() -> None:
    found = returns(np.array([100.0, 110.0, 99.0]))
    assert found is not None
    assert found.tolist() == pytest.approx([0.1, -0.1])


def test_mark_that_is_older_than_the_one_before_it_does_not_turn_time_back() -> None:
    equity = np.array([100.0, 110.0, 120.0])
    late = figures(np.array([0, 5 * S, 4 * S], np.int64), equity, 100.0, [], [], 0)
    assert late == figures(np.array([0, 5 * S, 5 * S], np.int64), equity, 100.0, [], [], 0)
