"""Every position and every prefix as TA-Lib has it, and the rows of StockCharts' sheets."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cryptostream.indicators import (
    Atr,
    Bollinger,
    Ema,
    Highest,
    Indicator,
    Lowest,
    Macd,
    MacdLines,
    Rsi,
    Sma,
    Stochastic,
    Vwap,
    feed,
)
from cryptostream.model.events import Bar
from tests.indicators.market import bar, minutes, sheet, walk

talib = pytest.importorskip("talib", reason="TA-Lib is not installed")

Column = NDArray[np.float64]
Oracle = Callable[[Column, Column, Column], Column | tuple[Column, ...]]
CLOSE = 1e-12

PAIRS: dict[str, tuple[Callable[[], Indicator[Any, Any]], Oracle]] = {
    "sma": (lambda: Sma(20), lambda h, l, c: talib.SMA(c, 20)),  # noqa: E741
    "sma of two": (lambda: Sma(2), lambda h, l, c: talib.SMA(c, 2)),  # noqa: E741
    "ema": (lambda: Ema(21), lambda h, l, c: talib.EMA(c, 21)),  # noqa: E741
    "rsi": (lambda: Rsi(14), lambda h, l, c: talib.RSI(c, 14)),  # noqa: E741
    "rsi of two": (lambda: Rsi(2), lambda h, l, c: talib.RSI(c, 2)),  # noqa: E741
    "macd": (lambda: Macd(12, 26, 9), lambda h, l, c: talib.MACD(c, 12, 26, 9)),  # noqa: E741
    "quick macd": (lambda: Macd(3, 5, 1), lambda h, l, c: talib.MACD(c, 3, 5, 1)),  # noqa: E741
    "bollinger": (lambda: Bollinger(20, 2.0), lambda h, l, c: talib.BBANDS(c, 20, 2.0, 2.0)[::-1]),  # noqa: E741
    "atr": (lambda: Atr(14), lambda h, l, c: talib.ATR(h, l, c, 14)),  # noqa: E741
    "stochastic": (lambda: Stochastic(14, 3, 3), lambda h, l, c: talib.STOCH(h, l, c, 14, 3, 0, 3, 0)),  # noqa: E741
    "highest": (lambda: Highest(30), lambda h, l, c: talib.MAX(h, 30)),  # noqa: E741
    "lowest": (lambda: Lowest(30), lambda h, l, c: talib.MIN(l, 30)),  # noqa: E741
}
every_pair = pytest.mark.parametrize(("make", "oracle"), PAIRS.values(), ids=PAIRS)


def columns(bars: Sequence[Bar]) -> tuple[Column, Column, Column]:
    table = np.array([(one.high, one.low, one.close) for one in bars])
    return table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy()


def rows(values: Sequence[Any], lines: int) -> Column:
    missing = (np.nan,) * lines
    return np.array([missing if value is None else np.atleast_1d(value) for value in values])


def compare(make: Callable[[], Indicator[Any, Any]], oracle: Oracle, bars: Sequence[Bar]) -> None:
    told = oracle(*columns(bars))
    wanted = np.stack(told, axis=1) if isinstance(told, tuple) else told[:, None]
    indicator = make()
    got = rows([feed(indicator, one) for one in bars], wanted.shape[1])
    # The scale of a line that may be nil, such as a histogram, is that of its neighbours; a percentage's is 100.
    scale = {Stochastic: 100.0, Rsi: 100.0}.get(type(indicator), np.nanmax(np.abs(wanted)))
    np.testing.assert_allclose(got, wanted, rtol=CLOSE, atol=CLOSE * scale)


@every_pair
def test_every_position_of_a_real_market_is_as_talib_has_it(
    make: Callable[[], Indicator[Any, Any]], oracle: Oracle
) -> None:
    compare(make, oracle, minutes())


@every_pair
@pytest.mark.parametrize("start", [100.0, 0.001, 98_000.0])
def test_every_position_of_a_walk_is_as_talib_has_it(
    make: Callable[[], Indicator[Any, Any]], oracle: Oracle, start: float
) -> None:
    compare(make, oracle, walk(6, 2000, start=start))


@every_pair
def test_every_prefix_is_as_talib_has_it(make: Callable[[], Indicator[Any, Any]], oracle: Oracle) -> None:
    bars = walk(7, 80)
    for end in range(1, len(bars) + 1):
        indicator = make()
        told = oracle(*columns(bars[:end]))
        wanted = [line[-1] for line in told] if isinstance(told, tuple) else [told[-1]]
        values = [feed(indicator, one) for one in bars[:end]]
        got = rows(values[-1:], len(wanted))[0]
        np.testing.assert_allclose(got, wanted, rtol=CLOSE, atol=1e-11)


def test_rolling_vwap_is_turnover_by_volume() -> None:
    bars = minutes()
    typical = np.array([(one.high + one.low + one.close) / 3 for one in bars])
    volume = np.array([one.volume for one in bars])
    window = np.lib.stride_tricks.sliding_window_view
    wanted = window(typical * volume, 20).sum(axis=1) / window(volume, 20).sum(axis=1)
    vwap = Vwap(20)
    got = [vwap.update(one) for one in bars]
    assert got[:19] == [None] * 19
    np.testing.assert_allclose(np.array(got[19:], float), wanted, rtol=CLOSE)


def test_vwap_of_what_was_paid_counts_quote_volume() -> None:
    vwap = Vwap(2, price="traded")
    bars = [bar(1, 9, 1, 5, 2.0, 20.0), bar(1, 9, 1, 5, 1.0, 1.0), bar(1, 9, 1, 5, 3.0, 7.0)]
    assert [vwap.update(one) for one in bars] == [None, 7.0, 2.0]


def test_vwap_without_any_volume_is_the_close() -> None:
    vwap = Vwap(2)
    assert [vwap.update(bar(1, 2, 1, close, 0.0)) for close in (1.5, 1.25, 1.0)] == [None, 1.25, 1.0]


@pytest.mark.parametrize("scale", [1.0, 1e-13])
def test_market_that_does_not_move_is_neither_overbought_nor_oversold(scale: float) -> None:
    rsi, stochastic = Rsi(3), Stochastic(3, 1, 1)
    for _ in range(8):
        rsi.update(7.0 * scale)
        stochastic.update(bar(*[7.0 * scale] * 4))
    assert (rsi.value, stochastic.value) == (50.0, (50.0, 50.0))


def test_rsi_of_tiny_prices_is_that_of_large_ones() -> None:
    large, tiny = Rsi(5), Rsi(5)
    for one in walk(8, 200):
        assert tiny.update(one.close * 2.0**-60) == large.update(one.close)


def test_bands_of_a_market_that_does_not_move_lie_on_it() -> None:
    bollinger = Bollinger(5)
    told = [bollinger.update(x) for x in [1e9, 3.7] + [0.1] * 11]
    assert told[-1] == (0.1, 0.1, 0.1)


def test_sheet_of_the_rsi_begins_with_averages_of_zero() -> None:
    told = sheet("cs-rsi.csv")
    rsi = Rsi(14)
    for _ in range(14):  # as if the price had stood still before
        rsi.update(float(told[0]["Close"]))
    for row in told:
        value = rsi.update(float(row["Close"]))
        if row["RSI"]:
            assert value == pytest.approx(float(row["RSI"]), abs=6e-7)  # as many digits as the sheet has


def test_published_rsi_of_these_closes_is_seeded_with_means() -> None:
    rsi = Rsi(14)
    told = [rsi.update(float(row["Close"])) for row in sheet("cs-rsi.csv")]
    assert told[:14] == [None] * 14
    published = [70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38, 54.71, 50.42, 39.99, 41.46]
    assert [round(value or 0.0, 2) for value in told[14:28]] == published


def test_stockcharts_bands() -> None:
    bollinger = Bollinger(20, 2.0)
    for row in filter(lambda row: row["Close"], sheet("cs-bbands.csv")):
        value = bollinger.update(float(row["Close"]))
        if not row["MiddleBand"]:
            assert value is None
            continue
        wanted = [float(row[name]) for name in ("LowBand", "MiddleBand", "HighBand")]
        assert value == pytest.approx(wanted, abs=1.1e-6)
        assert bollinger.deviation == pytest.approx(float(row["20-day Standard Deviation"]), abs=6e-7)


def test_stockcharts_atr_counts_the_range_of_the_first_bar() -> None:
    atr = Atr(14, first_range=True)
    for row in sheet("cs-atr.csv"):
        value = atr.update(bar(0.0, float(row["High"]), float(row["Low"]), float(row["Close"])))
        if float(row["ATR"]):
            assert value == pytest.approx(float(row["ATR"]), rel=1e-9)
        else:
            assert value is None


def test_stockcharts_macd_seeds_with_the_first_value() -> None:
    macd, lines, fast, slow = Macd(seed="first"), MacdLines(0.0, 0.0, 0.0), Ema(12, seed="first"), Ema(26, seed="first")
    for row in sheet("cs-macd.csv"):
        close = float(row["Close"])
        lines = macd.update(close) or lines
        assert fast.update(close) == pytest.approx(float(row["short_ema"]), rel=1e-9)
        assert slow.update(close) == pytest.approx(float(row["long_ema"]), rel=1e-9)
        if row["MACD_line"]:
            assert lines.macd == pytest.approx(float(row["MACD_line"]), rel=1e-9, abs=1e-10)
    # The sheet's signal began before its first row; what it began with has faded out at the end.
    assert lines.signal == pytest.approx(float(row["MACD_signal"]), rel=1e-8)
    assert lines.histogram == pytest.approx(float(row["MACD_diff"]), rel=1e-7)


def test_stockcharts_signal_is_an_average_of_the_line() -> None:
    told = [row for row in sheet("cs-macd.csv") if row["MACD_signal"]]
    signal = float(told[0]["MACD_signal"])
    for row in told[1:]:
        signal += 0.2 * (float(row["MACD_line"]) - signal)
        assert signal == pytest.approx(float(row["MACD_signal"]), rel=1e-8, abs=1e-9)
