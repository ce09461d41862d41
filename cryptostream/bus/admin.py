"""Facts about the bus for people: what each stream holds, how far its groups are, and what the ingesters counted."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from cryptostream import logs
from cryptostream.bus.ask import asking
from cryptostream.bus.connect import Bus
from cryptostream.bus.history import keys
from cryptostream.bus.translate import translate
from cryptostream.engine.stats import PairFacts
from cryptostream.model.entryid import parse_id

COUNTERS_KEY = "stats:ingest:"
CONSUMERS_KEY = "stats:consume:"
COUNTERS_TTL_S = 30
"""A process that has not written its counters for this long is gone."""
SAMPLE = 100
"""How many of a stream's newest entries `rates` looks at."""
_AT_ONCE = 100
_PAIRS_SHOWN = 10
_LARGEST = 4 << 20
_log = logs.get("bus")
T = TypeVar("T")
Count = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Real = Annotated[float, msgspec.Meta(ge=-1e18, le=1e18)]
Number = Count | Real
"""What anybody can have counted: sums and rates of such stay numbers."""


class GroupFacts(msgspec.Struct, frozen=True):
    """How far one consumer group is; `lag` is None where the server cannot know it."""

    name: str
    consumers: int
    pending: int
    lag: int | None


class StreamFacts(msgspec.Struct, frozen=True):
    """What one stream holds. Times are milliseconds of the exchange's time; None for an empty stream.

    `entries_added` counts trimmed entries too. It and `memory_bytes` are None where the server does not tell.
    """

    name: str
    length: int
    first_ms: int | None
    last_ms: int | None
    entries_added: int | None
    memory_bytes: int | None
    groups: list[GroupFacts]


class Counters(msgspec.Struct, frozen=True):
    """What one ingester has counted since it started, as it wrote it at `at`, nanoseconds since the epoch.

    What an ingester of an older version does not tell is empty.
    """

    publisher: dict[str, Number] = {}
    ingest: dict[str, Number] = {}
    pairs_count: Count = 0
    pairs_sample: list[str] = []
    followed: list[str] = []
    """All pairs that it follows now, as `binance:BTCUSDT`."""
    unwell: list[PairFacts] = []
    """Where subscriptions stand that are not live, the first `engine.stats.UNWELL_SHOWN`."""
    latency: list[Count] = []
    """Writes by the seconds from the exchange's time to Redis' answer, by the buckets of `engine.stats.LATENCY_S`: each
    counts those above the bound before it, the last those above all. Two looks' difference goes to `stats.quantile`."""
    lag_ms: Real | None = None
    reconnects_by: dict[str, Count] = {}
    trouble: str = ""
    """Why the bus takes no entries from it now."""
    at: Count = 0
    host: str = ""
    pid: Count = 0


class ConsumerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer where it runs, or would: what it reads and writes, and what its member of the group has counted.

    `strategies` are their kinds by the names of their signals, `parameters` what each is set to, defaults too; `why`
    says what keeps it from its work. One that is `waiting` has not begun to read.
    """

    name: str
    state: Literal["running", "paused", "failed", "waiting"]
    why: str = ""
    reads: list[str] = []
    writes: list[str] = []
    bars: str | None = None
    strategies: dict[str, str] = {}
    parameters: dict[str, dict[str, Any]] = {}
    started_by: Literal["configuration", "request"] = "configuration"
    read: Count = 0
    acked: Count = 0
    dead_letters: Count = 0
    lost: Count = 0


class Consumers(msgspec.Struct, frozen=True, kw_only=True):
    """The consumers of one process, as it wrote them at `at`, nanoseconds since the epoch."""

    at: Count = 0
    host: str = ""
    pid: Count = 0
    consumers: list[ConsumerRow] = []


async def describe(bus: Bus, names: Sequence[str]) -> list[StreamFacts]:
    """The facts of these streams, in the same order; one that has gone meanwhile is left out."""
    found: list[StreamFacts] = []
    for start in range(0, len(names), _AT_ONCE):
        found += await _describe(bus, names[start : start + _AT_ONCE])
    return found


async def rates(bus: Bus, names: Sequence[str], now_ms: int) -> dict[str, float]:
    """Entries a second: those among each stream's newest that are of the exchange's time, up to now.

    A stream that has gone quiet, or was filled from a recording, fades to zero.
    """
    found: dict[str, float] = {}
    for start in range(0, len(names), _AT_ONCE):
        found |= await _rates(bus, names[start : start + _AT_ONCE], now_ms)
    return found


def rate_between(before: StreamFacts, after: StreamFacts, elapsed_s: float) -> float | None:
    """Entries a second that were added between two looks; None where the server does not count them."""
    if before.entries_added is None or after.entries_added is None or elapsed_s <= 0:
        return None
    return max(0, after.entries_added - before.entries_added) / elapsed_s


async def write_counters(bus: Bus, name: str, counters: Mapping[str, Any]) -> None:
    """Show an ingester's counters to other processes for COUNTERS_TTL_S; `name` is `<host>:<pid>`."""
    await _write(bus, COUNTERS_KEY + name, counters)


