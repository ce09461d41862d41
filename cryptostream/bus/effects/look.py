"""What stands before a transaction, watched from this look on: whose a state is, where an output stream ends."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import hiredis

from cryptostream.bus.effects.outputs import Fields
from cryptostream.bus.effects.state import FIELDS, Id, Stored
from cryptostream.bus.line import Command, Line
from cryptostream.errors import BusRefused
from cryptostream.model.entryid import parse_id

_NO_STREAM, _NO_ID = "no such key", (0, 0)
_OF_ANOTHER_TYPE = "WRONGTYPE"


class Look(NamedTuple):
    """By stream: the token in its state, None where there is none; the highest id an output stream ever gave out."""

    tokens: Mapping[str, bytes | None]
    tops: Mapping[str, Id]


async def stored_states(line: Line, keys: Sequence[str]) -> list[Stored]:
    """What is stored under some keys."""
    found = await line.ask([("HMGET", key, *FIELDS) for key in keys])
    return [Stored.of(line.checked(values, key)) for key, values in zip(keys, found, strict=True)]


async def fence(line: Line, tokens: Mapping[str, bytes]) -> list[Stored]:
    """Write a token into the state under each key, whoever's it was; what is stored there from this moment on."""
    writes: list[Command] = [("HSET", key, "token", token) for key, token in tokens.items()]
    replies = await line.execute([*writes, *(("HMGET", key, *FIELDS) for key in tokens)])
    assert replies is not None, "nothing is watched"  # noqa: S101
    for key, reply in zip(tokens, replies, strict=False):
        line.checked(reply, key)
    found = zip(tokens, replies[len(tokens) :], strict=True)
    return [Stored.of(line.checked(values, key)) for key, values in found]


async def look(line: Line, states: Mapping[str, str], outputs: Collection[str], hashes: Collection[str] = ()) -> Look:
    """Watch states and output streams, and look at them and at other hashes. `states` are keys of states by stream.

    Raises BusRefused for an output key that is no stream, and for a hash that is none; BusUnavailable.
    """
    asked: list[Command] = [("WATCH", *states.values(), *outputs)]
    asked += [("HGET", key, "token") for key in states.values()]
    asked += [("HGET", key, "ts") for key in hashes]
    asked += [("XINFO", "STREAM", key) for key in outputs]
    watched, *found = await line.ask(asked)
    line.checked(watched, next(iter(states)))
    tokens = [line.checked(reply, key) for reply, key in zip(found, states.values(), strict=False)]
    for reply, key in zip(found[len(states) :], hashes, strict=False):
        _check_type(line, reply, key)
    tops = {key: _top(line, info, key) for info, key in zip(found[len(states) + len(hashes) :], outputs, strict=True)}
    return Look(dict(zip(states, tokens, strict=True)), tops)


async def standing(line: Line, wanted: Sequence[tuple[str, Id]]) -> dict[str, dict[Id, Fields]]:
    """The fields of the entries that stand at these ids, by stream and id."""
    there: dict[str, dict[Id, Fields]] = {}
    if not wanted:
        return there
    asked: list[Command] = [("XRANGE", stream, at := f"{ms}-{number}", at) for stream, (ms, number) in wanted]
    for (stream, entry_id), reply in zip(wanted, await line.ask(asked), strict=True):
        for _, words in line.checked(reply, stream):
            texts = [word.decode(errors="replace") for word in words]
            there.setdefault(stream, {})[entry_id] = dict(zip(texts[::2], texts[1::2], strict=True))
    return there


def is_of_another_type(reply: Any) -> bool:
    """Whether a command was refused since its key holds something else than it is for."""
    return isinstance(reply, hiredis.ReplyError) and _OF_ANOTHER_TYPE in str(reply)


def _check_type(line: Line, reply: Any, key: str) -> None:
    if is_of_another_type(reply):
        raise BusRefused(f"{key} is not a hash", hint="delete it, if nobody needs what it holds")
    line.checked(reply, key)


def _top(line: Line, info: Any, key: str) -> Id:
    if isinstance(info, hiredis.ReplyError) and _NO_STREAM in str(info):
        return _NO_ID
    words = line.checked(info, key)
    facts = dict(zip(words[::2], words[1::2], strict=True))
    return parse_id(facts[b"last-generated-id"].decode())
