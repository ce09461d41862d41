"""Blocks of trades in, columns of closed bars out: what `transforms/bars.py` makes of the same trades, to the last bit.

Sums of floats depend on their order, so they are taken in that of the stream: `np.bincount` adds its weights one after
the other, where `np.add.reduceat` adds them in pairs. What is open from the block before stands in front of the trades
as if it were one of them. So bars are cut by *places*: the open bar is at 0, whether there is one or not, and the trade
of a row at row + 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptostream.backtest.block import Block, Flags, Floats, Ints
from cryptostream.model.events import Bar
from cryptostream.transforms.bars import BarSpec

_STRETCH = 4096
_FEW = 64
"""Trades of one bar up to which adding them one by one in Python is quicker than asking numpy for each bar."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The bars that were closed within one block, by columns; `row` is the row of the trade that closed each.

    Times are those of `Bar`: `open_time` and `close_time` in milliseconds, `ts` in microseconds. It holds on to its
    block: whoever keeps columns for long keeps the columns alone.
    """

    block: Block
    interval: str
    row: Ints
    open_time: Ints
    close_time: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    trades: Ints
    taker_buy_volume: Floats
    gap: Flags
    ts: Ints

    def __len__(self) -> int:
        return len(self.row)

    def bars(self) -> Iterator[Bar]:
        """The same as events."""
        same = repeat(self.block.exchange), repeat(self.block.pair), repeat(self.interval)
        columns = (getattr(self, name).tolist() for name in _COLUMNS)
        return map(Bar, self.block.entry_ids(self.row), *same, *columns)


_COLUMNS = Bar.__struct_fields__[4:]


@dataclass(frozen=True, slots=True)
class _Open:
    """The bar that no trade has closed yet; without trades there is none. `window` is the number of a time bar's."""

    window: int = 0
    open_time: int = 0
    open: float = 0.0
    high: float = 0.0
    low: float = 0.0
    close: float = 0.0
    volume: float = 0.0
    quote_volume: float = 0.0
    trades: int = 0
    taker_buy_volume: float = 0.0
    gap: bool = False


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where bars begin and what closes them. The last one that begins may be open still."""

    begins: Ints
    """Places."""
    row: Ints
    """Of the trades that close bars: one for each closed bar."""
    window: Ints
    open_time: Ints
    close_time: Ints
    """Of closed bars, and maybe of the open one."""


class BarColumns:
    """Cuts one pair's trades into bars, one block at a time. Where a block ends makes no difference to the bars."""

    def __init__(self, spec: BarSpec) -> None:
        self.spec = spec
        self._is_timed = spec.kind == "time"
        self._open = _Open()
        # Something is missing before the next trade.
        self._missing = False

    def add(self, block: Block) -> Closed:
        """Take in the next trades of the stream; the bars that they closed."""
        with np.errstate(over="ignore"):  # a sum beyond all floats is infinite, as it is live
            return self._added(block)

    def _added(self, block: Block) -> Closed:
        cut = self._timed(block) if self._is_timed else self._sized(block)
        bars = self._figures(block, cut.begins)
        bars["gap"] = self._gaps(block, cut.begins)
        self._open = _left_open(cut, bars)
        closed = len(cut.row)
        return Closed(
            block,
            self.spec.text,
            cut.row,
            open_time=cut.open_time[:closed],
            close_time=cut.close_time[:closed],
            ts=block.ts[cut.row],
            **{name: column[:closed] for name, column in bars.items()},
        )

    def _timed(self, block: Block) -> _Cut:
        """Time bars: one begins, and closes the one before, where the number of the window rises."""
        windows = np.empty(len(block) + 1, np.int64)
        windows[1:] = _windows(self.spec, block.ts)
        windows[0] = self._open.window if self._open.trades else windows[1] - 1
        begins = _changes(windows)
        if (windows[begins] < windows[begins - 1]).any():  # a late trade stays in the bar that is open
            np.maximum.accumulate(windows, out=windows)
            begins = _changes(windows)
        if self._open.trades:
            begins = np.append(0, begins)
        window = windows[begins]
        return _Cut(begins, begins[1:] - 1, window, _opens(self.spec, window), _opens(self.spec, window + 1) - 1)

    def _sized(self, block: Block) -> _Cut:
        """Bars of a size: each ends with the trade that fills it."""
        row = self._fills(block)
        begins = np.append(0 if self._open.trades else 1, row + 2)
        begins = begins[begins <= len(block)]
        ms = block.ts // 1_000
        open_time = ms[begins - 1]
        if self._open.trades:
            open_time[0] = self._open.open_time
        return _Cut(begins, row, np.zeros_like(begins), open_time, ms[row])

    def _fills(self, block: Block) -> Ints:
        """The rows of trades that fill a bar."""
        if self.spec.kind == "tick":
            size = int(self.spec.size)
            return np.arange(size - self._open.trades - 1, len(block), size)
        if self.spec.kind == "volume":
            return _fills(block.qty, self.spec.size, self._open.volume)
        return _fills(block.price * block.qty, self.spec.size, self._open.quote_volume)

    def _figures(self, block: Block, begins: Ints) -> dict[str, NDArray[Any]]:
        """All bars that begin, by columns, the open one with them."""
        was, first = self._open, begins[0]
        ends = np.append(begins[1:], len(block) + 1)
        trades = ends - begins
        bar = np.repeat(np.arange(len(begins)), trades)

        def total(so_far: float, amounts: Floats) -> Floats:
            return np.bincount(bar, _placed(so_far, amounts)[first:]).astype(np.float64, copy=False)

        figures = {
            "volume": total(was.volume, block.qty),
            "quote_volume": total(was.quote_volume, block.price * block.qty),
            "taker_buy_volume": total(was.taker_buy_volume, block.qty * block.buy),
            "trades": trades,
        }
        price = _placed(was.open, block.price)
        figures["open"] = price[begins]
        price[0] = was.high
        figures["high"] = np.maximum.reduceat(price, begins)
        price[0] = was.low
        figures["low"] = np.minimum.reduceat(price, begins)
        price[0] = was.close
        figures["close"] = price[ends - 1]
        if was.trades:
            trades[0] += was.trades - 1
        return figures

    def _gaps(self, block: Block, begins: Ints) -> Flags:
        """Which bars miss something: those of the trades after gaps, and those that were open then."""
        places = [1] if self._missing else []
        for row, _ in block.gaps:
            # A bar of a size is open only as long as the next trade will be in it.
            places += [row, row + 1] if self._is_timed else [row + 1]
        gap = np.zeros(len(begins), np.bool_)
        gap[0] = self._open.gap
        inside = [place for place in places if begins[0] <= place <= len(block)]
        gap[begins.searchsorted(inside, "right") - 1] = True
        self._missing = bool(block.gaps) and block.gaps[-1][0] == len(block)
        return gap


