"""One file of a spool: batches of records one behind the other, each with its length and a checksum.

A frame is its length, a CRC-32, how many records it holds, and their msgpack. What follows a frame that is torn or
damaged cannot be found, so that a file is read up to its first such place and no further.
"""

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct
from zlib import crc32

import msgspec

from cryptostream.model.events import Record

_HEAD = Struct("<III")
_LOST = {errno.ENOENT, errno.EIO, errno.ESTALE}
"""What a file says that will not be readable later either; other refusals (no descriptor, no memory) pass."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Record]).decode


class Damaged(ValueError):
    """A file cannot be read beyond a place; says which and why."""


def frame(records: Sequence[Record]) -> bytes:
    """A batch as it stands in a file."""
    body = _encode(records)
    return _HEAD.pack(len(body), crc32(body, len(records)), len(records)) + body


class Segment:
    """A file that is written to its end once, and read from its beginning once. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.records = 0
        """Records in it that have not been passed."""
        self._file: int | None = None
        self._place = 0

    @classmethod
    def made(cls, path: Path) -> "Segment":
        """A new file, for its owner alone."""
        segment = cls(path)
        segment._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return segment

    @classmethod
    def found(cls, path: Path) -> "Segment":
        """A file that somebody else has left; its records are counted by their heads, unread. It is not kept open."""
        segment = cls(path)
        segment.size = path.stat().st_size
        try:
            segment._count()
        finally:
            segment.close()
        return segment

    @property
    def file(self) -> int:
        """The descriptor, opened again where it was closed."""
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._file

    @property
    def used_up(self) -> bool:
        """Whether all of it has been passed."""
        return self._place >= self.size

    def append(self, framed: bytes, records: int) -> None:
        """Write a frame whole, or not at all."""
        left = memoryview(framed)
        try:
            while left:
                left = left[os.pwrite(self.file, left, self.size + len(framed) - len(left)) :]
        except OSError:
            os.ftruncate(self.file, self.size)
            raise
        self.size += len(framed)
        self.records += records

    def read(self, at_least: int = 1) -> tuple[list[Record], int]:
        """The batches from the present place on, until so many records are together, and where the next one begins.

        Raises Damaged where the very first cannot be read, and then it is used up.
        """
        try:
            records, following = self._read(self._place)
        except Damaged:
            self._place, self.records = self.size, 0
            raise
        with suppress(Damaged):  # its turn comes
            while len(records) < at_least and following < self.size:
                more, following = self._read(following)
                records += more
        return records, following

    def passed(self, place: int, records: int) -> None:
        """What stands before a place is needed no more."""
        self._place = place
        self.records -= records

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def release(self) -> list[int]:
        """The descriptor, if there is one, for whoever asks to close."""
        held, self._file = self._file, None
        return [] if held is None else [held]

    def _count(self) -> None:
        place = 0
        while len(head := os.pread(self.file, _HEAD.size, place)) == _HEAD.size:
            length, _, records = _HEAD.unpack(head)
            if not length:
                break
            place += _HEAD.size + length
            self.records += records if place <= self.size else 0

    def _read(self, place: int) -> tuple[list[Record], int]:
        try:
            return self._batch(place)
        except OSError as error:
            if error.errno in _LOST:
                raise Damaged(f"{self.path} at byte {place}: {error.strerror}") from error
            raise

    def _batch(self, place: int) -> tuple[list[Record], int]:
        head = os.pread(self.file, _HEAD.size, place)
        length, checksum, records = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0, 0)
        following = place + _HEAD.size + length
        if len(head) < _HEAD.size or following > self.size:
            raise Damaged(f"{self.path} at byte {place}: it ends within a batch")
        body = os.pread(self.file, length, place + _HEAD.size)
        if crc32(body, records) != checksum:
            raise Damaged(f"{self.path} at byte {place}: a batch is not what was written")
        try:
            return _decode(body), following
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Damaged(f"{self.path} at byte {place}: written by another version: {error}") from error
