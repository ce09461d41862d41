"""`cryptostream streams`: what the bus holds, one stream in full, made shorter by hand, written to files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import ages, render
from cryptostream.cli import export as exporting
from cryptostream.cli.command import Call, app, command
from cryptostream.cli.consent import Yes, check_can_ask, consent
from cryptostream.cli.grouped import row_of, shown
from cryptostream.cli.render import Output
from cryptostream.cli.sizes import size
from cryptostream.errors import CheckFailed, UsageError
from cryptostream.model.times import moment

if TYPE_CHECKING:
    from cryptostream.bus.admin import StreamFacts
    from cryptostream.bus.operate import GroupOn
    from cryptostream.bus.operate.trimming import Cut, Ends

family = typer.Typer(
    name="streams",
    help="Streams: list, look into, trim, export.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(family)

Some = Annotated[
    list[str] | None, typer.Argument(metavar="STREAM", help="Only these: 'trades:*', BTCUSDT. All unless said.")
]
These = Annotated[list[str], typer.Argument(metavar="STREAM", help="trades:BTCUSDT, 'trades:*', or BTCUSDT.")]
Form = Annotated[Output, typer.Option("-o", "--output", help="How to print.")]
_LS = ("stream", "length", "first", "last", "memory_bytes", "groups", "lag", "pending")


@command("ls", group=family)
async def ls(call: Call, streams: Some = None, output: Form = Output.AUTO) -> None:
    """List streams: how many entries from when to when, and how far the slowest group is behind."""
    from cryptostream import wiring
    from cryptostream.bus import admin
    from cryptostream.cli import targets
    from cryptostream.engine.clock import SystemClock

    async with wiring.bus(call.settings()) as bus:
        found = await admin.describe(bus, await targets.streams(bus, streams))
    now_ms = SystemClock().now_ns() // 1_000_000
    if render.chosen(output) is not Output.TABLE:
        render.rows([_row(facts) for facts in found], output, columns=_LS)
    elif found:
        render.rows([_shown(facts, now_ms) for facts in found], output)
    else:
        render.note("the bus holds no streams: start one with cryptostream ingest")


@command("info", group=family)
async def info(call: Call, streams: These, output: Form = Output.AUTO) -> None:
    """Show all there is to know of streams: ends, what was trimmed, memory, fields, groups."""
    from cryptostream import wiring
    from cryptostream.bus import admin, operate
    from cryptostream.bus.operate import trimming
    from cryptostream.cli import reading, targets

    rows = []
    async with wiring.bus(call.settings()) as bus:
        for facts in await admin.describe(bus, await targets.streams(bus, streams)):
            ends = await trimming.ends(bus, facts.name)
            fields = sorted(await reading.fields_of(bus, [facts.name]) or ())
            rows.append(_in_full(facts, ends, fields, await operate.groups(bus, [facts.name])))
    if render.chosen(output) is Output.TABLE:
        render.out().print(*(_page(row) for row in rows), sep="\n")
    elif render.chosen(output) is Output.CSV:
        render.rows([{**row, "fields": " ".join(row["fields"]), "groups": len(row["groups"])} for row in rows], output)
    else:
        render.rows(rows, output)


@command("trim", group=family)
async def trim(
    call: Call,
    streams: These,
    maxlen: Annotated[int | None, typer.Option(min=0, help="Keep the newest N entries.")] = None,
    before: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Keep what is from then on: a time, -2h, an entry id.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also what a group has not read or not acknowledged.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Yes = False,
    output: Form = Output.AUTO,
) -> None:
    """Delete the oldest entries of streams, for good. Refused while a group has yet to read or acknowledge them."""
    from cryptostream import wiring
    from cryptostream.bus.operate import trimming
    from cryptostream.cli import targets

    check_can_ask(yes=yes or dry_run)
    after = _boundary(maxlen, before)
    async with wiring.bus(call.settings()) as bus:
        names = await targets.streams(bus, streams)
        cuts = [await trimming.cut(bus, name, keep=maxlen, after=after) for name in names]
        rows = [_cut(made, made.goes) for made in cuts]
        if not dry_run:
            _check_read(cuts, force=force)
            await consent(_question(cuts), yes=yes or not any(made.goes for made in cuts))
            rows = [_cut(made, await trimming.trim(bus, made)) for made in cuts]
    if render.chosen(output) is Output.TABLE:
        rows = [{**row, "from": ages.place(row["from"])} for row in rows]
    render.rows(rows, output)


@command("export", group=family)
async def export(
    call: Call,
    streams: These,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PATH", help="A file, or a folder for Parquet; stdout unless said.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From then on, by the exchange's time: RFC 3339, epoch ms, -15m.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to then.")] = None,
    fields: Annotated[str, typer.Option(metavar="NAMES", help="Only these: price,qty.")] = "",
    no_raw: Annotated[bool, typer.Option("--no-raw", help="Leave out raw_json.")] = False,
    yes: Yes = False,
    output: Annotated[exporting.Form, typer.Option("-o", "--output", help="What to write.")] = exporting.Form.AUTO,
) -> None:
    """Write what streams hold now, one after the other: JSON lines that replay reads, CSV, or Parquet.

    A file has its name once it is whole.
    """
    from cryptostream import wiring
    from cryptostream.cli import entries, origins, targets
    from cryptostream.engine.clock import SystemClock

    form, chosen = exporting.resolved(output, out), targets.words_of([fields])
    if chosen and form is exporting.Form.PARQUET:
        raise UsageError("Parquet holds whole entries", hint="leave out --fields; --no-raw leaves out raw_json")
    overwritten = bool(out and form is not exporting.Form.PARQUET and out.exists())
    if overwritten:
        check_can_ask(yes=yes)
    now_ns = SystemClock().now_ns()
    span = origins.Span(*(None if text is None else moment(text, now_ns) for text in (since, until)))
    async with wiring.bus(call.settings()) as bus:
        names = await targets.streams(bus, streams)
        known = await exporting.fields_of(bus, names)
        entries.check_names(chosen, known)
        if overwritten:
            await consent(f"write over {out}?", yes=yes)
        columns = exporting.columns_of(chosen, known, raw=not no_raw)
        written = await exporting.export(origins.OnBus(bus, names, span), form, out, chosen, columns, raw=not no_raw)
    if out is not None:
        render.note(f"{written:,} entries of {len(names):,} {'stream' if len(names) == 1 else 'streams'} to {out}")


def _row(facts: "StreamFacts") -> dict[str, Any]:
    lags = [group.lag for group in facts.groups]
    return {
        "stream": facts.name,
        "length": facts.length,
        "first": ages.stamp(facts.first_ms),
        "last": ages.stamp(facts.last_ms),
        "memory_bytes": facts.memory_bytes,
        "groups": len(facts.groups),
        "lag": None if None in lags or not lags else max(lag or 0 for lag in lags),
        "pending": sum(group.pending for group in facts.groups),
    }


def _shown(facts: "StreamFacts", now_ms: int) -> dict[str, Any]:
    row = _row(facts)
    return {
        "stream": facts.name,
        "length": facts.length,
        "first": ages.ago(facts.first_ms, now_ms),
        "last": ages.ago(facts.last_ms, now_ms),
        "memory": size(facts.memory_bytes),
        "groups": row["groups"],
        "lag": "unknown" if row["lag"] is None and facts.groups else row["lag"],
        "pending": row["pending"] if facts.groups else None,
    }


def _in_full(facts: "StreamFacts", ends: "Ends", fields: Sequence[str], groups: Sequence["GroupOn"]) -> dict[str, Any]:
    added = facts.entries_added
    per_entry = None if facts.memory_bytes is None or not facts.length else round(facts.memory_bytes / facts.length)
    return {
        "stream": facts.name,
        "length": facts.length,
        "first": ages.stamp(facts.first_ms),
        "last": ages.stamp(facts.last_ms),
        "first_id": ends.first_id,
        "last_id": ends.last_id,
        "entries_added": added,
        "removed": None if added is None else added - facts.length,
        "memory_bytes": facts.memory_bytes,
        "bytes_per_entry": per_entry,
        "fields": list(fields),
        "groups": [row_of(one) for one in groups],
    }


def _page(row: dict[str, Any]) -> Any:
    """A stream as a person reads it: facts under each other, then its groups."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _facts(row).items():
        facts.add_row(Text(name, style="dim"), Text(render.cell(value)))
    groups = [shown({name: value for name, value in one.items() if name != "stream"}) for one in row["groups"]]
    title = Text(render.safe(row["stream"]), style="bold")
    return Group(title, facts, *(("", render.table(groups, list(groups[0]))) if groups else ()), "")


