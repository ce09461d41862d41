"""Looking at streams without reading them as a group: the newest event, what a stream holds, a stretch of time."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from cryptostream.bus import history
from cryptostream.bus.ask import asking
from cryptostream.bus.connect import Bus
from cryptostream.bus.group.read import is_gone
from cryptostream.errors import NotFound
from cryptostream.model import codec, times
from cryptostream.model.events import Entry, Event

When = str | int | datetime
"""A moment: a datetime, milliseconds since the epoch, or text as `2024-11-14T17:30:00Z` or `-15m`."""


class GroupInfo(msgspec.Struct, frozen=True):
    """Where one group stands in a stream. `lag`: entries it was not given yet, None where Redis cannot tell."""

    name: str
    consumers: int
    pending: int
    last_delivered_id: str
    lag: int | None


class StreamInfo(msgspec.Struct, frozen=True):
    """What a stream holds. `added`: entries it ever got, None where the server does not count."""

    stream: str
    length: int
    first_id: str | None
    last_id: str | None
    added: int | None
    groups: tuple[GroupInfo, ...]


async def latest(bus: Bus, name: str) -> Event | Entry | None:
    """The newest event of a stream, or of a pair's trades; gaps are passed over. None where there is none."""
    stream = name if ":" in name else f"trades:{name}"
    found = await history.last(bus, stream, 1, keep=lambda entry: entry.fields.get("kind") != "gap", look_back=1000)
    return read(found[0]) if found else None


async def stream_info(bus: Bus, stream: str) -> StreamInfo:
    """What a stream holds and where its groups stand. Raises NotFound."""
    pipeline = bus.command.pipeline(transaction=False)
    pipeline.xinfo_stream(stream)
    pipeline.xinfo_groups(stream)
    with asking(bus, stream):
        told = await pipeline.execute(raise_on_error=False)
        for reply in told:
            if isinstance(reply, ResponseError) and is_gone(str(reply)):
                raise NotFound(f"there is no stream {stream}", hint="cryptostream streams ls shows those there are")
            if isinstance(reply, Exception):
                raise reply
    whole, groups = told
    return StreamInfo(
        stream,
        whole["length"],
        _id(whole.get("first-entry")),
        _id(whole.get("last-entry")),
        whole.get("entries-added"),
        tuple(_group(each) for each in groups),
    )


async def between(bus: Bus, stream: str, since: When, until: When, now_ns: int) -> AsyncIterator[Event | Entry]:
    """What a stream holds of the exchange's time from `since` to `until`, both included, in order."""
    async for page in history.between(bus, stream, str(ms_of(since, now_ns)), str(ms_of(until, now_ns))):
        for entry in page:
            yield read(entry)


def ms_of(when: When, now_ns: int) -> int:
    """A moment as milliseconds since the epoch; a datetime without a zone is UTC. Raises UsageError.

    >>> ms_of(datetime(2024, 11, 14, 17, 30, tzinfo=UTC), 0), ms_of("2024-11-14T17:30:00Z", 0), ms_of(5, 0)
    (1731605400000, 1731605400000, 5)
    """
    if isinstance(when, datetime):
        return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
    return times.moment(str(when), now_ns)


def read(entry: Entry) -> Event | Entry:
    """An entry as an event, if it is market data. Raises DataQuality."""
    event = codec.event(entry.stream, entry.entry_id, entry.fields)
    return entry if event is None else event


def _id(entry: Any) -> str | None:
    return entry[0] if entry else None


def _group(told: Any) -> GroupInfo:
    return GroupInfo(told["name"], told["consumers"], told["pending"], told["last-delivered-id"], told.get("lag"))