async def read_counters(bus: Bus) -> list[Counters]:
    """The counters of all ingesters that are alive."""
    return await _read(bus, COUNTERS_KEY, Counters)


async def write_consumers(bus: Bus, name: str, told: Consumers) -> None:
    """Show the consumers of a process to other processes for COUNTERS_TTL_S; `name` is `<host>:<pid>`."""
    await _write(bus, CONSUMERS_KEY + name, told)


async def read_consumers(bus: Bus) -> list[Consumers]:
    """The consumers of all processes that are alive, or were seconds ago.

    What was started by request runs in one process: whoever told of it last.
    """
    found = await _read(bus, CONSUMERS_KEY, Consumers)
    whose = {row.name: one for one in sorted(found, key=lambda one: one.at) for row in one.consumers}
    return [
        msgspec.structs.replace(
            one,
            consumers=[row for row in one.consumers if row.started_by != "request" or whose[row.name] is one],
        )
        for one in found
    ]


async def _write(bus: Bus, key: str, told: Any) -> None:
    pipeline = bus.command.pipeline(transaction=True)
    pipeline.hset(key, "json", msgspec.json.encode(told).decode())
    pipeline.expire(key, COUNTERS_TTL_S)
    with asking(bus, key):
        await pipeline.execute()


async def _read(bus: Bus, prefix: str, kind: type[T]) -> list[T]:
    names = sorted(await keys(bus, prefix + "*", "hash"))
    pipeline = bus.command.pipeline(transaction=False)
    for name in names:
        pipeline.hget(name, "json")
    with asking(bus):
        texts = await pipeline.execute()
    read = [_told(name, text, kind) for name, text in zip(names, texts, strict=True) if text is not None]
    return [told for told in read if told is not None]


def total(found: Sequence[Counters]) -> dict[str, Any]:
    """All ingesters as one, in the shape that `stats` prints; a pair that two of them ingest counts twice."""
    publisher = _sum(("publish_count", "error_count"), [one.publisher for one in found])
    ingest = ("active_connections", "total_messages", "error_messages", "connection_errors")
    tried = publisher["publish_count"] + publisher["error_count"]
    return {
        "publisher": {**publisher, "error_rate": publisher["error_count"] / tried if tried else 0.0},
        "ingest": _sum(ingest, [one.ingest for one in found]),
        "ingesters": len(found),
        "pairs_count": sum(one.pairs_count for one in found),
        "pairs_sample": sorted({pair for one in found for pair in one.pairs_sample})[:_PAIRS_SHOWN],
    }


