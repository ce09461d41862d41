"""What a backtest leaves: figures on stdout, and a page and a file of its round trips where they are wanted."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cryptostream.cli import render, results
from cryptostream.cli.backtesting import Made
from cryptostream.cli.render import Output
from cryptostream.errors import CryptostreamError, NotFound, UsageError


def check(report: Path | None, trades: Path | None, sources: Sequence[str] = ()) -> None:
    """Whether both files can be written, asked before anything is read.

    Raises NotFound where their folder is not there; UsageError where it cannot be written to, where something stands in
    its place that is no regular file, and for a file that is a source; ConfigError where a page needs a package.
    """
    wanted = {option: path for option, path in (("--report", report), ("--trades", trades)) if path is not None}
    for option, path in wanted.items():
        _check_folder(f"{option} {path}", path.parent)
        _check_place(f"{option} {path}", path)
        if any(_is_same(path, Path(source)) for source in sources):
            raise UsageError(f"{option} {path} would be written over what is read", hint="give it another name")
    if len({path.parent.resolve() / path.name for path in wanted.values()}) < len(wanted):
        raise UsageError(f"--report and --trades are both {report}", hint="give one of them another name")
    if report is not None:
        from cryptostream.backtest.report import check as check_packages

        check_packages()


def _check_folder(what: str, folder: Path) -> None:
    try:
        is_there = folder.is_dir()
    except OSError as error:
        raise UsageError(f"{what}: {error.strerror}") from error
    if not is_there:
        raise NotFound(f"{what}: there is no folder {folder}", hint="make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{what}: nothing can be written to the folder {folder}", hint="name a file elsewhere")


def _check_place(what: str, path: Path) -> None:
    """What is written takes the place of what stands there: a device or a link would be gone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{what}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise UsageError(f"{what} is {kind}, and would be replaced", hint="name a file, or one that is not there yet")


def _is_same(path: Path, source: Path) -> bool:
    try:
        return path.samefile(source)
    except OSError:
        return False


def tell(made: Made, output: Output, *, report: Path | None, trades: Path | None) -> None:
    """Write what is wanted, and print the figures, also where it could not be written. Raises CryptostreamError."""
    try:
        if report is not None:
            write_page(made, report)
        if trades is not None:
            _write_trades(made, trades)
    finally:
        _print(made, render.chosen(output))


def _print(made: Made, kind: Output) -> None:
    walk = [made.walk] if made.walk is not None else []
    if kind is Output.TABLE:
        render.out().print(results.tables(made.result, sweep=made.sweep, walk=walk))
    elif kind is Output.CSV:
        render.rows(_rows(made), Output.CSV)
    else:
        render.answer(results.answer(made.result, sweep=made.sweep, walk=walk))


def _rows(made: Made) -> list[dict[str, object]]:
    if made.walk is not None:
        return results.walk_rows(made.walk)
    if made.sweep is not None:
        return results.sweep_rows(made.sweep)
    told = results.answer(made.result)["strategies"]
    return [{"strategy": name, **figures} for name, figures in told.items()]


def write_page(made: Made, path: Path) -> None:
    """The page of a report. Raises what `drafted` raises, ConfigError where plotly is not installed."""
    from cryptostream.backtest.report import page

    text = page(made.result, sweep=made.sweep, walk=[made.walk] if made.walk is not None else ()).encode()
    with drafted(path) as file:
        file.write(text)
    render.note(f"{path}: {len(text) / 1e6:.1f} MB, open it in a browser")


def _write_trades(made: Made, path: Path) -> None:
    from cryptostream.tape import trips

    with drafted(path) as file:
        count = trips.write(file, [book for pair in made.result.pairs for book in pair.books.values()])
    render.note(f"{path}: {count:,} round trips")


@contextmanager
def drafted(path: Path) -> Iterator[BinaryIO]:
    """A file beside the path that takes its place once it is whole.

    Raises CryptostreamError where it cannot be written, UsageError where something else came to stand there meanwhile.
    """
    draft = path.with_name(f".cryptostream-{os.getpid()}")  # a name of its own: that of the file may be long already
    try:
        draft.unlink(missing_ok=True)
        with draft.open("xb") as file:
            yield file
        _check_place(str(path), path)
        draft.replace(path)
    except OSError as error:
        raise CryptostreamError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
