"""Entries of one stream to a table by columns, and from it the same entries again.

The columns are `entry_id` and the entries' fields by their names. The table's metadata holds the `Facts` of what is in
it and the `Layout` by which the texts come back: which fields an entry has and in which order, and how each column was
written.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]

from cryptostream.model.codec import channel_of
from cryptostream.model.events import Entry, GapRecord, KlineRecord, LedgerRecord, Record, TradeRecord
from cryptostream.model.instrument import Channel
from cryptostream.tape import text as text_of
from cryptostream.tape.columns import Column, listed, texts, typed
from cryptostream.tape.text import Run, Text, cut, digest, gathered, in_columns, in_order

T = TypeVar("T")

VERSION = 1
FACTS, LAYOUT = b"cryptostream", b"cryptostream.layout"
"""The keys of the metadata; what stands there is JSON."""
ENTRY_ID = "entry_id"


def _fields(*kinds: type[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for kind in kinds for name in kind.__struct_fields__ if name not in _NOT_WRITTEN))


_NOT_WRITTEN = ("subscription", "filled")
_GAP = ("kind", *_fields(GapRecord), "count")
_TRADES = ("exchange", "pair", *_fields(TradeRecord), *_GAP)
_COLUMNS: dict[str, tuple[str, ...]] = {
    Channel.TRADES: _TRADES,
    Channel.AGG_TRADES: _TRADES,
    Channel.KLINES: ("exchange", "pair", "interval", *_fields(KlineRecord), *_GAP),
    "events": ("exchange", *_fields(LedgerRecord)),
}
"""The columns that each file of a channel has, whether an entry in it needs them or not: not every reader of a folder
takes files that differ."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a table holds. `first_id` and `last_id` are the least and the greatest id."""

    version: int = VERSION
    stream: str
    entries: int
    first_id: str
    last_id: str
    digest: str
    """Of these entries: `model.digest.Digest` over them in the order of their ids."""
    replaces: tuple[str, ...] = ()
    """Files of the same folder whose entries are all in here, so that they hold nothing any more."""


class Layout(msgspec.Struct, frozen=True):
    """How entries come back. Columns are in the order of the table's, without `entry_id`."""

    columns: tuple[Column, ...]
    forms: tuple[tuple[int, ...], ...]
    """The columns that an entry has, in the order of its fields; each form once."""
    runs: tuple[Run, ...]


def table(entries: Iterable[Entry], *, replaces: Sequence[str] = ()) -> pa.Table:
    """At least one entry, all of one stream, as a table in the order of their ids; of entries with one id, the first.

    Raises ValueError where there are none.
    """
    given = list(entries)
    if not given:
        raise ValueError("a table of no entries")
    return written(given[0].stream, gathered(given), replaces=replaces)


def entries(rows: pa.Table | pa.RecordBatch, metadata: Mapping[bytes, bytes], *, first_row: int = 0) -> list[Entry]:
    """The entries of a table, or of a slice of its rows that begins at `first_row`. Raises ValueError."""
    return restored(rows, facts(metadata).stream, layout(metadata), first_row=first_row)


def facts(metadata: Mapping[bytes, bytes] | None) -> Facts:
    """What metadata says of a table. Raises ValueError where it is not one of ours, or of a version to come."""
    found = _read(metadata, FACTS, Facts)
    if found.version > VERSION:
        raise ValueError(f"it is of version {found.version}, and this program reads up to {VERSION}")
    return found


def layout(metadata: Mapping[bytes, bytes] | None) -> Layout:
    """How a table's entries come back. Raises ValueError."""
    return _read(metadata, LAYOUT, Layout)


def restored(rows: pa.Table | pa.RecordBatch, stream: str, how: Layout, *, first_row: int = 0) -> list[Entry]:
    """What `entries` does, for whoever reads slice after slice of one table."""
    return list(text_of.entries(stream, as_text(rows, how, first_row=first_row)))


