"""All output: data to stdout as a table, JSON, JSONL or CSV; all else to stderr; control characters to neither."""

import csv
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 200
_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
_ESCAPED = {code: f"\\u{code:04x}" for code in _CONTROL if code >= 0x7F}


class Output(StrEnum):
    """How data leaves: `auto` is a table on a terminal, JSONL for streams and JSON for answers on a pipe."""

    AUTO = "auto"
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


def safe(text: object) -> str:
    r"""Text with every control character removed, so that no feed can steer a terminal.

    >>> safe("BTC\x1b[2JUSDT")
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
    """The console that data goes to; on a pipe, where nobody says how wide it is, it is wide."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(soft_wrap=True, highlight=False, width=None if os.environ.get("COLUMNS") else _WIDE)


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


def hints(text: str) -> None:
    """Several lines on what to do next, on stderr."""
    err().print(text.strip("\n"), soft_wrap=True, markup=False)


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


def facts(found: Mapping[str, Any], output: Output) -> None:
    """One answer: a line for each fact on a terminal, one object else."""
    kind = chosen(output)
    if kind is Output.TABLE:
        from rich.table import Table
        from rich.text import Text

        made = Table(box=None, show_header=False, pad_edge=False)
        for name, value in found.items():
            made.add_row(Text(name, style="bold"), Text(cell(value), overflow="fold"))
        out().print(made)
    elif kind is Output.CSV:
        write_csv([found], list(found), sys.stdout)
    elif kind is Output.JSONL:
        line(found)
    else:
        answer(dict(found))


def answer(value: Any) -> None:
    """One JSON answer."""
    sys.stdout.write(json_text(value, indent=2) + "\n")


def line(row: Mapping[str, Any]) -> None:
    """One JSON line."""
    sys.stdout.write(json_text(row) + "\n")


def json_text(value: Any, *, indent: int | None = None) -> str:
    r"""JSON as people read it, every control character escaped: `json` itself stops at the first 32.

    >>> json_text({"pair": "BTC\x9b2JUSDT"})
    '{"pair": "BTC\\u009b2JUSDT"}'
    """
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str).translate(_ESCAPED)


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


def write_csv(found: Iterable[Mapping[str, Any]], columns: Sequence[str], to: TextIO, *, header: bool = True) -> None:
    """CSV whose text cells never start a formula in a spreadsheet nor steer a terminal."""
    writer = csv.writer(to)
    if header:
        writer.writerow([_unformula(name) for name in columns])
    for row in found:
        writer.writerow([_unformula(row.get(name)) for name in columns])


def _unformula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = safe(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
