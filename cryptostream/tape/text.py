"""Entries of one stream as columns of text: what they are while they wait for their file, and before they are read."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, pairwise, repeat
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from cryptostream.model.digest import Digest
from cryptostream.model.events import Entry
from cryptostream.tape.columns import as_texts, listed
from cryptostream.tape.fingerprint import Fingerprint

_ARRAY_BYTES = 600  # what an Arrow array takes beside what is in it: buffers of 64 bytes at least, and their owners

Run = tuple[int, int]
"""A form, and how many rows one after the other have it."""


class Text(NamedTuple):
    """Entries by columns. A text is null where an entry has no such field."""

    ids: pa.Array
    fields: tuple[str, ...]
    columns: list[pa.Array]
    forms: tuple[tuple[int, ...], ...]
    """The places of the fields that an entry has, in its order; each form once."""
    runs: Sequence[Run]

    @property
    def rows(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """About what it takes in memory."""
        return sum(int(array.nbytes) + _ARRAY_BYTES for array in (self.ids, *self.columns))


def gathered(entries: Sequence[Entry], leave_out: str = "") -> Text:
    """At least one entry, in the order given, without the field that is named."""
    order = [tuple(entry.fields) for entry in entries]
    forms = list(dict.fromkeys(order))
    fields = tuple(dict.fromkeys(chain.from_iterable(forms)))
    values: Iterable[Sequence[str | None]]
    if len(forms) == 1:
        values = zip(*(entry.fields.values() for entry in entries), strict=True)
        runs = [(0, len(order))]
    else:
        values = ([entry.fields.get(field) for entry in entries] for field in fields)
        places = {form: place for place, form in enumerate(forms)}
        runs = [(places[form], sum(1 for _ in run)) for form, run in groupby(order)]
    columns = {field: as_texts(texts) for field, texts in zip(fields, values, strict=True) if field != leave_out}
    return _of(as_texts([entry.entry_id for entry in entries]), columns, forms, runs)


def joined(texts: Sequence[Text]) -> Text:
    """Several texts one after the other."""
    if len(texts) == 1:
        return texts[0]
    fields = dict.fromkeys(chain.from_iterable(text.fields for text in texts))
    columns = {field: pa.concat_arrays([_column(text, field) for text in texts]) for field in fields}
    named = [_named(text) for text in texts]
    forms = list(dict.fromkeys(chain.from_iterable(named)))
    places = {form: place for place, form in enumerate(forms)}
    runs = [(places[names[form]], rows) for text, names in zip(texts, named, strict=True) for form, rows in text.runs]
    return _of(pa.concat_arrays([text.ids for text in texts]), columns, forms, _merged(runs))


def in_order(text: Text, without: pa.Array | None = None) -> Text:
    """The same with rising ids, of entries with one id the first, and without the ids of an array."""
    ms, sequence = millis(text.ids), sequences(text.ids)
    if without is None and _rise(ms, sequence):
        return text
    rows = pc.sort_indices(pa.table({"ms": ms, "sequence": sequence}), [("ms", "ascending"), ("sequence", "ascending")])
    ids = text.ids.take(rows)
    keep = pa.concat_arrays([pa.array([True]), pc.not_equal(ids[1:], ids[:-1])])
    if without is not None:
        keep = pc.and_(keep, pc.invert(pc.is_in(ids, value_set=without)))
    return _taken(text, rows.filter(keep))


def millis(ids: pa.Array) -> pa.Array:
    """The first numbers of entry ids."""
    return _halves(ids, "first")


def sequences(ids: pa.Array) -> pa.Array:
    """The second numbers of entry ids."""
    return _halves(ids, "second")


def _halves(ids: pa.Array, which: Literal["first", "second"]) -> pa.Array:
    dashes = pc.unique(pc.find_substring(ids, "-"))
    if len(dashes) > 1:  # first numbers of as many digits are the rule, and twice as fast
        return pc.list_element(pc.split_pattern(ids, "-", max_splits=1), int(which == "second")).cast(pa.uint64())
    dash = dashes[0].as_py()
    start, stop = (0, dash) if which == "first" else (dash + 1, None)
    return pc.utf8_slice_codeunits(ids, start, stop).cast(pa.uint64())


def in_columns(text: Text, fields: Sequence[str]) -> Text:
    """The same with columns for these fields first, of nulls where no entry has one."""
    columns = {field: _column(text, field) for field in dict.fromkeys((*fields, *text.fields))}
    return _of(text.ids, columns, _named(text), text.runs)


def cut(runs: Iterable[Run], start: int, stop: int) -> list[Run]:
    """The runs of the rows from `start` to before `stop`."""
    found, at = [], 0
    for form, rows in runs:
        within = min(at + rows, stop) - max(at, start)
        if within > 0:
            found.append((form, within))
        at += rows
    return found


def entries(stream: str, text: Text) -> Iterator[Entry]:
    """The entries again, in their order."""
    ids, named = text.ids.to_pylist(), [listed(column) for column in text.columns]
    for form, start, stop in _stretches(text):
        fields = [text.fields[place] for place in form]
        columns = [named[place][start:stop] for place in form]
        values: Iterable[Any] = zip(*columns, strict=True) if columns else repeat((), stop - start)
        for entry_id, each in zip(ids[start:stop], values, strict=True):
            yield Entry(stream, entry_id, dict(zip(fields, each, strict=True)))


def digest(stream: str, text: Text) -> str:
    """The digest of the entries in their order."""
    if len(text.runs) > 8 + text.rows // 8:  # by columns is worth it only where rows are alike
        whole = Digest()
        for entry in entries(stream, text):
            whole.add(entry.stream, entry.entry_id, entry.fields)
        return whole.hexdigest()
    fingerprint = Fingerprint(stream)
    for form, start, stop in _stretches(text):
        names = [text.fields[place] for place in form]
        fingerprint.add(names, text.ids[start:stop], [text.columns[place][start:stop] for place in form])
    return fingerprint.hexdigest()


def _of(ids: pa.Array, columns: dict[str, pa.Array], forms: Iterable[Sequence[str]], runs: Sequence[Run]) -> Text:
    """A text of columns by name; a field that is none of them is in no form."""
    places = {field: place for place, field in enumerate(columns)}
    kept = tuple(tuple(places[field] for field in form if field in places) for form in forms)
    return Text(ids, tuple(columns), list(columns.values()), kept, runs)


def _named(text: Text) -> list[tuple[str, ...]]:
    return [tuple(text.fields[place] for place in form) for form in text.forms]


def _column(text: Text, field: str) -> pa.Array:
    return text.columns[text.fields.index(field)] if field in text.fields else pa.nulls(text.rows, pa.string())


def _taken(text: Text, rows: pa.Array) -> Text:
    """Some of the rows, in another order."""
    each = pa.array(chain.from_iterable(repeat(form, rows) for form, rows in text.runs), pa.int32())
    encoded = pc.run_end_encode(each.take(rows))
    lengths = (stop - start for start, stop in pairwise([0, *encoded.run_ends.to_pylist()]))
    runs = list(zip(encoded.values.to_pylist(), lengths, strict=True))
    return Text(text.ids.take(rows), text.fields, [one.take(rows) for one in text.columns], text.forms, runs)


def _rise(ms: pa.Array, sequence: pa.Array) -> bool:
    later = pc.greater(sequence[1:], sequence[:-1])
    rises = pc.or_(pc.greater(ms[1:], ms[:-1]), pc.and_(pc.equal(ms[1:], ms[:-1]), later))
    return bool(pc.all(rises, min_count=0).as_py())


def _merged(runs: Iterable[Run]) -> list[Run]:
    return [(form, sum(rows for _, rows in run)) for form, run in groupby(runs, key=itemgetter(0))]


def _stretches(text: Text) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Each run's form, and the rows where it starts and stops."""
    start = 0
    for form, rows in text.runs:
        yield text.forms[form], start, start + rows
        start += rows
