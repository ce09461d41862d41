"""Which table an entry belongs to and what its row holds: the text of the stream in columns, no digit lost.

A row begins with its key: the stream, the time that its entry id tells and the entry id. The second follows from the
third, so the three are as unique as the two; it stands there because a hypertable is divided by a column of its key.
What has no column, and text that is not what its column holds, stays in `fields`, so that a row is all of its entry.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from cryptostream.model.codec import channel_of, iso, micros
from cryptostream.model.events import Entry

Value = str | int | None
Row = tuple[Value, ...]

KEY = ("stream", "time", "entry_id")
_REST = "fields"
_LAST_MS = 253_402_300_799_999
"""The end of the year 9999: entry ids may name later times, databases and people do not."""
_LONGEST = 64
"""Characters of a number or a time that is read as one."""
_TIME_CHARACTERS = len("2024-11-14T17:30:00.123000Z")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_INT64 = 1 << 63
_FLAGS = {"true": 1, "false": 0}


class Kind(Enum):
    """What a column holds; each database has its own name for it."""

    TEXT = "text"
    DECIMAL = "decimal"
    INTEGER = "integer"
    FLAG = "flag"
    TIME = "time"
    JSON = "json"


class Table(NamedTuple):
    """One table: the entry's own fields by name, in their order; the key goes before them and `fields` after."""

    name: str
    columns: Mapping[str, Kind]

    @property
    def all_columns(self) -> dict[str, Kind]:
        """Every column by name, the key first."""
        key = dict.fromkeys(KEY, Kind.TEXT) | {"time": Kind.TIME}
        return {**key, **self.columns, _REST: Kind.JSON}


def _each(kind: Kind, *names: str) -> dict[str, Kind]:
    return dict.fromkeys(names, kind)


_TRADE = (
    _each(Kind.TEXT, "exchange", "pair")
    | _each(Kind.DECIMAL, "price", "qty")
    | _each(Kind.TIME, "ts")
    | _each(Kind.TEXT, "side")
    | _each(Kind.INTEGER, "trade_id")
    | _each(Kind.TEXT, "raw_json")
)
_KLINE = (
    _each(Kind.TEXT, "exchange", "pair", "interval")
    | _each(Kind.INTEGER, "open_time", "close_time")
    | _each(Kind.DECIMAL, "open", "high", "low", "close", "volume", "quote_volume")
    | _each(Kind.INTEGER, "trades")
    | _each(Kind.DECIMAL, "taker_buy_volume", "taker_buy_quote_volume")
    | _each(Kind.FLAG, "closed")
    | _each(Kind.TIME, "ts")
    | _each(Kind.TEXT, "raw_json")
)
_GAP = (
    _each(Kind.TEXT, "exchange", "pair", "interval")
    | _each(Kind.INTEGER, "gap_from", "gap_to")
    | _each(Kind.TEXT, "cause")
    | _each(Kind.TIME, "ts")
    | _each(Kind.INTEGER, "count")
)
_SIGNAL = (
    _each(Kind.TEXT, "strategy", "pair", "side")
    | _each(Kind.DECIMAL, "price", "strength")
    | _each(Kind.TEXT, "reason")
    | _each(Kind.TIME, "ts")
)

TABLES = {
    name: Table(name, columns)
    for name, columns in (
        ("trades", _TRADE),
        ("agg_trades", _TRADE),
        ("klines", _KLINE),
        ("gaps", _GAP),
        ("signals", _SIGNAL),
        ("entries", {}),
    )
}
"""All there are, by name; `entries` takes what has no table of its own."""


def rows(entries: Iterable[Entry], *, raw_json: bool = True) -> dict[str, list[Row]]:
    """Rows by the name of their table, each entry once: of two with one id the later counts."""
    found: dict[str, dict[tuple[str, str], Row]] = {}
    for entry in entries:
        table = table_of(entry)
        found.setdefault(table.name, {})[entry.stream, entry.entry_id] = _row(table, entry, raw_json)
    return {name: list(made.values()) for name, made in found.items()}


def table_of(entry: Entry) -> Table:
    """By its kind and the name of its stream, and by its own fields where the stream was renamed.

    >>> table_of(Entry("trades:BTCUSDT", "1-1", {"kind": "gap"})).name
    'gaps'
    >>> table_of(Entry("market_data_stream:BTCUSDT", "1-1", {"trade_id": "1"})).name
    'trades'
    """
    if entry.fields.get("kind") == "gap":
        return TABLES["gaps"]
    named = TABLES.get(entry.stream.partition(":")[0])
    return named or TABLES.get(channel_of(entry.stream, entry.fields)) or TABLES["entries"]


def _row(table: Table, entry: Entry, raw_json: bool) -> Row:
    left = dict(entry.fields)
    if not raw_json:
        left.pop("raw_json", None)
    if table.name == "gaps":
        del left["kind"]  # the table says it
    values = [_taken(left, name, kind) for name, kind in table.columns.items()]
    return (_clean(entry.stream), _time_of(entry.entry_id), entry.entry_id, *values, _json(left) if left else None)


def _taken(left: dict[str, str], name: str, kind: Kind) -> Value:
    """The value of a column; its text is taken from what is left of the entry if the column can hold it."""
    text = left.get(name)
    value = None if text is None else _READERS[kind](text)
    if value is not None:
        del left[name]
    return value


def _decimal(text: str) -> str | None:
    return text if len(text) <= _LONGEST and _DECIMAL.fullmatch(text) else None


def _integer(text: str) -> int | None:
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -_INT64 <= number < _INT64 else None


def _moment(text: str) -> str | None:
    return _utc(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=1024)  # most trades share their time with another
def _utc(text: str) -> str | None:
    """A time as every database reads it in every time zone: it says that it is UTC."""
    try:
        made = iso(micros(text)) + "Z"
    except (ValueError, OverflowError):
        return None
    return made if len(made) == _TIME_CHARACTERS else None  # a year before 1000 has fewer digits


@lru_cache(maxsize=1024)
def _time_of(entry_id: str) -> str:
    ms = int(entry_id.partition("-")[0])
    return iso(min(ms, _LAST_MS) * 1000) + "Z"


def _json(fields: Mapping[str, str]) -> str:
    return json.dumps({_clean(name): _clean(text) for name, text in fields.items()}, ensure_ascii=False)


def _clean(text: str) -> str:
    r"""Text that a database takes: no NUL, nothing that is not Unicode.

    >>> _clean("a\x00b\ud800")
    'a\ufffdb?'
    """
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


_READERS: Mapping[Kind, Callable[[str], Value]] = {
    Kind.TEXT: _clean,
    Kind.DECIMAL: _decimal,
    Kind.INTEGER: _integer,
    Kind.FLAG: _FLAGS.get,
    Kind.TIME: _moment,
}
