"""Each strategy's rule on a few bars, worked out by hand."""

from typing import Any

import pytest

from cryptostream.strategies.bollinger_breakout import BollingerBreakout
from cryptostream.strategies.ma_cross import MaCross
from cryptostream.strategies.macd_rsi import MacdRsi
from cryptostream.strategies.rsi_reversion import RsiReversion
from cryptostream.strategies.rsi_trend import RsiTrend
from cryptostream.strategies.support_resistance import SupportResistance
from tests.strategies.market import bar, bars, said

Told = list[tuple[int, str, float]]


def told(strategy: Any, closes: list[float]) -> Told:
    return [(number, each.side, round(each.strength, 4)) for number, each in said(strategy, bars(closes))]


# Two averages of 1 and 2 bars: the fast one is above where the close is above the close before.
@pytest.mark.parametrize(
    ("closes", "expected"),
    [
        pytest.param([1, 2, 3], [], id="the first side is no crossing"),
        pytest.param([1, 2, 3, 2], [(4, "sell", 0.5)], id="death cross, the slow average does not fall yet"),
        pytest.param([1, 2, 3, 1], [(4, "sell", 1.0)], id="death cross, the slow average falls"),
        pytest.param([3, 2, 4, 5, 6], [(3, "buy", 1.0)], id="golden cross, said once"),
        pytest.param([1, 2, 2, 3], [], id="a touch is no crossing"),
        pytest.param([1, 2, 2, 1], [(4, "sell", 1.0)], id="a crossing that stops at the line for a bar"),
        pytest.param([2, 2, 3], [(3, "buy", 1.0)], id="from the line upwards"),
        pytest.param([2, 2, 2, 2], [], id="nothing moves"),
    ],
)
def test_ma_cross(closes: list[float], expected: Told) -> None:
    assert told(MaCross(fast=1, slow=2), closes) == expected


def test_ma_cross_of_exponential_averages() -> None:
    # The slow ones at the last bar: simple 4.6, exponential 3 + 0.5 + 0.15.
    closes = [1.0, 2.0, 6.0, 4.0, 3.8]
    assert told(MaCross(fast=1, slow=3, average="sma"), closes) == [(5, "sell", 0.5)]
    assert told(MaCross(fast=1, slow=3, average="ema"), closes) == []


# RSI of one change: 100 after a rise, 0 after a fall, 50 after neither.
@pytest.mark.parametrize(
    ("closes", "expected"),
    [
        pytest.param([1, 2, 3, 4], [], id="the first range is no crossing"),
        pytest.param([1, 2, 1], [(3, "sell", 1.0)], id="out of the range of a rising market"),
        pytest.param([1, 2, 2, 3], [], id="the middle does not end a range"),
        pytest.param([2, 1, 1, 2, 2, 3, 2], [(4, "buy", 1.0), (7, "sell", 1.0)], id="each range said once"),
        pytest.param([1, 1, 2], [(3, "buy", 1.0)], id="from between the ranges"),
    ],
)
def test_rsi_trend(closes: list[float], expected: Told) -> None:
    assert told(RsiTrend(period=1), closes) == expected


def test_rsi_trend_tells_how_far_it_went_past_the_line() -> None:
    # Averages of gains and losses: 0 and 1, then 0.5 and 0.5, then 0.75 and 0.25: RSI 75 is 15 of 40 past 60.
    assert told(RsiTrend(period=2), [10, 9, 8, 9, 10]) == [(5, "buy", 0.375)]


# Averages of gains and losses: 0.5 and 1 (33.3), 0.25 and 1.5 (14.3), 0.625 and 0.75 (45.5), 0.8125 and 0.375 (68.4).
DOWN = [10.0, 11.0, 9.0, 7.0, 8.0]


