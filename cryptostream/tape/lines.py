"""The lines of a recorded file, plain or gzip, up to the first place that is not whole."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from cryptostream.errors import DataQuality, NotFound, UsageError
from cryptostream.tape.gunzip import MAGIC, Damaged, Gunzip

MAX_LINE = 16 << 20
_PIECE = 1 << 18


class Lines:
    """The lines of one file with their numbers, from 1. Which of the two it is, its first bytes say, not its name.

    Iterating raises DataQuality that names file, line and byte where the file stops being whole, after all that is
    whole before it. With `skip_bad` it goes on behind the damage, at the next gzip member, and counts in `skipped`;
    the numbers then count the lines that were read. NotFound and UsageError come from opening, see `open_regular`.
    """

    def __init__(self, path: Path, *, skip_bad: bool = False) -> None:
        self.path = path
        self.position = 0
        self.skipped = 0
        self._number = 0
        self._skip_bad = skip_bad

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        with open_regular(self.path) as file:
            source = _source(file)
            while True:
                try:
                    yield from self._split(source)
                except Damaged as damage:
                    self._pass_over(damage)
                    if not source.resync():
                        return
                else:
                    return

    def _split(self, source: "Gunzip | _Plain") -> Iterator[tuple[int, bytes]]:
        rest = b""
        for piece in source.pieces():
            self.position = source.position
            *whole, rest = (rest + piece).split(b"\n")
            yield from enumerate(whole, self._number + 1)
            self._number += len(whole)
            if len(rest) > MAX_LINE:
                raise Damaged(f"a line of more than {MAX_LINE >> 20} MiB", source.position)
        if rest and not _is_whole(rest):
            raise Damaged("the file ends inside a line", source.position)
        if rest:
            self._number += 1
            yield self._number, rest

    def _pass_over(self, damage: Damaged) -> None:
        if not self._skip_bad:
            place = f"line {self._number + 1:,}, byte {damage.offset:,}"
            raise DataQuality(f"{self.path} is damaged at {place}: {damage.reason}") from damage
        self.skipped += 1


class _Plain:
    """Plain text with the face of Gunzip."""

    def __init__(self, file: BinaryIO) -> None:
        self.position = 0
        self._file = file

    def pieces(self) -> Iterator[bytes]:
        while piece := self._file.read(_PIECE):
            self.position += len(piece)
            yield piece

    def resync(self) -> bool:
        """Go on where we are: what is left of the line reads as a bad one."""
        return True


def _source(file: BinaryIO) -> Gunzip | _Plain:
    head = file.read(len(MAGIC))
    file.seek(0)
    return Gunzip(file) if head == MAGIC else _Plain(file)


def _is_whole(line: bytes) -> bool:
    """Whether a line without its newline is complete: JSON in brackets tells by itself where it ends."""
    starts = [at for at in (line.find(b"{"), line.find(b"[")) if at >= 0]
    try:
        msgspec.json.decode(line[min(starts) :] if starts else b"")
    except msgspec.DecodeError:
        return False
    return True


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, never a device or a pipe, and never waiting for one.

    Raises NotFound where there is none, UsageError for what is no regular file or may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as error:
        raise NotFound(f"no such file: {path}") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"not a regular file: {path}")
    return os.fdopen(descriptor, "rb")
