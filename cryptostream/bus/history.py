"""Streams as people read them: what is there, by the exchange's time, and then what comes, each entry once.

Nobody here belongs to a group, so reading changes nothing. To go from what is there to what comes, take the `tops`
first, read history up to them and `follow` after them: nothing falls between the two, and nothing comes twice.
"""

from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import Any

from cryptostream import logs
from cryptostream.bus.ask import asking, heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.outage import Outage
from cryptostream.bus.translate import translate_reply
from cryptostream.errors import BusUnavailable
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry
from cryptostream.model.ports import Clock

BEGINNING = "0-0"
"""The id before every entry."""
PAGE = 1000
LOOK_BACK = 100_000
"""How many entries, over all streams together, `latest` looks at for those that are wanted."""
RESCAN_S = 2.0
"""How often `follow` looks for streams that are new."""
_READ_AT_ONCE = 5000
_SCAN_COUNT = 1000
_GLOB = frozenset("*?[\\")
_log = logs.get("bus")

Keep = Callable[[Entry], bool]
Pages = AsyncGenerator[list[Entry], None]


def is_glob(pattern: str) -> bool:
    """Whether a name stands for any number of streams.

    >>> is_glob("trades:*"), is_glob("trades:BTCUSDT")
    (True, False)
    """
    return not _GLOB.isdisjoint(pattern)


async def streams(bus: Bus, pattern: str) -> list[str]:
    """The names of the streams that match a Redis glob, sorted; a name without glob characters stands for itself.

    Raises BusRefused where a name without glob characters is a key of another type, and BusUnavailable.
    """
    if is_glob(pattern):
        return sorted(await keys(bus, pattern, "stream"))
    with asking(bus, pattern):
        kind = await bus.command.type(pattern)
    if kind not in ("stream", "none"):
        raise translate_reply("WRONGTYPE", bus.url, key=pattern)
    return [pattern] if kind == "stream" else []


async def keys(bus: Bus, pattern: str, kind: str) -> set[str]:
    """The keys of one type that match a glob, by SCAN: a server with many keys goes on serving others."""
    with asking(bus):
        return {str(name) async for name in bus.command.scan_iter(match=pattern, count=_SCAN_COUNT, _type=kind)}


async def tops(bus: Bus, names: Sequence[str]) -> dict[str, str]:
    """The id of the newest entry of each stream; `BEGINNING` for an empty one."""
    pipeline = bus.command.pipeline(transaction=False)
    for name in names:
        pipeline.xrevrange(name, count=1)
    with asking(bus):
        found = await pipeline.execute()
    return {name: entries[0][0] if entries else BEGINNING for name, entries in zip(names, found, strict=True)}


async def last(
    bus: Bus, stream: str, n: int, *, top: str = "+", keep: Keep | None = None, look_back: int = LOOK_BACK
) -> list[Entry]:
    """The last `n` entries up to `top` that `keep` wants, oldest first, among the last `look_back`."""
    found: list[Entry] = []
    seen = 0
    count = min(PAGE, look_back if keep else n)
    while len(found) < n and seen < look_back:
        with asking(bus, stream):
            page = _entries(stream, await bus.command.xrevrange(stream, top, "-", count=count))
        found += filter(keep, page)
        seen += len(page)
        if len(page) < count:
            break
        top = f"({page[-1].entry_id}"
    return found[:n][::-1]


async def latest(bus: Bus, until: Mapping[str, str], n: int, keep: Keep | None = None) -> list[Entry]:
    """The last `n` entries of several streams taken together, in order of time; `until` is the newest id of each."""
    found: list[Entry] = []
    share = max(n, LOOK_BACK // max(1, len(until)))
    for stream, top in until.items():
        found += await last(bus, stream, n, top=top, keep=keep, look_back=share)
    return sorted(found, key=_when)[-n:] if n else []


async def between(bus: Bus, stream: str, since: str = "-", until: str = "+") -> Pages:
    """Pages of the entries from `since` to `until`, both included.

    Both are entry ids or milliseconds of the exchange's time since the epoch; `(` before an id leaves it out.
    """
    while True:
        with asking(bus, stream):
            page = _entries(stream, await bus.command.xrange(stream, since, until, count=PAGE))
        if page:
            yield page
        if len(page) < PAGE:
            return
        since = f"({page[-1].entry_id}"


async def in_time_order(readers: Sequence[Pages]) -> Pages:
    """Several streams' pages as one sequence of batches by the exchange's time; holds one page of each."""
    pages = {reader: page for reader in readers if (page := await anext(reader, None))}
    while pages:
        horizon = min(_when(page[-1]) for page in pages.values())
        batch: list[Entry] = []
        for reader, page in list(pages.items()):
            ready = bisect_right(page, horizon, key=_when)
            batch += page[:ready]
            pages[reader] = page[ready:] or await anext(reader, [])
            if not pages[reader]:
                del pages[reader]
        yield sorted(batch, key=_when)


async def follow(
    bus: Bus, patterns: Sequence[str], after: Mapping[str, str], clock: Clock, *, at_once: int = 0
) -> Pages:
    """What comes to the streams that match, in batches, for ever; each stream goes on after its id in `after`.

    `at_once` bounds the entries of a batch: to read ten takes a tenth of a millisecond, in which nobody else works.

    A stream that is not in `after`, because nobody had written it yet, is read from its beginning. While the bus is
    away this waits, and goes on where it was. Raises BusRefused.
    """
    places = dict(after)
    outage = Outage(clock, bus)
    look_at = clock.monotonic()
    while True:
        try:
            if clock.monotonic() >= look_at:
                await _discover(bus, patterns, places)
                look_at = clock.monotonic() + RESCAN_S
            batch = await _next(bus, places, clock, at_once or _READ_AT_ONCE)
        except BusUnavailable as trouble:
            await outage.wait(trouble)
            continue
        outage.over()
        if batch:
            yield batch


async def _discover(bus: Bus, patterns: Collection[str], places: dict[str, str]) -> None:
    for pattern in patterns:
        for name in await streams(bus, pattern):
            places.setdefault(name, BEGINNING)


async def _next(bus: Bus, places: dict[str, str], clock: Clock, at_once: int) -> list[Entry]:
    """All that has come since, at most RESCAN_S later; moves the places on."""
    heed_cancellation()
    if not places:
        await clock.sleep(RESCAN_S)
        return []
    count = max(1, at_once // len(places))
    with asking(bus, ", ".join(places) if len(places) == 1 else ""):
        found: Any = await bus.blocking.xread(dict[Any, Any](places), count=count, block=round(RESCAN_S * 1000))
    batch: list[Entry] = []
    for stream, entries in found:
        places[stream] = entries[-1][0]
        batch += _entries(stream, entries)
    return sorted(batch, key=_when)


def _entries(stream: str, found: Any) -> list[Entry]:
    return [Entry(stream, entry_id, fields) for entry_id, fields in found]


def _when(entry: Entry) -> tuple[int, int]:
    return parse_id(entry.entry_id)
