"""The name a process has in its group: the machine's, so that after a restart it finds what it had not acknowledged.

Two processes of one machine must not share a name, or each would read what the other has in hand. Whoever holds the
lock on the name's file has the name; the kernel lets go of it however the process ends.
"""

import fcntl
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

from cryptostream.errors import ConfigError


@asynccontextmanager
async def member(folder: Path, group: str, wanted: str | None = None) -> AsyncIterator[str]:
    """A name that no other process with this folder has in the group while this is open.

    It is `wanted`, else the machine's; the second process that asks for the same gets it with `-2` behind it, and so
    on. Raises ConfigError where the folder cannot be written.
    """
    names = folder / "members" / _safe(group)
    base = wanted or socket.gethostname()
    try:
        names.mkdir(mode=0o700, parents=True, exist_ok=True)
        name, lock = _first_free(names, base)
    except OSError as error:
        raise ConfigError(f"{names}: {error.strerror}", hint="name another folder with --data-dir") from error
    try:
        yield name
    finally:
        os.close(lock)


def _first_free(names: Path, base: str) -> tuple[str, int]:
    for number in count(1):
        name = base if number == 1 else f"{base}-{number}"
        if (lock := _locked(names / _safe(name))) is not None:
            return name, lock
    raise AssertionError("unreachable")


def _locked(path: Path) -> int | None:
    """The descriptor that holds a file's lock, None where another has it. The file stays: its removal would race."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _safe(text: str) -> str:
    """A name as one part of a path: no separators, and neither `.` nor `..`.

    >>> _safe("a/b"), _safe("..")
    ('a%2Fb', '%2E%2E')
    """
    return quote(text, safe="").replace(".", "%2E")
