"""A file that whole lines are appended to, and nothing else ever: not by a full disk, nor by who is killed meanwhile.

Synchronous: for a thread.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from cryptostream import logs
from cryptostream.errors import CryptostreamError

TAIL = 1 << 20
"""Bytes at the end of a file that `tail` looks at."""
_log = logs.get("tape")


class Appended:
    """A file of JSON, one a line, which others may append to as well.

    Where its last line lacks its end, somebody was killed who wrote it: it is cut off before the next is written.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._file = descriptor

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make it where it is missing. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(path, os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666))

    def close(self) -> None:
        """Give it up; all that was appended is on the disk."""
        os.close(self._file)

    def tail(self) -> frozenset[bytes]:
        """The lines at its end. Raises as `append`."""
        with self._locked():
            self._mend()
            return frozenset(os.pread(self._file, TAIL, max(0, self._size - TAIL)).splitlines(keepends=True))

    def append(self, lines: bytes) -> None:
        """Return once they are on the disk.

        Raises OSError, and leaves nothing of them then; CryptostreamError where the file is none of JSON lines.
        """
        with self._locked():
            self._mend()
            self._extend(lines)

    @property
    def _size(self) -> int:
        return os.fstat(self._file).st_size

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _mend(self) -> None:
        """Cut a last line off that is not whole; one that lacks nothing but its end gets that."""
        begins, size = self._last_line(), self._size
        if begins == size:
            return
        line = os.pread(self._file, size - begins, begins)
        if line.lstrip(b"\0")[:1] not in (b"", b"{"):  # some disks have zeros after a power cut
            raise CryptostreamError(f"{self._path} ends with what is no line of JSON", hint="choose another file")
        if _is_json(line):
            self._extend(b"\n")
        else:
            os.ftruncate(self._file, begins)
            _log.warning("jsonl.torn", file=str(self._path), cut=size - begins)

    def _last_line(self) -> int:
        """Where the text begins that lacks the end of its line; the size of the file where there is none."""
        begins = self._size
        while begins:
            before = max(0, begins - TAIL)
            newline = os.pread(self._file, begins - before, before).rfind(b"\n")
            if newline >= 0:
                return before + newline + 1
            begins = before
        return 0

    def _extend(self, text: bytes) -> None:
        size = self._size
        left = memoryview(text)
        try:
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, size)
            raise


def _is_json(line: bytes) -> bool:
    with suppress(ValueError):
        json.loads(line)
        return True
    return False
