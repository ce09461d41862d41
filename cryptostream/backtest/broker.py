"""Signals become orders, orders fills, fills a position and an equity: a ledger of one pair in the order of its stream.

A signal is an opinion of where the position should be: long (`buy`), short (`sell`), or none (`exit`). Where it is not
there, the opinion becomes an order, the only one its account has: a signal for another side replaces it before it is
filled, one for the same side leaves it as it stands, and one for what is held already takes it back. An order is filled
by the first trade after the entry that caused it whose time is not before the signal's plus the latency, whole, at that
trade's price made worse by the slippage. Whoever drives the accounts finds that trade.

The order of things at an entry: the bar that it closed is marked, then what it fills is filled, then what it caused is
taken in.
"""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import nextafter

import numpy as np

from cryptostream.backtest.result import Book, Fill, Trip
from cryptostream.backtest.terms import Terms
from cryptostream.model.events import Micros, Opinion, Side, Signal

RUINED = "ruined"
"""The reason of the order that closes a position when the equity is gone."""

_SHORT, _FLAT, _LONG = -1, 0, 1


@dataclass(slots=True)
class Order:
    """Waits to be filled. `due` is the earliest time of a trade that may fill it, in microseconds."""

    signal_id: str
    target: int
    """1 long, -1 short, 0 flat."""
    due: int
    reason: str
    row: int | None = None
    """The row of the block at hand that fills it, where that has been looked for and found."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """What is known of a round trip that has begun."""

    ts: Micros
    price: float
    fee: float
    reason: str


class Account:
    """One strategy's money on one pair: cash and a position, never more than one order.

    Nothing is borrowed to buy, so cash stays at zero or above while long. A short position is worth at most the
    equity when it is opened. Once the equity is found to be gone (at a bar's close, or when an order is filled), the
    position is closed like any other and nothing is traded any more.
    """

    __slots__ = (
        "_equity",
        "_fee",
        "_fills",
        "_latency_us",
        "_opened",
        "_positions",
        "_signals",
        "_slippage",
        "_targets",
        "_terms",
        "_trips",
        "_ts",
        "cash",
        "order",
        "position",
        "ruined",
    )

    def __init__(self, terms: Terms) -> None:
        self.cash = terms.cash
        self.position = 0.0
        """In the base currency; below zero for short."""
        self.order: Order | None = None
        self.ruined: Micros | None = None
        self._terms = terms
        self._fee, self._slippage = terms.fee_bps / 1e4, terms.slippage_bps / 1e4
        self._latency_us = terms.latency_us
        self._targets: Mapping[Opinion, int] = {
            "buy": _LONG,
            "sell": _FLAT if terms.long_only else _SHORT,
            "exit": _FLAT,
        }
        self._opened: _Opened | None = None
        self._signals: list[Signal] = []
        self._fills: list[Fill] = []
        self._trips: list[Trip] = []
        self._ts, self._equity, self._positions = array("q"), array("d"), array("d")

    def take(self, signal: Signal) -> None:
        """Take in a signal, whether or not anything follows from it."""
        self._signals.append(signal)
        if self.ruined is not None:
            return
        target = self._targets[signal.side]
        if target == self._side:
            self.order = None
        elif self.order is None or self.order.target != target:
            self.order = Order(signal.entry_id, target, signal.ts + self._latency_us, signal.reason)

    def fill(self, entry_id: str, ts: Micros, traded: float) -> None:
        """Fill the order that waits at the price that was traded."""
        order, self.order = self.order, None
        if order is None:
            return
        buys = order.target > self._side
        price = traded * (1 + self._slippage) if buys else traded * (1 - self._slippage)
        closed, opened = abs(self.position), 0.0
        cash, closing_fee = self._closed(price)
        opening_fee = 0.0
        if cash <= 0:
            self._ruin(ts)
        elif order.target != _FLAT:
            cash, opened, opening_fee = self._entered(cash, price, order.target)
        if not closed + opened:
            return
        if closed:
            self._trips.append(self._trip(price, closing_fee, ts, order.reason))
        self.cash, self.position = cash, opened * (order.target or 1)
        self._opened = _Opened(ts, price, opening_fee, order.reason) if opened else None
        side: Side = "buy" if buys else "sell"
        fee = closing_fee + opening_fee
        self._fills.append(
            Fill(order.signal_id, entry_id, ts, side, price, closed + opened, fee, self.position, order.reason)
        )

    def mark(self, ts: Micros, price: float) -> bool:
        """Write down the equity at this price; whether it is found to be gone."""
        equity = self.cash + self.position * price
        self._ts.append(ts)
        self._equity.append(equity)
        self._positions.append(self.position)
        if equity > 0 or self.ruined is not None:
            return False
        self._ruin(ts)
        return True

    def give_up(self, entry_id: str, ts: Micros) -> None:
        """Close what a ruined account still holds, because of this entry, unless an order is on its way."""
        if self.position and self.order is None:
            self.order = Order(entry_id, _FLAT, ts + self._latency_us, RUINED)

    def book(self, strategy: str, exchange: str, pair: str, price: float) -> Book:
        """All that was done, at the end of the data and at its last price."""
        trips = [*self._trips, self._trip(price, 0.0, None, "")] if self.position else self._trips
        return Book(
            strategy,
            exchange,
            pair,
            self._terms.cash,
            self._signals,
            self._fills,
            trips,
            np.array(self._ts, dtype=np.int64),
            np.array(self._equity, dtype=np.float64),
            np.array(self._positions, dtype=np.float64),
            unfilled=int(self.order is not None),
            ruined=self.ruined,
        )

    @property
    def _side(self) -> int:
        return (self.position > 0) - (self.position < 0)

    def _ruin(self, ts: Micros) -> None:
        if self.order is not None:
            # Whatever it was for, it closes the position.
            self.order.target = _FLAT
        if self.ruined is None:
            self.ruined = ts

    def _closed(self, price: float) -> tuple[float, float]:
        """The cash there is without the position, and what closing it costs."""
        fee = abs(self.position) * price * self._fee
        return self.cash + self.position * price - fee, fee

    def _entered(self, cash: float, price: float, target: int) -> tuple[float, float, float]:
        """The cash after a position is opened, its size, and what opening it costs."""
        qty = self._affordable(cash, price)
        while True:
            notional = qty * price
            fee = notional * self._fee
            if cash - notional - fee >= 0:
                return (cash - notional if target == _LONG else cash + notional) - fee, qty, fee
            # Rounding has made it dearer than what there is, by a last digit.
            qty = nextafter(qty, 0.0)

    def _affordable(self, cash: float, price: float) -> float:
        size, most = self._terms.size, cash / (price * (1 + self._fee))
        if size.unit == "share":
            return size.amount * most
        return min(size.amount / price if size.unit == "quote" else size.amount, most)

    def _trip(self, price: float, fee: float, ts: Micros | None, reason: str) -> Trip:
        opened, qty = self._opened, abs(self.position)
        if opened is None:
            raise AssertionError("a position that nobody opened")
        fees = opened.fee + fee
        won = self.position * (price - opened.price)
        return Trip(
            "long" if self.position > 0 else "short",
            qty,
            opened.ts,
            ts,
            opened.price,
            price,
            won - fees,
            fees,
            opened.reason,
            reason,
        )


class Broker:
    """The accounts of one pair, by strategy."""

    def __init__(self, strategies: Iterable[str], terms: Terms) -> None:
        self.accounts = {name: Account(terms) for name in strategies}
        self.waiting: list[Account] = []
        """Those that have an order."""

    def mark(self, ts: Micros, price: float) -> list[Account]:
        """Write down every equity; whose is found to be gone."""
        return [account for account in self.accounts.values() if account.mark(ts, price)]

    def take(self, signals: Iterable[Signal]) -> None:
        """Take in what the strategies say of an entry."""
        for signal in signals:
            self.accounts[signal.strategy].take(signal)
        self.look()

    def look(self) -> None:
        """See anew who waits."""
        self.waiting = [account for account in self.accounts.values() if account.order is not None]

    def trade(self, entry_id: str, ts: Micros, price: float) -> None:
        """Fill what this trade can fill."""
        for account in self.waiting:
            if account.order is not None and account.order.due <= ts:
                account.fill(entry_id, ts, price)
        self.look()
