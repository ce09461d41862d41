"""The candles of a chart, as differences: what a browser has after them is what the bus has."""

import pytest

from cryptostream.indicators.ema import Ema
from cryptostream.indicators.rsi import Rsi
from cryptostream.web.dashboard.candles import MOST, Candles
from cryptostream.web.shown import Bar
from tests.web import probes

EMA, RSI = 9, 12


class Browser:
    """What a browser makes of changes: the rule of `plot.js`."""

    def __init__(self) -> None:
        self.rows: list[list[float | int | None]] = []

    def take(self, change: "dict | None") -> int:
        """How many rows came."""
        if change is None:
            return 0
        if change["whole"]:
            self.rows = []
        for row in change["rows"]:
            if self.rows and self.rows[-1][0] == row[0]:
                self.rows.pop()
            self.rows.append(row)
        del self.rows[:-MOST]
        return len(change["rows"])


def bars(first: int, until: int) -> list[Bar]:
    """Closed ones, and an open one last."""
    return [probes.bar(at, closed=at < until - 1) for at in range(first, until)]


def test_only_what_is_new_is_told() -> None:
    candles, browser = Candles(), Browser()
    assert browser.take(candles.changed(bars(0, 60))) == 60
    assert browser.take(candles.changed(bars(0, 60))) == 0
    moved = [*bars(0, 60)[:-1], probes.bar(59, closed=False).model_copy(update={"close": 200.0})]
    assert browser.take(candles.changed(moved)) == 1
    assert browser.rows[-1][4] == 200.0
    assert browser.take(candles.changed(bars(0, 61))) == 2  # the one that closed, and the next
    assert [row[0] for row in browser.rows] == [bar.open_time_ms for bar in bars(0, 61)]


def test_a_window_that_slides_keeps_its_indicators() -> None:
    candles, browser = Candles(), Browser()
    for until in range(460, 580, 17):
        assert browser.take(candles.changed(bars(max(0, until - MOST), until))) <= (460 if until == 460 else 18)
    ema, rsi = Ema(50), Rsi(14)
    told = [(ema.update(bar.close), rsi.update(bar.close)) for bar in bars(0, 579)][-MOST:]
    assert len(browser.rows) == MOST
    assert [(row[EMA], row[RSI]) for row in browser.rows] == [(pytest.approx(e), pytest.approx(r)) for e, r in told]


@pytest.mark.parametrize(
    "then",
    [
        pytest.param(bars(-10, 60), id="older ones than before"),
        pytest.param(bars(600, 660), id="a hole that nobody told"),
        pytest.param([probes.bar(0, gap=True), *bars(1, 60)], id="one of the past is another one"),
        pytest.param([], id="an empty bus"),
    ],
)
def test_another_past_begins_anew(then: list[Bar]) -> None:
    candles, browser = Candles(), Browser()
    browser.take(candles.changed(bars(0, 60)))
    browser.take(candles.changed(then))
    assert [row[0] for row in browser.rows] == [bar.open_time_ms for bar in then]
    assert [row[7] & 2 for row in browser.rows] == [2 if bar.gap else 0 for bar in then]
