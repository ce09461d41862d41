"""Consumer groups as an operator handles them: where they stand, who holds what, moved, taken over, removed.

XGROUP: https://redis.io/docs/latest/commands/xgroup/ and XPENDING: https://redis.io/docs/latest/commands/xpending/
"""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from cryptostream.bus import admin, history
from cryptostream.bus.ask import asking, heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.effects.state import state_key
from cryptostream.bus.group.cursor import Cursors
from cryptostream.model.entryid import parse_id
from cryptostream.model.times import BEGINNING, NEW

_AT_ONCE = 100
_PAGE = 1000


class GroupOn(msgspec.Struct, frozen=True):
    """A group on one stream: `lag` entries were never delivered, `pending` never acknowledged.

    `lost` were trimmed before they were delivered, and the group has not noticed yet. None: nobody knows.
    """

    group: str
    stream: str
    consumers: int
    pending: int
    lag: int | None
    lost: int | None
    last_delivered: str


class Member(msgspec.Struct, frozen=True):
    """A consumer of a group on one stream; `idle_ms` since it last asked for anything."""

    group: str
    stream: str
    member: str
    pending: int
    idle_ms: int


class Pending(msgspec.Struct, frozen=True):
    """An entry that was delivered and never acknowledged."""

    stream: str
    entry_id: str
    member: str
    idle_ms: int
    deliveries: int


class Claimed(msgspec.Struct, frozen=True):
    """What became of entries that were to be claimed.

    Those that were `trimmed` stay where they are: the server would forget them, and the group's reader is to count
    them as lost. Those that are `elsewhere` were acknowledged or given to somebody meanwhile.
    """

    claimed: int
    trimmed: int
    elsewhere: int


class Place(msgspec.Struct, frozen=True):
    """Where a group is to stand: the id delivered last, and how many entries were added up to it where that is known.

    Without that number the server knows no lag, and nobody can count what is trimmed before it is read.
    """

    last_delivered: str
    entries_read: int | None


async def groups(bus: Bus, names: Sequence[str]) -> list[GroupOn]:
    """Every group on these streams, by group and stream."""
    found: list[GroupOn] = []
    for start in range(0, len(names), _AT_ONCE):
        heed_cancellation()
        asked = names[start : start + _AT_ONCE]
        places = await _places(bus, asked)
        for facts in await admin.describe(bus, asked):
            found += [_group_on(facts.name, one, places) for one in facts.groups if (facts.name, one.name) in places]
    return sorted(found, key=lambda one: (one.group, one.stream))


async def members(bus: Bus, group: str, names: Sequence[str]) -> list[Member]:
    """The members of a group on these streams; a stream that has no such group has none."""
    found: list[Member] = []
    for start in range(0, len(names), _AT_ONCE):
        heed_cancellation()
        asked = names[start : start + _AT_ONCE]
        pipeline = bus.command.pipeline(transaction=False)
        for name in asked:
            pipeline.xinfo_consumers(name, group)
        with asking(bus):
            replies = await pipeline.execute(raise_on_error=False)
        for name, reply in zip(asked, replies, strict=True):
            found += [Member(group, name, one["name"], one["pending"], one["idle"]) for one in _told(bus, name, reply)]
    return found


async def pending(
    bus: Bus, group: str, stream: str, *, member: str = "", idle_ms: int = 0, until: str = "+"
) -> AsyncGenerator[list[Pending], None]:
    """Pages of what is pending of a stream, oldest first: with one member or any, for at least so long, up to an id."""
    since, chosen = "-", {"consumername": member or None, "idle": idle_ms or None}
    while True:
        heed_cancellation()
        with asking(bus, stream):
            found = await bus.command.xpending_range(stream, group, since, until, _PAGE, **chosen)  # type: ignore[arg-type]
        page = [_pending(stream, one) for one in found]
        if page:
            yield page
        if len(page) < _PAGE:
            return
        since = f"({page[-1].entry_id}"


async def claim(bus: Bus, group: str, member: str, found: Sequence[Pending]) -> Claimed:
    """Hand entries of one stream that are pending with others to a member. No delivery is counted."""
    claimed = trimmed = 0
    for start in range(0, len(found), _PAGE):
        heed_cancellation()
        page = found[start : start + _PAGE]
        there = await _present(bus, page)
        claimed += await _claim(bus, group, member, there)
        trimmed += len(page) - len(there)
    return Claimed(claimed, trimmed, len(found) - trimmed - claimed)


async def place(bus: Bus, stream: str, last_delivered: str) -> Place:
    """The place behind an id, or NEW, of a stream as it is now; one that is not there yet has had no entry.

    It counts the entries above the id, a page at a time.
    """
    with asking(bus, stream):
        info = await bus.command.xinfo_stream(stream) if await bus.command.exists(stream) else {}
    top = info.get("last-generated-id", BEGINNING)
    at = top if last_delivered == NEW else last_delivered
    added = info.get("entries-added")
    if added is None:  # before Redis 7 nobody counts them
        return Place(at, None)
    return Place(at, added - await _above(bus, stream, info, at))


async def create(bus: Bus, stream: str, group: str, at: Place) -> bool:
    """Make a group, and its stream where that is missing; False where it was there already."""
    with asking(bus, stream):
        try:
            await bus.command.xgroup_create(
                stream, group, at.last_delivered, mkstream=True, entries_read=at.entries_read
            )
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
            return False
    return True


