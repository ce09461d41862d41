"""`cryptostream groups`: which consumer groups there are, how far they are, what they hold; and to change that."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import grouped, render
from cryptostream.cli.command import Call, app, command
from cryptostream.cli.consent import Yes, check_can_ask, consent
from cryptostream.cli.render import Output
from cryptostream.errors import CheckFailed, UsageError
from cryptostream.model.duration import seconds

if TYPE_CHECKING:
    from cryptostream.bus.connect import Bus
    from cryptostream.bus.operate import GroupOn, Member, Pending

family = typer.Typer(
    name="groups",
    help="Consumer groups: list, create, reset, take over, remove.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(family)

_ACTIVE_MS = 10_000
"""A member that has asked for something within it is at work: members ask every second."""
_SHOWN = 100

GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="The group: a consumer's name.")]
Streams = Annotated[
    list[str] | None,
    typer.Argument(metavar="STREAM", help="Only on these: 'trades:*', BTCUSDT. Wherever it is unless said."),
]
Form = Annotated[Output, typer.Option("-o", "--output", help="How to print.")]


@command("ls", group=family)
async def ls(
    call: Call,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="GROUP", help="Show these by stream; all in sum unless said.")
    ] = None,
    members: Annotated[bool, typer.Option("--members", help="Show who reads, by stream.")] = False,
    output: Form = Output.AUTO,
) -> None:
    """List groups: what was never acknowledged (pending), never delivered (lag), trimmed before it was (lost)."""
    from cryptostream import wiring
    from cryptostream.bus import history, operate
    from cryptostream.cli import targets

    async with wiring.bus(call.settings()) as bus:
        streams = await history.streams(bus, "*")
        wanted = targets.words_of(names)
        found = targets.of_groups(await operate.groups(bus, streams), wanted)
        everyone = await _members(bus, found)
    if members:
        grouped.show([grouped.member_row(one) for one in everyone], output, grouped.MEMBER)
    elif wanted:
        grouped.show([grouped.row_of(one) for one in found], output, grouped.ROW)
    else:
        grouped.show(grouped.sums(found, everyone), output, grouped.SUM)


@command("create", group=family)
async def create(
    call: Call,
    group: GroupName,
    streams: Annotated[list[str], typer.Argument(metavar="STREAM", help="'trades:*', trades:BTCUSDT, BTCUSDT.")],
    start: Annotated[
        str,
        typer.Option("--from", metavar="PLACE", help="earliest, new, an entry id ('(ID' after it), or a time: -15m."),
    ] = "earliest",
    mkstream: Annotated[bool, typer.Option("--mkstream", help="Make streams that are not there yet.")] = False,
    yes: Yes = False,
    output: Form = Output.AUTO,
) -> None:
    """Make a group on streams, where it is not there yet. Consumers do this by themselves."""
    from cryptostream import wiring
    from cryptostream.bus import operate
    from cryptostream.cli import targets

    check_can_ask(yes=yes)
    targets.check_name(group)
    at = _place(start)
    async with wiring.bus(call.settings()) as bus:
        found = await targets.streams(bus, streams, new=mkstream)
        await consent(f"create group {group} on {grouped.count(found, 'stream')}, from {start}?", yes=yes)
        made = [name for name in found if await operate.create(bus, name, group, await operate.place(bus, name, at))]
        rows = [grouped.row_of(one) for one in await operate.groups(bus, found) if one.group == group]
    if len(made) < len(found):
        render.note(
            f"{group} was on {grouped.count(set(found).difference(made), 'stream')} before and stays where it was; "
            "cryptostream groups reset moves it"
        )
    grouped.show([{**row, "created": row["stream"] in made} for row in rows], output, (*grouped.ROW, "created"))


@command("reset", group=family)
async def reset(
    call: Call,
    group: GroupName,
    streams: Streams = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="PLACE", help="earliest, new, an entry id ('(ID' after it), or a time: -15m."),
    ] = None,
    state: Annotated[bool, typer.Option("--state", help="Forget what its strategies have saved.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even while a member reads.")] = False,
    yes: Yes = False,
    output: Form = Output.AUTO,
) -> None:
    """Move a group to another place in its streams, or drop its saved state. What is pending stays pending."""
    from cryptostream import wiring
    from cryptostream.bus import operate
    from cryptostream.bus.effects.forget import forget
    from cryptostream.cli import targets

    check_can_ask(yes=yes)
    if to is None and not state:
        raise UsageError("nothing to reset", hint="say where to with --to earliest|new|ID|TIME, or --state, or both")
    at = None if to is None else _place(to)
    async with wiring.bus(call.settings()) as bus:
        found = await targets.group_on(bus, group, streams)
        await _check_idle(bus, found, force=force)
        names = [one.stream for one in found]
        saved = await targets.saved(bus, group, streams, names) if state else []
        await consent(_reset_question(found, to, saved if state else None), yes=yes)
        for name in names if at is not None else ():
            await operate.move(bus, name, group, await operate.place(bus, name, at or ""))
        await forget(bus, group, saved)
        rows = [grouped.row_of(one) for one in await targets.group_on(bus, group, streams)]
    grouped.show([{**row, "state_dropped": row["stream"] in saved} for row in rows] if state else rows, output)


@command("pending", group=family)
async def pending(
    call: Call,
    group: GroupName,
    streams: Streams = None,
    member: Annotated[str, typer.Option("--member", metavar="NAME", help="Only what this member holds.")] = "",
    idle: Annotated[str, typer.Option(metavar="DURATION", help="Only what was delivered that long ago.")] = "0s",
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=1, help=f"At most N; {_SHOWN} on a terminal unless said.")
    ] = None,
    output: Form = Output.AUTO,
) -> None:
    """List entries that were delivered and never acknowledged, oldest of each stream first."""
    from cryptostream import wiring
    from cryptostream.cli import targets

    limit = count or (_SHOWN if render.chosen(output) is Output.TABLE else None)
    async with wiring.bus(call.settings()) as bus:
        found = await targets.group_on(bus, group, streams)
        held = sum(one.pending for one in found)
        rows = [grouped.held_row(one) for one in await _first(bus, found, member, _ms(idle), limit)]
    grouped.show(rows, output, grouped.HELD)
    if limit and len(rows) == limit and held > limit:
        render.note(f"the first {limit:,} of at most {held:,}; -n shows more")


@command("claim", group=family)
async def claim(
    call: Call,
    group: GroupName,
    streams: Streams = None,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="The member that is to have them.")] = "",
    member: Annotated[str, typer.Option("--from", metavar="NAME", help="Only what this member holds.")] = "",
    idle: Annotated[str, typer.Option(metavar="DURATION", help="Only what was delivered that long ago.")] = "30s",
    force: Annotated[bool, typer.Option("--force", help="Even to a member that is at work.")] = False,
    yes: Yes = False,
    output: Form = Output.AUTO,
) -> None:
    """Hand pending entries to another member, which reads them when it next starts. No delivery is counted.

    Consumers take over from members that are gone by themselves, after consume.claim_idle.
    """
    from cryptostream import wiring
    from cryptostream.cli import targets

    check_can_ask(yes=yes)
    if not to:
        raise UsageError("names no member to take them", hint="--to NAME; cryptostream groups ls --members lists them")
    targets.check_name(to)
    async with wiring.bus(call.settings()) as bus:
        found = [one for one in await targets.group_on(bus, group, streams) if one.pending]
        await _check_starts_later(bus, found, to, force=force)
        held = [one for one in await _first(bus, found, member, _ms(idle), None) if one.member != to]
        rows = []
        if held:
            await consent(f"hand {grouped.count(held, 'pending entry')} of {group} to {to}?", yes=yes)
            rows = [await _claim(bus, group, to, name, held) for name in dict.fromkeys(one.stream for one in held)]
    grouped.show(rows, output, ("stream", "claimed", "trimmed", "elsewhere"), none="nothing to claim")


@command("rm", group=family)
async def rm(
    call: Call,
    group: GroupName,
    streams: Streams = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even while entries are pending, which are then lost to it.")
    ] = False,
    yes: Yes = False,
    output: Form = Output.AUTO,
) -> None:
    """Remove a group, with its saved state. Refused while entries are pending or a member reads."""
    from cryptostream import wiring
    from cryptostream.bus import operate
    from cryptostream.cli import targets

    check_can_ask(yes=yes)
    async with wiring.bus(call.settings()) as bus:
        found = await targets.group_on(bus, group, streams)
        await _check_idle(bus, found, force=force)
        _check_nothing_pending(found, force=force)
        names = [one.stream for one in found]
        await consent(_removal(group, names, found), yes=yes)
        saved = await targets.saved(bus, group, streams, names)
        for name in names:
            await operate.remove(bus, name, group)
        await operate.forget_all(bus, group, {*names, *saved})
    rows = [{"group": group, "stream": one.stream, "pending": one.pending} for one in found]
    grouped.show([{**row, "state_dropped": row["stream"] in saved} for row in rows], output)


def _place(text: str) -> str:
    from cryptostream.engine.clock import SystemClock
    from cryptostream.model.times import place

    return place(text, SystemClock().now_ns())


def _ms(duration: str) -> int:
    return round(seconds(duration) * 1000)


def _reset_question(found: Sequence["GroupOn"], to: str | None, saved: Sequence[str] | None) -> str:
    group, lag = found[0].group, grouped.total(one.lag for one in found)
    skipped = f", past {lag:,} entries it has not read" if to == "new" and lag else ""
    parts = [f"move {group} on {grouped.count(found, 'stream')} to {to}{skipped}"] if to is not None else []
    parts += [f"drop the state it has saved for {grouped.count(saved, 'stream')}"] if saved is not None else []
    return f"{' and '.join(parts)}?"


def _removal(group: str, names: Sequence[str], found: Sequence["GroupOn"]) -> str:
    held = sum(one.pending for one in found)
    also = f", {held:,} pending included" if held else ""
    return f"remove group {group} from {grouped.count(names, 'stream')}, with its saved state{also}?"


async def _members(bus: "Bus", found: Sequence["GroupOn"]) -> list["Member"]:
    from cryptostream.bus import operate

    return [
        one
        for name, on in grouped.by_group(found).items()
        for one in await operate.members(bus, name, [each.stream for each in on])
    ]


async def _check_starts_later(bus: "Bus", found: Sequence["GroupOn"], to: str, *, force: bool) -> None:
    """Raise CheckFailed for a member at work: it would keep them without a look, until it starts the next time."""
    if any(one.member == to and one.idle_ms < _ACTIVE_MS for one in await _members(bus, found)) and not force:
        hint = f"name one that starts afterwards, or stop {to} and wait {_ACTIVE_MS // 1000} s; --force hands them over"
        raise CheckFailed(
            f"{to} reads as {found[0].group} now, and what it holds it reads at its start only", hint=hint
        )


async def _check_idle(bus: "Bus", found: Sequence["GroupOn"], *, force: bool) -> None:
    """Raise CheckFailed while somebody reads: they would go on from where they believe they are."""
    active = sorted({one.member for one in await _members(bus, found) if one.idle_ms < _ACTIVE_MS})
    if active and not force:
        hint = f"stop it first and wait {_ACTIVE_MS // 1000} s, or use --force"
        raise CheckFailed(f"{', '.join(active)} reads as {found[0].group} now", hint=hint)


def _check_nothing_pending(found: Sequence["GroupOn"], *, force: bool) -> None:
    held = [one for one in found if one.pending]
    if held and not force:
        number = sum(one.pending for one in held)
        hint = f"cryptostream groups pending {found[0].group} lists them; with --force they are lost to the group"
        raise CheckFailed(f"{found[0].group} holds {number:,} pending on {grouped.count(held, 'stream')}", hint=hint)


async def _first(
    bus: "Bus", found: Sequence["GroupOn"], member: str, idle_ms: int, limit: int | None
) -> list["Pending"]:
    from cryptostream.bus import operate

    held: list[Pending] = []
    for one in found:
        if one.pending and (limit is None or len(held) < limit):
            async for page in operate.pending(bus, one.group, one.stream, member=member, idle_ms=idle_ms):
                held += page
                if limit is not None and len(held) >= limit:
                    break
    return held[:limit]


async def _claim(bus: "Bus", group: str, to: str, stream: str, held: Sequence["Pending"]) -> dict[str, Any]:
    from cryptostream.bus import operate

    done = await operate.claim(bus, group, to, [one for one in held if one.stream == stream])
    return {"stream": stream, "claimed": done.claimed, "trimmed": done.trimmed, "elsewhere": done.elsewhere}