def _sum(names: Sequence[str], parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The named counters, zero where nobody counts them, and whatever else ingesters count; rates cannot be added."""
    every = dict.fromkeys([*names, *(name for part in parts for name in part if name != "error_rate")])
    return {name: sum(part.get(name, 0) for part in parts) for name in every}


def _told(name: str, text: str, kind: type[T]) -> T | None:
    if len(text) > _LARGEST:
        return _unread(name, f"larger than {_LARGEST >> 20} MiB")
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        return _unread(name, str(error))


@lru_cache(maxsize=100)  # they are read every second, and told of once
def _unread(name: str, why: str) -> None:
    _log.warning("bus.counters_unreadable", counters=name, error=why)


async def _describe(bus: Bus, names: Sequence[str]) -> list[StreamFacts]:
    pipeline = bus.command.pipeline(transaction=False)
    for name in names:
        pipeline.xinfo_stream(name)
        pipeline.xinfo_groups(name)
    with asking(bus):
        replies = await pipeline.execute(raise_on_error=False)
    rows = zip(names, replies[::2], replies[1::2], await _memory(bus, names), strict=True)
    found = [_facts(bus, name, info, groups, memory) for name, info, groups, memory in rows]
    return [facts for facts in found if facts is not None]


async def _memory(bus: Bus, names: Sequence[str]) -> list[Any]:
    """Bytes of each stream; all None where the server does not know the command, or does not allow it."""
    try:
        await bus.command.memory_usage(names[0])
    except ResponseError:
        return [None] * len(names)
    except (RedisError, OSError) as error:
        raise translate(error, bus.url) from error
    pipeline = bus.command.pipeline(transaction=False)
    for name in names:
        pipeline.memory_usage(name)
    with asking(bus):
        found: list[Any] = await pipeline.execute()
    return found


def _facts(bus: Bus, name: str, info: Any, groups: Any, memory: Any) -> StreamFacts | None:
    for reply in (info, groups):
        if isinstance(reply, NoPermissionError):
            raise translate(reply, bus.url, key=name) from reply
        if isinstance(reply, ResponseError):
            return None
    return StreamFacts(
        name=name,
        length=info["length"],
        first_ms=_ms(info["first-entry"]),
        last_ms=_ms(info["last-entry"]),
        entries_added=info.get("entries-added"),
        memory_bytes=memory,
        groups=[_group(group, info) for group in groups],
    )


def _ms(entry: Any) -> int | None:
    return parse_id(entry[0])[0] if entry else None


def _group(group: Mapping[str, Any], info: Mapping[str, Any]) -> GroupFacts:
    return GroupFacts(group["name"], group["consumers"], group["pending"], lag(group, info))


def lag(group: Mapping[str, Any], info: Mapping[str, Any]) -> int | None:
    """Entries not yet delivered.

    Redis counts on after entries were trimmed that the group had not read, and its `lag` is too high from then on. At
    both ends of the stream the truth is plain; between them a lag that the stream cannot hold is taken for unknown.
    """
    if not info["length"]:
        return 0
    delivered = parse_id(group["last-delivered-id"])
    if delivered >= parse_id(info["last-entry"][0]):
        return 0
    if delivered < parse_id(info["first-entry"][0]):
        return int(info["length"])
    told = group.get("lag")
    return told if told is not None and told < info["length"] else None


async def _rates(bus: Bus, names: Sequence[str], now_ms: int) -> dict[str, float]:
    pipeline = bus.command.pipeline(transaction=False)
    for name in names:
        pipeline.xrevrange(name, count=SAMPLE)
    with asking(bus):
        samples = await pipeline.execute()
    return {
        name: _rate([_ms(entry) or 0 for entry in sample], now_ms) for name, sample in zip(names, samples, strict=True)
    }


def _rate(newest_first: Sequence[int], now_ms: int) -> float:
    """Entries a second from their times up to now.

    >>> _rate([5000, 4000, 3000], now_ms=5000), _rate([5000, 4000, 3000], now_ms=2_003_000), _rate([5000], 5000)
    (1.0, 0.001, 0.0)
    """
    if len(newest_first) < 2:
        return 0.0
    elapsed_ms = max(now_ms, newest_first[0]) - newest_first[-1]
    return (len(newest_first) - 1) * 1000 / elapsed_ms if elapsed_ms else 0.0