async def move(bus: Bus, stream: str, group: str, at: Place) -> None:
    """Set what a group is given next; what is pending stays pending.

    Recordings that it was still to read are left out: it stands in the stream now.
    """
    with asking(bus, stream):
        await bus.command.xgroup_setid(stream, group, at.last_delivered, entries_read=at.entries_read)
    await Cursors(bus, group).drop([stream])


async def remove(bus: Bus, stream: str, group: str) -> bool:
    """Remove a group from a stream with all that is pending there; False where it was gone already."""
    with asking(bus, stream):
        return bool(await bus.command.xgroup_destroy(stream, group))


async def saved(bus: Bus, group: str, on: Collection[str]) -> list[str]:
    """The streams for which a group has saved state: those it is `on`, and others that still exist.

    A key is `state:<group>:<stream>` and both names may hold colons, so that a stream nobody knows could be another
    group's.
    """
    prefix = state_key(group, "")
    keys = await history.keys(bus, _escaped(prefix) + "*", "hash")
    named = {key.removeprefix(prefix) for key in keys}
    unsure = sorted(named.difference(on))
    pipeline = bus.command.pipeline(transaction=False)
    for name in unsure:
        pipeline.type(name)
    with asking(bus):
        kinds = await pipeline.execute()
    return sorted(
        named.intersection(on).union(name for name, kind in zip(unsure, kinds, strict=True) if kind == "stream")
    )


async def forget_all(bus: Bus, group: str, streams: Collection[str]) -> None:
    """Drop all that a group keeps about streams it has left: state, leases, how far it has come in recordings."""
    pipeline = bus.command.pipeline(transaction=False)
    for stream in streams:
        pipeline.unlink(state_key(group, stream))
        pipeline.unlink(f"lease:{group}:{stream}")
    with asking(bus):
        await pipeline.execute()
    await Cursors(bus, group).drop(streams)


async def _places(bus: Bus, names: Sequence[str]) -> dict[tuple[str, str], tuple[int | None, str]]:
    """What each group has lost and the id it was given last, by stream and group."""
    pipeline = bus.command.pipeline(transaction=False)
    for name in names:
        pipeline.xinfo_stream(name)
        pipeline.xinfo_groups(name)
    with asking(bus):
        replies = await pipeline.execute(raise_on_error=False)
    return {
        (name, one["name"]): (_lost(info, one), one["last-delivered-id"])
        for name, info, reply in zip(names, replies[::2], replies[1::2], strict=True)
        for one in _told(bus, name, reply)
        if not isinstance(info, ResponseError)
    }


def _lost(info: Mapping[str, Any], group: Mapping[str, Any]) -> int | None:
    """Exact while everything up to the id delivered last is gone; before that nothing can have been lost."""
    first = info["first-entry"]
    if first and parse_id(group["last-delivered-id"]) >= parse_id(first[0]):
        return 0
    added, read = info.get("entries-added"), group.get("entries-read")
    if added == info["length"]:
        return 0
    return None if added is None or read is None else max(0, added - info["length"] - read)


def _told(bus: Bus, name: str, reply: Any) -> Sequence[Mapping[str, Any]]:
    """The rows of a reply; none where the stream or its group has gone. Raises BusRefused for anything else."""
    if isinstance(reply, ResponseError):
        if str(reply).startswith(("NOGROUP", "no such key")):
            return ()
        with asking(bus, name):
            raise reply
    return list(reply)


def _group_on(
    stream: str, facts: admin.GroupFacts, places: Mapping[tuple[str, str], tuple[int | None, str]]
) -> GroupOn:
    return GroupOn(facts.name, stream, facts.consumers, facts.pending, facts.lag, *places[stream, facts.name])


def _pending(stream: str, told: Mapping[str, Any]) -> Pending:
    return Pending(stream, told["message_id"], told["consumer"], told["time_since_delivered"], told["times_delivered"])


async def _present(bus: Bus, page: Sequence[Pending]) -> list[Pending]:
    """Those that their stream still holds."""
    pipeline = bus.command.pipeline(transaction=False)
    for one in page:
        pipeline.xrange(one.stream, one.entry_id, one.entry_id)
    with asking(bus):
        found = await pipeline.execute()
    return [one for one, entries in zip(page, found, strict=True) if entries]


async def _claim(bus: Bus, group: str, member: str, page: Sequence[Pending]) -> int:
    if not page:
        return 0
    stream, ids = page[0].stream, [one.entry_id for one in page]
    idle_ms = min(one.idle_ms for one in page)  # what was delivered again meanwhile has waited less
    with asking(bus, stream):
        claimed: Any = await bus.command.xclaim(stream, group, member, idle_ms, [*ids], justid=True)
    return len(claimed)


async def _above(bus: Bus, stream: str, info: Mapping[str, Any], entry_id: str) -> int:
    """How many entries a stream holds above an id."""
    if not info.get("length") or parse_id(entry_id) >= parse_id(info["last-entry"][0]):
        return 0
    if parse_id(entry_id) < parse_id(info["first-entry"][0]):
        return int(info["length"])
    pages = history.between(bus, stream, f"({entry_id}", info["last-generated-id"])
    return sum([len(page) async for page in pages])


def _escaped(text: str) -> str:
    r"""Text as a Redis glob that stands for itself.

    >>> _escaped("state:a*b:")
    'state:a\\*b:'
    """
    return "".join(f"\\{letter}" if letter in "*?[]\\^" else letter for letter in text)
