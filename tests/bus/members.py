"""Members of a group for the tests of this folder, and how to read as one."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from cryptostream.bus.connect import Bus
from cryptostream.bus.group.ownership import EVERYTHING
from cryptostream.bus.group.source import Group, GroupSettings
from cryptostream.model.events import Entry
from cryptostream.model.ports import Clock, Ownership

STREAM = "trades:A"


class Ours(Ownership):
    """Streams that nobody else reads; `streams` may change."""

    exclusive = True

    def __init__(self, *streams: str) -> None:
        self.streams = set(streams)

    async def mine(self, streams: Sequence[str]) -> set[str]:
        return self.streams.intersection(streams)


def member(
    bus: Bus,
    clock: Clock,
    *patterns: str,
    name: str = "me",
    ownership: Ownership = EVERYTHING,
    **settings: Any,
) -> Group:
    """One member of the group `g`."""
    return Group(
        bus,
        patterns or ("trades:*",),
        group="g",
        consumer=name,
        clock=clock,
        settings=GroupSettings(**settings),
        ownership=ownership,
    )


async def add(bus: Bus, stream: str, *ids: int, **trim: Any) -> None:
    """Trades, written as an ingester does."""
    for number in ids:
        fields = {"exchange": "binance", "pair": "A", "trade_id": str(number)}
        await bus.command.xadd(stream, fields, id=f"1000-{number}", **trim)  # type: ignore[arg-type]


async def read(source: Group, count: int, *, commit: bool = True) -> list[Entry]:
    """The next entries, at least `count`; then the member leaves."""
    found: list[Entry] = []
    async with source, aclosing(source.batches()) as batches:  # type: ignore[type-var]
        async for batch in batches:
            found += batch.events
            if commit:
                await source.commit(batch)
            if len(found) >= count:
                break
    return found


async def some(batches: AsyncIterator[Any]) -> list[Entry]:
    """The next batch that is not empty."""
    while not (batch := await anext(batches)).events:
        pass
    return list(batch.events)


def ids(entries: Sequence[Entry]) -> list[int | tuple[int, ...]]:
    """Trade ids in their order; of a gap its first and last id and how many are missing."""
    return [
        tuple(int(one.fields[name]) for name in ("gap_from", "gap_to", "count"))
        if one.fields.get("kind") == "gap"
        else int(one.fields["trade_id"])
        for one in entries
    ]


async def pending(bus: Bus, stream: str = STREAM) -> list[tuple[str, str]]:
    """Who holds which entries."""
    found: Any = await bus.command.xpending_range(stream, "g", "-", "+", 10_000)
    return [(one["consumer"], one["message_id"]) for one in found]
