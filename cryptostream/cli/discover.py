"""`cryptostream discover`: the biggest coins that trade on an exchange, as a list to look at, to save, to compare."""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command
from cryptostream.cli.render import Output
from cryptostream.errors import NotFound, UsageError, VenueUnavailable

if TYPE_CHECKING:
    from cryptostream.config import Config
    from cryptostream.feed.discover import Discovery
    from cryptostream.venues.ranking import Dropped

_COLUMNS = ("rank", "coin", "pair", "price", "note")
_CHANGES = ("change", "pair", "place", "was")


@command("discover")
async def discover(
    call: Call,
    top: Annotated[int | None, typer.Option(min=1, max=2000, help="How many pairs; 200 unless configured.")] = None,
    quote: Annotated[str | None, typer.Option(help="What they are traded against; USDT unless configured.")] = None,
    exchange: Annotated[str, typer.Option(help="Where they trade.")] = "binance",
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a configuration that ingests the list (YAML).")
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show what changed since the last good list instead.")] = False,
    against: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with a saved list instead (YAML or JSON).")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nobody: the last good list.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Believe a list that drops half of the last one.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 5 unless the list is live.")] = False,
    show_dropped: Annotated[bool, typer.Option("--show-dropped", help="Also the coins left out, and why.")] = False,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print the list.")] = Output.AUTO,
) -> None:
    """List the biggest coins that trade on an exchange, by market value."""
    if strict and offline:
        raise UsageError("--strict wants a live list and --offline forbids asking for one")
    config = call.settings(discovery__top=top, discovery__quote=quote and quote.upper())
    before = _before(config, exchange, against) if diff or against else None
    found = await _ask(config, exchange, offline=offline, force=force)
    if strict:
        _check_live(found)
    if save is not None:
        _save(save, exchange, found)
    if before is not None:
        _print_changes(before, found, output)
    else:
        render.rows(_rows(found, show_dropped=show_dropped), output, columns=_COLUMNS)
    _explain(found, exchange, save)


async def _ask(config: "Config", exchange: str, *, offline: bool, force: bool) -> "Discovery":
    from cryptostream import wiring
    from cryptostream.feed.discover import discover as find

    venue = wiring.venue(config, exchange)
    async with wiring.rest(venue) as rest:
        with _progress(f"asking what to follow on {exchange}", quiet=offline):
            return await find(rest, venue, config.discovery, config.data_dir, offline=offline, force=force)


def _progress(what: str, *, quiet: bool) -> AbstractContextManager[Any]:
    console = render.err()
    return nullcontext() if quiet or not console.is_terminal else console.status(what)


def _check_live(found: "Discovery") -> None:
    from cryptostream.feed.discover import LIVE

    if found.source != LIVE:
        raise VenueUnavailable(f"no live list, only the {found.source}", hint="; ".join(found.warnings))


def _rows(found: "Discovery", *, show_dropped: bool) -> list[dict[str, Any]]:
    dropped = found.dropped if show_dropped else ()
    return [
        *({name: getattr(row, name) for name in _COLUMNS} for row in found.pairs),
        *({name: getattr(row, name) for name in _COLUMNS} | _left_out(row) for row in dropped),
    ]


def _left_out(row: "Dropped") -> dict[str, Any]:
    nearest = " ".join(filter(None, (row.pair, row.note)))
    return {"pair": None, "note": f"left out: {row.reason}" + (f" ({nearest})" if nearest else "")}


def _save(path: Path, exchange: str, found: "Discovery") -> None:
    """A whole configuration file, or none."""
    import yaml

    from cryptostream.feed.lastgood import write_whole

    if not path.parent.is_dir():
        raise NotFound(f"no such folder: {path.parent}")
    feeds = {"feeds": [{exchange: {"symbols": [row.pair for row in found.pairs]}}]}
    text = yaml.safe_dump(feeds, allow_unicode=True, sort_keys=False)
    write_whole(path, f"# {_summary(found, exchange)}\n{text}".encode())


def _before(config: "Config", exchange: str, against: Path | None) -> list[str]:
    """The pairs to compare with: of a saved list, else what the last good list would have given."""
    from cryptostream.feed.discover import last_good

    if against is not None:
        return _saved(against)
    stored = last_good(config.data_dir, exchange, config.discovery)
    if stored is None:
        render.note("no earlier list to compare with")
        return []
    return list(dict.fromkeys([*(row.pair for row in stored.pairs), *config.discovery.fallback_pairs]))


def _saved(path: Path) -> list[str]:
    """The pairs of a configuration, or of the JSON that this command prints."""
    from cryptostream import config

    if not path.is_file():
        raise NotFound(f"no such file: {path}")
    if path.suffix != ".json":
        return [
            symbol for feed in config.load([path], sets=(), flags={}, env={}).config.feeds for symbol in feed.symbols
        ]
    try:
        return [str(row["pair"]) for row in json.loads(path.read_bytes()) if row["pair"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(f"{path} is not a list that discover printed: {error!r}") from error


def _print_changes(before: Sequence[str], found: "Discovery", output: Output) -> None:
    from cryptostream.venues.ranking import compare

    changes = compare(before, [row.pair for row in found.pairs])
    rows = [{name: getattr(change, name) for name in _CHANGES} for change in changes]
    if rows or render.chosen(output) is not Output.TABLE:
        render.rows(rows, output, columns=_CHANGES)
    counts = Counter(change.change for change in changes)
    render.note(", ".join(f"{counts[kind]} {kind}" for kind in ("added", "removed", "moved")))


def _explain(found: "Discovery", exchange: str, save: Path | None) -> None:
    """Where the list comes from, what is wrong with it, and what to do with it."""
    for warning in found.warnings:
        render.note(f"warning: {warning}")
    render.note(_summary(found, exchange))
    if save is not None:
        render.note(f"saved; next: cryptostream ingest -c {save}")


def _summary(found: "Discovery", exchange: str) -> str:
    return f"{len(found.pairs)} pairs of {exchange}, {found.source}"
