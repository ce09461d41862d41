"""The bytes of a gzip file as far as they are whole, and the place where they stop being so.

A gzip file is a row of *members*, each with its own checksum. A member that fits in `HELD` bytes is handed out once
its checksum has held, so that a flipped bit in a tape of ours never becomes a price; a larger one, as other recorders
write them, is handed out as it comes. A file that ends inside a member is taken for cut short, not for wrong: what that
member holds is handed out.
"""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from cryptostream.errors import DataQuality

MAGIC = b"\x1f\x8b\x08"
HELD = 1 << 20
MAX_BYTES = 8 << 30
MAX_RATIO = 200

# Deflate makes at most 1,032 bytes of one, so a step never makes more than 16 MiB.
_STEP = 1 << 14


class Damaged(DataQuality):
    """A place in a file where the bytes stop being whole; `offset` counts the bytes of the file before it."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class Gunzip:
    """Reads the members of one file; `position` counts the bytes of the file that were used.

    `pieces` raises Damaged; `resync` then looks for a member behind the one that failed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.position = 0
        self._file = file
        self._member_at = 0
        self._ahead = b""
        self._made = 0

    def pieces(self) -> Iterator[bytes]:
        """The bytes of all members in order. Raises Damaged at the first place that is not whole."""
        while self._fill(skip_padding=True):
            yield from self._member()

    def resync(self) -> bool:
        """Go to the next place behind the start of the failed member that looks like a member; False for none."""
        self._seek(self._member_at + 1)
        while self._fill():
            found = self._ahead.find(MAGIC)
            if found >= 0:
                self._seek(self.position + found)
                return True
            self._seek(self.position + max(1, len(self._ahead) - len(MAGIC) + 1))
        return False

    def _member(self) -> Iterator[bytes]:
        self._member_at = self.position
        inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        held: list[bytes] | None = []
        while not inflater.eof and self._fill():
            whole, error = self._step(inflater)
            if held is not None:
                held.append(whole)
                whole, held = _released(held)
            if whole:
                yield whole
            if error:
                raise Damaged(f"{error} in the gzip member at byte {self._member_at:,}", self.position)
        yield b"".join(held or ())
        if not inflater.eof:
            raise Damaged("the file ends inside a gzip member", self.position)

    def _step(self, inflater: "zlib._Decompress") -> tuple[bytes, str]:
        """Inflate what has been read ahead; with an error, exactly what was whole before it."""
        before, given = inflater.copy(), self._ahead
        try:
            whole, error = inflater.decompress(given), ""
            self._take(len(given) - len(inflater.unused_data))
        except zlib.error:
            whole, error = self._byte_by_byte(before, given)
        self._check(len(whole))
        return whole, error

    def _byte_by_byte(self, inflater: "zlib._Decompress", given: bytes) -> tuple[bytes, str]:
        whole = bytearray()
        for index in range(len(given)):
            try:
                whole += inflater.decompress(given[index : index + 1])
            except zlib.error as error:
                self._take(index)
                return bytes(whole), str(error).partition(": ")[2] or str(error)
        raise AssertionError("zlib failed on bytes that it takes one by one")

    def _check(self, made: int) -> None:
        self._made += made
        if self._made > MAX_BYTES:
            raise Damaged(f"it expands to more than {MAX_BYTES >> 30} GiB", self.position)
        if self._made > MAX_RATIO * max(self.position, _STEP):
            raise Damaged(f"it expands more than {MAX_RATIO} times, which no recording does", self.position)

    def _fill(self, *, skip_padding: bool = False) -> bool:
        """Have bytes ahead; False at the end of the file. Zeros between members are padding."""
        while True:
            self._ahead = self._ahead or self._file.read(_STEP)
            if not skip_padding or not self._ahead.startswith(b"\0"):
                return bool(self._ahead)
            self._take(len(self._ahead) - len(self._ahead.lstrip(b"\0")))

    def _take(self, count: int) -> None:
        self.position += count
        self._ahead = self._ahead[count:]

    def _seek(self, position: int) -> None:
        self._file.seek(position)
        self.position, self._ahead = position, b""


def _released(held: list[bytes]) -> tuple[bytes, list[bytes] | None]:
    """Keep what is held while it is small; give it all, and hold no more, once it is not."""
    if sum(map(len, held)) <= HELD:
        return b"", held
    return b"".join(held), None
