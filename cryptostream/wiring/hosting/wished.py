"""What was wished of consumers, as the bus keeps it in `control:consumers`: JSON by the consumer's name."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from cryptostream import logs
from cryptostream.bus.admin import ConsumerRow

_log = logs.get("control")


class Wished(msgspec.Struct, frozen=True):
    """Whether it is to run, how it was started where that was by request, and parameters by strategy beside its own."""

    state: Literal["running", "paused"] = "running"
    start: dict[str, Any] | None = None
    parameters: dict[str, dict[str, Any]] = {}

    def shown(self, name: str) -> ConsumerRow:
        """A consumer of which this is wished, where nobody runs it."""
        told = self.start or {}
        label, kind = str(told.get("name") or name), str(told.get("strategy", ""))
        return ConsumerRow(
            name=name,
            state="paused" if self.state == "paused" else "waiting",
            why="no process runs it",
            reads=list(told.get("symbols", ())),
            bars=told.get("bars"),
            strategies={label: kind} if kind else {},
            parameters={label: {**told.get("parameters", {}), **self.parameters.get(label, {})}} if kind else {},
            started_by="request" if self.start else "configuration",
        )


NOTHING = Wished()


def read(told: Mapping[str, str]) -> dict[str, Wished]:
    """The wishes of that hash; what cannot be read is told in the log and left out.

    >>> read({"momentum": '{"state": "paused"}'})
    {'momentum': Wished(state='paused', start=None, parameters={})}
    """
    found = {}
    for name, text in told.items():
        try:
            found[name] = msgspec.json.decode(text, type=Wished)
        except msgspec.DecodeError as error:
            _log.warning("control.wish_unreadable", consumer=name, why=str(error))
    return found


def text(wished: Wished) -> str | None:
    """A wish as the bus keeps it; None where there is nothing to keep.

    >>> text(Wished("paused")), text(NOTHING)
    ('{"state":"paused","start":null,"parameters":{}}', None)
    """
    return None if wished == NOTHING else msgspec.json.encode(wished).decode()