@pytest.mark.parametrize(
    ("closes", "expected"),
    [
        pytest.param(DOWN, [(5, "buy", 0.5238)], id="back from oversold, (30 - 14.3) / 30 deep"),
        pytest.param([*DOWN, 9], [(5, "buy", 0.5238), (6, "exit", 1.0)], id="exit at the middle"),
        pytest.param([20 - close for close in [*DOWN, 9]], [(5, "sell", 0.5238), (6, "exit", 1.0)], id="mirrored"),
        pytest.param([*DOWN, 8.125], [(5, "buy", 0.5238), (6, "exit", 1.0)], id="exit on the middle"),
        pytest.param([*DOWN[:4], 7.2, 7.5], [(6, "buy", 0.5238)], id="as deep as it ever was on this visit"),
        pytest.param([*DOWN, 5, 6.5], [(5, "buy", 0.5238)], id="a second visit says nothing new"),
        pytest.param([*DOWN[:4], 12], [], id="a jump over the middle leaves nothing to come back"),
        pytest.param([10, 9, 8, 9], [], id="50 is the middle"),
        pytest.param([10, 9, 8, 8.5], [(4, "buy", 1.0)], id="the first value may be where it comes back from"),
    ],
)
def test_rsi_reversion(closes: list[float], expected: Told) -> None:
    assert told(RsiReversion(period=2), closes) == expected


def test_rsi_reversion_after_an_exit_that_went_straight_to_the_other_end() -> None:
    # 82.9 with the exit at once, then 56.9: back below overbought, (82.9 - 70) / 30 deep.
    assert told(RsiReversion(period=2), [*DOWN, 11, 10]) == [(5, "buy", 0.5238), (6, "exit", 1.0), (7, "sell", 0.4286)]


# Bands over two bars: the mean, and half of half the change to both sides; a close that moves is beyond them.
@pytest.mark.parametrize(
    ("closes", "expected"),
    [
        pytest.param([1, 2, 3], [], id="the first side is no crossing"),
        pytest.param([1, 2, 1], [(3, "sell", 1.0)], id="from above to below"),
        pytest.param([1, 1, 2, 3], [(3, "buy", 1.0)], id="a breakout, said once"),
        pytest.param([1, 1, 2, 2, 3], [(3, "buy", 1.0)], id="inside for a bar is no exit"),
        pytest.param([0.1, 0.1, 0.1, 0.1], [], id="nothing moves"),
    ],
)
def test_bollinger_breakout(closes: list[float], expected: Told) -> None:
    assert told(BollingerBreakout(period=2, width=0.5), closes) == expected


def test_bollinger_breakout_ends_at_the_middle_and_may_break_out_again() -> None:
    # At 16 the mean is 12 and the deviation 2.345; 13 lies below the mean of 14.25.
    closes = [10.0, 11.0, 10.0, 11.0, 16.0, 17.0, 13.0, 13.0, 13.0, 13.0, 14.0]
    strategy = BollingerBreakout(period=4, width=1.5)
    assert told(strategy, closes) == [(5, "buy", 0.1371), (7, "exit", 1.0), (11, "buy", 0.1547)]


# (high, low, close); resistance and support of two bars, exits of one, a true range of one.
RANGE = [(10, 8, 9), (10, 8, 9), (10, 8, 9)]


@pytest.mark.parametrize(
    ("market", "expected"),
    [
        pytest.param([*RANGE, (12, 9, 11)], [(4, "buy", 0.5)], id="above resistance by half a true range"),
        pytest.param([*RANGE, (12, 8, 10)], [], id="the high alone breaks nothing"),
        pytest.param([*RANGE, (9, 7, 7)], [(4, "sell", 0.5)], id="below support"),
        pytest.param([*RANGE, (12, 9, 11), (14, 11, 13)], [(4, "buy", 0.5)], id="another high says nothing new"),
        pytest.param([(10, 8, 9), (10, 8, 9), (12, 9, 11), (14, 11, 13)], [], id="the first side is no crossing"),
        pytest.param(
            [*RANGE, (12, 9, 11), (12, 10, 11), (11, 9, 9.5), (10, 7, 8), (11, 8, 10.5)],
            [(4, "buy", 0.5), (6, "exit", 1.0), (7, "sell", 0.5), (8, "exit", 1.0)],
            id="exits at the low and the high of the bar before",
        ),
    ],
)
def test_support_resistance(market: list[tuple[float, float, float]], expected: Told) -> None:
    strategy = SupportResistance(period=2, exit_period=1, atr_period=1)
    found = said(strategy, [bar(close, high, low) for high, low, close in market])
    assert [(number, each.side, each.strength) for number, each in found] == expected


