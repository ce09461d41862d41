"""Saved state is dropped so that a consumer begins anew; what it had written stays, and is not written twice."""

from collections.abc import Collection, Sequence

from cryptostream.bus.connect import Bus
from cryptostream.bus.effects.look import fence, stored_states
from cryptostream.bus.effects.state import FIELDS, new_token, state_key
from cryptostream.bus.line import Line, Lines

_DROPPED = [*(field for field in FIELDS if field not in ("token", "done")), "at"]


async def forget(bus: Bus, group: str, streams: Collection[str], *, but: str = "") -> int:
    """Drop what a group's consumer remembers of these streams; how many states that were.

    What was made with the configuration `but`, if one is named, is kept.
    A consumer that runs is refused from here on, claims its streams again and begins with no state. Of entries that it
    had done before only those outputs are written that are above all others in their stream. Raises BusUnavailable,
    BusRefused.
    """
    lines = Lines(bus)
    try:
        dropped = 0
        for part in lines.parts(state_key(group, stream) for stream in streams):
            async with lines.to(part[0]) as line:
                dropped += await _forget(line, part, but.encode())
        return dropped
    finally:
        await lines.close()


async def _forget(line: Line, keys: Sequence[str], but: bytes) -> int:
    """Fence who owns them, so that he saves nothing afterwards, and drop the rest."""
    found = zip(keys, await stored_states(line, keys), strict=True)
    there = [key for key, stored in found if any(stored) and not (but and stored.config in (b"", but))]
    if not there:
        return 0
    last = await fence(line, {key: new_token() for key in there})
    for key, reply in zip(there, await line.ask([("HDEL", key, *_DROPPED) for key in there]), strict=True):
        line.checked(reply, key)
    return sum(bool(stored.upto) for stored in last)
