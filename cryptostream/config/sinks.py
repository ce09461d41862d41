"""Where a consumer writes: a sink's name, or a name with what it is given."""

import inspect
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, SerializationInfo, WithJsonSchema

from cryptostream.config.addresses import masked_url
from cryptostream.config.words import got, told, unknown, wrong
from cryptostream.registry import load, names

BUS = "bus"
"""Where strategies write their signals; no sink, for these are one transaction with what was read."""
_SECRET_NAME = re.compile(r"key|token|secret|password|passphrase|signature|credential", re.IGNORECASE)


def _masked(value: Any, name: str = "") -> Any:
    """Free values as they may be printed."""
    if isinstance(value, dict):
        return {key: _masked(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner, name) for inner in value]
    if value is not None and not isinstance(value, bool) and _SECRET_NAME.search(name):
        return "***"
    return masked_url(value) if isinstance(value, str) and "://" in value else value


class Params(dict[str, Any]):
    """What a sink is given; it checks them itself. Prints masked."""

    def __repr__(self) -> str:
        return repr(_masked(dict(self)))

    __str__ = __repr__

    def masked(self) -> dict[str, Any]:
        """The same as it may be printed."""
        return dict(_masked(dict(self)))


def _sink(value: Any) -> dict[str, Params]:
    """A sink is a name, or a name with what it is given."""
    found = {value: None} if isinstance(value, str) else value
    if not isinstance(found, dict) or len(found) != 1:
        raise wrong("should be a sink's name, or one name with its settings: {jsonl: {path: out.jsonl}}")
    ((name, given),) = found.items()
    if name not in (known := sinks()):
        raise wrong(unknown("sink", name, known))
    if given is not None and not isinstance(given, dict):
        raise wrong(f'the settings of sink "{name}" should be a mapping, got {got(given)}')
    if name != BUS:
        _check(name, given or {})
    elif given:
        raise wrong(f"{BUS} has no settings here, got {got(given)}")
    return {name: Params(given or {})}


def _check(name: str, given: Mapping[str, Any]) -> None:
    """Whether a sink has these settings and takes their values; to make one opens nothing."""
    kind = load("sinks", name)
    signature = inspect.signature(kind)
    known = [setting for setting in signature.parameters if setting != "clock"]
    if not any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values()):
        for setting in given:
            if setting not in known:
                raise wrong(unknown(f"setting of sink {name}:", str(setting), known))
    try:
        signature.bind(**given)
        told(lambda _: kind(**given), name)
    except TypeError as error:
        raise wrong(f"the sink {name} cannot be made: {error}") from error


def sinks() -> tuple[str, ...]:
    """The names a consumer may write to."""
    return tuple(sorted((*names("sinks"), BUS)))


def _written(sink: dict[str, Params], info: SerializationInfo) -> Any:
    """As it may be printed; whole where the one who prints says that it may `reveal` secrets."""
    ((name, given),) = sink.items()
    shown = dict(given) if (info.context or {}).get("reveal") else given.masked()
    return {name: shown} if given else name


Sink = Annotated[
    dict[str, Any],
    BeforeValidator(_sink),
    PlainSerializer(_written),
    WithJsonSchema({"anyOf": [{"type": "string", "enum": list(sinks())}, {"type": "object", "maxProperties": 1}]}),
]
