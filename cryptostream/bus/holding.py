"""Names that one process holds at a time: taken where nobody does, kept while it lives, free a moment after it is gone.

    lease:strategy:<name>  `host:pid` of who runs a strategy that was started by request

Whoever was paused for longer than `HELD_S` may believe that he holds what is another's by now: what he writes has to be
fenced. https://redis.io/docs/latest/develop/use/patterns/distributed-locks/
"""

from collections.abc import Sequence
from typing import Any

from cryptostream.bus.ask import asking
from cryptostream.bus.connect import Bus

HELD_S = 10.0
"""How long a name stays held after `hold`."""
_PREFIX = "lease:strategy:"


async def hold(bus: Bus, names: Sequence[str], by: str) -> set[str]:
    """Take those of these names that nobody holds, keep those that are ours; all that are. Raises BusUnavailable,
    BusRefused.
    """
    ttl_ms = round(HELD_S * 1000)
    await _each(bus, [("SET", _PREFIX + name, by, "NX", "PX", ttl_ms) for name in names])
    ours = await _ours(bus, names, by)
    await _each(bus, [("PEXPIRE", _PREFIX + name, ttl_ms) for name in ours])
    return set(ours)


async def let_go(bus: Bus, names: Sequence[str], by: str) -> None:
    """Whoever wants them may have them, of those that are ours. Raises BusUnavailable, BusRefused."""
    await _each(bus, [("DEL", _PREFIX + name) for name in await _ours(bus, names, by)])


async def _ours(bus: Bus, names: Sequence[str], by: str) -> list[str]:
    holders = await _each(bus, [("GET", _PREFIX + name) for name in names])
    return [name for name, holder in zip(names, holders, strict=True) if holder == by]


async def _each(bus: Bus, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The replies to commands that are sent at once."""
    if not commands:
        return []
    pipeline = bus.command.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    with asking(bus):
        return list(await pipeline.execute())
