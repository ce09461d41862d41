"""The process under test of `backtest`: MACD + RSI over recorded trades, as `backtest-stream --jobs 1` does it.

From the files to every figure; candles, indicators and the benchmark are kept, as the command keeps them.
"""

import argparse
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.asking import timed
from benchmarks.days import DAYS, made
from benchmarks.meter import tell
from cryptostream.backtest import portfolio
from cryptostream.backtest.result import Book
from cryptostream.backtest.run import Mode
from cryptostream.backtest.terms import Terms
from cryptostream.config.strategies import Wish
from cryptostream.tape import series
from cryptostream.wiring import roster
from cryptostream.wiring.backtests import Task, work


def backtest(folders: list[Path], mode: Mode) -> dict[str, Any]:
    """What one backtest found."""
    who = roster.of([Wish("macd_rsi", {}, "macd_rsi")], "1m", [])
    terms = Terms()
    pairs = [work(Task(one, who, terms, mode)) for one in series.find(folders)]
    result = portfolio.result(pairs, source="", bars="1m", terms=terms, params={})
    (pair,), figures = result.pairs, result.curves[0].figures
    book = pair.books["macd_rsi"]
    found = {"entries": pair.trades, "bars": len(pair.candles.close), "orders": len(book.fills)}
    return {**found, "trips": figures.trips, "final": figures.final / figures.cash, "book": book}


def digest(book: Book) -> str:
    """Equal for two books with the same signals, fills, round trips and equity, bit by bit, and only then."""
    told = sha256(msgspec.msgpack.encode([book.signals, book.fills, book.trips]))
    for column in (book.ts, book.equity, book.position):
        told.update(column.tobytes())
    return told.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", required=True, choices=["bars", "events"])
    parser.add_argument("--trades", required=True, type=int, help="how many there are")
    parser.add_argument("--share", type=float, default=1.0, help="of the days, the first")
    chosen = parser.parse_args()
    folders = made(chosen.trades).recorded
    for _ in sys.stdin:
        found = timed(lambda: backtest(folders[: round(DAYS * chosen.share)], chosen.mode))
        tell({**found, "book": digest(found["book"])})


if __name__ == "__main__":
    main()
