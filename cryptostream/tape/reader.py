"""Which files are tapes, and what is on them: told by their content, hardly ever by their name."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from cryptostream.errors import DataQuality, NotFound, UsageError
from cryptostream.model.events import Entry
from cryptostream.tape import forms
from cryptostream.tape.forms import Form
from cryptostream.tape.lines import Lines, open_regular
from cryptostream.tape.names import IN_PROGRESS, parse

T_co = TypeVar("T_co", covariant=True)

_LINES_LOOKED_AT = 20
_PARQUET, _PARQUET_SUFFIX = b"PAR1", ".parquet"

Place = tuple[str, str, str, int]
"""Where a tape belongs: those whose first two are equal follow each other, in the order of the rest."""


class Line(NamedTuple, Generic[T_co]):
    """One item of a tape: a frame with its receive time, or an entry with the time of its id."""

    at: int
    """Nanoseconds since the epoch."""
    item: T_co
    number: int
    """The line of the file, from 1."""


class Reel(Protocol[T_co]):
    """What can be played: a Tape, or whatever has its face."""

    @property
    def path(self) -> Path: ...

    @property
    def place(self) -> Place: ...

    @property
    def size(self) -> int: ...

    @property
    def starts(self) -> int: ...

    @property
    def position(self) -> int: ...

    @property
    def bad(self) -> int: ...

    def __iter__(self) -> Iterator[Line[T_co]]: ...


class Tape(Generic[T_co]):
    """One recorded file. `starts` is the time of its first item in ns, `size` and `position` count bytes on the disk.

    Iterating gives all that is whole and then, for a damaged file or a bad line, raises DataQuality that names the
    place. With `skip_bad` it goes on behind it; `bad` counts the lines and stretches that were left out.
    """

    def __init__(self, path: Path, form: Form[T_co], *, skip_bad: bool = False) -> None:
        self.path = path
        self.form = form
        self.size = path.stat().st_size
        self._skip_bad = skip_bad
        self.starts = self._first_time()
        self._rewind()

    @property
    def place(self) -> Place:
        """Files of one connection follow each other, where their names are ours; else each stands by itself."""
        name, folder = parse(self.path.name), str(self.path.parent)
        return (folder, name.connection, name.hour, name.part) if name else (folder, f"/{self.path.name}", "", 0)

    @property
    def position(self) -> int:
        return self._lines.position

    @property
    def bad(self) -> int:
        return self._bad_lines + self._lines.skipped

    def __iter__(self) -> Iterator[Line[T_co]]:
        self._rewind()
        for number, line in self._lines:
            try:
                found = self.form.read(line)
            except ValueError as error:
                self._pass_over(number, error)
            else:
                if found:
                    yield Line(found[0], found[1], number)

    def _rewind(self) -> None:
        self._lines = Lines(self.path, skip_bad=self._skip_bad)
        self._bad_lines = 0

    def _first_time(self) -> int:
        try:
            first = next(iter(self), None)
        except DataQuality:
            first = None
        return first.at if first else 0

    def _pass_over(self, number: int, error: ValueError) -> None:
        if not self._skip_bad:
            raise DataQuality(f"{self.path}: line {number:,} cannot be read: {error}") from error
        self._bad_lines += 1


def recognise(path: Path, *, skip_bad: bool = False) -> Tape[Any] | None:
    """The tape in a file, or None for a file that is something else.

    A file with no line that can be read, empty or damaged from its start, counts as frames: reading it tells.
    Raises NotFound and UsageError like `open_regular`.
    """
    seen = 0
    try:
        for _, line in islice(Lines(path, skip_bad=skip_bad), _LINES_LOOKED_AT):
            seen += bool(line.strip())
            form = next((form for form in forms.FORMS if form.looks(line)), None)
            if form:
                return Tape(path, form, skip_bad=skip_bad)
    except DataQuality:
        pass
    return None if seen else Tape(path, forms.FRAMES, skip_bad=skip_bad)


class Found(NamedTuple):
    """What lies under some paths; `others` are the files that are no tapes, each with the reason."""

    frames: list[Tape[bytes]]
    entries: list[Reel[Entry]]
    others: list[tuple[Path, str]]


def find(paths: Sequence[Path], *, skip_bad: bool = False) -> Found:
    """The tapes that are named or lie in the folders that are named, each once.

    Raises NotFound where nothing is there, UsageError for a named file that is no tape or no regular file.
    """
    found = Found([], [], [])
    parquet: list[Path] = []
    for path, reason in _unique(candidate for named in paths for candidate in _files(named)):
        if not reason and is_parquet(path):
            parquet.append(path)
            continue
        tape = None if reason else recognise(path, skip_bad=skip_bad)
        if tape is None:
            found.others.append((path, reason or "not a tape"))
        else:
            (found.entries if tape.form is forms.ENTRIES else found.frames).append(tape)
    if parquet:
        from cryptostream.tape import parttape

        recorded, others = parttape.tapes(parquet, skip_bad=skip_bad)
        found.entries.extend(recorded)
        found.others.extend(others)
    _refuse_named(paths, found.others)
    if not found.frames and not found.entries:
        raise NotFound(f"no tape in {', '.join(map(str, paths))}", hint="record one with: ingest --record DIR")
    return found


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet; one that is empty or torn is known by its name. Raises like `open_regular`."""
    with open_regular(path) as file:
        return file.read(len(_PARQUET)) == _PARQUET or path.suffix == _PARQUET_SUFFIX


def _unique(candidates: Iterable[tuple[Path, str]]) -> Iterator[tuple[Path, str]]:
    seen = set()
    for path, reason in candidates:
        real = path.resolve()
        if reason or real not in seen:
            seen.add(real)
            yield path, reason


def _files(path: Path) -> Iterator[tuple[Path, str]]:
    """The file itself, or the files in a folder; each with the reason why it is not opened, if there is one."""
    if not path.is_dir():
        yield path, ""
        return
    root = path.resolve()
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            yield file, _why_not(file, root)


def _why_not(file: Path, root: Path) -> str:
    if file.name.startswith(".") and file.name.endswith(IN_PROGRESS):
        return "not finished"  # a Parquet file begins to be one when it is whole
    if not file.resolve().is_relative_to(root):
        return "a link out of the folder"
    return "" if file.is_file() else "not a regular file"


def _refuse_named(paths: Sequence[Path], others: Sequence[tuple[Path, str]]) -> None:
    for path, reason in others:
        if path in paths:
            raise UsageError(f"{path} is {reason}", hint="a tape has lines of: receive time in ns, a space, the frame")
