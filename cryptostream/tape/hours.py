"""One connection's files on the disk, hour by hour: begun under a name in progress, closed whole, never overwritten."""

import gzip
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from cryptostream.errors import CryptostreamError
from cryptostream.tape.forms import frame_line
from cryptostream.tape.names import HOUR_NS, IN_PROGRESS, file_name

# Half of gunzip.HELD: a reader believes a member once it has checked all of it.
_MEMBER_BYTES = 512 << 10
_LEVEL = 5


Received = tuple[int, bytes, bool]
"""When a frame came, in nanoseconds since the epoch, the frame, and whether to keep it wrapped."""


class HourFiles:
    """Appends frames, each to the file of the hour it was received in. Synchronous: for one thread.

    Where the clock steps back over the hour, frames stay in the file that is open. A disk that refuses a write leaves
    the file whole, to the member before, and closes it; `failure` says why, and is raised from then on.
    """

    def __init__(self, folder: Path, connection: str) -> None:
        self.failure: CryptostreamError | None = None
        self._folder = folder
        self._connection = connection
        self._hour = -1
        self._file: _HourFile | None = None

    def prepare(self) -> None:
        """Make the folder. Raises CryptostreamError where that cannot be."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed(error) from error

    def append(self, frames: Iterable[Received]) -> None:
        """Write frames in their order, by members. Raises CryptostreamError."""
        if self.failure:
            raise self.failure
        try:
            for hour, text in _texts(frames, self._hour):
                self._file_of(hour).append(gzip.compress(text, _LEVEL, mtime=0))
        except OSError as error:
            self.failure = self._failed(error)
            with suppress(OSError):
                self._close()
            raise self.failure from error

    def close(self) -> None:
        """Close the file that is open. Raises CryptostreamError, also one that was raised before."""
        if self.failure:
            raise self.failure
        try:
            self._close()
        except OSError as error:
            self.failure = self._failed(error)
            raise self.failure from error

    def _file_of(self, hour: int) -> "_HourFile":
        if self._file is None or hour != self._hour:
            self._close()
            self._file = _HourFile.begin(self._folder, self._connection, hour)
            self._hour = hour
        return self._file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file:
            file.close()

    def _failed(self, error: OSError) -> CryptostreamError:
        hint = "make room; the files closed so far are whole" if self._hour >= 0 else ""
        return CryptostreamError(f"cannot record to {error.filename or self._folder}: {error.strerror}", hint=hint)


class _HourFile:
    """One file in progress; `append` is all or nothing."""

    def __init__(self, descriptor: int, path: Path, closed: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        self._closed = closed
        self._size = 0

    @classmethod
    def begin(cls, folder: Path, connection: str, hour: int) -> "_HourFile":
        """A new file under the first free name of the hour. Whoever holds the name in progress owns the closed one."""
        for part in count():
            closed = folder / file_name(connection, hour, part)
            path = closed.with_name(closed.name + IN_PROGRESS)
            with suppress(FileExistsError):
                file = cls(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), path, closed)
                if not closed.exists():
                    return file
                file._discard()
        raise AssertionError("numbers do not end")

    def append(self, member: bytes) -> None:
        """Write a member. Where the disk takes only a part of it, the part is taken back. Raises OSError."""
        try:
            written = 0
            while written < len(member):
                written += os.write(self._descriptor, member[written:])
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(member)

    def close(self) -> None:
        """Make it last: the bytes reach the disk before the name does, and the name before we go on."""
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)
        self._path.rename(self._closed)
        folder = os.open(self._closed.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _discard(self) -> None:
        os.close(self._descriptor)
        self._path.unlink()


def _texts(frames: Iterable[Received], hour: int) -> Iterator[tuple[int, bytes]]:
    """The lines of frames, gathered to members of one hour each; an hour never falls below the one before."""
    lines: list[bytes] = []
    size = 0
    for received_at, frame, wrapped in frames:
        this = max(hour, received_at // HOUR_NS)
        if lines and (this > hour or size >= _MEMBER_BYTES):
            yield hour, b"".join(lines)
            lines, size = [], 0
        hour = this
        lines.append(frame_line(received_at, frame, wrapped=wrapped))
        size += len(lines[-1])
    if lines:
        yield hour, b"".join(lines)
