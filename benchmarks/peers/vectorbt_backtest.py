"""The process under test of `backtest`: vectorbt over bars of a minute that pandas makes of the trades.

Runs in a venv of its own. Its own MACD and RSI and its simulation of signals, all compiled by numba before the clock
starts; an order is filled at the open of the next bar.
"""

from pathlib import Path
from typing import Any

import vectorbt as vbt
from backtest_bars import read
from benchmarks.asking import serve

CASH = 10_000.0
_WARM_UP = 33
_WILDER = 2 * 14 - 1  # an average of so many weighs the newest as Wilder's of 14 does


def backtest(path: Path) -> dict[str, Any]:
    bars = read(path)
    macd = vbt.MACD.run(bars["Close"], 12, 26, 9, macd_ewm=True, signal_ewm=True)
    rsi = vbt.RSI.run(bars["Close"], _WILDER, ewm=True).rsi
    up, down = macd.macd_crossed_above(macd.signal), macd.macd_crossed_below(macd.signal)
    up.iloc[: _WARM_UP + 1] = down.iloc[: _WARM_UP + 1] = False
    buys, sells = up & (rsi > 50) & (rsi <= 70), down & (rsi < 50) & (rsi >= 30)
    at = {name: one.vbt.signals.fshift(1) for name, one in {"up": up, "down": down, "buy": buys, "sell": sells}.items()}
    portfolio = vbt.Portfolio.from_signals(
        bars["Close"],
        entries=at["buy"],
        exits=at["down"] & ~at["sell"],
        short_entries=at["sell"],
        short_exits=at["up"] & ~at["buy"],
        price=bars["Open"],
        init_cash=CASH,
        fees=0.001,
        freq="1min",
    )
    figures = portfolio.stats()
    trips = int(figures["Total Trades"])
    final = figures["End Value"] / CASH
    return {"entries": int(bars["Trades"].sum()), "bars": len(bars), "trips": trips, "final": final}


if __name__ == "__main__":
    serve(backtest, __doc__)
