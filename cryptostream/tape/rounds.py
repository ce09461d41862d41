"""What is remembered from one tidying of a recording to the next, so that a year of it is not looked through hourly."""

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cryptostream.tape.stretch import Part

_Mark = tuple[int, int]


class Rounds:
    """Which folders have not changed since they were dealt with. `stop`, from any thread, ends a tidying early."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._done: dict[Path, tuple[_Mark, object]] = {}
        self._parts: dict[Path, tuple[_Mark, list[Part]]] = {}

    def stop(self) -> None:
        """Begin nothing more: what is under way comes to its end, and no other file or folder is touched."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._stopped.is_set()

    def changed(self, folders: Iterable[Path], way: Callable[[Path], object]) -> Iterator[Path]:
        """Those of the folders that may have changed since they were given last, or are dealt with in another `way`.

        A folder counts as dealt with once the next one is asked for. Raises OSError.
        """
        done, self._done = self._done, {}
        for folder in folders:
            if self.stopped:
                return
            seen = (_mark(folder), way(folder))
            if done.get(folder) != seen:
                yield folder
            self._done[folder] = seen

    def parts(self, folders: Iterable[Path], look: Callable[[Path], list[Part]]) -> list[Part]:
        """What lies in all the folders; only into those that may have changed is looked. Raises OSError."""
        known, self._parts = self._parts, {}
        for folder in folders:
            if self.stopped:
                break
            mark, there = _mark(folder), known.get(folder)
            self._parts[folder] = there if there and there[0] == mark else (mark, look(folder))
        return [part for _, there in self._parts.values() for part in there]


def _mark(folder: Path) -> _Mark:
    """What changes with a folder: its time, and its names too, for two changes may share a tick of the disk's clock."""
    return folder.stat().st_mtime_ns, hash(frozenset(folder.iterdir()))
