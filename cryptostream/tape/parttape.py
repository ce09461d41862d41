"""Recorded Parquet files as tapes, so that whatever plays or proves tapes plays and proves them too."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptostream.errors import DataQuality
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry
from cryptostream.tape import forms
from cryptostream.tape.parquet import part
from cryptostream.tape.reader import Line, Place
from cryptostream.tape.stretch import ROWS, Pages, Part, Stretch, live, stretches

_NS_PER_MS = 1_000_000
_AT_ONCE = 100_000
"""Entries of all streams together that are Python objects while they are merged by time."""
_FEWEST = 50


class PartTape:
    """A run of one stream's entries, out of one file or of files whose ids overlap; a Tape by its face.

    Iterating gives what is whole and then, where a file is damaged or does not hold what it says, raises DataQuality
    that names it. With `skip_bad` it ends there, and `bad` counts it.
    """

    form = forms.ENTRIES

    def __init__(self, stretch: Stretch, *, skip_bad: bool = False) -> None:
        first = parse_id(stretch.first_id)
        self.path = stretch.parts[0].path
        self.size = sum(part.size for part in stretch.parts)
        self.starts = first[0] * _NS_PER_MS
        self.place: Place = ("", f"{stretch.stream} ", f"{first[0]:020}-{first[1]:020}", 0)
        self.position = 0
        self.bad = 0
        self.stretch = stretch
        self._skip_bad = skip_bad

    def __iter__(self) -> Iterator[Line[Entry]]:
        rows, read = sum(part.facts.entries for part in self.stretch.parts), 0
        for page in self._pages():
            for number, entry in enumerate(page, read + 1):
                yield Line(parse_id(entry.entry_id)[0] * _NS_PER_MS, entry, number)
            read += len(page)
            self.position = self.size * read // max(rows, read)
        self.position = self.size

    def _pages(self) -> Pages:
        try:
            yield from self.stretch.proven_pages()
        except FileNotFoundError as error:
            told = DataQuality(f"{self.path} went away while it was read", hint="files were merged: begin again")
            self._pass_over(told, error)
        except DataQuality as damage:
            self._pass_over(damage, damage)

    def _pass_over(self, damage: DataQuality, cause: Exception) -> None:
        if not self._skip_bad:
            raise damage from (None if cause is damage else cause)
        self.bad += 1


class BrokenTape:
    """A Parquet file that does not even say what it holds: a Tape of nothing that tells so when it is read."""

    form = forms.ENTRIES
    starts = 0

    def __init__(self, path: Path, damage: DataQuality, *, skip_bad: bool = False) -> None:
        self.path = path
        self.size = self.position = path.stat().st_size
        self.place: Place = (str(path.parent), f"/{path.name}", "", 0)
        self.bad = 0
        self._damage = damage
        self._skip_bad = skip_bad

    def __iter__(self) -> Iterator[Line[Entry]]:
        if not self._skip_bad:
            raise self._damage
        self.bad = 1
        return iter(())


def tapes(
    paths: Sequence[Path], *, skip_bad: bool = False
) -> tuple[list[PartTape | BrokenTape], list[tuple[Path, str]]]:
    """The tapes in some Parquet files, and the files that are none of ours, each with the reason.

    Files that another one of their folder replaces are left out.
    """
    by_stream: dict[str, list[Part]] = defaultdict(list)
    made: list[PartTape | BrokenTape] = []
    others: list[tuple[Path, str]] = []
    for path in paths:
        try:
            found = part(path)
        except DataQuality as damage:
            made.append(BrokenTape(path, damage, skip_bad=skip_bad))
        else:
            if found:
                by_stream[found.facts.stream].append(found)
            else:
                others.append((path, "Parquet that was not recorded here"))
    rows = max(_FEWEST, min(ROWS, _AT_ONCE // max(1, len(by_stream))))
    for parts in by_stream.values():
        for stretch in stretches(live(parts)):
            stretch.rows = rows
            made.append(PartTape(stretch, skip_bad=skip_bad))
    return made, others
