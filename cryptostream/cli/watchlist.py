"""`cryptostream subscribe`, `unsubscribe`, `watchlist`: which pairs are followed, changed while ingesters run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import asked, render
from cryptostream.cli.command import Call, command
from cryptostream.cli.render import Output
from cryptostream.errors import UsageError

if TYPE_CHECKING:
    from cryptostream.bus.admin import Counters

_COLUMNS = ("symbol", "wish", "followed_by")
_WISHES = {"+": "added", "-": "removed"}

Symbols = Annotated[
    list[str], typer.Argument(metavar="SYMBOL...", help="BTCUSDT, or kraken:BTCUSD; also with commas, or @file.")
]
Form = Annotated[Output, typer.Option("-o", "--output", help="How to print.")]


@command("subscribe")
async def subscribe(call: Call, symbols: Symbols, output: Form = Output.AUTO) -> int:
    """Follow these pairs, too: told to every running ingester, and kept over restarts. Exit 3 if one was refused."""
    return await _asked(call, {"add": _words(symbols)}, output)


@command("unsubscribe")
async def unsubscribe(call: Call, symbols: Symbols, output: Form = Output.AUTO) -> int:
    """Follow these pairs no more, also where the configuration names them. Exit 3 if one was refused."""
    return await _asked(call, {"remove": _words(symbols)}, output)


@command("watchlist")
async def watchlist(
    call: Call,
    replace: Annotated[
        list[str] | None,
        typer.Option("--replace", metavar="SYMBOLS", help="Follow these and nothing else; with commas, or @file."),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Follow what the configurations say again.")] = False,
    output: Form = Output.AUTO,
) -> int:
    """Show which pairs are followed, by whom, and what was wished for beside the configurations; or replace it all."""
    if replace and reset:
        raise UsageError("--replace and --reset exclude each other")
    if replace or reset:
        return await _asked(call, {"reset": True} if reset else {"replace": _words(replace or ())}, output)
    return await _show(call, output)


async def _asked(call: Call, args: Mapping[str, Any], output: Output) -> int:
    from cryptostream import wiring

    async with wiring.bus(call.settings()) as bus:
        return asked.show(await asked.ask(bus, "watchlist", args, "ingest"), output)


async def _show(call: Call, output: Output) -> int:
    from cryptostream import wiring
    from cryptostream.bus import admin, control
    from cryptostream.wiring.watchlist import ALL

    async with wiring.bus(call.settings()) as bus:
        wishes = await control.wishes(bus, control.WATCHLIST)
        ingesters = await admin.read_counters(bus)
    rows = _rows(wishes, ingesters)
    if render.chosen(output) in (Output.TABLE, Output.CSV):
        rows = [{**row, "followed_by": ", ".join(row["followed_by"])} for row in rows]
    render.rows(rows, output, columns=_COLUMNS)
    if ALL in wishes:
        render.note("only what was added is followed; cryptostream watchlist --reset goes back to the configurations")
    if not ingesters:
        asked.note_nobody("ingest")
    return 0


def _rows(wishes: Mapping[str, str], ingesters: Sequence["Counters"]) -> list[dict[str, Any]]:
    """Each pair that is followed or was wished for, by its name."""
    from cryptostream.model.instrument import Pair
    from cryptostream.wiring.watchlist import ALL

    by: dict[str, list[str]] = {key: [] for key in wishes if key != ALL}
    for one in ingesters:
        for key in one.followed:
            by.setdefault(key, []).append(f"{one.host}:{one.pid}")
    return [
        {"symbol": str(Pair.of_key(key)), "wish": _WISHES.get(wishes.get(key, ""), ""), "followed_by": whose}
        for key, whose in sorted(by.items())
    ]


def _words(given: Sequence[str]) -> list[str]:
    """Symbols as they were typed: by blanks, commas, or from files. Raises UsageError for a file that is no list."""
    from cryptostream.config.lists import expanded

    try:
        found = list(dict.fromkeys(expanded(given)))
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not found:
        raise UsageError("no symbols were given", hint="name pairs: BTCUSDT,ETHUSDT")
    return found
