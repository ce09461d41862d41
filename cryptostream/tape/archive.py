"""Trades as exchanges publish them, a file a day: CSV, bare or in a ZIP, with a checksum beside it.

A row is `id, price, qty, quote qty, time, buyer is maker, best match`, or of aggregated trades `id, price, qty, first
id, last id, time, buyer is maker, best match`. Some files have a header, some have not; times are in milliseconds or
microseconds, older files in the one and newer ones in the other, so that their size has to tell.
"""

import hashlib
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cryptostream.errors import DataQuality
from cryptostream.model.events import Micros, Side, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.model.text import are_positive
from cryptostream.tape.gunzip import MAGIC, MAX_BYTES, MAX_RATIO, Damaged, Gunzip
from cryptostream.tape.lines import open_regular

ROWS_AT_ONCE = 1000
_PIECE = 1 << 16
_LONGEST_ROW = 1 << 12
_CHECKSUM_BYTES = 1 << 10
_ZIP = b"PK\x03\x04"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""As exchanges pack. The others take as much memory as a file tells them to."""
_ENCRYPTED = 1
_DAMAGE = (
    *(Damaged, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError),
    *(ValueError, IndexError, OverflowError, struct.error),
)
"""What unpacking raises: the second row comes out of zipfile where a length, a place or a name in a ZIP is not true."""
_NAME = re.compile(r"([^-/]+)-(trades|aggTrades)-\d{4}-\d{2}(?:-\d{2})?\.(?:csv|zip|csv\.gz)")
_CHANNELS = {"trades": Channel.TRADES, "aggTrades": Channel.AGG_TRADES}
_TRUE, _FALSE = ("True", "true"), ("False", "false")
_MICROS_PER = {13: (1000, 1), 16: (1, 1), 19: (1, 1000)}
"""By the digits of a time: what it is multiplied with and divided by."""


class _Shape(NamedTuple):
    """Where a row holds what; `columns` counts them all."""

    columns: int
    time: int
    buyer_is_maker: int


_SHAPES = {Channel.TRADES: _Shape(7, 4, 5), Channel.AGG_TRADES: _Shape(8, 5, 6)}


def subject(name: str) -> tuple[Channel, str] | None:
    """The channel and the pair a file's name tells, or None.

    >>> subject("BTCUSDT-trades-2024-08-08.zip")
    (<Channel.TRADES: 'trades'>, 'BTCUSDT')
    """
    found = _NAME.fullmatch(name)
    return (_CHANNELS[found[2]], found[1]) if found else None


def checksum(path: Path) -> bool | None:
    """Whether a file is what the `.CHECKSUM` beside it says (SHA-256); None where there is no such file.

    Raises NotFound and UsageError where the file itself cannot be opened, see `open_regular`.
    """
    with open_regular(path) as file:
        beside = path.with_name(path.name + ".CHECKSUM")
        if not beside.exists():
            return None
        with open_regular(beside) as sums:
            told = sums.read(_CHECKSUM_BYTES).decode("ascii", "replace").split()
        found = hashlib.sha256()
        for piece in iter(lambda: file.read(_PIECE), b""):
            found.update(piece)
    return bool(told) and told[0].lower() == found.hexdigest()


class Archive:
    """One published file of trades of one subscription.

    Iterating gives its trades in pages, in the order of their ids. Raises DataQuality that names the line where the
    file stops being one: damaged, expanding without bounds, a row that is no trade, ids that do not rise.
    """

    def __init__(self, path: Path, subscription: Subscription) -> None:
        self.path = path
        self.subscription = subscription
        self.rows = 0

    def __iter__(self) -> Iterator[Sequence[TradeRecord]]:
        page: list[TradeRecord] = []
        newest = -1
        for number, line in enumerate(self._lines(), 1):
            trade = self._read(line, number)
            if trade is None:
                continue
            if trade.trade_id <= newest:
                raise self._broken(number, f"trade {trade.trade_id} after {newest}")
            newest = trade.trade_id
            self.rows += 1
            page.append(trade)
            if len(page) == ROWS_AT_ONCE:
                yield page
                page = []
        if page:
            yield page

    def _read(self, line: bytes, number: int) -> TradeRecord | None:
        """The trade of a row; None for a header and for an empty last line."""
        row = line.decode("ascii", "replace").strip().split(",")
        if row == [""] or (number == 1 and not row[0].isdigit()):
            return None
        try:
            return _trade(row, self.subscription)
        except ValueError as error:
            raise self._broken(number, str(error)) from error

    def _lines(self) -> Iterator[bytes]:
        with open_regular(self.path) as file:
            try:
                yield from _rows(_pieces(file))
            except _DAMAGE as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise DataQuality(f"{self.path} is damaged: {reason}") from error

    def _broken(self, number: int, reason: str) -> DataQuality:
        return DataQuality(f"{self.path}: line {number:,} is no trade: {reason}")


def _rows(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > _LONGEST_ROW:
            raise Damaged(f"a row of more than {_LONGEST_ROW:,} bytes", 0)
    yield rest


def _trade(row: Sequence[str], subscription: Subscription) -> TradeRecord:
    """One row. Raises ValueError that says what is wrong with it."""
    shape = _SHAPES[subscription.channel]
    if len(row) != shape.columns:
        raise ValueError(f"{len(row)} columns instead of {shape.columns}")
    number, price, qty, maker = row[0], row[1], row[2], row[shape.buyer_is_maker]
    if not number.isdigit() or not are_positive(price, qty) or maker not in (*_TRUE, *_FALSE):
        raise ValueError(f"id {number[:20]!a}, price {price[:40]!a}, qty {qty[:40]!a}, {maker[:10]!a}")
    side: Side = "sell" if maker in _TRUE else "buy"
    return TradeRecord(subscription, price, qty, _micros(row[shape.time]), side, int(number), filled=True)


def _micros(text: str) -> Micros:
    if not text.isdigit() or len(text) not in _MICROS_PER:
        raise ValueError(f"time {text[:20]!a}")
    times, per = _MICROS_PER[len(text)]
    return Micros(int(text) * times // per)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """What a file holds, unpacked if it is packed. Raises what its library raises, and Damaged past the caps."""
    head = file.read(len(_ZIP))
    file.seek(0)
    if head == _ZIP:
        yield from _unzipped(file)
    elif head.startswith(MAGIC):
        yield from Gunzip(file).pieces()
    else:
        yield from iter(lambda: file.read(_PIECE), b"")


def _unzipped(file: BinaryIO) -> Iterator[bytes]:
    """The one member of a ZIP; its name is looked at by nobody, so it can name no path.

    What a ZIP says of its own sizes is not believed: what it expands to is held against the size of the file.
    """
    packed_bytes = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as packed:
        members = [member for member in packed.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise Damaged(f"{len(members)} files in it instead of one", 0)
        _check_packing(members[0])
        made = 0
        with packed.open(members[0]) as member:
            for piece in iter(lambda: member.read(_PIECE), b""):
                made += len(piece)
                _check_size(made, max(packed_bytes, _PIECE))
                yield piece


def _check_packing(member: zipfile.ZipInfo) -> None:
    if member.flag_bits & _ENCRYPTED:
        raise Damaged("it is encrypted", 0)
    if member.compress_type not in _METHODS:
        raise Damaged(f"it is packed by method {member.compress_type}, and not deflated", 0)


def _check_size(made: int, packed: int) -> None:
    if made > MAX_BYTES:
        raise Damaged(f"it expands to more than {MAX_BYTES >> 30} GiB", packed)
    if made > MAX_RATIO * packed:
        raise Damaged(f"it expands more than {MAX_RATIO} times, which no table of trades does", packed)
