"""Entries that nobody can handle: tried some times, then set aside in `dlq:<group>` and acknowledged, in one step.

Redis counts how often an entry was given out and not acknowledged, so that one that kills its process counts too. But
whatever was pending along with it counts as well. So entries that were given out more than once or twice are suspects:
they are given out one by one, and who lives to ask for the next one clears the last. What is left is what kills.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from redis.exceptions import ResponseError

from cryptostream import logs
from cryptostream.bus import history
from cryptostream.bus.ask import asking
from cryptostream.bus.connect import Bus
from cryptostream.bus.effects.letter import LETTERS_KEPT, letter, letters_key
from cryptostream.bus.group.place import Place
from cryptostream.model.events import Entry
from cryptostream.model.ports import Clock

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.4
_ALONE = 3
"""How often in a row, at least, an entry has to be the only one that was given out before it is taken for a killer."""
KILLER = "whoever was given it did not live to acknowledge it"
_LOOKED_AT = 10_000
_log = logs.get("bus")


def pause_s(tries: int) -> float:
    """How long an entry rests that was rejected so often: five tries together take less than a second.

    >>> [pause_s(tries) for tries in (1, 2, 3, 4)]
    [0.05, 0.1, 0.2, 0.4]
    """
    return float(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (tries - 1)))


async def deliveries(bus: Bus, group: str, entry: Entry) -> int:
    """How often a pending entry was delivered; 0 where it is not pending. Raises BusUnavailable, BusRefused."""
    with asking(bus, entry.stream):
        found: Any = await bus.command.xpending_range(
            entry.stream, group, min=entry.entry_id, max=entry.entry_id, count=1
        )
    return int(found[0]["times_delivered"]) if found else 0


async def set_aside(bus: Bus, group: str, entry: Entry, error: str, times: int, clock: Clock) -> None:
    """Write a dead letter and acknowledge its entry; the oldest goes where there are too many, which is told once.

    Raises BusUnavailable, BusRefused.
    """
    key = letters_key(group)
    fields: dict[Any, Any] = {**letter(entry, error, deliveries=times, now_ns=clock.now_ns())}
    # In a cluster the two may be on different servers: the letter first, so that nothing is ever lost.
    pipeline = bus.command.pipeline(transaction=not bus.is_cluster)
    pipeline.xadd(key, fields, maxlen=LETTERS_KEPT, approximate=True)
    pipeline.xack(entry.stream, group, entry.entry_id)
    pipeline.xlen(key)
    with asking(bus, key):
        *_, letters = await pipeline.execute()
    if letters >= LETTERS_KEPT:
        _tell_full(group)


@cache
def _tell_full(group: str) -> None:
    """Once for each group that this process reads."""
    _log.error("group.letters_full", group=group, kept=LETTERS_KEPT, why="each new dead letter drops the oldest")


async def suspect(bus: Bus, group: str, consumer: str, places: Sequence[Place], most: int) -> list[tuple[Entry, int]]:
    """Note which pending entries of these streams may kill; those that do, with how often they were given out.

    Raises BusUnavailable, BusRefused.
    """
    most = max(most, _ALONE + 1)
    killers: list[tuple[Entry, int]] = []
    for place, pending in zip(places, await _times(bus, group, consumer, places), strict=True):
        times = {entry_id: count for entry_id, count in pending.items() if place.is_to_come(entry_id)}
        place.suspects = {entry_id for entry_id, count in times.items() if count >= most - _ALONE}
        for entry_id in place.suspects:
            if times[entry_id] >= most:
                killers += [(entry, times[entry_id]) for entry in await _held(bus, place.stream, entry_id)]
        place.suspects -= {entry.entry_id for entry, _ in killers if entry.stream == place.stream}
    return killers


async def clear(bus: Bus, group: str, consumer: str, survived: Mapping[str, Sequence[str]]) -> None:
    """Whoever was given these lives: they begin to count anew. Raises BusUnavailable, BusRefused."""
    pipeline = bus.command.pipeline(transaction=False)
    for stream, ids in survived.items():
        pipeline.xclaim(stream, group, consumer, 0, list(ids), retrycount=1, justid=True)
    with asking(bus):
        await pipeline.execute()


async def _times(bus: Bus, group: str, consumer: str, places: Sequence[Place]) -> list[dict[str, int]]:
    """Of each stream the ids that are pending with a member, and how often each was given out."""
    pipeline = bus.command.pipeline(transaction=False)
    for place in places:
        pipeline.xpending_range(place.stream, group, "-", "+", _LOOKED_AT, consumer)
    with asking(bus):
        told = await pipeline.execute(raise_on_error=False)
    return [
        {} if isinstance(found, ResponseError) else {one["message_id"]: one["times_delivered"] for one in found}
        for found in told
    ]


async def _held(bus: Bus, stream: str, entry_id: str) -> list[Entry]:
    """An entry, unless it was trimmed."""
    return [entry async for page in history.between(bus, stream, entry_id, entry_id) for entry in page]
