"""Bars and indicators by columns."""

from math import isnan

from cryptostream.backtest.candles import Kept
from cryptostream.model.events import Bar, Micros

BAR = Bar("2-1", "binance", "BTCUSDT", "1s", 0, 999, 1.0, 4.0, 0.5, 2.0, 7.0, 14.0, 3, 5.0, True, Micros(1_500_000))


def test_bar_becomes_a_row() -> None:
    kept = Kept()
    kept.add(BAR, {})
    row = kept.candles()
    assert (row.open_time.tolist(), row.close_time.tolist(), row.ts.tolist()) == ([0], [999], [1_500_000])
    assert (row.open[0], row.high[0], row.low[0], row.close[0], row.volume[0]) == (1.0, 4.0, 0.5, 2.0, 7.0)
    assert row.gap.tolist() == [True]


def test_indicator_that_is_not_told_of_is_not_there_yet() -> None:
    kept = Kept()
    for values in ({"rsi": None}, {"rsi": 50.0, "late": 1.0}, {"late": 2.0}, {"rsi": 70.0}):
        kept.add(BAR, {"one": values})
    columns = kept.values()["one"]
    assert [None if isnan(x) else x for x in columns["rsi"]] == [None, 50.0, None, 70.0]
    assert [None if isnan(x) else x for x in columns["late"]] == [None, 1.0, 2.0, None]
