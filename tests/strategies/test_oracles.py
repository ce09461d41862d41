"""Each rule told again, over columns with TA-Lib and numpy, speaks at the same bars of a real month."""

import csv
import gzip
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cryptostream.model.events import Bar
from cryptostream.strategies.loading import make
from tests.strategies.market import SIX, bar, said

talib = pytest.importorskip("talib", reason="TA-Lib is not installed")

FILE = Path(__file__).parents[3] / "shared" / "data" / "indicators" / "btc_perp_1m_20211231_20220201.csv.gz"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="no bars at ../shared/data/indicators")

Column = NDArray[np.float64]
Spoken = list[tuple[int, str]]
NAMES = {1: "buy", -1: "sell", 0: "exit"}


class Month:
    """45,031 bars of one minute by columns."""

    def __init__(self) -> None:
        with gzip.open(FILE, "rt") as lines:
            rows = [[float(row[name]) for name in ("high", "low", "close")] for row in csv.DictReader(lines)]
        self.high, self.low, self.close = (np.array(column) for column in zip(*rows, strict=True))

    @property
    def bars(self) -> Iterator[Bar]:
        columns = zip(self.close.tolist(), self.high.tolist(), self.low.tolist(), strict=True)
        return (bar(close, high, low, number) for number, (close, high, low) in enumerate(columns))


@pytest.fixture(scope="module")
def month() -> Month:
    return Month()


def sides(distance: Column) -> NDArray[np.int64]:
    """The last side of a line at each bar, a touch being none: signs, with zeros filled by what was before."""
    signs = np.nan_to_num(np.sign(distance)).astype(int)
    newest = np.maximum.accumulate(np.where(signs != 0, np.arange(len(signs)), 0))
    return signs[newest]


def crossings(distance: Column) -> Spoken:
    """Where the side is another than at the bar before; nothing at the first one."""
    side, begin = sides(distance), int(np.flatnonzero(~np.isnan(distance))[0])
    turns = np.flatnonzero(np.diff(side)) + 1
    return [(int(at) + 1, NAMES[int(side[at])]) for at in turns if at > begin]


def before(column: Column) -> Column:
    return np.concatenate([[np.nan], column[:-1]])


def ma_cross(month: Month, *, kind: Callable[..., Column]) -> Spoken:
    return crossings(kind(month.close, 50) - kind(month.close, 200))


def rsi_trend(month: Month) -> Spoken:
    rsi = talib.RSI(month.close, 14)
    return crossings(np.where(rsi > 60, 1.0, np.where(rsi < 40, -1.0, rsi * 0)))


def macd_rsi(month: Month) -> Spoken:
    macd, signal, _ = talib.MACD(month.close, 12, 26, 9)
    rsi = talib.RSI(month.close, 14)
    spoken: Spoken = []
    for number, side in crossings(macd - signal):
        now = rsi[number - 1]
        agrees = 50 < now <= 70 if side == "buy" else 30 <= now < 50
        if agrees or (spoken and spoken[-1][1] not in ("exit", side)):
            spoken.append((number, side if agrees else "exit"))
    return [each for at, each in enumerate(spoken) if not at or spoken[at - 1][1] != each[1]]


def breakouts(close: Column, upper: Column, lower: Column, exit_below: Column, exit_above: Column) -> Spoken:
    """A close outside that was not at the bar before; out of it beyond the exit."""
    up, down = close > upper, close < lower
    begin = int(np.flatnonzero(~np.isnan(upper))[0])
    spoken, held = [], ""
    for at in range(begin + 1, len(close)):
        if up[at] and not up[at - 1] and held != "buy":
            spoken.append((at + 1, held := "buy"))
        elif down[at] and not down[at - 1] and held != "sell":
            spoken.append((at + 1, held := "sell"))
        elif (held == "buy" and close[at] < exit_below[at]) or (held == "sell" and close[at] > exit_above[at]):
            spoken.append((at + 1, "exit"))
            held = ""
    return spoken


def bollinger_breakout(month: Month) -> Spoken:
    upper, middle, lower = talib.BBANDS(month.close, 20, 2, 2, 0)
    return breakouts(month.close, upper, lower, middle, middle)


def support_resistance(month: Month, *, buffer: float = 0.0) -> Spoken:
    reach = buffer * before(talib.ATR(month.high, month.low, month.close, 20))
    upper, lower = before(talib.MAX(month.high, 20)) + reach, before(talib.MIN(month.low, 20)) - reach
    return breakouts(month.close, upper, lower, before(talib.MIN(month.low, 10)), before(talib.MAX(month.high, 10)))


def rsi_reversion(month: Month) -> Spoken:
    rsi = talib.RSI(month.close, 14)
    spoken, held = [], ""
    for number, (last, now) in enumerate(pairwise(rsi), 2):
        if (held == "buy" and now >= 50) or (held == "sell" and now <= 50):
            spoken.append((number, "exit"))
            held = ""
        elif last < 30 <= now < 50 and held != "buy":
            spoken.append((number, held := "buy"))
        elif last > 70 >= now > 50 and held != "sell":
            spoken.append((number, held := "sell"))
    return spoken


@pytest.mark.parametrize(
    ("name", "parameters", "oracle", "least"),
    [
        ("ma_cross", {}, lambda month: ma_cross(month, kind=talib.SMA), 200),
        ("ma_cross", {"average": "ema"}, lambda month: ma_cross(month, kind=talib.EMA), 200),
        ("rsi_trend", {}, rsi_trend, 1_000),
        ("macd_rsi", {}, macd_rsi, 3_000),
        ("bollinger_breakout", {}, bollinger_breakout, 3_000),
        ("support_resistance", {}, support_resistance, 2_500),
        ("support_resistance", {"buffer": 0.5}, lambda month: support_resistance(month, buffer=0.5), 1_000),
        ("rsi_reversion", {}, rsi_reversion, 1_000),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_rule_told_by_columns_speaks_at_the_same_bars(
    month: Month,
    name: str,
    parameters: dict[str, Any],
    oracle: Callable[[Month], Sequence[tuple[int, str]]],
    least: int,
) -> None:
    found = [(number, signal.side) for number, signal in said(make(SIX[name], parameters), month.bars)]
    assert found == oracle(month)
    assert len(found) > least
