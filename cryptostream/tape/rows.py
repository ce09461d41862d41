"""The market data in a recorded file as columns of numbers: what `codec.event` reads of its entries, a page at a time.

A row whose fields are all as their columns say is never an object here. A row that is not (a gap, a text that its
column could not hold, an entry of another form) is restored as the entry it was, and read as any entry is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray

from cryptostream.backtest.block import Flags, Ints
from cryptostream.model import codec
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry, Event, Kline, Trade
from cryptostream.tape import schema
from cryptostream.tape.columns import kind_of
from cryptostream.tape.digits import floats, halves, rise, whole_numbers
from cryptostream.tape.pieces import END, ROWS, START, Content, Place
from cryptostream.tape.schema import ENTRY_ID, Facts, Layout
from cryptostream.tape.stretch import Part, reading
from cryptostream.tape.text import cut

_BUFFER = 1 << 16
_PAGE = 512
"""Rows that are restored together where one of them has to be."""
_UNREAD = "raw_json"
_SIDES = {"sell": 0, "buy": 1}

Words = Mapping[str, int]
"""The words that a column may hold, each with its number."""


class Rows(NamedTuple):
    """Consecutive rows by columns: ids, and the fields that were asked for. Words are the numbers they were given."""

    ms: Ints
    sequence: Ints
    values: dict[str, NDArray[Any]]
    others: list[tuple[int, Event | None]]
    """The rows that were read singly: what stands of them in the columns is void. None where one is no market data."""

    def id_of(self, row: int) -> str:
        return f"{self.ms[row]}-{self.sequence[row]}"


def rows(part: Part, content: Content, after: Place = START, until: Place = END) -> Iterator[Rows]:
    """A part's rows above one id and up to another, of a stream that holds what is told.

    Raises DataQuality that names the file where it is damaged, and FileNotFoundError where it went away.
    """
    with reading(part.path), _opened(part) as file:
        yield from _Reader(file, part, content).rows(after, until)


class _Reader:
    def __init__(self, file: pq.ParquetFile, part: Part, content: Content) -> None:
        self._file = file
        self._part = part
        self._kind = content.kind
        self._fields = content.kind.__struct_fields__[1:]
        self._words: dict[str, Words] = {
            "side": _SIDES,
            "exchange": {content.exchange: 0},
            "pair": {content.pair: 0},
            "interval": {content.interval: 0},
        }
        self._how: Layout = schema.layout(file.metadata.metadata)
        self._names = {
            column.field: name for column, name in zip(self._how.columns, file.schema_arrow.names[1:], strict=True)
        }
        ours = [column for column in self._how.columns if column.field in self._fields]
        self._by_column = all(column.kind == kind_of(column.field) for column in ours)
        self._plain = [self._is_plain(form) for form in self._how.forms]
        self._odd = np.array(sorted({row for column in ours for row in column.odd}), np.int64)
        alike = self._alike()
        self._read = [field for field in self._fields if field in self._names and field not in alike]
        self._columns = [ENTRY_ID, *(self._names[field] for field in self._read)]

    def rows(self, after: Place, until: Place) -> Iterator[Rows]:
        for group, row in self._groups(after, until):
            for batch, ms, sequence in self._batches(group):
                start, stop = _above(ms, sequence, after), _above(ms, sequence, until)
                if start < stop:
                    kept = slice(start, stop)
                    yield self._rows(batch.slice(start, stop - start), ms[kept], sequence[kept], group, row + start)
                row += batch.num_rows

    def _batches(self, group: int) -> Iterator[tuple[pa.RecordBatch, Ints, Ints]]:
        """A row group by columns, with the halves of its ids; these are half of the work, and so not read in vain."""
        about = self._file.metadata.row_group(group)
        if self._kind is Trade and self._by_column and about.num_rows <= ROWS:
            for batch in self._file.iter_batches(ROWS, [group], columns=self._columns[1:], use_threads=False):
                ts, trade_ids = batch.column(self._names["ts"]), batch.column(self._names["trade_id"])
                found = _by_contract(ts, trade_ids, about.column(0))
                if found:
                    yield batch, *found
                    return
        for batch in self._file.iter_batches(ROWS, [group], columns=self._columns, use_threads=False):
            ms, sequence = halves(batch.column(ENTRY_ID))
            if not rise(ms, sequence):
                raise ValueError("its entries are out of order")
            yield batch, ms, sequence

    def _is_plain(self, form: Sequence[int]) -> bool:
        """Whether an entry of this form is read as one of our kind; that is, as `codec.event` would."""
        fields = {self._how.columns[place].field for place in form}
        return (
            fields.issuperset(self._fields)
            and "kind" not in fields
            and (self._kind is Kline) == ("open_time" in fields)
        )

    def _alike(self) -> set[str]:
        """The fields of one word of which the file's statistics say that all rows have it."""
        places = {self._file.metadata.schema.column(at).name: at for at in range(self._file.metadata.num_columns)}
        groups = [self._file.metadata.row_group(group) for group in range(self._file.num_row_groups)]
        return {
            field
            for field, words in self._words.items()
            if len(words) == 1
            and field in self._names
            and all(_all_are(next(iter(words)), group.column(places[self._names[field]])) for group in groups)
        }

    def _groups(self, after: Place, until: Place) -> Iterator[tuple[int, int]]:
        """The row groups in which rows between these ids may lie, each with its first row."""
        row = 0
        for group in range(self._file.num_row_groups):
            about = self._file.metadata.row_group(group)
            first, last = _ends(about.column(0), self._part.facts)
            if first > until:
                return
            if last > after:
                yield group, row
            row += about.num_rows

    def _rows(self, batch: pa.RecordBatch, ms: Ints, sequence: Ints, group: int, row: int) -> Rows:
        single = self._single(row, row + len(ms))
        values: dict[str, NDArray[Any]] = {}
        if self._by_column:
            for field in self._read:
                values[field] = self._values(field, batch.column(self._names[field]), single)
        rows = np.flatnonzero(single)
        return Rows(ms, sequence, values, list(self._others(group, row, rows)) if len(rows) else [])

    def _single(self, start: int, stop: int) -> Flags:
        """Which of these rows have to be read singly, by their forms and their texts."""
        single = np.zeros(stop - start, np.bool_)
        at = 0
        for form, rows in cut(self._how.runs, start, stop) if not all(self._plain) else ():
            single[at : at + rows] = not self._plain[form]
            at += rows
        first, last = np.searchsorted(self._odd, (start, stop))
        single[self._odd[first:last] - start] = True
        if not self._by_column:
            single[:] = True
        return single

    def _values(self, field: str, column: pa.Array, single: Flags) -> NDArray[Any]:
        """A column as numbers; the rows of which it does not tell are marked."""
        if column.null_count:
            single |= column.is_null().to_numpy(zero_copy_only=False)
        if pa.types.is_decimal(column.type):
            return floats(column)
        if pa.types.is_dictionary(column.type):
            return _numbered(column, self._words.get(field, {}), single)
        if pa.types.is_boolean(column.type):
            made: Flags = column.fill_null(False).to_numpy(zero_copy_only=False)
            return made
        return whole_numbers(column)

    def _others(self, group: int, row: int, rows: Ints) -> Iterator[tuple[int, Event | None]]:
        """What is in some rows behind `row`, each read as the entry it is."""
        base = row - sum(self._file.metadata.row_group(at).num_rows for at in range(group))
        table = self._whole(group)
        for page in np.unique(rows // _PAGE).tolist():
            first = page * _PAGE
            count = min(_PAGE, table.num_rows - base - first)
            entries = self._restored(table.slice(base + first, count), row + first)
            for at in rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + count)].tolist():
                entry = entries[at - first]
                yield at, codec.event(entry.stream, entry.entry_id, entry.fields)

    def _whole(self, group: int) -> pa.Table:
        """All columns of a row group but the one that nobody reads and that is most of it."""
        names = self._file.schema_arrow.names
        left_out = self._names.get(_UNREAD)
        table = self._file.read_row_group(group, [name for name in names if name != left_out], use_threads=False)
        columns = [pa.nulls(len(table), pa.string()) if name == left_out else table.column(name) for name in names]
        return pa.table(columns, names=names)

    def _restored(self, rows: pa.Table, first_row: int) -> list[Entry]:
        return schema.restored(rows, self._part.facts.stream, self._how, first_row=first_row)


