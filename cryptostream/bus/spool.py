"""Records wait on this machine's disk while the bus is away, in the order they came, until it takes them.

House rules:
* A spool is a folder of numbered segments (`segment.py`) below `<data dir>/spool/<bus>/`, one folder for each writer:
  two feeds of a process, two ingesters of a machine, never share one.
* A lock file in it (`folders.py`) is held with flock for the life of its writer. The kernel undoes it at its death,
  so a folder whose lock can be had belongs to nobody: its writer is dead, and whoever comes next adopts what it left.
* What was read stays until it is acknowledged, file by file: after a crash some of it is sent to the bus twice, where
  entry ids make that harmless.
* Nothing here waits for the disk but the system call of a write; whoever owns the spool awaits `sync`.
"""

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from re import compile as pattern
from typing import Literal

from cryptostream import logs
from cryptostream.bus import folders
from cryptostream.bus.segment import Damaged, Segment, frame
from cryptostream.model.events import Record

Fsync = Literal["always", "interval", "never"]
SEGMENT_BYTES = 8 << 20
_LEAST_SEGMENTS = 8
"""A spool that may hold little is cut small, so that draining it makes room before all of it is gone."""
_USERINFO = pattern(r"(?<=://)[^/]*@")
_log = logs.get("bus")


class Unreadable(Exception):
    """What waits cannot be read at present; asked for again later, it may be."""