def as_text(rows: pa.Table | pa.RecordBatch, how: Layout, *, first_row: int = 0) -> Text:
    """A table's entries, or those of a slice of its rows, as the text they were."""
    columns = [texts(_whole(rows.column(at)), column, first_row) for at, column in enumerate(how.columns, 1)]
    runs = cut(how.runs, first_row, first_row + rows.num_rows)
    return Text(_whole(rows.column(0)), tuple(column.field for column in how.columns), columns, how.forms, runs)


def written(
    stream: str, text: Text, *, replaces: Sequence[str] = (), without: pa.Array | None = None
) -> pa.Table | None:
    """A stream's text as `table` makes it, less the entries whose ids are in `without`; None where none are left."""
    text = in_order(text, without)
    if not text.rows:
        return None
    text = in_columns(text, _COLUMNS.get(channel(stream, dict.fromkeys(text.fields, "")), ()))
    what = Facts(
        stream=stream,
        entries=text.rows,
        first_id=text.ids[0].as_py(),
        last_id=text.ids[-1].as_py(),
        digest=digest(stream, text),
        replaces=tuple(replaces),
    )
    made = [typed(field, column) for field, column in zip(text.fields, text.columns, strict=True)]
    how = Layout(tuple(column for _, column in made), text.forms, tuple(text.runs))
    names = [ENTRY_ID, *column_names(text.fields, _taken(stream, text))]
    metadata = {FACTS: _json(what), LAYOUT: _json(how)}
    return pa.table([text.ids, *(values for values, _ in made)], names=names).replace_schema_metadata(metadata)


def channel(stream: str, fields: Mapping[str, str]) -> str:
    """The kind of data that a stream holds, by its name, or by the fields of its entries where it was renamed.

    >>> channel("agg_trades:BTCUSDT", {"trade_id": "1"}), channel("anything:BTCUSDT", {"trade_id": "1"})
    ('agg_trades', 'trades')
    """
    named = stream.partition(":")[0]
    return named if named in set(Channel) else channel_of(stream, fields)


def pair_of(stream: str, fields: Mapping[str, str]) -> str:
    """The pair that a whole stream is of: the one of its entries that its name holds; empty where there is none.

    >>> pair_of("trades:{BTCUSDT}", {"pair": "BTCUSDT"}), pair_of("events:binance", {"pair": "BTCUSDT"})
    ('BTCUSDT', '')
    """
    pair = fields.get("pair", "")
    return pair if pair in (word.strip("{}") for word in stream.split(":")) else ""


def column_names(fields: Sequence[str], taken: Collection[str]) -> list[str]:
    """What columns are called: as the fields, but for names that are taken or that no file can spell.

    >>> column_names(["stream", "entry_id", "entry_id_"], ["entry_id"])
    ['stream', 'entry_id_', 'entry_id__']
    """
    names: list[str] = []
    for field in fields:
        name = field.encode("utf-8", "backslashreplace").decode()
        while name in names or name in taken:
            name += "_"
        names.append(name)
    return names


def _taken(stream: str, text: Text) -> tuple[str, ...]:
    """Names that a field's column cannot have: ours, and those that the folder's path gives to every row."""
    pairs = listed(text.columns[text.fields.index("pair")].unique().drop_null()) if "pair" in text.fields else ()
    own = bool(pairs) and all(pair_of(stream, {"pair": pair or ""}) for pair in pairs)
    return (ENTRY_ID, "channel", "date") if own else (ENTRY_ID, "channel", "date", "pair")


def _whole(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _json(what: msgspec.Struct) -> bytes:
    # Not msgspec's own: it refuses a lone surrogate, which a text of a stream may hold.
    return json.dumps(msgspec.to_builtins(what, str_keys=True), separators=(",", ":")).encode()


def _read(metadata: Mapping[bytes, bytes] | None, key: bytes, kind: type[T]) -> T:
    if not metadata or key not in metadata:
        raise ValueError("it was not written by a recorder of ours: its metadata does not say what it holds")
    try:
        return msgspec.convert(json.loads(metadata[key]), kind, strict=False)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its metadata cannot be read: {error}") from error
