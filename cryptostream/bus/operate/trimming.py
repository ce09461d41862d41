"""A stream made shorter by hand: what would go, and who has not read it. Redis itself asks nobody.

XTRIM: https://redis.io/docs/latest/commands/xtrim/
"""

from collections.abc import Sequence

import msgspec

from cryptostream.bus import history, operate
from cryptostream.bus.ask import asking
from cryptostream.bus.connect import Bus
from cryptostream.model.entryid import parse_id
from cryptostream.model.times import BEGINNING


class Loss(msgspec.Struct, frozen=True):
    """What a cut takes from a group: entries it was never given, and entries it was given and has not acknowledged."""

    group: str
    unread: int
    pending: int


class Cut(msgspec.Struct, frozen=True):
    """`goes` of the `length` entries of a stream are below `first_id`, the first that stays; `losses` are groups'."""

    stream: str
    first_id: str
    goes: int
    length: int
    losses: Sequence[Loss]


class Ends(msgspec.Struct, frozen=True):
    """The ids of the oldest and the newest entry; None where there is none."""

    first_id: str | None
    last_id: str | None


async def ends(bus: Bus, stream: str) -> Ends:
    """Where a stream begins and ends now."""
    with asking(bus, stream):
        info = await bus.command.xinfo_stream(stream)
    first, last = info["first-entry"], info["last-entry"]
    return Ends(first[0] if first else None, last[0] if last else None)


async def cut(bus: Bus, stream: str, *, keep: int | None = None, after: str = "") -> Cut:
    """What trimming would do: to the newest `keep` entries, or to those `after` an id.

    It reads what would go, or what would stay where that is less.
    """
    with asking(bus, stream):
        info = await bus.command.xinfo_stream(stream)
    length, top = int(info["length"]), str(info["last-generated-id"])
    if keep is None:
        first_id = _behind(after)
        goes = await _count(bus, stream, "-", f"({first_id}")
    else:
        first_id = await _oldest_of(bus, stream, top, length, keep)
        goes = max(0, length - keep)
    return Cut(stream, first_id, goes, length, await _losses(bus, stream, first_id) if goes else ())


async def trim(bus: Bus, made: Cut) -> int:
    """Delete what is below the cut, and nothing that came meanwhile; how many entries went."""
    with asking(bus, made.stream):
        return int(await bus.command.xtrim(made.stream, minid=made.first_id, approximate=False))


async def _oldest_of(bus: Bus, stream: str, top: str, length: int, keep: int) -> str:
    """The id of the oldest of the newest `keep` entries; behind the top where none is to stay."""
    if keep == 0:
        return _behind(top)
    goes = max(0, length - keep)
    if goes < keep:
        return await _nth(history.between(bus, stream, "-", top), goes)
    return await _nth(_backwards(bus, stream, top), keep - 1)


async def _nth(pages: history.Pages, n: int) -> str:
    async for page in pages:
        if n < len(page):
            return page[n].entry_id
        n -= len(page)
    return BEGINNING  # somebody else trimmed it meanwhile: nothing is left to go


async def _backwards(bus: Bus, stream: str, top: str) -> history.Pages:
    while True:
        page = (await history.last(bus, stream, history.PAGE, top=top))[::-1]
        yield page
        if len(page) < history.PAGE:
            return
        top = f"({page[-1].entry_id}"


def _behind(entry_id: str) -> str:
    ms, sequence = parse_id(entry_id)
    return f"{ms}-{sequence + 1}" if sequence < 2**64 - 1 else f"{ms + 1}-0"


async def _losses(bus: Bus, stream: str, first_id: str) -> list[Loss]:
    found = []
    for group in await operate.groups(bus, [stream]):
        unread = await _count(bus, stream, f"({group.last_delivered}", f"({first_id}")
        pages = operate.pending(bus, group.group, stream, until=f"({first_id}")
        found.append(Loss(group.group, unread, sum([len(page) async for page in pages])))
    return [loss for loss in found if loss.unread or loss.pending]


async def _count(bus: Bus, stream: str, since: str, until: str) -> int:
    return sum([len(page) async for page in history.between(bus, stream, since, until)])
