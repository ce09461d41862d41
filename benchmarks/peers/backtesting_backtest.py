"""The process under test of `backtest`: backtesting.py over bars of a minute that pandas makes of the trades.

Runs in a venv of its own. Indicators by pandas, all at once; an order is filled at the open of the next bar. It trades
whole units only, so it has cash for many.
"""

import warnings
from pathlib import Path
from typing import Any

from backtest_bars import read
from backtesting import Backtest, Strategy
from benchmarks.asking import serve

CASH = 100_000_000


class MacdRsi(Strategy):  # type: ignore[misc]
    """MACD crosses its signal, and RSI agrees."""

    def init(self) -> None:
        close = self.data.Close.s
        macd = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
        signal = macd.ewm(span=9, adjust=False).mean()
        change = close.diff()
        up = change.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
        down = -change.clip(upper=0).ewm(alpha=1 / 14, adjust=False).mean()
        self.distance = self.I(lambda: (macd - signal).where(macd.index >= macd.index[33]))
        self.rsi = self.I(lambda: 100 * up / (up + down))
        self.held = 0

    def next(self) -> None:
        above, was = self.distance[-1] > 0, self.distance[-2] > 0
        if above == was or self.distance[-2] != self.distance[-2]:
            return
        agrees = 50 < self.rsi[-1] <= 70 if above else 30 <= self.rsi[-1] < 50
        target = (1 if above else -1) if agrees else 0
        if target == self.held:
            return
        self.held = target
        if not target:
            self.position.close()
        elif target > 0:
            self.buy()
        else:
            self.sell()


def backtest(path: Path) -> dict[str, Any]:
    bars = read(path)
    trades = int(bars.pop("Trades").sum())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stats = Backtest(bars, MacdRsi, cash=CASH, commission=0.001, exclusive_orders=True, finalize_trades=True).run()
    trips = int(stats["# Trades"])
    return {"entries": trades, "bars": len(bars), "trips": trips, "final": stats["Equity Final [$]"] / CASH}


if __name__ == "__main__":
    serve(backtest, __doc__)
