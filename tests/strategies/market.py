"""Bars for tests of strategies: made of a few numbers, or of a random walk on ticks that stands still at times."""

import random
from collections.abc import Iterable, Mapping
from typing import Any

from cryptostream.model.events import Bar, Micros, Signal
from cryptostream.strategies.bollinger_breakout import BollingerBreakout
from cryptostream.strategies.ma_cross import MaCross
from cryptostream.strategies.macd_rsi import MacdRsi
from cryptostream.strategies.rsi_reversion import RsiReversion
from cryptostream.strategies.rsi_trend import RsiTrend
from cryptostream.strategies.support_resistance import SupportResistance

SIX: Mapping[str, type[Any]] = {
    "bollinger_breakout": BollingerBreakout,
    "ma_cross": MaCross,
    "macd_rsi": MacdRsi,
    "rsi_reversion": RsiReversion,
    "rsi_trend": RsiTrend,
    "support_resistance": SupportResistance,
}
QUICK: Mapping[str, dict[str, Any]] = {
    "bollinger_breakout": {"period": 5, "width": 1.5},
    "ma_cross": {"fast": 2, "slow": 5},
    "macd_rsi": {"fast": 3, "slow": 6, "signal": 3, "rsi_period": 4},
    "rsi_reversion": {"period": 3},
    "rsi_trend": {"period": 3},
    "support_resistance": {"period": 4, "exit_period": 2, "atr_period": 3, "buffer": 0.1},
}
"""Parameters with which they speak often."""


def bar(close: float, high: float | None = None, low: float | None = None, number: int = 0) -> Bar:
    """A bar of one trade, or with a high and a low."""
    top, bottom = close if high is None else high, close if low is None else low
    return Bar(
        entry_id=f"{60_000 * (number + 1)}-1",
        exchange="binance",
        pair="BTCUSDT",
        interval="1m",
        open_time=60_000 * number,
        close_time=60_000 * (number + 1) - 1,
        open=close,
        high=top,
        low=bottom,
        close=close,
        volume=1.0,
        quote_volume=close,
        trades=1,
        taker_buy_volume=0.5,
        gap=False,
        ts=Micros(60_000_000 * (number + 1)),
    )


def bars(closes: Iterable[float]) -> list[Bar]:
    """Bars with nothing but a close."""
    return [bar(close, number=number) for number, close in enumerate(closes)]


def walk(seed: int, length: int = 300, start: float = 100.0) -> list[Bar]:
    """A random walk on half ticks, now and then at rest."""
    chance = random.Random(seed)
    found, close = [], start
    for number in range(length):
        close = max(1.0, close + chance.choice((-1.5, -1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 1.5)))
        found.append(bar(close, close + chance.choice((0.0, 0.5, 1.0)), close - chance.choice((0.0, 0.5)), number))
    return found


def said(strategy: Any, market: Iterable[Bar]) -> list[tuple[int, Signal]]:
    """What a strategy says, each with the number of its bar from 1."""
    return [(number, each) for number, one in enumerate(market, 1) for each in strategy.on_bar(one)]