class Spool:
    """A log of record batches for one writer to one bus: appended to at its end, read from its beginning.

    `url` says which bus it is for; who logs in is no part of that. Nothing is on the disk before the first `append`,
    and nothing stays there once all was acknowledged and the spool is closed.
    """

    def __init__(
        self,
        data_dir: Path,
        url: str,
        *,
        max_bytes: int = 1 << 30,
        fsync: Fsync = "interval",
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        bus = sha256(_USERINFO.sub("", url.partition("?")[0]).encode()).hexdigest()[:16]
        self.root = data_dir / "spool" / bus
        self.max_bytes = max_bytes
        self.fsync = fsync
        self.bytes = 0
        """What its files hold now."""
        self.damaged = 0
        """Files that could not be read to their end."""
        self._segment_bytes = min(segment_bytes, max_bytes // _LEAST_SEGMENTS)
        self._numbers = count(1)
        self._segments: deque[Segment] = deque()
        self._folders: dict[Path, int] = {}
        self._own: Path | None = None
        self._open: Segment | None = None
        self._unforced: list[int] = []
        self._dirty = False
        self._refused: set[str] = set()
        self._batch: tuple[list[Record], int] | None = None

    def __repr__(self) -> str:
        return f"Spool({self.bytes} bytes in {self._own or self.root})"

    @property
    def records(self) -> int:
        """How many records wait."""
        return sum(segment.records for segment in self._segments)

    @property
    def failed(self) -> bool:
        """Whether the disk refused the newest write; an empty `append` asks it again."""
        return "write" in self._refused

    @property
    def folders(self) -> list[Path]:
        """Where they wait: the folders that were adopted and have not been read to their end, and our own."""
        return list(self._folders)

    def adopt(self) -> int:
        """Take over, oldest first, what dead writers left for this bus; it is read before our own. How many records.

        A folder that cannot be read is left alone.
        """
        found: list[Segment] = []
        try:
            folders.sweep(self.root)
            left = folders.by_age(self.root)
        except OSError as error:
            _leave_alone(self.root, error)
            return 0
        for folder in left:
            try:
                found += self._take_over(folder)
            except OSError as error:
                _leave_alone(folder, error)
        self._segments.extendleft(reversed(found))
        self.bytes += sum(segment.size for segment in found)
        self._leave_empty_folders()
        return sum(segment.records for segment in found)

    def append(self, records: Sequence[Record]) -> bool:
        """Write a batch behind all others; False where it would exceed `max_bytes` or the disk takes no more."""
        framed = frame(records)
        if self.bytes + len(framed) > self.max_bytes:
            return False
        try:
            self._segment(len(framed)).append(framed, len(records))
        except OSError as error:
            self._refuse("write", error)
            return False
        self._refused.discard("write")
        self._dirty = True
        self.bytes += len(framed)
        return True

    def read(self, at_least: int = 1) -> list[Record] | None:
        """The oldest batch that was not acknowledged; None when there is none.

        Together with those after it in the same file until there are `at_least` so many records. Raises Unreadable.
        """
        if self._batch is not None:
            return self._batch[0]
        while self._segments:
            segment = self._segments[0]
            if segment.used_up:
                self._remove(segment)
                continue
            try:
                records, following = segment.read(at_least)
            except Damaged as error:
                self._give_up_on(segment, error)
                continue
            except OSError as error:
                self._refuse("read", error)
                raise Unreadable(str(error)) from error
            self._refused.discard("read")
            if records:
                self._batch = records, following
                return records
            segment.passed(following, 0)
        self._forget_unforced()
        return None

    def acknowledge(self) -> None:
        """The batch that `read` gave is safe elsewhere; a file of which nothing is needed any more is deleted."""
        if self._batch is None:
            return
        (records, following), self._batch = self._batch, None
        segment = self._segments[0]
        segment.passed(following, len(records))
        if segment.used_up:
            self._remove(segment)

    async def sync(self) -> None:
        """Force to disk what was appended since the last time, in a thread; with fsync `never`, nothing."""
        if not self._dirty or self.fsync == "never":
            return
        try:
            waiting = self._to_force()
        except OSError as error:
            self._refuse("sync", error)
            return
        self._forced(await asyncio.to_thread(_force, waiting))

    def close(self) -> None:
        """Force to disk what waits and leave it for the next writer; leave nothing where nothing waits."""
        with suppress(Unreadable):
            self.read()  # what is used up goes
        if self._open is not None:
            self._unforced += self._open.release()
        self._forced(_force(self._unforced))
        self._unforced, self._dirty = [], False
        for segment in self._segments:
            segment.close()
        self._own, self._open, self._batch = None, None, None
        self._leave_empty_folders()
        for lock in self._folders.values():
            os.close(lock)
        self._folders.clear()
        self._segments.clear()
        self.bytes = 0
        for folder in (self.root, self.root.parent):
            with suppress(OSError):  # other writers' are still in it
                folder.rmdir()

    def _segment(self, length: int) -> Segment:
        """The file that the next frame goes to."""
        if self._open is not None and self._open.size and self._open.size + length > self._segment_bytes:
            if self.fsync == "never":
                self._open.close()
            else:
                self._unforced += self._open.release()
            self._open = None
        if self._open is None:
            self._own = self._own or self._make_folder()
            self._open = Segment.made(self._own / f"{next(self._numbers):08}.log")
            self._segments.append(self._open)
        return self._open

    def _make_folder(self) -> Path:
        """A folder of our own. Raises OSError."""
        folder, lock = folders.made(self.root)
        self._folders[folder] = lock
        return folder

    def _take_over(self, folder: Path) -> list[Segment]:
        """The files of a folder whose writer is dead. Raises OSError, and holds nothing then."""
        lock = folders.locked(folder)
        if lock is None:
            return []
        try:
            found = [Segment.found(path) for path in sorted(folder.iterdir()) if path.suffix == ".log"]
        except OSError:
            os.close(lock)
            if folder.exists():
                raise
            return []  # its owner was about to go
        self._folders[folder] = lock
        return found

    def _to_force(self) -> list[int]:
        """Descriptors of what has to be forced to disk, for whoever does it to close. Raises OSError."""
        newest = [] if self._open is None else [os.dup(self._open.file)]
        waiting, self._unforced, self._dirty = self._unforced, [], False
        return [*waiting, *newest]

    def _forced(self, error: OSError | None) -> None:
        if error is None:
            self._refused.discard("sync")
        else:
            self._refuse("sync", error)

    def _forget_unforced(self) -> None:
        """Nothing waits, so that nothing has to outlive us."""
        for descriptor in self._unforced:
            os.close(descriptor)
        self._unforced, self._dirty = [], False

    def _refuse(self, what: str, error: OSError) -> None:
        """Say what the disk refuses, once until it does it again."""
        if what not in self._refused:
            _log.error("spool.failed", doing=what, path=str(self._own or self.root), error=error)
        self._refused.add(what)

    def _give_up_on(self, segment: Segment, error: Exception) -> None:
        self.damaged += 1
        _log.warning("spool.damaged", why=str(error), hint="what it held behind that is fetched again")
        self._remove(segment)

    def _remove(self, segment: Segment) -> None:
        self._segments.popleft()
        self.bytes -= segment.size
        segment.close()
        try:
            segment.path.unlink(missing_ok=True)
        except OSError as error:  # it is sent again after the next start, where ids make that harmless
            _leave_alone(segment.path, error)
        if segment is self._open:
            self._open = None
        self._leave_empty_folders()

    def _leave_empty_folders(self) -> None:
        """Remove the folders in which nothing waits, but for our own, and let go of them."""
        needed = {self._own, *(segment.path.parent for segment in self._segments)}
        for folder in [folder for folder in self._folders if folder not in needed]:
            folders.removed(folder, self._folders.pop(folder))


def _leave_alone(path: Path, error: OSError) -> None:
    _log.warning("spool.left_alone", path=str(path), error=error)


def _force(descriptors: Sequence[int]) -> OSError | None:
    """Force files to disk, and close these descriptors of them. What the disk refused last."""
    refused: OSError | None = None
    for descriptor in descriptors:
        try:
            os.fsync(descriptor)
        except OSError as error:
            refused = error
        finally:
            os.close(descriptor)
    return refused
