"""Trades of one pair by columns: what crosses from a file to a backtest."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cryptostream.backtest import ids
from cryptostream.errors import DataQuality
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Bar, Gap, Trade

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

BLOCK = 1 << 18
"""Trades of one block at most: so memory does not grow with the file."""
_AT_ONCE = 2048
"""Trades that are made together: what is in the making stays in the cache of the processor."""
_SIDES: NDArray[Any] = np.array(["sell", "buy"], dtype=object)


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive trades of one pair, in the order of their stream; all columns are of one length, at least one."""

    exchange: str
    pair: str
    ms: Ints
    """The first half of each entry id; the second is the trade id."""
    trade_id: Ints
    price: Floats
    qty: Floats
    ts: Ints
    """Microseconds since the epoch."""
    buy: Flags
    """Whether the aggressor bought."""
    gaps: tuple[tuple[int, Gap], ...] = ()
    """Gap entries, each with the row of the trade after it; the length of the block for one behind its last trade."""

    def __len__(self) -> int:
        return len(self.price)

    @staticmethod
    def of(events: Sequence[Trade | Gap]) -> "Block":
        """A block of events of one pair, in the order of their stream; at least one is a trade.

        Raises DataQuality for an entry id that does not end in its trade's id, ValueError where no trade is.
        """
        trades = [event for event in events if type(event) is Trade]
        if not trades:
            raise ValueError("a block has at least one trade")
        block = Block(
            trades[0].exchange,
            trades[0].pair,
            np.array([parse_id(trade.entry_id)[0] for trade in trades], np.int64),
            np.array([trade.trade_id for trade in trades], np.int64),
            np.array([trade.price for trade in trades], np.float64),
            np.array([trade.qty for trade in trades], np.float64),
            np.array([trade.ts for trade in trades], np.int64),
            np.array([trade.side == "buy" for trade in trades], np.bool_),
            _placed(events),
        )
        for trade, entry_id in zip(trades, block.entry_ids(), strict=True):
            if trade.entry_id != entry_id:
                told = f"entry {trade.entry_id} of {trade.pair} does not end in its trade's id, {trade.trade_id}"
                raise DataQuality(told, hint="a backtest reads streams and recordings that cryptostream wrote")
        return block

    @staticmethod
    def joined(blocks: Sequence["Block"]) -> "Block":
        """Blocks of one pair, each the continuation of the one before, as one."""
        starts = np.cumsum([0, *map(len, blocks)]).tolist()
        gaps = [(start + row, gap) for start, block in zip(starts, blocks, strict=False) for row, gap in block.gaps]
        columns = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in _COLUMNS}
        return Block(blocks[0].exchange, blocks[0].pair, gaps=tuple(gaps), **columns)

    def part(self, start: int, stop: int) -> "Block":
        """The rows from `start` to before `stop`. A gap goes with the trade after it, one at the end with the last."""
        end = stop if stop < len(self) else len(self) + 1
        gaps = tuple((row - start, gap) for row, gap in self.gaps if start <= row < end)
        return self._rows(start, stop, gaps)

    def between(self, since_ms: int, until_ms: int) -> "Block | None":
        """The entries from `since_ms` to `until_ms`, both included, by their ids; None without a trade."""
        start = int(self.ms.searchsorted(since_ms, "left"))
        stop = int(self.ms.searchsorted(until_ms, "right"))
        if start >= stop:
            return None
        inside = [(row, gap) for row, gap in self.gaps if since_ms <= parse_id(gap.entry_id)[0] <= until_ms]
        return self._rows(start, stop, tuple((row - start, gap) for row, gap in inside if start <= row <= stop))

    def entry_id(self, row: int) -> str:
        """The id of the entry of a row."""
        return f"{self.ms[row]}-{self.trade_id[row]}"

    def entry_ids(self, rows: "slice | Ints" = slice(None)) -> list[str]:
        """The ids of the entries of these rows."""
        return ids.entry_ids(self.ms[rows], self.trade_id[rows])

    def events(self) -> Iterator[Trade | Gap]:
        """The trades as events, and the gaps in their places."""
        return chain.from_iterable(self._runs())

    def _runs(self) -> Iterator[Iterable[Trade | Gap]]:
        start = 0
        for row, gap in self.gaps:
            yield from self._trades(start, row)
            yield (gap,)
            start = row
        yield from self._trades(start, len(self))

    def _trades(self, start: int, stop: int) -> Iterator[Iterable[Trade]]:
        exchange, pair = repeat(self.exchange), repeat(self.pair)
        for at in range(start, stop, _AT_ONCE):
            rows = slice(at, min(at + _AT_ONCE, stop))
            yield map(
                Trade,
                self.entry_ids(rows),
                exchange,
                pair,
                self.price[rows].tolist(),
                self.qty[rows].tolist(),
                self.ts[rows].tolist(),
                _SIDES.take(self.buy[rows]).tolist(),
                self.trade_id[rows].tolist(),
            )

    def _rows(self, start: int, stop: int, gaps: tuple[tuple[int, Gap], ...]) -> "Block":
        return replace(self, gaps=gaps, **{name: getattr(self, name)[start:stop] for name in _COLUMNS})


_COLUMNS = ("ms", "trade_id", "price", "qty", "ts", "buy")


def _placed(events: Sequence[Trade | Gap]) -> tuple[tuple[int, Gap], ...]:
    """The gaps among events, each with the number of trades before it."""
    places = [(place, event) for place, event in enumerate(events) if type(event) is Gap]
    return tuple((place - earlier, gap) for earlier, (place, gap) in enumerate(places))


class TradeSeries(Protocol):
    """All there is of one pair's trades. Can be read again, and travels to another process (it is pickled)."""

    exchange: str
    pair: str
    stream: str
    size: int
    """About how many trades, for progress; 0 where nobody knows."""

    def blocks(self) -> Iterator[Block]:
        """The trades in order. Raises DataQuality for damage, NotFound for what went away."""


class BarSeries(Protocol):
    """A venue's closed klines of one pair."""

    exchange: str
    pair: str
    stream: str
    interval: str
    size: int

    def bars(self) -> Iterator[Bar]:
        """The closed klines in order."""
