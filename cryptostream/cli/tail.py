"""`cryptostream tail`: what streams hold and what comes to them, as a person or a program wants to read it."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command
from cryptostream.cli.render import Output
from cryptostream.errors import UsageError

if TYPE_CHECKING:
    from cryptostream.bus.history import Keep, Pages
    from cryptostream.cli.entries import Shown
    from cryptostream.cli.reading import Window
    from cryptostream.model.ports import Clock

Printer = Callable[["Pages"], Awaitable[None]]


@command("tail")
async def tail(
    call: Call,
    streams: Annotated[
        list[str],
        typer.Argument(metavar="STREAM|PATH", help="trades:BTCUSDT, 'trades:*', BTCUSDT: all of the pair; or files."),
    ],
    last: Annotated[
        int | None, typer.Option("-n", "--last", min=0, help="Start with the last N entries; 10 unless said.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on with what comes.")] = True,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after N entries.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Start then, by the exchange's time: RFC 3339, epoch ms, -15m.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="End then, and do not follow.")] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="ID", help="Start with that entry, '(ID' after it; or earliest, or new."),
    ] = None,
    fields: Annotated[str | None, typer.Option(metavar="NAMES", help="Only these: price,qty.")] = None,
    template: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Lines of your own: '{ts} {side:>4} {price}'.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="FILTER", help="Only what this holds for: 'qty*price > 1e5 and side == \"buy\"'."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a stream that is not there yet.")] = False,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.AUTO,
) -> None:
    """Show the last entries of streams, then follow them; or the last that were recorded in Parquet or JSONL.

    Of several streams the last N are those of all of them together, in order of the exchange's time.
    """
    from cryptostream.cli import reading
    from cryptostream.cli.pipe import ends_with_its_reader
    from cryptostream.engine.clock import SystemClock

    clock, words = SystemClock(), _split(*streams)
    on_tape = _are_paths(words)
    follow = follow and until is None and not on_tape
    window = reading.Window.of(since, until, start, last, clock.now_ns())
    _check(words, follow, wait, count, template, output)
    keep_of(where, None)  # a mistake in it is told before anything connects
    async with (
        _recorded(words, window, clock) if on_tape else _on_bus(call, words, window, clock, follow, wait) as held
    ):
        keep, printed = keep_of(where, held.known), printer(output, _split(fields or ""), template, held.known)
        batches = held.batches(keep)
        async with ends_with_its_reader(clock), aclosing(batches):
            await printed(first(batches, count))


class Held(NamedTuple):
    """What there is to show: the names of the fields that its entries have, and its entries."""

    known: Collection[str] | None
    batches: "Callable[[Keep | None], Pages]"


@asynccontextmanager
async def _on_bus(
    call: Call, words: Sequence[str], window: "Window", clock: "Clock", follow: bool, wait: bool
) -> AsyncIterator[Held]:
    from cryptostream import wiring
    from cryptostream.cli import reading

    async with wiring.bus(call.settings()) as bus:
        found = await reading.find(bus, words, wait=wait)
        known = await reading.fields_of(bus, found.names)
        yield Held(known, lambda keep: reading.batches(bus, found, window, clock, keep=keep, follow=follow))


@asynccontextmanager
async def _recorded(words: Sequence[str], window: "Window", clock: "Clock") -> AsyncIterator[Held]:
    from cryptostream.cli import taped

    tapes = taped.opened(words)
    yield Held(taped.fields_of(tapes), lambda keep: taped.batches(tapes, window, clock, keep=keep))


def _are_paths(words: Sequence[str]) -> bool:
    """Whether these are recordings, and not streams. Raises UsageError for both at once."""
    paths = [word for word in words if "/" in word or Path(word).exists()]
    if paths and len(paths) < len(words):
        raise UsageError("streams and recordings at once", hint="show them one after the other")
    return bool(paths)


def _check(
    words: Sequence[str], follow: bool, wait: bool, count: int | None, template: str | None, output: Output
) -> None:
    if not words:
        raise UsageError("names no stream", hint="one as in trades:BTCUSDT, or 'trades:*', or BTCUSDT")
    if wait and not follow:
        raise UsageError("--wait needs to follow", hint="leave out --no-follow and --until")
    if template is not None and output is not Output.AUTO:
        raise UsageError("--template and --output both say how to print", hint="use one of them")
    if output is Output.JSON and follow and count is None:
        raise UsageError("-o json is one answer, and this has no end", hint="add --no-follow or --count N, or -o jsonl")


def _split(*lists: str) -> list[str]:
    return [word.strip() for listed in lists for word in listed.split(",") if word.strip()]


def keep_of(where: str | None, known: Collection[str] | None) -> "Keep | None":
    """The filter, which may name the contract's fields and those `known`; None allows any. Raises WhereError."""
    from cryptostream.transforms import where as filters

    if where is None:
        return None
    holds = filters.compile(where, None if known is None else filters.FIELDS.union(known))
    return lambda entry: holds(filters.facts(entry))


def printer(output: Output, fields: Sequence[str], template: str | None, known: Collection[str] | None) -> Printer:
    """What prints batches until they end. Raises UsageError for a field that no entry has."""
    from cryptostream.cli import entries

    shown, names = entries.template(template) if template is not None else (None, set(fields))
    entries.check_names(names, known)
    kind = render.chosen(output, stream=True)
    if shown is None and kind is Output.JSON:
        return partial(_answer, fields=fields)
    if shown is None and kind is Output.TABLE:
        console = render.out()
        shown = entries.Table(fields, colour=console.color_system is not None and not console.no_color)
    return partial(_print, shown=shown or (entries.Csv(fields) if kind is Output.CSV else entries.json_lines(fields)))


async def _print(batches: "Pages", shown: "Shown") -> None:
    """One write a batch: a terminal that is asked to draw line by line falls behind a busy stream."""
    async for batch in batches:
        sys.stdout.write(shown(batch))
        sys.stdout.flush()


async def _answer(batches: "Pages", fields: Sequence[str]) -> None:
    from cryptostream.cli.entries import row

    render.answer([row(entry, fields) async for batch in batches for entry in batch])


async def first(batches: "Pages", count: int | None) -> "Pages":
    """The first `count` entries, in the batches they came in; all of them where `count` is None."""
    left = count
    async for batch in batches:
        yield batch[:left]
        if left is not None:
            left -= len(batch)
            if left <= 0:
                return
