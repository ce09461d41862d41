"""What was wished of consumers, as the bus keeps it in `control:consumers`: JSON by the consumer's name."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from cryptostream import logs

_log = logs.get("control")


class Wished(msgspec.Struct, frozen=True):
    """Whether it is to run, how it was started where that was by request, and parameters by strategy beside its own."""

    state: Literal["running", "paused"] = "running"
    start: dict[str, Any] | None = None
    parameters: dict[str, dict[str, Any]] = {}


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
