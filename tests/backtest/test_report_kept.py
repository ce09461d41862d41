"""What is kept of a backtest's curves: few points, at the same times, without losing how deep it went."""

import numpy as np
import pytest

from cryptostream.backtest.report import kept
from cryptostream.backtest.report.curves import drawdown
from tests.backtest.results import result


def test_curves_have_few_points_and_end_where_the_equity_ends() -> None:
    made = result(bars=3_000)
    told = kept.curves(made)
    assert 400 < len(told["times_ms"]) <= kept.POINTS
    for curve in (*made.curves, made.benchmark):
        assert told["equity"][curve.name][-1] == pytest.approx(curve.equity[-1])
        assert min(told["drawdown"][curve.name]) == pytest.approx(float(drawdown(curve).min()))


def test_a_curve_that_begins_later_stands_at_its_cash_until_then() -> None:
    made = result(bars=60)
    late = made.curves[0]
    late.ts, late.equity = late.ts[30:], late.equity[30:]
    told = kept.curves(made)
    assert told["equity"][late.name][:5] == [late.figures.cash] * 5
    assert not np.any(told["drawdown"][late.name][:5])
