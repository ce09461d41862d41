"""A wish made on the bus by a command, and what became of it: a row for each symbol, strategy or consumer it named."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cryptostream.cli import render
from cryptostream.cli.render import Output
from cryptostream.errors import Unreachable

if TYPE_CHECKING:
    from cryptostream.bus.connect import Bus
    from cryptostream.bus.control import Role
    from cryptostream.web.shown import Answered

_COLUMNS = ("what", "accepted", "why", "by")
_NOBODY = {
    "ingest": ("nobody ingests on this bus", "start it: cryptostream ingest --symbols BTCUSDT"),
    "consume": ("nobody consumes on this bus", "start it: cryptostream run, or consume --requests"),
}


async def ask(bus: "Bus", verb: str, args: Mapping[str, Any], role: "Role") -> "Answered":
    """What those of a role say to a wish. Raises Unreachable where nobody is here, or answers."""
    from cryptostream.bus import control
    from cryptostream.engine.clock import SystemClock
    from cryptostream.wiring import INGESTER
    from cryptostream.wiring.serving.commands import answered

    outcome = await control.ask(bus, verb, args, role=role, by=INGESTER, clock=SystemClock())
    if not outcome.answers and not outcome.unanswered:
        message, hint = _NOBODY[role]
        raise Unreachable(message, hint=hint)
    if not outcome.answers:
        silent = ", ".join(outcome.unanswered)
        raise Unreachable(f"no answer from {silent}", hint="it may have been obeyed; is the process alive?")
    return answered(outcome)


def show(found: "Answered", output: Output) -> int:
    """Print what became of a wish; the exit code: 3 where any of it was refused."""
    rows = [one.model_dump() for one in found.verdicts]
    if render.chosen(output) in (Output.TABLE, Output.CSV):
        rows = [{**row, "by": ", ".join(row["by"])} for row in rows]
    render.rows(rows, output, columns=_COLUMNS)
    for silent in found.unanswered:
        render.note(f"{silent} did not answer in time, and may have obeyed all the same")
    return 0 if all(one.accepted for one in found.verdicts) else 3
