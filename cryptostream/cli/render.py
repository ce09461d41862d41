"""All output: data to stdout as a table, JSON, JSONL or CSV; everything else to stderr; no control character either way."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = {code: None for code in (*range(0x20), 0x7F, *range(0x80, 0xA0), 0x202A, 0x202B, 0x202C, 0x202D, 0x202E)}


class Output(StrEnum):
    """How data leaves: `auto` is a table on a terminal, JSONL for streams and JSON for answers on a pipe."""

    AUTO = "auto"
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


def safe(text: object) -> str:
    """Text with every control character removed, so that no feed can steer a terminal.

    >>> safe("BTC\\x1b[2JUSDT")
    'BTC[2JUSDT'
    """
    return str(text).translate(_CONTROL)


def chosen(output: Output, *, stream: bool = False) -> Output:
    """Resolve `auto` by looking at where stdout goes."""
    if output is not Output.AUTO:
        return output
    if sys.stdout.isatty():
        return Output.TABLE
    return Output.JSONL if stream else Output.JSON


def out() -> "Console":
    """The console that data goes to; never wraps on a pipe."""
    from rich.console import Console

    return Console(soft_wrap=not sys.stdout.isatty(), highlight=False)


def err() -> "Console":
    """The console for progress, hints and tables about the work itself."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def error(message: str, hint: str = "") -> None:
    """One line that says what happened, and a hint line where there is one."""
    console = err()
    console.print(f"[bold red]error:[/] {_markup(message)}", soft_wrap=True)
    if hint:
        console.print(f"[dim]hint:[/] {_markup(hint)}", soft_wrap=True)


def note(message: str) -> None:
    """A line for the person at the terminal, on stderr."""
    err().print(_markup(message), style="dim", soft_wrap=True)


def _markup(text: str) -> str:
    from rich.markup import escape

    return escape("\n".join(safe(line) for line in text.split("\n")))


def rows(found: Sequence[Mapping[str, Any]], output: Output, *, title: str = "", columns: Sequence[str] = ()) -> None:
    """Write rows as the chosen output says. `columns` fixes order; without it the first row's keys do."""
    kind = chosen(output)
    names = list(columns) or list(found[0] if found else ())
    if kind is Output.TABLE:
        out().print(table(found, names, title=title))
    elif kind is Output.CSV:
        write_csv(found, names, sys.stdout)
    elif kind is Output.JSONL:
        for row in found:
            line(row)
    else:
        answer(list(found))


def answer(value: Any) -> None:
    """One JSON answer."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def line(row: Mapping[str, Any]) -> None:
    """One JSON line. `json` escapes control characters by itself."""
    sys.stdout.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def table(found: Iterable[Mapping[str, Any]], columns: Sequence[str], *, title: str = "") -> Any:
    """A table for a terminal; numbers to the right."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title or None, header_style="bold", box=None, pad_edge=False)
    found = list(found)
    for name in columns:
        numeric = all(isinstance(row.get(name), int | float | None) for row in found)
        made.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in found:
        made.add_row(*(Text(cell(row.get(name))) for name in columns))
    return made


def cell(value: Any) -> str:
    """One value as a terminal shows it: nothing for None, thousands separated.

    >>> cell(1234567), cell(None), cell(0.5)
    ('1,234,567', '', '0.5')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return safe(value)


def write_csv(found: Iterable[Mapping[str, Any]], columns: Sequence[str], to: TextIO) -> None:
    """CSV whose text cells never start a formula in a spreadsheet."""
    writer = csv.writer(to)
    writer.writerow(columns)
    for row in found:
        writer.writerow([_unformula(row.get(name)) for name in columns])


def _unformula(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value