def test_a_buffer_keeps_resistance_from_being_broken_by_a_little() -> None:
    market = [bar(close, high, low) for high, low, close in [*RANGE, (12, 9, 11), (14, 11, 13)]]
    buffered = SupportResistance(period=2, exit_period=1, atr_period=1, buffer=0.5)
    assert said(buffered, market[:4]) == []
    assert [number for number, _ in said(SupportResistance(2, 1, 1, buffer=0.49), market[:4])] == [4]


# The average of 1 is the close, that of 2 goes two thirds of the way to it, the signal two thirds to their difference.
@pytest.mark.parametrize(
    ("closes", "expected"),
    [
        pytest.param([4, 4, 4, 6], [(4, "buy", 1.0)], id="up, RSI 100"),
        pytest.param([4, 4, 4, 2], [(4, "sell", 1.0)], id="down, RSI 0"),
        pytest.param([4, 4, 4, 6, 6], [(4, "buy", 1.0), (5, "exit", 1.0)], id="down without RSI ends what was said"),
        pytest.param([4, 4, 4, 6, 6, 3, 3], [(4, "buy", 1.0), (5, "exit", 1.0)], id="up without RSI says nothing"),
        pytest.param(
            [4, 4, 4, 6, 6, 3, 3, 2],
            [(4, "buy", 1.0), (5, "exit", 1.0), (8, "sell", 1.0)],
            id="down with RSI",
        ),
        pytest.param([4, 4, 4, 6, 5], [(4, "buy", 1.0), (5, "sell", 1.0)], id="turn around"),
        pytest.param([2, 3, 5, 8], [], id="the first side is no crossing"),
    ],
)
def test_macd_rsi(closes: list[float], expected: Told) -> None:
    strategy = MacdRsi(fast=1, slow=2, signal=2, rsi_period=1, overbought=100, oversold=0)
    assert told(strategy, closes) == expected


def test_macd_rsi_does_not_buy_what_is_overbought_already() -> None:
    assert told(MacdRsi(fast=1, slow=2, signal=2, rsi_period=1), [4, 4, 4, 6]) == []


def test_a_signal_says_why_and_carries_its_indicators() -> None:
    ((_, signal),) = said(RsiTrend(period=2), bars([10, 9, 8, 9, 10]))
    assert (signal.reason, signal.values) == ("RSI 75.0 crossed above 60", {"rsi": 75.0})


@pytest.mark.parametrize(
    ("kind", "wrong", "words"),
    [
        (MacdRsi, {"fast": 26}, "fast must be less than slow"),
        (MacdRsi, {"rsi_period": 0}, "rsi_period"),
        (MacdRsi, {"oversold": 60.0}, "oversold 60, middle 50, overbought 70"),
        (MaCross, {"fast": 200}, "fast should be less than slow, got 200 and 200"),
        (MaCross, {"fast": 0}, "fast"),
        (MaCross, {"average": "wma"}, "sma or ema"),
        (RsiTrend, {"bear": 61.0}, "bear 61, bull 60"),
        (RsiTrend, {"bull": 101.0}, "from 0 to 100"),
        (RsiReversion, {"period": -1}, "period"),
        (BollingerBreakout, {"period": 1}, "one value has no deviation"),
        (BollingerBreakout, {"width": 0.0}, "width"),
        (SupportResistance, {"buffer": -0.1}, "buffer"),
        (SupportResistance, {"exit_period": 0}, "exit_period"),
        (SupportResistance, {"atr_period": 0}, "atr_period"),
    ],
)
def test_parameters_without_sense_are_refused_by_their_name(kind: type[Any], wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kind(**wrong)