def _left_open(cut: _Cut, bars: dict[str, NDArray[Any]]) -> _Open:
    if len(cut.begins) == len(cut.row):
        return _Open()
    last = {name: column[-1].item() for name, column in bars.items()}
    return _Open(window=int(cut.window[-1]), open_time=int(cut.open_time[-1]), **last)


def _placed(first: float, column: NDArray[Any]) -> Floats:
    """The column of a block by places."""
    placed = np.empty(len(column) + 1)
    placed[0], placed[1:] = first, column
    return placed


def _changes(windows: Ints) -> Ints:
    return np.flatnonzero(windows[1:] != windows[:-1]) + 1


def _windows(spec: BarSpec, ts: Ints) -> Ints:
    """The numbers of the windows that these times lie in; calendar months are numpy's own."""
    if not spec.size:
        return ts.astype("M8[us]").astype("M8[M]").astype(np.int64)
    return (ts - spec.offset_ms * 1_000) // (int(spec.size) * 1_000)


def _opens(spec: BarSpec, window: Ints) -> Ints:
    """When windows of these numbers open, in milliseconds."""
    if not spec.size:
        return window.astype("M8[M]").astype("M8[ms]").astype(np.int64)
    return window * int(spec.size) + spec.offset_ms


def _fills(amounts: Floats, size: float, total: float) -> Ints:
    """The rows at which a sum reaches `size`, and begins again behind them; `total` is what it is before the first."""
    rows: list[int] = []
    at = ahead = 0
    while at < len(amounts):
        if ahead < _FEW:
            stretch = amounts[at : at + _STRETCH].tolist()
            found, total = _one_by_one(stretch, size, total)
            rows += [at + row for row in found]
            at += len(stretch)
            ahead = 2 * len(stretch) // (len(found) + 1)
            continue
        sums = _placed(total, amounts[at : at + ahead])
        np.cumsum(sums, out=sums)
        filled = int(sums.searchsorted(size))
        if filled == len(sums):
            at, total = at + filled - 1, float(sums[-1])
            continue
        rows.append(at + filled - 1)
        at, total, ahead = at + filled, 0.0, 2 * filled
    return np.array(rows, np.int64)


def _one_by_one(amounts: list[float], size: float, total: float) -> tuple[list[int], float]:
    rows = []
    for row, amount in enumerate(amounts):
        total += amount
        if total >= size:
            rows.append(row)
            total = 0.0
    return rows, total
