"""Streams and tapes set down by columns: a backtest that sweeps reads what came once many times, from many processes.

A stage's folder is scratch, and whoever made it deletes it: 41 bytes for each trade, closed klines as bars, gaps beside
them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec
import numpy as np

from cryptostream.backtest.block import BarSeries, Block, TradeSeries
from cryptostream.errors import DataQuality, NotFound
from cryptostream.model import reading
from cryptostream.model.events import Bar, Entry, Event, Gap, Kline, Signal, Trade
from cryptostream.tape.digits import rise
from cryptostream.tape.pieces import START, Content, Place, content, gathered, piece
from cryptostream.transforms.bars import of_kline

_COLUMNS = {"ms": "<i8", "trade_id": "<i8", "price": "<f8", "qty": "<f8", "ts": "<i8", "buy": "?"}
_LAST = list(_COLUMNS)[-1]
_AT_ONCE = 1 << 16
"""Events of all streams together that wait to be written."""
_SIZE = 8  # bytes that say how long what follows is
_Gaps = list[tuple[int, Gap]]


@dataclass(slots=True)
class StagedTrades:
    """A TradeSeries that was set down; `size` is exact."""

    exchange: str
    pair: str
    stream: str
    size: int
    path: Path

    def blocks(self) -> Iterator[Block]:
        """The trades in order. Raises NotFound where the stage is gone, DataQuality where it was cut."""
        return gathered(self._pieces())

    def _pieces(self) -> Iterator[Block]:
        with _there(self.path) as file, _there(_gaps_of(self.path)) as beside:
            gaps = msgspec.msgpack.decode(beside.read(), type=_Gaps)
            start = 0
            while start < self.size:
                piece = self._piece(file, start, gaps)
                yield piece
                start += len(piece)

    def _piece(self, file: BinaryIO, start: int, gaps: _Gaps) -> Block:
        count = int.from_bytes(file.read(_SIZE))
        columns = {name: np.fromfile(file, kind, count) for name, kind in _COLUMNS.items()}
        if not count or len(columns[_LAST]) < count:
            raise DataQuality(f"{self.path} is shorter than it was when it was made")
        end = start + count + (start + count == self.size)
        placed = tuple((row - start, gap) for row, gap in gaps if start <= row < end)
        return Block(self.exchange, self.pair, gaps=placed, **columns)


@dataclass(slots=True)
class StagedBars:
    """A BarSeries that was set down."""

    exchange: str
    pair: str
    stream: str
    interval: str
    size: int
    path: Path

    def bars(self) -> Iterator[Bar]:
        """The closed klines in order. Raises NotFound where the stage is gone."""
        decode = msgspec.msgpack.Decoder(list[Bar]).decode
        with _there(self.path) as file:
            while size := file.read(_SIZE):
                yield from decode(file.read(int.from_bytes(size)))


class Stage:
    """Takes the entries of any number of streams in their order, and gives a series of each that holds market data.

    What `add` got is on the disk once `series` was called, or the stage was left as a context.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._sheets: dict[str, _Sheet] = {}
        self._waiting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._write()

    def add(self, entries: Iterable[Entry]) -> None:
        """Take in what came next of some streams.

        Raises DataQuality for an entry that cannot be read, of another pair than those before it, or out of order.
        """
        by_stream: dict[str, list[Entry]] = {}
        for entry in entries:
            by_stream.setdefault(entry.stream, []).append(entry)
        for stream, rows in by_stream.items():
            self.add_events(stream, _read(stream, rows))

    def add_events(self, stream: str, events: Sequence[Event]) -> None:
        """Take in what came next of one stream, as events. Raises DataQuality like `add`."""
        if stream not in self._sheets:
            self._sheets[stream] = _Sheet(stream, self._folder / f"{len(self._sheets):05}")
        self._sheets[stream].add(events)
        self._waiting += len(events)
        if self._waiting >= _AT_ONCE:
            self._write()

    def series(self) -> list[TradeSeries | BarSeries]:
        """What was set down so far, sorted by stream."""
        self._write()
        found = (self._sheets[stream].series() for stream in sorted(self._sheets))
        return [one for one in found if one]

    def _write(self) -> None:
        for sheet in self._sheets.values():
            sheet.write()
        self._waiting = 0


class _Sheet:
    """One stream on its way to its file."""

    def __init__(self, stream: str, path: Path) -> None:
        self._stream = stream
        self._path = path
        path.write_bytes(b"")
        self._content: Content | None = None
        self._events: list[Any] = []
        self._gaps: _Gaps = []
        self._rows = 0
        self._last: Place = START

    def add(self, events: Sequence[Event]) -> None:
        for event in events:
            if self._content is None and not isinstance(event, Gap | Signal):
                self._content = content(event)
            if self._content is not None:
                self._content.checked(self._stream, event.entry_id, event)
        self._events.extend(events)

    def write(self) -> None:
        events, self._events = self._events, []
        if not events or self._content is None:
            self._events = events
        elif self._content.kind is Kline:
            self._write_bars(events)
        else:
            self._write_trades(piece(self._content.exchange, self._content.pair, events))

    def series(self) -> TradeSeries | BarSeries | None:
        if self._content is None:
            return None
        told = (self._content.exchange, self._content.pair, self._stream)
        if self._content.kind is Kline:
            return StagedBars(*told, self._content.interval, self._rows, self._path)
        _gaps_of(self._path).write_bytes(msgspec.msgpack.encode(self._gaps))
        return StagedTrades(*told, self._rows, self._path)

    def _write_trades(self, block: Block) -> None:
        self._gaps.extend((self._rows + row, gap) for row, gap in block.gaps)
        if not len(block):
            return
        begins = int(block.ms[0]), int(block.trade_id[0])
        if begins <= self._last or not rise(block.ms, block.trade_id):
            raise DataQuality(f"the entries of {self._stream} do not come in the order of their ids")
        self._last = int(block.ms[-1]), int(block.trade_id[-1])
        columns = (getattr(block, name).astype(kind, copy=False) for name, kind in _COLUMNS.items())
        self._append(len(block).to_bytes(_SIZE) + b"".join(column.tobytes() for column in columns))
        self._rows += len(block)

    def _write_bars(self, events: Sequence[Kline | Gap]) -> None:
        bars = [of_kline(event) for event in events if isinstance(event, Kline) and event.closed]
        if bars:
            page = msgspec.msgpack.encode(bars)
            self._append(len(page).to_bytes(_SIZE) + page)
            self._rows += len(bars)

    def _append(self, content: bytes) -> None:
        # Opened anew each time: there may be more streams than a process may have files open.
        with self._path.open("ab") as file:
            file.write(content)


def _read(stream: str, entries: Sequence[Entry]) -> list[Event]:
    """Entries of one stream as events; those that hold no market data are left out."""
    rows = [(entry.entry_id, list(chain.from_iterable(entry.fields.items()))) for entry in entries]
    found = reading.events(stream, rows)
    if found.trouble:
        raise found.trouble
    return [event for event in found.events if isinstance(event, Trade | Gap | Kline)]


def _gaps_of(path: Path) -> Path:
    return path.with_suffix(".gaps")


def _there(path: Path) -> Any:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise NotFound(f"{path} is gone", hint="its backtest is over: begin again") from error
