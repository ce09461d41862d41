"""A made-up market that trades on while nobody looks: each trade is a pure function of (seed, pair, id).

Time is cut into slots of equal length, counted from the Unix epoch, and each slot holds the same shape of trading:
twelve trades, made by four taker orders, seen as six aggregates. So the trade with a given id, the newest id at a given
time, and the aggregate with a given id are all found without looking at any other trade, and two exchanges started at
different times with the same seed and rate tell the same story. Four orders for twelve trades is what real data looks
like: two trades in three share the time of the trade before.

Prices and quantities are integers of 1e-8 (`_e8`), so every sum over them is exact. Nothing here reads a clock.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import blake2b
from itertools import combinations
from typing import Protocol

import msgspec

from cryptostream.errors import UsageError
from cryptostream.sim.decimals import E8, decimal
from cryptostream.sim.listing import Listing, listing

TRADES, ORDERS, AGGREGATES = 12, 4, 6
MAX_RATE = 100_000.0

# (period in microseconds, amplitude of the logarithm of the price): each octave moves about as much as a random walk
# would in its period.
_OCTAVES = tuple(
    (round(period_s * 1_000_000), amplitude)
    for period_s, amplitude in ((7, 1e-4), (41, 3e-4), (257, 8e-4), (1_607, 2e-3), (10_007, 5e-3), (86_399, 1.5e-2))
)
_BREAKS = tuple(combinations(range(1, TRADES), AGGREGATES - 1))
_LEVELS = tuple(combinations(range(AGGREGATES - 1), AGGREGATES - ORDERS))
_CHANCE = struct.Struct(f"<I{ORDERS}H{ORDERS}B{TRADES}H")
_LATTICE_KEPT = 4_096
_SLOTS_KEPT = 64


class SimTrade(msgspec.Struct, frozen=True, gc=False):
    """One execution. `time_us` counts microseconds since the epoch; `buyer_is_maker` means that the aggressor sold."""

    id: int
    price_e8: int
    qty_e8: int
    time_us: int
    buyer_is_maker: bool

    @property
    def price(self) -> str:
        return decimal(self.price_e8)

    @property
    def qty(self) -> str:
        return decimal(self.qty_e8)

    @property
    def quote_qty(self) -> str:
        return decimal(self.price_e8 * self.qty_e8 // E8)


class SimAggregate(msgspec.Struct, frozen=True, gc=False):
    """What one taker order took at one price: the trades `first_id` to `last_id`."""

    id: int
    price_e8: int
    qty_e8: int
    time_us: int
    buyer_is_maker: bool
    first_id: int
    last_id: int

    @property
    def price(self) -> str:
        return decimal(self.price_e8)

    @property
    def qty(self) -> str:
        return decimal(self.qty_e8)


class Trades(Protocol):
    """What was traded: the made-up market and a recorded tape both answer these questions."""

    listings: dict[str, Listing]

    def first_id(self, pair: str) -> int: ...

    def last_id(self, pair: str, at_us: int) -> int:
        """The newest id at a time; one less than `first_id` where nothing was traded yet."""

    def traded_by(self, pair: str, time_us: int) -> int:
        """The newest id whose own time is not after this, whether or not anybody knows of it yet."""

    def trades(self, pair: str, first: int, last: int) -> Iterator[SimTrade]:
        """Trades with `first <= id <= last`, in order, and only those that exist."""

    def first_aggregate_id(self, pair: str) -> int: ...

    def last_aggregate_id(self, pair: str, at_us: int) -> int: ...

    def aggregates(self, pair: str, first: int, last: int) -> Iterator[SimAggregate]: ...


def check_rate(rate: float) -> float:
    """Raise UsageError unless the rate is one the market can keep."""
    if not 0 < rate <= MAX_RATE:
        raise UsageError(f"rate must be above 0 and at most {MAX_RATE:,.0f} trades/s per pair, got {rate}")
    return rate


class Market:
    """A market of several pairs, each at `rate` trades a second since `opened_us`; before that nothing was traded.

    >>> market = Market(seed=1, pairs=["BTCUSDT"], rate=20.0, opened_us=0)
    >>> first = market.first_id("BTCUSDT")
    >>> market.trade("BTCUSDT", first) == market.trade("BTCUSDT", first)
    True
    """

    def __init__(self, seed: int, pairs: Sequence[str], *, rate: float = 20.0, opened_us: int = 0) -> None:
        check_rate(rate)
        self.pairs = tuple(pairs)
        self.opened_us = opened_us
        self._of = {pair: _PairMarket(seed, listing(pair), rate, opened_us) for pair in pairs}
        self.listings = {pair: one.listing for pair, one in self._of.items()}

    def trade(self, pair: str, trade_id: int) -> SimTrade:
        """The trade with this id, whether its time has come or not."""
        return next(self._of[pair].trades(trade_id, trade_id))

    def first_id(self, pair: str) -> int:
        return self._of[pair].first_id

    def last_id(self, pair: str, at_us: int) -> int:
        return self._of[pair].last_id(at_us)

    traded_by = last_id

    def trades(self, pair: str, first: int, last: int) -> Iterator[SimTrade]:
        return self._of[pair].trades(first, last)

    def first_aggregate_id(self, pair: str) -> int:
        return self._of[pair].first_aggregate_id

    def last_aggregate_id(self, pair: str, at_us: int) -> int:
        return self._of[pair].last_aggregate_id(at_us)

    def aggregates(self, pair: str, first: int, last: int) -> Iterator[SimAggregate]:
        return self._of[pair].aggregates(first, last)


class _PairMarket:
    """One pair of a market. Slot `n` covers `n * slot_us - phase_us` and on; ids count on from slot to slot."""

    def __init__(self, seed: int, listing: Listing, rate: float, opened_us: int) -> None:
        self.listing = listing
        self._chance = blake2b(f"{seed}/{listing.pair}".encode(), digest_size=_CHANCE.size)
        # Pairs differ in their ids and in when their slots begin, so that a mix-up of two pairs always shows.
        own_id, own_phase, *_ = self._draw(b"own")
        self._slot_us = round(TRADES * 1_000_000 / rate)
        self._phase_us = own_phase * 65_537 % self._slot_us
        self._id0 = own_id % 1_000_000_000
        self._first_slot = -(-(opened_us + self._phase_us) // self._slot_us)
        self._slots: dict[int, list[SimTrade]] = {}
        self._lattice: dict[int, float] = {}
        self._base_ticks = listing.price_e8 // listing.tick_e8

    @property
    def first_id(self) -> int:
        return self._id0 + self._first_slot * TRADES + 1

    @property
    def first_aggregate_id(self) -> int:
        return self._id0 + self._first_slot * AGGREGATES + 1

    def last_id(self, at_us: int) -> int:
        slot = (at_us + self._phase_us) // self._slot_us
        if slot < self._first_slot:
            return self.first_id - 1
        traded = sum(trade.time_us <= at_us for trade in self._slot(slot))
        return self._id0 + slot * TRADES + traded

    def last_aggregate_id(self, at_us: int) -> int:
        slot = (at_us + self._phase_us) // self._slot_us
        if slot < self._first_slot:
            return self.first_aggregate_id - 1
        made = sum(aggregate.time_us <= at_us for aggregate in self._aggregated(slot))
        return self._id0 + slot * AGGREGATES + made

    def trades(self, first: int, last: int) -> Iterator[SimTrade]:
        first = max(first, self.first_id)
        for slot in range((first - 1 - self._id0) // TRADES, (last - 1 - self._id0) // TRADES + 1):
            for trade in self._slot(slot):
                if first <= trade.id <= last:
                    yield trade

    def aggregates(self, first: int, last: int) -> Iterator[SimAggregate]:
        first = max(first, self.first_aggregate_id)
        for slot in range((first - 1 - self._id0) // AGGREGATES, (last - 1 - self._id0) // AGGREGATES + 1):
            for aggregate in self._aggregated(slot):
                if first <= aggregate.id <= last:
                    yield aggregate

    def _slot(self, slot: int) -> list[SimTrade]:
        made = self._slots.get(slot)
        if made is None:
            if len(self._slots) >= _SLOTS_KEPT:
                self._slots.clear()
            made = self._slots[slot] = self._make(slot)
        return made

    def _make(self, slot: int) -> list[SimTrade]:
        """The trades of a slot. A taker order keeps its time and its side, and eats its way away from the mid."""
        shape, *chances = self._draw(slot.to_bytes(9, "little", signed=True))
        orders = self._orders(slot, chances)
        sizes = chances[2 * ORDERS :]
        lot, step, tick = self.listing.lot, self.listing.step_e8, self.listing.tick_e8
        first = self._id0 + slot * TRADES + 1
        made = []
        for index, (order, level, _) in enumerate(_shape(shape)):
            time_us, best, away = orders[order]
            qty = (1 + int(lot * 2.0 ** ((sizes[index] - 32_768) / 6_554))) * step
            made.append(SimTrade(first + index, (best + away * level) * tick, qty, time_us, away < 0))
        return made

    def _orders(self, slot: int, chances: list[int]) -> list[tuple[int, int, int]]:
        """For each order: when, the best price it meets (in ticks), and which way it pushes (1 buys, -1 sells)."""
        start = slot * self._slot_us - self._phase_us
        orders = []
        for number in range(ORDERS):
            time_us = start + self._slot_us * (number * 65_536 + chances[number]) // (ORDERS * 65_536)
            buys = chances[ORDERS + number] & 1
            orders.append((time_us, self._mid(time_us) + buys, 1 if buys else -1))
        return orders

    def _aggregated(self, slot: int) -> list[SimAggregate]:
        shape, *_ = self._draw(slot.to_bytes(9, "little", signed=True))
        parts: list[list[SimTrade]] = [[] for _ in range(AGGREGATES)]
        for (_, _, aggregate), trade in zip(_shape(shape), self._slot(slot), strict=True):
            parts[aggregate].append(trade)
        first = self._id0 + slot * AGGREGATES + 1
        return [merged(first + index, trades) for index, trades in enumerate(parts)]

    def _mid(self, time_us: int) -> int:
        """The mid price at a time, in ticks: several octaves of smooth noise on the logarithm of the price."""
        log = 0.0
        for octave, (period_us, amplitude) in enumerate(_OCTAVES):
            index, rest = divmod(time_us, period_us)
            part = rest / period_us
            left, right = self._corner(octave, index), self._corner(octave, index + 1)
            log += amplitude * (left + (right - left) * part * part * (3 - 2 * part))
        return max(TRADES, int(self._base_ticks * math.exp(log * self.listing.volatility)))

    def _corner(self, octave: int, index: int) -> float:
        key = index * len(_OCTAVES) + octave
        value = self._lattice.get(key)
        if value is None:
            if len(self._lattice) >= _LATTICE_KEPT:
                self._lattice.clear()
            draw, *_ = self._draw(b"noise" + key.to_bytes(9, "little", signed=True))
            value = self._lattice[key] = draw / 2**31 - 1
        return value

    def _draw(self, name: bytes) -> list[int]:
        chance = self._chance.copy()
        chance.update(name)
        return list(_CHANCE.unpack(chance.digest()))


def _shape(chance: int) -> tuple[tuple[int, int, int], ...]:
    shapes = _shapes()
    return shapes[chance % len(shapes)]


@cache
def _shapes() -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """Every way to cut twelve trades into four orders and six aggregates."""
    return tuple(_cut(breaks, levels) for breaks in _BREAKS for levels in _LEVELS)


def _cut(breaks: tuple[int, ...], levels: tuple[int, ...]) -> tuple[tuple[int, int, int], ...]:
    """For each trade: its order, how many prices that order has eaten before, its aggregate.

    `breaks` are the trades that begin an aggregate; those at the places `levels` stay in their order, a price further.
    """
    order = level = aggregate = 0
    cut = []
    for trade in range(TRADES):
        if trade in breaks:
            aggregate += 1
            same_order = breaks.index(trade) in levels
            order, level = (order, level + 1) if same_order else (order + 1, 0)
        cut.append((order, level, aggregate))
    return tuple(cut)


def merged(aggregate_id: int, trades: Sequence[SimTrade]) -> SimAggregate:
    """Trades of one order at one price, as one."""
    first, last = trades[0], trades[-1]
    qty_e8 = sum(trade.qty_e8 for trade in trades)
    return SimAggregate(aggregate_id, first.price_e8, qty_e8, first.time_us, first.buyer_is_maker, first.id, last.id)
