"""Recorded parts that belong together, read as entries: the rows of a file, and of files whose ids overlap."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import merge
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from cryptostream.errors import DataQuality
from cryptostream.model.digest import Digest
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry
from cryptostream.tape import schema
from cryptostream.tape.schema import ENTRY_ID, Facts

BEGINNING = "0-0"
ROWS = 2_000
"""Entries of one file that are Python objects at once, unless told."""
_BUFFER = 1 << 16

Pages = Iterator[list[Entry]]


class Part(NamedTuple):
    """A closed file of a recording, and what it says of itself; `size` is in bytes, `unpacked` before compression."""

    path: Path
    facts: Facts
    size: int
    unpacked: int


def live(parts: Iterable[Part]) -> list[Part]:
    """The parts without those that another one of their folder replaces: a compaction died before it deleted them."""
    parts = list(parts)
    replaced: dict[Path, Facts] = {}
    for part in parts:
        replaced |= dict.fromkeys((part.path.with_name(name) for name in part.facts.replaces), part.facts)
    return [part for part in parts if part.path not in replaced or not _within(part.facts, replaced[part.path])]


def _within(one: Facts, other: Facts) -> bool:
    """Whether all entries of one can be in the other. A name may have come to mean something new."""
    if one.stream != other.stream or one.entries > other.entries:
        return False
    return parse_id(other.first_id) <= parse_id(one.first_id) and parse_id(one.last_id) <= parse_id(other.last_id)


class Stretch:
    """Parts of one stream whose ids overlap, most often a single one: a run of entries in the order of their ids.

    Whatever reads them raises DataQuality that names the file where it is damaged, and FileNotFoundError where it went
    away meanwhile.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.rows = ROWS
        self.stream = parts[0].facts.stream
        self.first_id = parts[0].facts.first_id
        self.last_id = max((part.facts.last_id for part in parts), key=parse_id)

    def pages(self, after: str = BEGINNING) -> Pages:
        """Its entries above an id, each once."""
        place = parse_id(after)
        readers = [_pages(part, self.rows, after) for part in self.parts if parse_id(part.facts.last_id) > place]
        return readers[0] if len(readers) == 1 else _merged(readers)

    def proven_pages(self) -> Pages:
        """All its entries; raises DataQuality where a part does not hold what it says of itself."""
        readers = [_proven(part, self.rows) for part in self.parts]
        return readers[0] if len(readers) == 1 else _merged(readers)

    def newest(self) -> Pages:
        """Its pages from the last to the first."""
        if len(self.parts) > 1:
            yield from reversed(list(self.pages()))
        else:
            yield from _backwards(self.parts[0], self.rows)


def stretches(parts: Iterable[Part]) -> list[Stretch]:
    """Parts of one stream as stretches that follow each other."""
    found: list[list[Part]] = []
    end = (-1, -1)
    for part in sorted(parts, key=lambda part: (parse_id(part.facts.first_id), parse_id(part.facts.last_id))):
        if parse_id(part.facts.first_id) <= end:
            found[-1].append(part)
        else:
            found.append([part])
        end = max(end, parse_id(part.facts.last_id))
    return [Stretch(overlapping) for overlapping in found]


def _pages(part: Part, rows: int, after: str = BEGINNING) -> Pages:
    with reading(part.path), _opened(part.path) as file:
        how = schema.layout(file.metadata.metadata)
        begin = 0 if parse_id(after) < parse_id(part.facts.first_id) else _row_above(file, after)
        for group, row in _groups(file, begin):
            for batch in file.iter_batches(rows, [group], use_threads=False):
                above = max(0, begin - row)
                if above < batch.num_rows:
                    yield schema.restored(batch.slice(above), part.facts.stream, how, first_row=row + above)
                row += batch.num_rows


def _opened(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)


def _groups(file: pq.ParquetFile, begin: int) -> Iterator[tuple[int, int]]:
    """The row groups from the one that holds row `begin`, each with its first row."""
    row = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if row + rows > begin:
            yield group, row
        row += rows


def _row_above(file: pq.ParquetFile, entry_id: str) -> int:
    """The first row whose id is above this one."""
    ids = file.read([ENTRY_ID], use_threads=False).column(0).to_pylist()
    return bisect_right(ids, parse_id(entry_id), key=parse_id)


def _backwards(part: Part, rows: int) -> Pages:
    with reading(part.path), _opened(part.path) as file:
        how = schema.layout(file.metadata.metadata)
        for group, row in reversed(list(_groups(file, 0))):
            table = file.read_row_group(group, use_threads=False)
            for begin in reversed(range(0, table.num_rows, rows)):
                yield schema.restored(table.slice(begin, rows), part.facts.stream, how, first_row=row + begin)


def _proven(part: Part, rows: int) -> Pages:
    """All of a part's entries, held against what it says of itself."""
    digest, last = Digest(), (-1, -1)
    with reading(part.path):
        for page in _pages(part, rows):
            for entry in page:
                this = parse_id(entry.entry_id)
                if this <= last:
                    raise ValueError(f"entry {entry.entry_id} is out of order")
                last = this
                digest.add(entry.stream, entry.entry_id, entry.fields)
            yield page
        if digest.entries != part.facts.entries:
            raise ValueError(f"it holds {digest.entries:,} entries and says {part.facts.entries:,}")
        if digest.hexdigest() != part.facts.digest:
            raise ValueError("its entries are not those that were written")


def _merged(readers: Sequence[Pages]) -> Pages:
    rows = merge(*(_rows(reader) for reader in readers), key=lambda entry: parse_id(entry.entry_id))
    once = (next(same) for _, same in groupby(rows, key=lambda entry: parse_id(entry.entry_id)))
    while page := list(islice(once, ROWS)):
        yield page


def _rows(reader: Pages) -> Iterator[Entry]:
    for page in reader:
        yield from page


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around reading a file: what pyarrow raises leaves as DataQuality that names it, or as FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, ValueError, OSError, KeyError, IndexError, OverflowError) as error:
        raise DataQuality(f"{path} is damaged: {' '.join(str(error).split())}") from error
