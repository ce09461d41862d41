"""Entries as text, a batch at a time: aligned columns for a terminal, JSON lines, CSV, or the reader's own template."""

import io
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from string import Formatter

from cryptostream.cli import render
from cryptostream.errors import UsageError
from cryptostream.model.codec import iso
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import LEDGER_EVENTS, Entry
from cryptostream.model.times import LATEST_MS
from cryptostream.registry import did_you_mean
from cryptostream.transforms.where import FIELDS, facts

Shown = Callable[[Sequence[Entry]], str]
"""A batch of entries in, the text to print out."""

_TRADE = ("time", "stream", "side", "price", "qty", "trade_id")
_KLINE = ("time", "stream", "open", "high", "low", "close", "volume", "trades", "closed")
_SIGNAL = ("time", "stream", "side", "price", "strength", "reason")
_EVENT = ("time", "stream", "event", "pair", "channel", "ids", "count", "seconds", "cause")
_OTHER = ("time", "stream", "entry")
_AMOUNTS = frozenset({"price", "qty", "open", "high", "low", "close", "volume", "quote_volume"})
_RIGHT = _AMOUNTS | {"trades", "trade_id", "strength", "open_time", "close_time", "count", "seconds"}
_COLOURED = frozenset({"side", "price", "close", "event"})
_GOOD = frozenset({"connected", "gap_filled", "resumed", "drained"})
_LOST = frozenset({"gap_unfillable", "overflow", "bus_reset"})
_GREEN, _RED, _YELLOW, _DIM, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[1;33m", "\x1b[2m", "\x1b[0m"
_LONGEST_OTHER = 200
_WIDTH = re.compile(r"[<>^]?\d{0,3}")


def check_names(asked: Collection[str], known: Collection[str] | None) -> None:
    """Raise UsageError for a name that is neither a field of the contract nor `known`; None allows any."""
    allowed = FIELDS.union(known or ())
    for name in sorted(set(asked) - allowed) if known is not None else ():
        hint = did_you_mean(name, allowed) or f"fields: {', '.join(sorted(allowed))}"
        raise UsageError(f'no entry has a field "{name}"', hint=hint)


def json_lines(fields: Sequence[str]) -> Shown:
    """One JSON object a line: `stream`, `id`, then the chosen fields, or all but `raw_json`."""
    return lambda batch: "".join(f"{render.json_text(row(entry, fields))}\n" for entry in batch)


def row(entry: Entry, fields: Sequence[str]) -> dict[str, str | None]:
    """An entry as one flat object; a chosen field that it does not have is None."""
    if fields:
        chosen = {name: entry.fields.get(name) for name in fields if name not in ("stream", "entry_id")}
    else:
        chosen = {name: value for name, value in entry.fields.items() if name != "raw_json"}
    return {"stream": entry.stream, "id": entry.entry_id, **chosen}


def template(text: str) -> tuple[Shown, set[str]]:
    """Lines made by filling in `{name}` or `{name:>12}`, and the names it uses; a missing field is empty.

    Nothing of Python's format language but a width is taken. Raises UsageError.
    """
    parts = _parts(text)

    def filled(entry: Entry) -> str:
        values = facts(entry)
        texts = (literal + format(render.safe(values.get(name, "")), width) for literal, name, width in parts)
        return "".join(texts) + "\n"

    return lambda batch: "".join(map(filled, batch)), {name for _, name, _ in parts if name}


def _parts(text: str) -> list[tuple[str, str, str]]:
    try:
        found = list(Formatter().parse(text))
    except ValueError as error:
        raise UsageError(f'cannot read the template "{text}": {error}', hint="as in '{ts} {side} {price}'") from None
    for _, name, width, conversion in found:
        if name is not None and (not name.isidentifier() or conversion or not _WIDTH.fullmatch(width or "")):
            raise UsageError(f'cannot read "{{{name}}}" in the template', hint="a field's name, or {name:>12}")
    return [(render.safe(literal), name or "", width or "") for literal, name, width, _ in found]


class Csv:
    """CSV with one header; without chosen fields, its columns are those of the first batch."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields = fields
        self._columns: list[str] = []
        self._untold = True

    def __call__(self, batch: Sequence[Entry]) -> str:
        """The lines of a batch; the header comes with the first one."""
        rows = [self._row(entry) for entry in batch]
        first = not self._columns
        if first:
            self._columns = list(dict.fromkeys(name for one in rows for name in one))
        self._tell_what_is_left_out(rows)
        text = io.StringIO()
        render.write_csv(rows, self._columns, text, header=first)
        return text.getvalue()

    def _row(self, entry: Entry) -> dict[str, str | None]:
        if self._fields:
            values = facts(entry)
            return {name: values.get(name) for name in self._fields}
        return row(entry, ())

    def _tell_what_is_left_out(self, rows: Sequence[dict[str, str | None]]) -> None:
        left_out = {name for one in rows for name in one}.difference(self._columns)
        if left_out and self._untold:
            self._untold = False
            render.note(f"no column for {', '.join(sorted(left_out))}; choose columns with --fields, or use -o jsonl")


class Table:
    """Aligned columns that widen as they need to, each layout headed once; buys green, sells red, gaps standing out."""

    def __init__(self, fields: Sequence[str], *, colour: bool) -> None:
        self._fields = tuple(fields)
        self._colour = colour
        self._widths: dict[str, int] = {}
        self._headed: set[tuple[str, ...]] = set()

    def __call__(self, batch: Sequence[Entry]) -> str:
        """The lines of a batch, under a header where a layout appears for the first time."""
        laid_out = [(entry, *self._cells(entry)) for entry in batch]
        for _, columns, cells in laid_out:
            for name, cell in zip(columns, cells, strict=True):
                self._widths[name] = max(self._widths.get(name, len(_title(name))), _width(cell))
        return "".join(self._line(entry, columns, cells) for entry, columns, cells in laid_out)

    def _cells(self, entry: Entry) -> tuple[tuple[str, ...], list[str]]:
        if self._fields:
            values = facts(entry)
            return self._fields, [render.safe(values.get(name, "")) for name in self._fields]
        columns = _layout(entry)
        return columns, [_cell(entry, name) for name in columns]

    def _line(self, entry: Entry, columns: tuple[str, ...], cells: Sequence[str]) -> str:
        text = "  ".join(
            self._painted(entry, name, _padded(cell, self._widths[name], right=name in _RIGHT))
            for name, cell in zip(columns, cells, strict=True)
        )
        if _is_gap(entry):
            return self._paint(_YELLOW, text.rstrip()) + "\n"
        return self._head(columns) + text.rstrip() + "\n"

    def _head(self, columns: tuple[str, ...]) -> str:
        if columns in self._headed:
            return ""
        self._headed.add(columns)
        names = (_padded(_title(name), self._widths[name], right=name in _RIGHT) for name in columns)
        return self._paint(_DIM, "  ".join(names).rstrip()) + "\n"

    def _painted(self, entry: Entry, name: str, cell: str) -> str:
        colour = _colour(entry) if name in _COLOURED and not _is_gap(entry) else ""
        return self._paint(colour, cell)

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour and colour else text


def _is_gap(entry: Entry) -> bool:
    return entry.fields.get("kind") == "gap"


def _layout(entry: Entry) -> tuple[str, ...]:
    if "trade_id" in entry.fields:
        return _TRADE
    if "open_time" in entry.fields:
        return _KLINE
    if entry.fields.get("event") in LEDGER_EVENTS:
        return _EVENT
    return _SIGNAL if "strategy" in entry.fields else _OTHER


def _cell(entry: Entry, name: str) -> str:
    if name == "time":
        return _time(entry)
    if name == "stream":
        return render.safe(entry.stream)
    if name == "entry":
        return _gap(entry) if _is_gap(entry) else _pairs(entry)
    if name in _OF_EVENTS:
        return render.safe(_OF_EVENTS[name](entry.fields))
    value = render.safe(entry.fields.get(name, ""))
    if name == "closed":
        return "closed" if value == "true" else ""
    return _quiet(value) if name in _AMOUNTS else value


def _time(entry: Entry) -> str:
    """The entry's own time to the millisecond, or that of its id where it has none."""
    ms = parse_id(entry.entry_id)[0]
    ts = entry.fields.get("ts") or (iso(ms * 1000) if ms <= LATEST_MS else entry.entry_id)
    return render.safe(ts.replace("T", " "))[:23]


def _quiet(amount: str) -> str:
    """A decimal without the zeros at its end, as wide as before, so that points stay below points.

    >>> _quiet("45123.50000000"), _quiet("3.00000000"), _quiet("300")
    ('45123.5       ', '3         ', '300')
    """
    if "." not in amount:
        return amount
    return amount.rstrip("0").rstrip(".").ljust(len(amount))


def _gap(entry: Entry) -> str:
    first, last = entry.fields.get("gap_from", ""), entry.fields.get("gap_to", "")
    size = f" ({int(last) - int(first) + 1:,})" if first.isdecimal() and last.isdecimal() else ""
    return render.safe(f"GAP: trades {first} to {last}{size} are missing, {entry.fields.get('cause', '')}")


def _ids(fields: Mapping[str, str]) -> str:
    """The ids a line of the ledger is about.

    >>> _ids({"gap_from": "5", "gap_to": "9"}), _ids({"gap_from": "5", "gap_to": "5"}), _ids({})
    ('5 to 9', '5', '')
    """
    ends = filter(None, (fields.get("gap_from"), fields.get("gap_to")))
    return " to ".join(dict.fromkeys(ends))


def _seconds(fields: Mapping[str, str]) -> str:
    """How long, to the millisecond.

    >>> _seconds({"seconds": "0.25"}), _seconds({"seconds": "61.000400000001"}), _seconds({"seconds": "x"})
    ('0.25', '61', 'x')
    """
    text = fields.get("seconds", "")
    try:
        return f"{float(text):.3f}".rstrip("0").rstrip(".")
    except ValueError:
        return text


def _cause(fields: Mapping[str, str]) -> str:
    return " ".join(filter(None, (fields.get("cause"), fields.get("url"))))


_OF_EVENTS = {"ids": _ids, "seconds": _seconds, "cause": _cause}


def _pairs(entry: Entry) -> str:
    text = " ".join(f"{name}={value}" for name, value in entry.fields.items() if name not in ("raw_json", "ts"))
    text = render.safe(text)
    return text if len(text) <= _LONGEST_OTHER else f"{text[:_LONGEST_OTHER]}…"


def _colour(entry: Entry) -> str:
    side = entry.fields.get("side", "")
    if "open_time" in entry.fields:
        side = "buy" if _rose(entry) else "sell"
    if event := entry.fields.get("event"):
        return _GREEN if event in _GOOD else _YELLOW if event in _LOST else ""
    return {"buy": _GREEN, "sell": _RED}.get(side, "")


def _rose(entry: Entry) -> bool:
    try:
        return float(entry.fields["close"]) >= float(entry.fields["open"])
    except (KeyError, ValueError):
        return True


def _title(name: str) -> str:
    return {"time": "time (UTC)", "entry": ""}.get(name, name)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _padded(text: str, width: int, *, right: bool) -> str:
    blank = " " * (width - _width(text))
    return blank + text if right else text + blank
