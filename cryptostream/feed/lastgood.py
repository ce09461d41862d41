"""The last list of pairs that was found in full, on disk: what is followed when nobody can be asked."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cryptostream.errors import DataQuality, UsageError
from cryptostream.model.instrument import check_symbol
from cryptostream.venues.ranking import Ranked

_MAX_BYTES = 8 * 1024 * 1024


class Stored(msgspec.Struct, frozen=True):
    """One list as it was found: the time in UTC, how many were asked for, and the pairs in order."""

    saved_at: str
    top: int
    pairs: tuple[Ranked, ...]


_decode = msgspec.json.Decoder(Stored).decode


class LastGood:
    """Where the lists of one venue and quote are kept: one file for each number of pairs asked for.

    A list of another length is better than none, so it is read where the right one is missing or damaged.
    """

    def __init__(self, folder: Path, venue: str, quote: str, top: int) -> None:
        self._folder = folder / "discovery"
        self._stem = f"{check_symbol(venue)}-{check_symbol(quote)}"
        self._top = top
        self.damaged: list[str] = []
        """What could not be read, one line each."""

    def read(self) -> Stored | None:
        """The newest list of this length, else the longest there is; None where there is none to be read."""
        for path in self._candidates():
            try:
                return _read(path)
            except DataQuality as error:
                self.damaged.append(str(error))
        return None

    def write(self, saved_at: str, pairs: Sequence[Ranked]) -> None:
        """Keep a list, whole or not at all. Raises OSError."""
        stored = Stored(saved_at, self._top, tuple(pairs))
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._path(), msgspec.json.format(msgspec.json.encode(stored), indent=1))

    def _path(self) -> Path:
        return self._folder / f"{self._stem}-{self._top}.json"

    def _candidates(self) -> list[Path]:
        others = {path for path in self._folder.glob(f"{self._stem}-*.json") if _length(path)} - {self._path()}
        mine = [self._path()] if self._path().exists() else []
        return mine + sorted(others, key=_length, reverse=True)


def _length(path: Path) -> int:
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


def _read(path: Path) -> Stored:
    try:
        with path.open("rb") as file:
            stored = _decode(file.read(_MAX_BYTES))
        for row in stored.pairs:
            check_symbol(row.pair)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, UsageError) as error:
        raise DataQuality(f"the list in {path} cannot be read: {error}") from error
    if not stored.pairs:
        raise DataQuality(f"the list in {path} is empty")
    return stored


def write_whole(path: Path, content: bytes) -> None:
    """Put a file in place at once: whoever reads sees the old content or the new, through a power cut too.

    Raises OSError.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