def _opened(part: Part) -> pq.ParquetFile:
    file = pq.ParquetFile(part.path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)
    if file.metadata.num_rows != part.facts.entries:
        raise ValueError(f"it holds {file.metadata.num_rows:,} entries and says {part.facts.entries:,}")
    return file


def _all_are(word: str, column: pq.ColumnChunkMetaData) -> bool:
    told = column.statistics
    return bool(told and told.has_min_max and told.null_count == 0 and told.min == told.max == word)


def _ends(ids: pq.ColumnChunkMetaData, facts: Facts) -> tuple[Place, Place]:
    """Ids below and above all of a row group, as far as its statistics tell: they are of words, and not of numbers."""
    first, last = facts.first_id, facts.last_id
    if len(first.partition("-")[0]) == len(last.partition("-")[0]) and ids.statistics and ids.statistics.has_min_max:
        first, last = ids.statistics.min, ids.statistics.max
    return (parse_id(first)[0], START[1]), (parse_id(last)[0], END[1])


def _numbered(column: pa.DictionaryArray, words: Words, single: Flags) -> NDArray[Any]:
    """A column of words as their numbers; rows with another word are marked."""
    known = [words.get(word, -1) for word in column.dictionary.to_pylist()]
    indices = column.indices
    if indices.null_count:
        indices = indices.fill_null(len(known))
    made = np.array([*known, -1], np.int8)[
        np.frombuffer(indices.buffers()[1], np.int32, len(indices), 4 * indices.offset)
    ]
    single |= made < 0
    return made


def _by_contract(ts: pa.Array, trade_ids: pa.Array, ids: pq.ColumnChunkMetaData) -> tuple[Ints, Ints] | None:
    """The halves of a row group's ids, where they follow from what it says of the first and the last of them.

    An id is `<ms>-<trade id>`, and ms the time of the trade unless an entry before it is later. So where both ends are
    that, and the time never falls in between, no id can be anything else.
    """
    if ts.null_count or trade_ids.null_count or not ids.statistics or not ids.statistics.has_min_max:
        return None
    ms, sequence = whole_numbers(ts) // 1000, whole_numbers(trade_ids)
    ends = [f"{ms[row]}-{sequence[row]}" for row in (0, -1)]
    known = ends == [ids.statistics.min, ids.statistics.max]
    rises = known and (ms[1:] >= ms[:-1]).all() and (sequence[1:] > sequence[:-1]).all()
    return (ms, sequence) if rises else None


def _above(ms: Ints, sequence: Ints, place: Place) -> int:
    """The first row whose id is above this one."""
    first, last = (int(at) for at in (np.searchsorted(ms, place[0], "left"), np.searchsorted(ms, place[0], "right")))
    return first + int(np.searchsorted(sequence[first:last], place[1], "right"))
