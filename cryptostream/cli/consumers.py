"""`cryptostream consumers`: who reads now and how it goes, and to have one rest and go on."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import asked, render
from cryptostream.cli.command import Call, app, command
from cryptostream.cli.render import Output

if TYPE_CHECKING:
    from cryptostream.bus.admin import ConsumerRow

family = typer.Typer(
    name="consumers",
    help="Consumers at work: list, pause, resume.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(family)

_COLUMNS = (
    *("consumer", "state", "process", "reads", "writes", "bars", "strategies"),
    *("read", "acked", "dead_letters", "lost", "started_by", "why"),
)

ConsumerName = Annotated[str, typer.Argument(metavar="NAME", help="A consumer, as `consumers list` calls it.")]
Form = Annotated[Output, typer.Option("-o", "--output", help="How to print.")]


@command("list", group=family)
async def list_(call: Call, output: Form = Output.AUTO) -> None:
    """List the consumers that run now, those that are paused, and what was started and runs nowhere."""
    found = await running(call)
    rows = [{**_row(one), "process": process} for process, one in found]
    if render.chosen(output) is Output.TABLE:
        rows = [{**row, **{key: ", ".join(row[key]) for key in ("reads", "writes", "strategies")}} for row in rows]
    render.rows(rows, output, columns=_COLUMNS)
    if not found:
        asked.note_nobody("consume")


@command("pause", group=family)
async def pause(call: Call, name: ConsumerName, output: Form = Output.AUTO) -> int:
    """Have a consumer finish what it has begun and rest, also after a restart. Exit 3 if that was refused."""
    return await wish(call, "pause", {"name": name}, output)


@command("resume", group=family)
async def resume(call: Call, name: ConsumerName, output: Form = Output.AUTO) -> int:
    """Have a consumer go on where it stood. Exit 3 if that was refused."""
    return await wish(call, "resume", {"name": name}, output)


async def wish(call: Call, verb: str, args: dict[str, Any], output: Output) -> int:
    """Ask those who consume, and print what they say; the exit code."""
    from cryptostream import wiring

    async with wiring.bus(call.settings()) as bus:
        return asked.show(await asked.ask(bus, verb, args, "consume"), output)


async def running(call: Call) -> "list[tuple[str, ConsumerRow]]":
    """Each consumer of this bus, by name, and the process that has it; empty where nobody has."""
    from cryptostream import wiring
    from cryptostream.bus import admin, control
    from cryptostream.wiring.hosting.wished import read

    async with wiring.bus(call.settings()) as bus:
        told = await admin.read_consumers(bus)
        wishes = read(await control.wishes(bus, control.CONSUMERS))
    found = [(f"{one.host}:{one.pid}", row) for one in told for row in one.consumers]
    known = {row.name for _, row in found}
    found += [("", one.shown(name)) for name, one in wishes.items() if name not in known]
    return sorted(found, key=lambda each: (each[1].name, each[0]))


def _row(one: "ConsumerRow") -> dict[str, Any]:
    return {
        "consumer": one.name,
        "state": one.state,
        "reads": one.reads,
        "writes": one.writes,
        "bars": one.bars,
        "strategies": list(one.strategies),
        "read": one.read,
        "acked": one.acked,
        "dead_letters": one.dead_letters,
        "lost": one.lost,
        "started_by": one.started_by,
        "why": one.why,
    }
