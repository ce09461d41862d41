"""A wish made on the bus by a command, and what became of it: a row for each symbol, strategy or consumer it named."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cryptostream.cli import render
from cryptostream.cli.render import Output

if TYPE_CHECKING:
    from cryptostream.bus.connect import Bus
    from cryptostream.bus.control import Role
    from cryptostream.web.shown import Answered

_COLUMNS = ("what", "accepted", "why", "by")


async def ask(bus: "Bus", verb: str, args: Mapping[str, Any], role: "Role") -> "Answered":
    """What those of a role say to a wish. Raises as `control.ask` does."""
    from cryptostream.bus import control
    from cryptostream.engine.clock import SystemClock
    from cryptostream.wiring import INGESTER
    from cryptostream.wiring.serving.commands import answered

    outcome = await control.ask(bus, verb, args, role=role, by=INGESTER, clock=SystemClock())
    return answered(outcome)


def note_nobody(role: "Role") -> None:
    """Tell a person who looks that nobody of a role is here."""
    from cryptostream.bus.control import NOBODY

    render.note("; ".join(NOBODY[role]))


def show(found: "Answered", output: Output) -> int:
    """Print what became of a wish; the exit code: 3 where any of it was refused."""
    rows = [one.model_dump() for one in found.verdicts]
    if render.chosen(output) in (Output.TABLE, Output.CSV):
        rows = [{**row, "by": ", ".join(row["by"])} for row in rows]
    render.rows(rows, output, columns=_COLUMNS)
    for silent in found.unanswered:
        render.note(f"{silent} did not answer in time, and may have obeyed all the same")
    return 0 if all(one.accepted for one in found.verdicts) else 3
