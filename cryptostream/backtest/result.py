"""What a backtest finds: fills, round trips, equity, candles. Plain values that travel between processes.

Amounts are floats, not Decimals: a backtest estimates what would have been earned, the same on every machine, and runs
over millions of trades.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryptostream.backtest.block import Floats, Ints
from cryptostream.model.events import Micros, Side, Signal


class Fill(msgspec.Struct, frozen=True, gc=False):
    """An order that was filled, because of a signal."""

    signal_id: str
    """The entry that caused the signal, or at which the equity was found to be gone (`reason` is "ruined")."""
    entry_id: str
    """The trade that filled it; of klines, the kline at whose open it was filled. It is `signal_id` itself only where
    fills at the bar's open were asked for."""
    ts: Micros
    side: Side
    price: float
    """With slippage."""
    qty: float
    fee: float
    """In the quote currency."""
    position: float
    """After it, signed."""
    reason: str = ""


class Trip(msgspec.Struct, frozen=True, gc=False):
    """A round trip: a position from flat to flat, or to the other side. `closed` is None for one open at the end."""

    side: Literal["long", "short"]
    qty: float
    opened: Micros
    closed: Micros | None
    entry_price: float
    exit_price: float
    """At the end of the data, the last price, where it is still open."""
    pnl: float
    """After fees."""
    fees: float
    reason_in: str
    reason_out: str


@dataclass(slots=True)
class Book:
    """One strategy on one pair.

    `ts` (microseconds), `equity` and `position` have a value for each bar, as of its close and before the trade that
    closed it fills anything, and one more for the end of the data.
    """

    strategy: str
    exchange: str
    pair: str
    cash: float
    signals: list[Signal]
    fills: list[Fill]
    trips: list[Trip]
    ts: Ints
    equity: Floats
    position: Floats
    unfilled: int = 0
    """Orders that were still waiting at the end of the data: 0 or 1."""
    ruined: Micros | None = None
    """When its equity was found to be gone; it did not trade after that."""


@dataclass(slots=True)
class Candles:
    """The bars of a pair by columns; `ts` is when each closed, `open_time` and `close_time` are milliseconds."""

    open_time: Ints
    close_time: Ints
    ts: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    gap: NDArray[np.bool_]


@dataclass(slots=True)
class PairResult:
    """One pair: its bars, and the book of each strategy. `values` are the indicators at each bar, NaN for not yet."""

    exchange: str
    pair: str
    stream: str
    trades: int
    gaps: int
    candles: Candles
    books: dict[str, Book]
    values: dict[str, dict[str, Floats]] = field(default_factory=dict)
    benchmark: Book | None = None
    """Buying at the first bar and holding, by the same rules and costs; None where no charts are kept."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How it went, by the standard definitions; None for what cannot be said (no trade, no loss, too short).

    Shares are fractions (0.1 is 10 %). Returns are taken each `period_s` seconds and annualised by a year of 365 days.
    """

    start: Micros
    end: Micros
    period_s: float
    cash: float
    final: float
    total_return: float
    cagr: float | None
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    max_drawdown: float
    """Zero or below."""
    max_drawdown_s: float
    """The longest time from a high to the next."""
    calmar: float | None
    trips: int
    win_rate: float | None
    profit_factor: float | None
    exposure: float
    """The share of the time in which a position was held."""
    turnover: float
    """What was bought and sold, as a multiple of the mean equity."""
    fees: float
    signals: int
    fills: int


@dataclass(slots=True)
class Curve:
    """Equity over time: of a strategy over all its pairs, or of buying and holding."""

    name: str
    ts: Ints
    equity: Floats
    figures: Figures


@dataclass(slots=True)
class Result:
    """A backtest: every pair, each strategy over all pairs, and the benchmark.

    Each strategy has `cash` of its own, shared out evenly among its pairs.
    """

    source: str
    bars: str
    terms: dict[str, str | float | bool]
    params: dict[str, dict[str, object]]
    pairs: list[PairResult]
    curves: list[Curve]
    benchmark: Curve
    of_pairs: dict[tuple[str, str], Figures]
    """By strategy and pair."""
    notes: Sequence[str] = ()
