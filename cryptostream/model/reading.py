"""Rows of a stream, as the server sends them, to events: what `codec.event` reads, as fast as Python can.

A consumer spends most of its time here, and rows of one stream look alike. Where the fields of a trade or a candle lie
is learned from a row and holds for those after it that carry the same names in the same order; any other row, and any
value that is not as we write it, goes through `codec.event`, which says what is wrong with it.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, get_type_hints

from cryptostream.errors import DataQuality
from cryptostream.model import codec
from cryptostream.model.events import Entry, Event, Kline, Micros, Side, Trade
from cryptostream.model.instrument import Interval

Row = Sequence[Any]
"""An entry id and its fields, names and values by turns: `["1-2", ["exchange", "binance", "pair", ...]]`."""
_TS_LENGTH = len("2024-11-14T17:30:00.123000")
_SECOND = _TS_LENGTH - 6
_SIDES: dict[str, Side] = {"buy": "buy", "sell": "sell"}
_FLAGS = {"true": True, "false": False}


class Read(NamedTuple):
    """What was read of some rows: of each an event in its place, up to the first that is none."""

    events: list[Event | Entry]
    trouble: DataQuality | None = None
    """What is wrong with the row after those."""


def events(stream: str, rows: Sequence[Row]) -> Read:
    """Read rows of one stream; an entry of a kind that is not market data stays an Entry.

    >>> events("notes", [["1-0", ["text", "hello"]]]).events
    [Entry(stream='notes', entry_id='1-0', fields={'text': 'hello'})]
    """
    found: list[Event | Entry] = []
    while len(found) < len(rows):
        _read_alike(rows, found)
        if len(found) == len(rows):
            break
        try:
            found.append(_read(stream, rows[len(found)]))
        except DataQuality as trouble:
            return Read(found, trouble)
    return Read(found)


def entry(stream: str, row: Row) -> Entry:
    """A row as an Entry.

    >>> entry("notes", ["1-0", ["text", "hello"]]).fields
    {'text': 'hello'}
    """
    return Entry(stream, row[0], dict(zip(row[1][::2], row[1][1::2], strict=True)))


def _read(stream: str, row: Row) -> Event | Entry:
    whole = entry(stream, row)
    event = codec.event(stream, whole.entry_id, whole.fields)
    return whole if event is None else event


def _read_alike(rows: Sequence[Row], found: list[Event | Entry]) -> None:
    """Append what is read of the next rows, as long as they are like the first of them."""
    names = rows[len(found)][1][::2]
    layout = _layout(tuple(names))
    if layout is None:
        return
    read, places = layout
    try:
        read(rows[len(found) :] if found else rows, names, places, found.append)
    except (KeyError, ValueError, TypeError):
        return  # the row that raised has not been appended


def _trades(rows: Sequence[Row], names: list[str], places: Sequence[int], add: Callable[[Trade], None]) -> None:
    exchange, pair, price, qty, time, side, trade_id = places
    second, base = "", 0
    for entry_id, fields in rows:
        if fields[::2] != names:
            return
        ts = fields[time]
        if ts[:_SECOND] != second:
            second = ts[:_SECOND]
            base = _seconds(second)
        if len(ts) != _TS_LENGTH:
            return
        add(
            Trade(
                entry_id,
                fields[exchange],
                fields[pair],
                float(fields[price]),
                float(fields[qty]),
                base + int(ts[_SECOND:]),  # type: ignore[arg-type]  # calling Micros would cost as much as the sum
                _SIDES[fields[side]],
                int(fields[trade_id]),
            )
        )


def _klines(rows: Sequence[Row], names: list[str], places: Sequence[int], add: Callable[[Kline], None]) -> None:
    for entry_id, fields in rows:
        if fields[::2] != names:
            return
        add(Kline(entry_id, *[read(fields[place]) for read, place in zip(_KLINE_READERS, places, strict=True)]))


def _micros(text: str) -> Micros:
    if len(text) != _TS_LENGTH:
        raise ValueError(text)
    return Micros(_seconds(text[:_SECOND]) + int(text[_SECOND:]))


@lru_cache(maxsize=1024)
def _seconds(text: str) -> int:
    """Microseconds since the epoch of a whole second, written with the dot that follows it. Raises ValueError."""
    if text[-1:] != ".":
        raise ValueError(text)
    return codec.micros(text[:-1])


def _names(kind: type[Event]) -> tuple[str, ...]:
    return kind.__struct_fields__[1:]  # all but entry_id


_READERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: _FLAGS.__getitem__,
    Micros: _micros,
    Interval: {str(each): each for each in Interval}.__getitem__,
}
_KLINE_READERS = [_READERS[get_type_hints(Kline)[name]] for name in _names(Kline)]
_KINDS: dict[type[Event], Any] = {Kline: _klines, Trade: _trades}
_MARKS: dict[type[Event], str] = {Kline: "open_time", Trade: "trade_id"}


@lru_cache(maxsize=256)
def _layout(names: tuple[str, ...]) -> tuple[Any, list[int]] | None:
    """How to read rows with these names and where each field of the event lies in them; None for no such way."""
    if "kind" in names or len(set(names)) != len(names):
        return None
    for kind, mark in _MARKS.items():
        if mark in names:
            wanted = _names(kind)
            known = set(wanted) <= set(names)
            return (_KINDS[kind], [2 * names.index(name) + 1 for name in wanted]) if known else None
    return None
