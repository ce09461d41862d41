"""What a recorder wrote, read again: a folder of Parquet files as an archive of entries."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq  # type: ignore[import-untyped]

from cryptostream.errors import DataQuality
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry
from cryptostream.model.globs import compiled
from cryptostream.model.ports import Archive
from cryptostream.tape import parts as files
from cryptostream.tape import schema
from cryptostream.tape.stretch import Part, Stretch, live, reading, stretches

MAGIC = b"PAR1"
_PATIENCE = 100
"""How often, without an entry in between, a folder may change under its reader."""


class Catalogue:
    """The parts under a folder, or the one file at a path; what was looked at before is not opened again."""

    def __init__(self, root: Path) -> None:
        self.damaged: dict[Path, DataQuality] = {}
        """Files that do not even say what they hold."""
        self._root = root
        self._known: dict[Path, _Known] = {}
        self._folders: dict[str, set[Path]] = {}

    def parts(self) -> list[Part]:
        """All there are now, without those that others replace."""
        return self._look(self._root)

    def of(self, stream: str) -> list[Part]:
        """Those of one stream."""
        if stream not in self._folders:
            self.parts()
        found = [part for folder in sorted(self._folders.get(stream, ())) for part in self._look(folder)]
        return [part for part in found if part.facts.stream == stream]

    def damage_of(self, stream: str) -> DataQuality | None:
        """What is wrong with a file that, by its name, is of this stream."""
        begins = f"{files.stem(stream)}."
        return next((why for path, why in self.damaged.items() if path.name.startswith(begins)), None)

    def _look(self, folder: Path) -> list[Part]:
        self.damaged = {path: why for path, why in self.damaged.items() if not path.is_relative_to(folder)}
        return live(part for path in paths(folder) if (part := self._part(path)))

    def _part(self, path: Path) -> Part | None:
        try:
            told = path.stat()
            stamp = (told.st_ino, told.st_mtime_ns, told.st_size)
            known = self._known.get(path)
            if known is None or known.stamp != stamp:
                known = self._known[path] = _Known(stamp, part(path, told.st_size))
        except FileNotFoundError:
            return None
        except DataQuality as damage:
            self.damaged[path] = damage
            return None
        if known.part:
            self._folders.setdefault(known.part.facts.stream, set()).add(_home(path) if path != self._root else path)
        return known.part


class _Known(NamedTuple):
    stamp: tuple[int, int, int]
    part: Part | None
    """None for a file of somebody else."""


class Recording(Archive):
    """The entries in a folder of Parquet files, or in one of them; a folder that is not there holds none.

    Files that somebody else wrote are passed over. What is damaged raises DataQuality that names the file; what a
    compaction replaces or a retention takes away while it is read does not.
    """

    def __init__(self, folder: str | Path) -> None:
        self._catalogue = Catalogue(Path(folder))

    def streams(self, patterns: Sequence[str]) -> Sequence[str]:
        """The names of the recorded streams that match one of these Redis globs, sorted."""
        names = {part.facts.stream for part in self._catalogue.parts()}
        self._refuse_nameless(names)
        return sorted(name for name in names if any(compiled(pattern).fullmatch(name) for pattern in patterns))

    def after(self, stream: str, entry_id: str) -> Iterator[list[Entry]]:
        """Pages of what is recorded of a stream above an entry id, each entry once, in the order of their ids."""
        place, patience = entry_id, _PATIENCE
        while True:
            try:
                for page in self._above(stream, place):
                    yield page
                    place, patience = page[-1].entry_id, _PATIENCE
            except FileNotFoundError as gone:
                patience -= 1
                if not patience:
                    raise DataQuality(f"{gone.filename} comes and goes") from gone
            else:
                return

    def stretches(self, stream: str) -> list[Stretch]:
        """What is recorded of a stream, in runs that follow each other."""
        found = stretches(self._catalogue.of(stream))
        if damage := self._catalogue.damage_of(stream):
            raise damage
        return found

    def _above(self, stream: str, place: str) -> Iterator[list[Entry]]:
        for stretch in self.stretches(stream):
            if parse_id(stretch.last_id) > parse_id(place):
                yield from stretch.pages(place)

    def _refuse_nameless(self, names: Iterable[str]) -> None:
        """Raise what is wrong with a file of which nobody can say that it is of another stream."""
        begins = tuple(f"{files.stem(name)}." for name in names)
        for path, damage in self._catalogue.damaged.items():
            if not path.name.startswith(begins):
                raise damage


def paths(root: Path) -> Iterator[Path]:
    """The closed Parquet files under a folder, sorted; links out of it are not followed."""
    if not root.is_dir():
        if root.exists():
            yield root
        return
    real = root.resolve()
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if is_closed(name) and (not path.is_symlink() or path.resolve().is_relative_to(real)):
                yield path


def is_closed(name: str) -> bool:
    """Whether a name is that of a whole Parquet file."""
    return name.endswith(files.SUFFIX) and not name.startswith(".")


def part(path: Path, size: int | None = None) -> Part | None:
    """What a file says of itself; None where somebody else wrote it. Raises DataQuality, FileNotFoundError."""
    size = path.stat().st_size if size is None else size
    with reading(path):
        footer = pq.read_metadata(path)
        if schema.FACTS not in (footer.metadata or {}):
            return None
        facts = schema.facts(footer.metadata)
        if parse_id(facts.first_id) > parse_id(facts.last_id):
            raise ValueError(f"it says that it goes from {facts.first_id} to {facts.last_id}")
        unpacked = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
        return Part(path, facts, size, unpacked)


def _home(path: Path) -> Path:
    """The folder under which other days of a part's stream lie."""
    return path.parent.parent if path.parent.name.startswith("date=") else path.parent
