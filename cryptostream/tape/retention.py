"""Recordings that are old, or too many, are deleted or moved into an archive folder. Synchronous: for a thread."""

import errno
import filecmp
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]

from cryptostream.errors import ConfigError
from cryptostream.model.entryid import parse_id
from cryptostream.tape import parts as files
from cryptostream.tape.compact import folders, heal, is_there, parts_in
from cryptostream.tape.rounds import Rounds
from cryptostream.tape.stretch import Part


def retain(
    root: Path,
    *,
    keep_ms: int | None = None,
    keep_bytes: int | None = None,
    archive: Path | None = None,
    now_ms: int,
    rounds: Rounds | None = None,
) -> int:
    """Take away files whose newest entry is older than `keep_ms`, then the oldest until `keep_bytes` are left.

    `now_ms` is in ms since the epoch. They are moved under `archive`, to the same place as here, or deleted. Files that
    somebody else wrote stay. How many were taken away. With the `rounds` of the last time, only folders that changed
    since are looked into. Raises OSError, ConfigError for an archive inside of the folder.
    """
    if keep_ms is None and keep_bytes is None:
        return 0
    check_apart(root, archive)
    rounds = rounds or Rounds()
    recorded = rounds.parts(folders(root), _whole)
    taken = 0
    for part in _leaving(recorded, None if keep_ms is None else now_ms - keep_ms, keep_bytes):
        if rounds.stopped:
            break
        taken += 1
        with files.locked(part.path.parent):
            if is_there(part):
                _take(part.path, archive and archive / part.path.relative_to(root))
        _tidy_up(part.path.parent, root)
    return taken


def check_apart(root: Path, archive: Path | None) -> None:
    """Raise ConfigError where an archive and what it is the archive of are inside of each other."""
    if archive is None:
        return
    here, there = root.resolve(), archive.resolve()
    if here == there or here.is_relative_to(there) or there.is_relative_to(here):
        raise ConfigError(f"the archive {archive} and the recording {root} are inside of each other")


def _leaving(recorded: list[Part], since_ms: int | None, keep_bytes: int | None) -> Iterator[Part]:
    left = sum(part.size for part in recorded)
    for part in sorted(recorded, key=lambda part: (parse_id(part.facts.last_id), part.path)):
        is_old = since_ms is not None and parse_id(part.facts.last_id)[0] < since_ms
        if is_old or (keep_bytes is not None and left > keep_bytes):
            left -= part.size
            yield part


def _whole(folder: Path) -> list[Part]:
    """What lies in a folder; first without what others replace, which would count again once those were gone."""
    heal(folder)
    return parts_in(folder)


def _take(path: Path, to: Path | None) -> None:
    if to:
        _move(path, to)
    else:
        path.unlink()
    files.sync_folder(path.parent)


def _move(path: Path, wanted: Path) -> None:
    """Bring a file to the archive's disk, then take it away here: killed in between, it is in both."""
    files.make_folder(wanted.parent)
    with files.locked(wanted.parent):
        to = _free(wanted, path)
        try:
            path.rename(to)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(path, to)
            path.unlink()
        files.sync_folder(to.parent)


def _copy(path: Path, to: Path) -> None:
    with pa.memory_map(str(path)) as source:
        files.save(to, source.read_buffer())


def _free(wanted: Path, path: Path) -> Path:
    """A name that nothing else has in the archive: what lies there may be of an earlier recording."""
    to, number = wanted, 1
    while to.exists() and not _same(to, path):
        number += 1
        to = wanted.with_name(f"{wanted.stem}.{number}{wanted.suffix}")
    return to


def _same(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes, as one does that was copied and not yet taken away."""
    return filecmp.cmp(one, other, shallow=False)


def _tidy_up(folder: Path, root: Path) -> None:
    """Remove folders that nothing is left in."""
    for one in (folder, *folder.parents):
        if one == root:
            return
        with suppress(OSError):
            one.rmdir()
