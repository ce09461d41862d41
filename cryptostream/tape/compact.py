"""Small Parquet files of one stream and day become one, so that a year is not a hundred thousand files.

The file they become has the name of the first of them, and its metadata lists the others: `replaces`. They are deleted
once it is in its place. Whoever dies in between leaves files that are in it twice; readers pass over them, and the next
compaction deletes them. Synchronous: for a thread.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from cryptostream import logs
from cryptostream.errors import DataQuality
from cryptostream.model.entryid import parse_id
from cryptostream.tape import parts as files
from cryptostream.tape import schema
from cryptostream.tape.parquet import is_closed, part
from cryptostream.tape.rounds import Rounds
from cryptostream.tape.stretch import Part, live, reading
from cryptostream.tape.text import Text, digest, joined

MOST_ROWS = 250_000
"""More than that is not merged into one file: all of it has to be in memory at once, as text too."""
MOST_BYTES = 32 << 20
"""The same in bytes before compression."""
_log = logs.get("tape")


def compact(
    root: Path,
    *,
    today: str = "",
    compression: str = "zstd",
    most_rows: int = MOST_ROWS,
    most_bytes: int = MOST_BYTES,
    rounds: Rounds | None = None,
) -> int:
    """Merge what is small in every folder of a recording; how many files there are less.

    Of `today`, a date as in 2026-11-20, the day that still grows, files are merged only once they are about as large
    as what they join, so that nothing is written again and again. What is damaged is left as it is, and told in the
    log. With the `rounds` of the last time, folders that have not changed since are passed over. Raises OSError, and
    then has harmed nothing.
    """
    rounds = rounds or Rounds()
    grows = f"date={today}"
    fewer = 0
    for folder in rounds.changed(folders(root), lambda folder: folder.name == grows):
        heal(folder)
        for run in _runs(folder, most_rows, most_bytes):
            for together in [run] if folder.name != grows else _of_a_size(run):
                fewer += 0 if rounds.stopped else _merge(together, compression)
    return fewer


def heal(folder: Path) -> None:
    """Delete what somebody left here who died: drafts, and files that are contained in others. Raises OSError."""
    if not _drafts(folder) and not _replaced(folder):
        return
    with files.locked(folder):  # nobody is writing here now, so no draft is anybody's
        for path in (*_drafts(folder), *(part.path for part in _replaced(folder))):
            path.unlink(missing_ok=True)
        files.sync_folder(folder)


def folders(root: Path) -> Iterator[Path]:
    """The folders of a recording that hold files, sorted."""
    yield from sorted({path.parent for path in root.glob("**/*") if is_closed(path.name) or _is_draft(path.name)})


def parts_in(folder: Path) -> list[Part]:
    """What lies in one folder and can be read, what is replaced among it; of ours alone."""
    found = []
    for path in sorted(folder.iterdir()):
        if not is_closed(path.name) or path.is_symlink():
            continue
        with suppress(FileNotFoundError):
            try:
                one = part(path)
            except DataQuality as damage:
                _log.warning("recording.damaged", reason=str(damage))
            else:
                found += [one] if one else []
    return found


def _replaced(folder: Path) -> list[Part]:
    found = parts_in(folder)
    alive = {part.path for part in live(found)}
    return [part for part in found if part.path not in alive]


def _drafts(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _is_draft(path.name)]


def _is_draft(name: str) -> bool:
    return name.startswith(".") and name.endswith(files.SUFFIX + files.IN_PROGRESS)


def _runs(folder: Path, most_rows: int, most_bytes: int) -> Iterator[list[Part]]:
    """Files of one stream that follow each other and are not too much for one."""
    by_stream = sorted(live(parts_in(folder)), key=lambda part: (part.facts.stream, parse_id(part.facts.first_id)))
    for _, parts in groupby(by_stream, key=attrgetter("facts.stream")):
        run: list[Part] = []
        rows = size = 0
        for one in parts:
            rows, size = rows + one.facts.entries, size + one.unpacked
            if rows > most_rows or size > most_bytes:
                yield run
                run, rows, size = [], one.facts.entries, one.unpacked
            run.append(one)
        yield run


def _of_a_size(run: Sequence[Part]) -> Iterator[Sequence[Part]]:
    """Parts of a run of which none is larger than the others together."""
    if len(run) < 2:
        return
    largest = max(range(len(run)), key=lambda place: run[place].facts.entries)
    if 2 * run[largest].facts.entries <= sum(part.facts.entries for part in run):
        yield run
    else:
        yield from _of_a_size(run[:largest])
        yield from _of_a_size(run[largest + 1 :])


def _merge(run: Sequence[Part], compression: str) -> int:
    """Write several files as one; how many there are less. One that is damaged or changes meanwhile is let be."""
    if len(run) < 2:
        return 0
    first, *others = run
    try:
        data = _packed(run, compression)
    except (DataQuality, FileNotFoundError) as trouble:
        _log.warning("recording.not_merged", reason=str(trouble))
        return 0
    with files.locked(first.path.parent):
        if any(not is_there(one) for one in run):
            return 0
        files.save(first.path, data)
        for one in others:
            one.path.unlink()
        files.sync_folder(first.path.parent)
    return len(others)


def _packed(run: Sequence[Part], compression: str) -> pa.Buffer:
    """The bytes of the file that holds what all of them hold."""
    text = joined([_text(one) for one in run])
    replaces = [one.path.name for one in run[1:]]
    table = schema.written(run[0].facts.stream, text, replaces=replaces)
    return files.packed(table, compression)


def _text(one: Part) -> Text:
    """What is in a file, if that is what was written: damage must not be made to look whole. Raises DataQuality."""
    with reading(one.path), pq.ParquetFile(one.path, page_checksum_verification=True) as file:
        text = schema.as_text(file.read(use_threads=False), schema.layout(file.metadata.metadata))
        if digest(one.facts.stream, text) != one.facts.digest:
            raise ValueError("its entries are not those that were written")
    return text


def is_there(one: Part) -> bool:
    """Whether a file is still the one that was read."""
    with suppress(FileNotFoundError, DataQuality):
        return part(one.path) == one
    return False
