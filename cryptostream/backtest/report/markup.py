"""HTML from words that nobody can be trusted with: a strategy's name, a pair, a reason never become markup."""

import html
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LONGEST = 300
_NUMBERS = ' class="n"'


def clean(value: object, longest: int = _LONGEST) -> str:
    r"""Text without control characters, marks that turn its direction, and halves of characters; cut where too long.

    >>> clean("BTC\x1b[2J\u202eUSDT"), clean("abcdef", longest=4)
    ('BTC[2JUSDT', 'abc…')
    """
    text = "".join(each for each in str(value) if unicodedata.category(each) not in ("Cc", "Cf", "Cs"))
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def escaped(value: object) -> str:
    """Text that is text wherever it stands in a page.

    >>> escaped('<script>"&')
    '&lt;script&gt;&quot;&amp;'
    """
    return html.escape(clean(value))


def label(value: object, longest: int = 120) -> str:
    """Text for a chart, which reads some tags and a few entities.

    >>> label("<a href='x'>buy</a> & hold")
    "&lt;a href='x'&gt;buy&lt;/a&gt; &amp; hold"
    """
    return html.escape(clean(value, longest), quote=False)


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table shows, and what it is sorted by where that is not the text."""

    shown: str
    sort: float | None = None


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Cell | str]], *, name: str, sortable: bool = False, headed: int = 1
) -> str:
    """A table in a frame that scrolls by itself, with keys too. The first `headed` columns name the row."""
    rows = list(rows)
    kind = ' class="sortable"' if sortable else ""
    heads = (
        _head(column, any(isinstance(row[place], Cell) for row in rows), sortable)
        for place, column in enumerate(columns)
    )
    head = "".join(heads)
    body = "\n".join(
        f"<tr>{''.join(_cell(cell, place < headed) for place, cell in enumerate(row))}</tr>" for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(name)}">'
        f"<table{kind}><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _head(column: str, of_numbers: bool, sortable: bool) -> str:
    words = f'<button type="button">{escaped(column)}</button>' if sortable and column else escaped(column)
    return f'<th scope="col"{_NUMBERS if of_numbers else ""}>{words}</th>'


def _cell(cell: Cell | str, heads: bool) -> str:
    if isinstance(cell, str):
        return f'<th scope="row">{escaped(cell)}</th>' if heads else f"<td>{escaped(cell)}</td>"
    if cell.sort is None:
        return f"<td{_NUMBERS}>{escaped(cell.shown)}</td>"
    return f'<td{_NUMBERS} data-v="{cell.sort!r}">{escaped(cell.shown)}</td>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what they stand for."""
    rows = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in pairs)
    return f"<dl>{rows}</dl>"
