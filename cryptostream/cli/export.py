"""Entries of the bus into files: JSON lines that `replay` reads again, CSV for spreadsheets, Parquet for analysis."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from cryptostream.cli import render
from cryptostream.errors import CryptostreamError, UsageError
from cryptostream.model.events import Entry

if TYPE_CHECKING:
    from cryptostream.bus.connect import Bus
    from cryptostream.cli.entries import Shown
    from cryptostream.cli.origins import OnBus

Write = Callable[[Sequence[Entry]], Awaitable[None]]
_REPAINT_S = 0.2
_GAP = ("kind", "gap_from", "gap_to", "cause")


class Form(StrEnum):
    """What is written: `auto` goes by the name of the file, and is JSON lines where that says nothing."""

    AUTO = "auto"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


def resolved(form: Form, out: Path | None) -> Form:
    """The form that `auto` stands for. Raises UsageError for Parquet without a folder.

    >>> resolved(Form.AUTO, None), resolved(Form.AUTO, Path("a.csv"))
    (<Form.JSONL: 'jsonl'>, <Form.CSV: 'csv'>)
    """
    if form is Form.AUTO:
        form = Form.PARQUET if out and out.is_dir() else Form.CSV if out and out.suffix == ".csv" else Form.JSONL
    if form is Form.PARQUET and out is None:
        raise UsageError("Parquet goes to a folder, not to stdout", hint="name one with --out FOLDER")
    if form is Form.PARQUET and out and out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, and Parquet goes to a folder", hint="name another one with --out FOLDER")
    if form is not Form.PARQUET and out and out.is_dir():
        raise UsageError(f"{out} is a folder", hint=f"name a file in it, as in {out / f'entries.{form}'}")
    return form


async def export(
    origin: "OnBus", form: Form, out: Path | None, fields: Sequence[str], columns: Sequence[str], *, raw: bool
) -> int:
    """Write all entries, stream by stream; how many. `columns` are those of a CSV."""
    from cryptostream.cli import entries
    from cryptostream.engine.clock import SystemClock

    written = 0
    async with AsyncExitStack() as opened:
        write: Write
        if form is Form.PARQUET and out is not None:
            write = await opened.enter_async_context(_parquet(out, raw=raw))
        else:
            text = entries.Csv(columns) if form is Form.CSV else _json_lines(fields, raw=raw)
            write = await opened.enter_async_context(_text(text, out))
        repaint = opened.enter_context(bar(origin, SystemClock().monotonic))
        async for page in origin.batches():
            await write(page)
            written += len(page)
            repaint()
    return written


async def fields_of(bus: "Bus", names: Sequence[str]) -> list[str]:
    """The fields of the streams' newest entries, in the order they have there."""
    from cryptostream.bus import history

    newest = [entry for name in names for entry in await history.last(bus, name, 1)]
    return list(dict.fromkeys(field for entry in newest for field in entry.fields))


def columns_of(fields: Sequence[str], known: Sequence[str], *, raw: bool) -> list[str]:
    """The columns of a CSV: the chosen fields, or all that are `known`, and what gap entries have.

    >>> columns_of([], ["price", "raw_json", "qty"], raw=False)
    ['stream', 'entry_id', 'price', 'qty', 'kind', 'gap_from', 'gap_to', 'cause']
    """
    wanted = fields or [*(name for name in known if raw or name != "raw_json"), *_GAP]
    return list(dict.fromkeys(["stream", "entry_id", *wanted]))


@contextmanager
def bar(origin: "OnBus", monotonic: Callable[[], float]) -> Iterator[Callable[[], None]]:
    """Repaints a bar on a terminal, at most a few times a second; on a pipe nothing."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    parts = ("export", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*parts, console=render.err(), auto_refresh=False, transient=True) as progress:
        task, due = progress.add_task("export"), monotonic()

        def repaint() -> None:
            nonlocal due
            if monotonic() >= due:
                due = monotonic() + _REPAINT_S
                done, size = origin.progress
                progress.update(task, completed=done, total=size, refresh=True)

        yield repaint


def _json_lines(fields: Sequence[str], *, raw: bool) -> "Shown":
    """Lines as `replay` reads them; without chosen fields every field is there."""
    from cryptostream.cli import entries

    if fields or not raw:
        return entries.json_lines(fields)
    return lambda batch: "".join(f"{render.json_text(_whole(entry))}\n" for entry in batch)


def _whole(entry: Entry) -> dict[str, Any]:
    return {"stream": entry.stream, "id": entry.entry_id, **entry.fields}


@asynccontextmanager
async def _parquet(folder: Path, *, raw: bool) -> AsyncIterator[Write]:
    """By the recorder's sink, which leaves out what it has recorded there before; what it takes is safe at the end.

    The recorder waits for a disk that refuses; nobody waits for an export.
    """
    from cryptostream import registry

    async with registry.load("sinks", "parquet")(dir=str(folder), raw_json=raw) as sink:

        async def write(page: Sequence[Entry]) -> None:
            await sink.write(page)
            _check_disk(folder, sink.trouble)

        yield write
        await sink.flush()
        _check_disk(folder, sink.trouble if sink.held() else "")
        if sink.duplicates:
            render.note(f"{sink.duplicates:,} of them were there before")


def _check_disk(folder: Path, trouble: str) -> None:
    if trouble:
        raise CryptostreamError(f"cannot write to {folder}: {trouble}")


@asynccontextmanager
async def _text(text: "Shown", out: Path | None) -> AsyncIterator[Write]:
    """To stdout, or to a file that has its name once it is whole and on disk."""
    if out is None:

        async def show(page: Sequence[Entry]) -> None:
            sys.stdout.write(text(page))

        yield show
        return
    part = out.with_name(f".{out.name}.inprogress")
    with _telling(out):
        file = await asyncio.to_thread(_open, part)
        try:

            async def write(page: Sequence[Entry]) -> None:
                await asyncio.to_thread(file.write, text(page))

            yield write
            await asyncio.to_thread(_finish, file, part, out)
        finally:
            file.close()
            part.unlink(missing_ok=True)


@contextmanager
def _telling(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CryptostreamError(f"cannot write {out}: {error.strerror}") from error


def _open(part: Path) -> TextIO:
    part.parent.mkdir(parents=True, exist_ok=True)
    return part.open("w", encoding="utf-8", newline="")


def _finish(file: TextIO, part: Path, out: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    part.replace(out)
    folder = os.open(out.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
