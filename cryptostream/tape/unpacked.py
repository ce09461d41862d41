"""The text of a file that may be packed, plain, gzip or a zip of one file, in pieces of bounded size."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cryptostream.errors import DataQuality
from cryptostream.tape import gunzip
from cryptostream.tape.gunzip import Gunzip
from cryptostream.tape.lines import open_regular

PIECE = 1 << 20
_ZIP = b"PK"
_LEAST = 1 << 14  # a very small file may expand more


class Begin(NamedTuple):
    """How a text begins, and about how long all of it is, in bytes."""

    text: bytes
    size: int


def begin(path: Path) -> Begin:
    """How a file's text begins. Raises like `pieces`."""
    with _opened(path) as (file, kind):
        if kind == "zip":
            with zipfile.ZipFile(file) as archive, archive.open(member := _member(archive, _size(file))) as text:
                return Begin(text.read(PIECE), member.file_size)
        if kind == "gzip":
            source = Gunzip(file)
            first = next(source.pieces(), b"")
            return Begin(first, _size(file) * len(first) // max(1, source.position))
        return Begin(file.read(PIECE), _size(file))


def pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file's text; which of the three it is, its first bytes say, not its name.

    Raises DataQuality that names the file where it is damaged, or expands beyond what `gunzip` allows; NotFound and
    UsageError like `open_regular`.
    """
    with _opened(path) as (file, kind):
        if kind == "zip":
            with zipfile.ZipFile(file) as archive, archive.open(_member(archive, _size(file))) as text:
                yield from iter(lambda: text.read(PIECE), b"")
        elif kind == "gzip":
            yield from Gunzip(file).pieces()
        else:
            yield from iter(lambda: file.read(PIECE), b"")


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _member(archive: zipfile.ZipFile, size: int) -> zipfile.ZipInfo:
    """The one file in an archive of some size. Raises DataQuality."""
    found = [member for member in archive.infolist() if not member.is_dir()]
    if len(found) != 1:
        raise DataQuality(f"it holds {len(found)} files and not one")
    (member,) = found
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataQuality("it is packed in a way that is not read here")
    if member.file_size > min(gunzip.MAX_BYTES, gunzip.MAX_RATIO * max(size, _LEAST)):
        raise DataQuality(f"it expands to {member.file_size:,} bytes, which no recording does")
    return member


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """A file and what it is; damage leaves as DataQuality that names it."""
    with open_regular(path) as file:
        head = file.read(len(gunzip.MAGIC))
        file.seek(0)
        try:
            yield file, "gzip" if head == gunzip.MAGIC else "zip" if head.startswith(_ZIP) else "plain"
        except (DataQuality, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise DataQuality(f"{path} is damaged: {error}") from error
