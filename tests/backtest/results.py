"""Small results of backtests, made by hand: a wave for a price, two strategies that trade it."""

from typing import Any

import numpy as np
from msgspec.structs import replace

from cryptostream.backtest.block import Floats, Ints
from cryptostream.backtest.figures import figures, of_book
from cryptostream.backtest.result import Book, Candles, Curve, Fill, PairResult, Result, Trip
from cryptostream.model.events import Micros, Side, Signal

START_MS = 1_731_542_400_000
"""2024-11-14, midnight."""
MINUTE_MS = 60_000


def wave(bars: int, level: float = 60_000.0) -> Floats:
    """A price that goes up and down and up, without chance."""
    steps = np.arange(bars)
    return level * (1 + 0.03 * np.sin(steps / 37) + 0.01 * np.sin(steps / 5) + steps * 0.04 / max(bars, 1))


def candles(bars: int, level: float = 60_000.0, gaps: tuple[int, ...] = ()) -> Candles:
    close = wave(bars, level)
    opened = np.concatenate((close[:1], close[:-1]))
    spread = level * 0.002 * (1.5 + np.cos(np.arange(bars)))
    opens = START_MS + MINUTE_MS * np.arange(bars, dtype=np.int64)
    return Candles(
        open_time=opens,
        close_time=opens + MINUTE_MS - 1,
        ts=(opens + MINUTE_MS) * 1_000,
        open=opened,
        high=np.maximum(opened, close) + spread,
        low=np.minimum(opened, close) - spread,
        close=close,
        volume=10 + 5 * np.sin(np.arange(bars) / 11),
        gap=np.isin(np.arange(bars), gaps),
    )


def book(strategy: str, pair: str, made: Candles, *, cash: float, every: int, reason: str = "momentum") -> Book:
    """Buys all and sells it again, by turns, each so many bars."""
    fills: list[Fill] = []
    trips: list[Trip] = []
    equity, position = np.empty(len(made.ts)), np.zeros(len(made.ts))
    money, held = cash, 0.0
    for row, (ts, close) in enumerate(zip(made.ts.tolist(), made.close.tolist(), strict=True)):
        if every and row and row % every == 0:
            qty = held or money / close
            fee = qty * close * 0.001
            money += (qty if held else -qty) * close - fee
            side: Side = "sell" if held else "buy"
            held = 0.0 if held else qty
            fills.append(Fill(f"{ts}-1", f"{ts}-2", Micros(ts), side, close, qty, fee, held, reason))
            if held:
                trips.append(Trip("long", qty, Micros(ts), None, close, close, -fee, fee, reason, ""))
            else:
                last = trips.pop()
                pnl = qty * (close - last.entry_price) - fee - last.fees
                trips.append(_closed(last, ts, close, pnl, fee, reason))
        equity[row], position[row] = money + held * close, held
    signals = [Signal(each.side, strategy=strategy, pair=pair, entry_id=each.signal_id) for each in fills]
    return Book(strategy, "binance", pair, cash, signals, fills, trips, made.ts, equity, position)


def _closed(trip: Trip, ts: int, price: float, pnl: float, fee: float, reason: str) -> Trip:
    return replace(trip, closed=Micros(ts), exit_price=price, pnl=pnl, fees=trip.fees + fee, reason_out=reason)


def values(close: Floats) -> dict[str, Floats]:
    """Indicators of the price's size, and others."""
    slow = np.convolve(close, np.ones(20) / 20, mode="full")[: len(close)]
    slow[:19] = np.nan
    steps = np.arange(len(close))
    return {
        "sma": slow,
        "upper": slow * 1.01,
        "lower": slow * 0.99,
        "rsi": 50 + 40 * np.sin(steps / 37 + 1),
        "macd": close * 0.001 * np.sin(steps / 37),
        "macd_signal": close * 0.001 * np.sin(steps / 37 - 0.3),
        "macd_histogram": close * 0.0003 * np.cos(steps / 37),
    }


def result(
    bars: int = 600,
    pairs: tuple[str, ...] = ("BTCUSDT",),
    strategies: tuple[str, ...] = ("macd_rsi",),
    reason: str = "macd above its signal",
    gaps: tuple[int, ...] = (100, 101, 400),
    **told: Any,
) -> Result:
    """A result with everything in it."""
    made = [_pair(pair, bars, 60_000.0 / 20**number, strategies, reason, gaps) for number, pair in enumerate(pairs)]
    of_pairs = {(name, each.pair): of_book(book) for each in made for name, book in each.books.items()}
    facts: dict[str, Any] = {
        "source": "data/parquet",
        "bars": "1m",
        "terms": {"cash": 10_000.0, "fee_bps": 10.0, "fill": "next-trade", "long_only": False},
        "params": {name: {"rsi_period": 14, "level": 0.5} for name in strategies},
        "notes": ("2 gaps",),
    }
    return Result(
        **{**facts, **told},
        pairs=made,
        curves=[_total(name, [each.books[name] for each in made]) for name in strategies],
        benchmark=_total("buy & hold", [_held(each) for each in made]),
        of_pairs=of_pairs,
    )


def _pair(
    pair: str, bars: int, level: float, strategies: tuple[str, ...], reason: str, gaps: tuple[int, ...]
) -> PairResult:
    made = candles(bars, level, gaps)
    books = {
        name: book(name, pair, made, cash=10_000.0, every=20 + 13 * number, reason=reason)
        for number, name in enumerate(strategies)
    }
    shown = {name: values(made.close) for name in strategies}
    return PairResult("binance", pair, f"trades:{pair}", bars * 40, int(made.gap.sum()), made, books, shown)


def _held(pair: PairResult) -> Book:
    made = book("held", pair.pair, pair.candles, cash=10_000.0, every=0)
    made.equity = 10_000.0 * pair.candles.close / pair.candles.close[:1]
    return made


def _total(name: str, books: list[Book]) -> Curve:
    ts: Ints = books[0].ts
    equity: Floats = np.sum([each.equity for each in books], axis=0)
    trips = [trip for each in books for trip in each.trips]
    fills = [fill for each in books for fill in each.fills]
    signals = sum(len(each.signals) for each in books)
    return Curve(name, ts, equity, figures(ts, equity, sum(each.cash for each in books), trips, fills, signals))
