"""`cryptostream dlq`: what could not be handled and was set aside; looked at, handled again, or dropped."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import ages, render
from cryptostream.cli.command import Call, app, command
from cryptostream.cli.consent import Yes, check_can_ask, consent
from cryptostream.cli.render import Output
from cryptostream.errors import NotFound, UsageError

if TYPE_CHECKING:
    from cryptostream.bus.admin import StreamFacts
    from cryptostream.bus.connect import Bus
    from cryptostream.model.events import Entry

family = typer.Typer(
    name="dlq",
    help="Dead letters: entries nobody could handle, frames nobody could read.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(family)

_SHOWN = 20

Name = Annotated[str, typer.Argument(metavar="GROUP", help="Whose letters: a group, or ingest for frames.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Only these letters, by the id that show prints.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
Form = Annotated[Output, typer.Option("-o", "--output", help="How to print.")]


@command("ls", group=family)
async def ls(call: Call, output: Form = Output.AUTO) -> None:
    """List whose dead letters there are, and how many."""
    from cryptostream import wiring
    from cryptostream.bus.operate import letters

    async with wiring.bus(call.settings()) as bus:
        found = await _facts(bus)
    rows: list[dict[str, Any]] = [
        {
            "group": facts.name.removeprefix(letters.PREFIX),
            "letters": facts.length,
            "first": ages.stamp(facts.first_ms),
            "last": ages.stamp(facts.last_ms),
        }
        for facts in found
    ]
    if render.chosen(output) is Output.TABLE:
        rows = [{**row, "first": ages.said(row["first"]), "last": ages.said(row["last"])} for row in rows]
    _print(rows, output, ("group", "letters", "first", "last"))


@command("show", group=family)
async def show(
    call: Call,
    name: Name,
    ids: Ids = None,
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=1, help=f"The last N; {_SHOWN} on a terminal unless said.")
    ] = None,
    output: Form = Output.AUTO,
) -> None:
    """Show dead letters, oldest first: why, after how many deliveries, and what was in them.

    On a terminal those named by their ids are shown in full.
    """
    from cryptostream import wiring
    from cryptostream.bus.operate import letters

    table = render.chosen(output) is Output.TABLE
    limit = count or (_SHOWN if table and not ids else None)
    async with wiring.bus(call.settings()) as bus:
        found = await _find(bus, name, ids)
        there = await _length(bus, letters.key_of(name))
    rows = [{"id": letter.entry_id, **letters.contents(letter)} for letter in found[-limit if limit else None :]]
    if table and ids:
        render.out().print(*(_in_full(row) for row in rows), sep="\n\n", markup=False, soft_wrap=True)
        return
    _print([_brief(row) for row in rows] if table else rows, output)
    if limit and len(rows) < there:
        render.note(f"the last {len(rows):,} of {there:,}; -n shows more, an id all of one")


@command("retry", group=family)
async def retry(
    call: Call, name: Name, ids: Ids = None, every: All = False, yes: Yes = False, output: Form = Output.AUTO
) -> int:
    """Give entries back to their group, which handles them again; their letters go. Exit 3 if one could not be."""
    from cryptostream import wiring
    from cryptostream.bus.operate import letters

    check_can_ask(yes=yes)
    _check_chosen(ids, every=every)
    if letters.are_frames(letters.key_of(name)):
        raise UsageError("frames nobody could read never were entries, and there is nothing to retry", hint=_FRAMES)
    async with wiring.bus(call.settings()) as bus:
        found = await _find(bus, name, ids)
        await consent(f"give {_count(found, 'entry', 'entries')} back to {_group(found)}?", yes=yes)
        rows = [_retried(letter, await letters.retry(bus, letter)) for letter in found]
    _print(rows, output)
    return 0 if all(row["retried"] for row in rows) else 3


@command("drop", group=family)
async def drop(
    call: Call, name: Name, ids: Ids = None, every: All = False, yes: Yes = False, output: Form = Output.AUTO
) -> None:
    """Delete dead letters for good."""
    from cryptostream import wiring
    from cryptostream.bus.operate import letters

    check_can_ask(yes=yes)
    _check_chosen(ids, every=every)
    async with wiring.bus(call.settings()) as bus:
        found = await _find(bus, name, ids)
        await consent(f"delete {_count(found, 'dead letter', 'dead letters')} of {_group(found)}?", yes=yes)
        dropped = await letters.drop(bus, letters.key_of(name), [letter.entry_id for letter in found])
    _print([{"group": _group(found), "dropped": dropped}], output)


_FRAMES = "cryptostream dlq show ingest shows why; what was missed is fetched over REST"
_ENTRY = {"stream": "stream", "deliveries": "deliveries", "error": "error"}
_FRAME = {"source": "source", "bytes": "size", "reason": "reason"}
_TITLES = {"first": "first (UTC)", "last": "last (UTC)"}


def _check_chosen(ids: Sequence[str] | None, *, every: bool) -> None:
    if bool(ids) == every:
        raise UsageError("say which letters", hint="their ids, or --all; cryptostream dlq show lists them")


async def _find(bus: "Bus", name: str, ids: Sequence[str] | None) -> list["Entry"]:
    """The letters of these ids, or all. Raises NotFound where there are none, and for an id that is not there."""
    from cryptostream.bus.operate import letters
    from cryptostream.registry import did_you_mean

    key = letters.key_of(name)
    asked = [_checked(entry_id) for entry_id in ids or ()]
    found = [letter async for page in letters.pages(bus, key, asked) for letter in page]
    if missing := set(asked).difference(letter.entry_id for letter in found):
        raise NotFound(f'no dead letter "{min(missing)}" in {key}', hint=f"cryptostream dlq show {name} lists them")
    if not found:
        raise NotFound(f"{key} holds no dead letters", hint=did_you_mean(name, await _names(bus)))
    return found


async def _facts(bus: "Bus") -> list["StreamFacts"]:
    """Those that hold letters."""
    from cryptostream.bus import admin, history
    from cryptostream.bus.operate import letters

    found = await admin.describe(bus, await history.streams(bus, f"{letters.PREFIX}*"))
    return [facts for facts in found if facts.length]


async def _names(bus: "Bus") -> list[str]:
    from cryptostream.bus.operate import letters

    return [facts.name.removeprefix(letters.PREFIX) for facts in await _facts(bus)]


async def _length(bus: "Bus", key: str) -> int:
    from cryptostream.bus.ask import asking

    with asking(bus, key):
        return int(await bus.command.xlen(key))


def _checked(entry_id: str) -> str:
    ms, dash, sequence = entry_id.partition("-")
    if not (dash and (ms + sequence).isdecimal() and (ms + sequence).isascii()):
        raise UsageError(f'not the id of a letter: "{entry_id}"', hint="as in 1731605400123-0")
    return entry_id


def _group(found: Sequence["Entry"]) -> str:
    from cryptostream.bus.operate import letters

    return found[0].stream.removeprefix(letters.PREFIX)


def _retried(letter: "Entry", why: str) -> dict[str, Any]:
    return {
        "id": letter.entry_id,
        "stream": letter.fields.get("stream", ""),
        "entry_id": letter.fields.get("entry_id", ""),
        "retried": not why,
        "why": why,
    }


def _brief(row: dict[str, Any]) -> dict[str, Any]:
    """A letter as one line of a table."""
    head = {"id": row["id"], "time (UTC)": ages.place(row["id"])[:19]}
    names = _FRAME if "frame" in row else _ENTRY
    return {**head, **{title: row.get(name) for title, name in names.items()}}


def _in_full(row: dict[str, Any]) -> str:
    """A letter as lines, its entry's fields below it."""
    lines = {name: value for name, value in row.items() if name != "entry"}
    lines |= {f"  {name}": value for name, value in row.get("entry", {}).items()}
    width = max(map(len, lines))
    return "\n".join(f"{render.safe(name):<{width}}  {render.safe(value)}" for name, value in lines.items())


def _count(found: Sequence[Any], one: str, several: str) -> str:
    return f"{len(found):,} {one if len(found) == 1 else several}"


def _print(rows: Sequence[dict[str, Any]], output: Output, columns: Sequence[str] = ()) -> None:
    if render.chosen(output) is not Output.TABLE:
        render.rows(rows, output, columns=columns)
    elif rows:
        render.rows([{_TITLES.get(name, name): value for name, value in row.items()} for row in rows], output)
    else:
        render.note("no dead letters")