def _facts(row: dict[str, Any]) -> dict[str, Any]:
    first, last = (ages.said(row[end]) for end in ("first", "last"))
    per_entry = f", {row['bytes_per_entry']:,} B an entry" if row["bytes_per_entry"] is not None else ""
    return {
        "length": row["length"],
        "first": f"{first}  {row['first_id']}" if row["length"] else None,
        "last": f"{last}  {row['last_id']}" if row["length"] else None,
        "ever added": row["entries_added"],
        "trimmed": row["removed"],
        "memory": f"{size(row['memory_bytes'])}{per_entry}",
        "fields": " ".join(row["fields"]),
    }


def _boundary(maxlen: int | None, before: str | None) -> str:
    """The id up to which entries go; empty where their number decides."""
    from cryptostream.engine.clock import SystemClock
    from cryptostream.model.times import NEW, place

    if (maxlen is None) == (before is None):
        raise UsageError("say what stays", hint="--maxlen N or --before TIME|ID, one of them")
    after = "" if before is None else place(before, SystemClock().now_ns())
    if after == NEW:
        raise UsageError("--before new leaves nothing", hint="--maxlen 0 says so plainly")
    return after


def _cut(made: "Cut", removed: int) -> dict[str, Any]:
    return {
        "stream": made.stream,
        "removed": removed,
        "left": made.length - removed,
        "from": made.first_id,
        "unread": sum(loss.unread for loss in made.losses),
        "pending": sum(loss.pending for loss in made.losses),
    }


def _check_read(cuts: Sequence["Cut"], *, force: bool) -> None:
    """Raise CheckFailed where a group would lose something."""
    for made in cuts if not force else ():
        for loss in made.losses:
            what = " and ".join(
                [f"has not read {loss.unread:,} of them"] * bool(loss.unread)
                + [f"has not acknowledged {loss.pending:,}"] * bool(loss.pending)
            )
            hint = "--dry-run counts for every stream; --force deletes them, and the group is told what it lost"
            raise CheckFailed(
                f"{made.goes:,} entries of {made.stream} would go, and group {loss.group} {what}", hint=hint
            )


def _question(cuts: Sequence["Cut"]) -> str:
    goes, length = sum(made.goes for made in cuts), sum(made.length for made in cuts)
    where = cuts[0].stream if len(cuts) == 1 else f"{len(cuts):,} streams"
    losers = sorted({loss.group for made in cuts for loss in made.losses})
    taken = f", which {', '.join(losers)} has not done with" if losers else ""
    return f"delete the oldest {goes:,} of {length:,} entries of {where}{taken}, for good?"
