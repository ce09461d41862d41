"""One stream's files of one day: what they hold already, and how one more joins them. Synchronous: for a thread."""

import errno
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa  # type: ignore[import-untyped]

from cryptostream import logs
from cryptostream.errors import DataQuality
from cryptostream.model.entryid import parse_id
from cryptostream.tape import parts, schema
from cryptostream.tape.schema import Facts
from cryptostream.tape.text import Text, in_order

_log = logs.get("recorder")


class _Stamp(NamedTuple):
    """A file as it was when it was looked at: files are replaced by rename and never written to."""

    name: str
    inode: int
    mtime_ns: int
    size: int


class Packed(NamedTuple):
    """A file that waits for its place: all it takes is in memory, so that a disk may refuse it as often as it likes."""

    name: str
    data: pa.Buffer
    facts: Facts
    beside: frozenset[_Stamp]
    """The files that were there when it was made: nothing in it is in one of them."""


class Shelf:
    """The files of a stream in one folder, as far as they are known; others may add, merge and remove at any time."""

    def __init__(self, folder: Path, stream: str, compression: str) -> None:
        self.folder = folder
        self.stream = stream
        self._compression = compression
        self._known: dict[_Stamp, Facts | None] = {}
        """None for a file that cannot be read."""

    def pack(self, text: Text) -> Packed | None:
        """The file of those entries that are not recorded yet; None where all of them are.

        Raises OSError where the folder cannot be read.
        """
        self._look()
        text = in_order(text)
        covering = list(self._covering(text.ids[0].as_py(), text.ids[-1].as_py()))
        table = schema.written(self.stream, text, without=self._ids(covering) if covering else None)
        if table is None:
            return None
        facts = schema.facts(table.schema.metadata)
        data = parts.packed(table, self._compression)
        return Packed(parts.file_name(self.stream, facts.first_id), data, facts, frozenset(self._known))

    def put(self, packed: Packed) -> int:
        """Put a file in its place; how many entries came to be recorded: all of its own, unless others were first.

        Raises OSError; then nothing has changed.
        """
        parts.make_folder(self.folder)
        with parts.locked(self.folder):
            self._look()
            ours: Packed | None = packed
            if not packed.beside.issuperset(self._covering(packed.facts.first_id, packed.facts.last_id)):
                ours = self.pack(parts.text(packed.data))
            if ours is None:
                return 0
            self._set_aside(ours.name)
            parts.save(self.folder / ours.name, ours.data)
        return ours.facts.entries

    def _look(self) -> None:
        """See which files there are."""
        known, self._known = self._known, {}
        for path in parts.of_stream(self.folder, self.stream):
            with suppress(FileNotFoundError):  # it was merged with others meanwhile
                stamp = _stamp(path)
                self._known[stamp] = known[stamp] if stamp in known else self._facts(path)

    def _facts(self, path: Path) -> Facts | None:
        """Raises FileNotFoundError."""
        try:
            return parts.about(path)
        except DataQuality as error:
            _log.warning("recorder.damaged", reason=str(error))
            return None

    def _covering(self, first_id: str, last_id: str) -> Iterator[_Stamp]:
        """The files that may hold some of the ids from one to another."""
        first, last = parse_id(first_id), parse_id(last_id)
        for stamp, facts in self._known.items():
            if facts and parse_id(facts.first_id) <= last and parse_id(facts.last_id) >= first:
                yield stamp

    def _ids(self, files: Iterable[_Stamp]) -> pa.Array:
        """What is recorded in some files; nothing in one that is damaged, or gone: merged, as `put` finds out."""
        found = [pa.array([], pa.string())]
        for file in files:
            try:
                found.append(parts.ids(self.folder / file.name))
            except FileNotFoundError as error:
                _log.warning("recorder.damaged", reason=str(error))
            except DataQuality as error:
                _log.warning("recorder.damaged", reason=str(error))
                self._known[file] = None
        return pa.concat_arrays(found)

    def _set_aside(self, name: str) -> None:
        """A file that has our name and holds none of our entries is damaged; it is kept, under another name.

        Raises OSError, also where it is whole: then nobody knows whose entries we would replace.
        """
        for stamp, facts in self._known.items():
            if stamp.name == name:
                path = self.folder / name
                if facts is not None:
                    raise FileExistsError(errno.EEXIST, "a file of this name holds other entries", str(path))
                path.rename(path.with_name(f"{name}{parts.DAMAGED}"))


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return _Stamp(path.name, found.st_ino, found.st_mtime_ns, found.st_size)
