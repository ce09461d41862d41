"""What a backtest reads: recorded trades and klines, and the daily trades of a venue, as a series for each stream."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from cryptostream.backtest.block import BarSeries, TradeSeries
from cryptostream.errors import NotFound, UsageError
from cryptostream.model.globs import compiled
from cryptostream.registry import did_you_mean
from cryptostream.tape import dailies, recorded
from cryptostream.tape.lines import open_regular
from cryptostream.tape.parquet import is_closed
from cryptostream.tape.pieces import bounds
from cryptostream.tape.reader import is_parquet

Series = TradeSeries | BarSeries

_TOLD = 10


def find(
    paths: Sequence[Path],
    *,
    patterns: Sequence[str] = ("*",),
    pairs: Collection[str] = (),
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> list[Series]:
    """The trades and closed klines in some files and folders, sorted by stream: Parquet that was recorded here, and the
    daily trades of a venue, see `dailies`.

    `patterns` are Redis globs of stream names; `pairs`, where there are any, keeps only theirs. `since_ms` and
    `until_ms` bound the time of the entry ids, both included. Empty where nothing of the kind is there: the paths may
    hold tapes. All series are pickled in little, and can be read again and again.

    Raises NotFound where a path is not there, or where no stream was asked for; UsageError for a named file that is no
    regular one, or daily trades whose name does not say of which pair; DataQuality, which names it, for a damaged file.
    """
    wanted = _matching(patterns)
    found = _found(paths, wanted, since_ms, until_ms)
    asked = [one for one in found if not pairs or one.pair in pairs]
    if not asked:
        _tell_what_there_is(_found(paths, _matching("*")), patterns, pairs)
    _refuse_twins(asked)
    return sorted(asked, key=lambda one: one.stream)


def _matching(patterns: Sequence[str]) -> Callable[[str], bool]:
    globs = [compiled(pattern) for pattern in patterns]
    return lambda stream: any(glob.fullmatch(stream) for glob in globs)


def _found(
    paths: Sequence[Path],
    wanted: Callable[[str], bool],
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> list[Series]:
    after, until = bounds(since_ms, until_ms)
    daily = dailies.find(_dailies(paths), since_ms, until_ms)
    return [
        *recorded.find(partial(_parquet, tuple(paths)), wanted, after, until),
        *(one for one in daily if wanted(one.stream)),
    ]


def _parquet(paths: Sequence[Path]) -> Iterator[Path]:
    """The closed Parquet files among what is named and what lies in folders that are named."""
    for path, named in _files(paths):
        if is_parquet(path) if named else is_closed(path.name):
            yield path


def _dailies(paths: Sequence[Path]) -> Iterator[Path]:
    """The files of daily trades, by their names; one that is named itself may be told by its suffix."""
    for path, named in _files(paths):
        if dailies.parse(path.name) or (named and path.name.endswith(dailies.SUFFIXES)):
            yield path


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Regular files, each once, and whether one was named itself. Links out of a folder are not followed."""
    seen = set()
    for named in paths:
        for path in _under(named) if named.is_dir() else _named(named):
            real = path.resolve()
            if real not in seen:
                seen.add(real)
                yield path, path is named


def _named(path: Path) -> Iterator[Path]:
    open_regular(path).close()
    yield path


def _under(folder: Path) -> Iterator[Path]:
    root = folder.resolve()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and (not path.is_symlink() or path.resolve().is_relative_to(root)):
                yield path


def _tell_what_there_is(there: Sequence[Series], patterns: Sequence[str], pairs: Collection[str]) -> None:
    """Raise NotFound where something is there, and nothing that was asked for."""
    if not there:
        return
    streams = sorted(one.stream for one in there)
    asked, known = (pairs, sorted({one.pair for one in there})) if pairs else (patterns, streams)
    hints = (did_you_mean(name, known) for name in asked)
    hint = next(filter(None, hints), f"there is: {', '.join(streams[:_TOLD])}")
    raise NotFound(f"no {' or '.join(asked)} among what was recorded", hint=hint)


def _refuse_twins(found: Sequence[Series]) -> None:
    streams = [one.stream for one in found]
    for stream in streams:
        if streams.count(stream) > 1:
            raise UsageError(f"{stream} is there twice: as recorded, and as daily files", hint="give one of them")
