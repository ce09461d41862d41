"""Entries of streams, a page at a time, so that nobody else on the loop waits for long."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from heapq import nlargest

from cryptostream.bus.glance import PAGE, Glance, Glimpse, Raw, id_of, ms_of
from cryptostream.model.entryid import parse_id

_AT_ONCE = 20

Ask = Callable[[str, int], Awaitable[list[Raw]]]
"""The entries from a place on, so many at most, in either direction."""


async def upto(limit: int, place: str, ask: Ask) -> list[Raw]:
    """So many entries from a place on, fewer where there are no more."""
    found: list[Raw] = []
    while len(found) < limit:
        page = await ask(place, min(PAGE, limit - len(found)))
        found += page
        if len(page) < PAGE:
            break
        place = f"({id_of(page[-1])}"
    return found


async def newest(
    glance: Glance, there: Mapping[str, Glimpse], names: Iterable[str], limit: int, since_ms: int = 0
) -> list[tuple[str, Raw]]:
    """The newest entries of several streams taken together, oldest first; old streams are not asked for nothing.

    `there` is a look at them.
    """
    upto_ms = {name: last_ms for name in names if (last_ms := there[name].last_ms) is not None}
    places = dict.fromkeys(upto_ms, "+")
    found: list[tuple[str, Raw]] = []
    while upto_ms:
        asked = nlargest(_AT_ONCE, upto_ms, key=lambda name: upto_ms[name])
        oldest_ms = max(since_ms, ms_of(found[-1][1])) if len(found) == limit else since_ms
        if upto_ms[asked[0]] < oldest_ms:
            break
        count = min(limit, PAGE // len(asked))
        for name, page in zip(asked, await glance.newest({each: places[each] for each in asked}, count), strict=True):
            found += [(name, raw) for raw in page if ms_of(raw) >= since_ms]
            if len(page) < count:
                del upto_ms[name]
            else:
                upto_ms[name], places[name] = ms_of(page[-1]), f"({id_of(page[-1])}"
        found = nlargest(limit, found, key=lambda one: parse_id(id_of(one[1])))
    return found[::-1]
