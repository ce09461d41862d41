"""Lines of a venue's trade file as columns, block by block; a line that cannot be read is told by its number."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from pyarrow import csv

from cryptostream.backtest.block import Flags, Floats, Ints
from cryptostream.errors import DataQuality
from cryptostream.tape import unpacked

_COLUMNS = ("trade_id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match")
_SPELLED = {"id": "trade_id", "quantity": "qty", "timestamp": "time"}
"""Names that some files have for the same."""
_TYPES = {
    "trade_id": pa.int64(),
    "price": pa.float64(),
    "qty": pa.float64(),
    "time": pa.int64(),
    "is_buyer_maker": pa.bool_(),
}
_PARSE = csv.ParseOptions(quote_char=False)
_CONVERT = csv.ConvertOptions(column_types=_TYPES, include_columns=list(_TYPES), null_values=[])
_WIDTHS = (6, 7)
_REASON = re.compile(r"(?:In CSV column #\d+: |CSV parse error: )?(?:Row #\d+: )?")
_MARK = b"\xef\xbb\xbf"
"""What some programs put before a text to say that it is UTF-8."""
_MICROS, _NANOS = 10**14, 10**17  # a time of today has 13 digits in milliseconds, 16 in micro-, 19 in nanoseconds


@dataclass(slots=True)
class Lines:
    """Some lines of a file, at least one. `ts` is in microseconds."""

    trade_id: Ints
    price: Floats
    qty: Floats
    ts: Ints
    buyer_maker: Flags
    path: Path
    first_line: int
    text: bytes

    def wrong(self, row: int, why: str) -> DataQuality:
        """What is told of one of these lines."""
        written = [number for number, line in enumerate(self.text.splitlines(), self.first_line) if line.strip()]
        return DataQuality(f"{self.path}: line {written[row]:,}: {why}")


class TradeLines:
    """The trades in a file, `unpacked` block by block.

    Raises DataQuality that names file and line, or where `unpacked.pieces` does; NotFound, UsageError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: Sequence[str] = ()

    def __iter__(self) -> Iterator[Lines]:
        number = 1
        for text in self._texts():
            first = number
            number += text.count(b"\n")
            if first == 1:
                text, first = self._begun(text)
            columns = self._columns(text, first)
            if len(columns["trade_id"]):
                yield self._lines(columns, first, text)

    def _texts(self) -> Iterator[bytes]:
        """Whole lines, about a piece of them at once."""
        held: list[bytes] = []
        for piece in unpacked.pieces(self._path):
            held.append(piece)
            if sum(map(len, held)) < unpacked.PIECE:
                continue
            whole, newline, rest = b"".join(held).rpartition(b"\n")
            if not newline:
                raise DataQuality(f"{self._path} is damaged: a line of more than {len(rest):,} bytes")
            held = [rest]
            yield whole + newline
        if any(held):
            yield b"".join(held)

    def _begun(self, text: bytes) -> tuple[bytes, int]:
        """Learn the names of the columns; the text without a line that says them, and the number of its first line."""
        text = text.removeprefix(_MARK)
        line, _, rest = text.partition(b"\n")
        words = line.decode("ascii", "replace").strip().split(",")
        if words[0][:1].isdigit():
            self._names = _COLUMNS[: len(words)]
            return (text, 1) if len(words) in _WIDTHS else self._refuse(f"{len(words)} columns, and not 6 or 7")
        self._names = [_SPELLED.get(word, word) for word in map(_snake, words)]
        missing = [name for name in _TYPES if name not in self._names]
        return self._refuse(f"no {' and no '.join(missing)} among the columns") if missing else (rest, 2)

    def _refuse(self, why: str) -> NoReturn:
        if self._path.suffix in (".zip", ".gz"):  # packed it would have been unpacked
            raise DataQuality(f"{self._path} is no {self._path.suffix} file, and no trades either: {why}")
        raise DataQuality(f"{self._path}: line 1: {why}", hint=f"a line is {','.join(_COLUMNS)}")

    def _columns(self, text: bytes, first_line: int) -> dict[str, Any]:
        try:
            return _read(text, self._names)
        except ValueError as error:
            lines = text.splitlines(keepends=True)
            bad = bisect_left(
                range(len(lines)), True, key=lambda at: not _readable(b"".join(lines[: at + 1]), self._names)
            )
            why = _REASON.sub("", str(error))
            raise DataQuality(f"{self._path}: line {first_line + bad:,} cannot be read: {why}") from error

    def _lines(self, columns: dict[str, Any], first_line: int, text: bytes) -> Lines:
        ids, price, qty, time, maker = (columns[name] for name in _TYPES)
        return Lines(ids, price, qty, _micros(time), maker, self._path, first_line, text)


def _read(text: bytes, names: Sequence[str]) -> dict[str, Any]:
    """Lines as columns. Raises ValueError where one is not as it should be."""
    if not text.strip():
        return {name: np.zeros(0) for name in _TYPES}
    how = csv.ReadOptions(use_threads=False, column_names=names, block_size=unpacked.PIECE)
    table = csv.read_csv(pa.BufferReader(text), how, _PARSE, _CONVERT)
    columns = {name: table.column(name).to_numpy() for name in _TYPES}
    for name in ("price", "qty"):
        if not ((columns[name] > 0) & (columns[name] < np.inf)).all():
            raise ValueError(f"a {name} that is no positive number")
    for name in ("trade_id", "time"):
        if (columns[name] < 0).any():
            raise ValueError(f"a {name} below zero")
    return columns


def _readable(text: bytes, names: Sequence[str]) -> bool:
    try:
        return bool(_read(text, names))
    except ValueError:
        return False


def _micros(time: Ints) -> Ints:
    """Times as microseconds, whichever of three units each is in."""
    if int(time.max()) < _MICROS:
        return time * 1000
    made: Ints = np.where(time < _MICROS, time * 1000, np.where(time < _NANOS, time, time // 1000))
    return made


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
