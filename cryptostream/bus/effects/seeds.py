"""With what state a strategy began on a stream, and how far it has come: what it takes to do its work again."""

from typing import Any, NamedTuple

import msgspec

from cryptostream.bus.connect import Bus
from cryptostream.bus.effects.state import state_key
from cryptostream.bus.keys import seed_key
from cryptostream.bus.line import Lines
from cryptostream.errors import DataQuality

FIELDS = ("upto", "state", "config", "from", "at", "group", "stream")


class Seed(NamedTuple):
    """The state before the first entry that was handled: `upto` is the id right before it."""

    upto: str
    state: Any
    config: str
    warmed: str
    """With what it was warmed up, in words."""
    at: str
    group: str
    stream: str


async def seed(bus: Bus, signals: str) -> Seed | None:
    """The seed of the strategy whose signals are in a stream; None where none was ever written.

    Raises BusUnavailable, BusRefused, DataQuality for one that cannot be read.
    """
    key = seed_key(signals)
    [upto, state, *texts] = await _fields(bus, key, FIELDS)
    if upto is None or state is None:
        return None
    try:
        known = msgspec.msgpack.decode(state)
        return Seed(upto.decode(), known, *((text or b"").decode() for text in texts))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataQuality(f"{key} cannot be read: {error}") from error


async def reached(bus: Bus, found: Seed) -> str:
    """The id of the last entry that was handled; empty where nothing is known of it.

    Where the state was dropped, it is the id up to which the work was done once, which outlives it.
    """
    upto, done = await _fields(bus, state_key(found.group, found.stream), ("upto", "done"))
    return (upto or done or b"").decode()


async def _fields(bus: Bus, key: str, names: tuple[str, ...]) -> list[bytes | None]:
    lines = Lines(bus)
    try:
        async with lines.to(key) as line:
            [values] = await line.ask([("HMGET", key, *names)])
            return list(line.checked(values, key))
    finally:
        await lines.close()
