"""The folders of spools: each belongs to whoever holds its lock, and to nobody once its owner is dead.

A folder gets its name only when it is locked. Until then it is a draft, which a process that dies may leave behind.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

_LOCK = "lock"
_NEW = ".new-"


def made(root: Path) -> tuple[Path, int]:
    """A new folder below `root` and the descriptor that holds its lock. Raises OSError, and leaves nothing then."""
    _make_private(root)
    draft = Path(mkdtemp(prefix=_NEW, dir=root))
    lock = None
    try:
        lock = locked(draft)
        if lock is None:
            raise BlockingIOError(f"{draft}: another process is removing it")
        return draft.rename(draft.with_name(draft.name.removeprefix(_NEW))), lock
    except OSError:
        removed(draft, lock)
        raise


def locked(folder: Path) -> int | None:
    """The descriptor that holds a folder's lock until it is closed; None where its owner lives, or is done.

    Raises OSError.
    """
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def removed(folder: Path, lock: int | None) -> None:
    """Remove a folder in which nothing waits and let go of it; what in it is not ours is left alone."""
    with suppress(OSError):
        (folder / _LOCK).unlink(missing_ok=True)
        folder.rmdir()
    if lock is not None:
        os.close(lock)


def by_age(root: Path) -> list[Path]:
    """The folders of all writers, oldest first: a lock file is made once and never written to. Raises OSError."""
    ages: list[tuple[int, Path]] = []
    for folder in _within(root):
        if not folder.name.startswith(_NEW):
            with suppress(FileNotFoundError, NotADirectoryError):  # its owner is done, or it is none
                ages.append((_age(folder / _LOCK), folder))
    return [folder for _, folder in sorted(ages)]


def sweep(root: Path) -> None:
    """Remove the drafts that nobody holds. A writer whose draft goes before it has the lock makes another one."""
    for folder in _within(root):
        if folder.name.startswith(_NEW):
            with suppress(OSError):
                lock = locked(folder)
                if lock is not None:
                    removed(folder, lock)


def _within(root: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from root.iterdir()


def _age(lock: Path) -> int:
    """When a lock file was made; where that may not be looked at, why not is found out when it is locked."""
    try:
        return lock.stat().st_mtime_ns
    except PermissionError:
        return 0


def _make_private(folder: Path) -> None:
    """Make a folder and those above it that there are not, for their owner alone."""
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
