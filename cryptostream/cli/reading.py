"""Which streams a person means, and which of their entries: what is there up to now, then what comes."""

import re
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from cryptostream.bus import history
from cryptostream.bus.connect import Bus
from cryptostream.bus.keys import of_pair
from cryptostream.errors import NotFound, UsageError
from cryptostream.model import times
from cryptostream.model.events import Entry
from cryptostream.model.ports import Clock
from cryptostream.registry import did_you_mean

LAST = 10
"""How many entries are shown of what is there, unless somebody says."""
NEW = "new"
_ENTRY_ID = re.compile(r"\(?\d{1,19}(?:-\d{1,19})?", re.ASCII)
_LOOKED_AT = 100
_AWAITED = "wait for it with --wait"


@dataclass(frozen=True)
class Window:
    """Which part of what is there: from `since`, up to `until`, its last `n`. Both are entry ids or epoch milliseconds.

    `since` None means from wherever the last `n` begin, `NEW` means none of it.
    """

    since: str | None = None
    until: str | None = None
    n: int | None = None

    @classmethod
    def of(cls, since: str | None, until: str | None, start: str | None, n: int | None, now_ns: int) -> "Window":
        """Read the options. Raises UsageError for what is no time or no id, and for two starts at once."""
        if since is not None and start is not None:
            raise UsageError("--since and --from both say where to start", hint="use one of them")
        begin = _start(start) if since is None else str(times.moment(since, now_ns))
        return cls(begin, None if until is None else str(times.moment(until, now_ns)), n)


def _start(text: str | None) -> str | None:
    if text is None or text == NEW:
        return text
    if text == "earliest":
        return "-"
    if not _ENTRY_ID.fullmatch(text):
        raise UsageError(f'not an entry id: "{text}"', hint="an id as in 1731605400123-42, or earliest, or new")
    return text


@dataclass(frozen=True)
class Found:
    """The globs a person's words stand for, and the streams that match them now."""

    patterns: Sequence[str]
    names: Sequence[str]


async def find(bus: Bus, words: Sequence[str], *, wait: bool = False) -> Found:
    """The streams that words stand for. Raises NotFound for a word without a stream, unless it may `wait`."""
    patterns = [pattern for word in words for pattern in meanings(word)]
    names: set[str] = set()
    for word in words:
        found = [name for pattern in meanings(word) for name in await history.streams(bus, pattern)]
        if not found and not wait:
            raise NotFound(f'no stream "{word}"', hint=_hint(word, await history.streams(bus, "*")))
        names.update(found)
    return Found(patterns, sorted(names))


def meanings(word: str) -> list[str]:
    """A stream or a glob stands for itself; a bare pair for every stream of that pair, whatever is in it.

    >>> meanings("trades:*"), meanings("btcusdt")
    (['trades:*'], ['btcusdt', '*:BTCUSDT', '*:BTCUSDT:*', '*:{BTCUSDT}', '*:{BTCUSDT}:*'])
    """
    if ":" in word or history.is_glob(word):
        return [word]
    return [word, *of_pair(word.upper())]


def _hint(word: str, names: Sequence[str]) -> str:
    if not names:
        return f"the bus holds no streams: start one with cryptostream ingest, or {_AWAITED}"
    pairs = {part.strip("{}") for name in names for part in name.split(":")[1:]}
    meant = did_you_mean(word, names) or did_you_mean(word.upper(), pairs)
    return meant or f"cryptostream stats lists what there is; {_AWAITED}"


async def fields_of(bus: Bus, names: Sequence[str]) -> set[str] | None:
    """The names of the fields that the streams' newest entries have; None where there is no stream yet to ask."""
    newest = [entry for name in names[:_LOOKED_AT] for entry in await history.last(bus, name, 1)]
    return {field for entry in newest for field in entry.fields} if names else None


async def batches(
    bus: Bus, found: Found, window: Window, clock: Clock, *, keep: history.Keep | None, follow: bool
) -> history.Pages:
    """The entries that `keep` wants, in batches: those in the window, then for ever those that come after them."""
    tops = await history.tops(bus, found.names)
    async for batch in _held(bus, tops, window, keep):
        yield list(filter(keep, batch))
    if not follow:
        return
    async with aclosing(history.follow(bus, found.patterns, tops, clock)) as following:
        async for batch in following:
            yield list(filter(keep, batch))


async def _held(bus: Bus, tops: Mapping[str, str], window: Window, keep: history.Keep | None) -> history.Pages:
    ends = {name: window.until or top for name, top in tops.items()}
    if window.since is None:
        yield await history.latest(bus, ends, LAST if window.n is None else window.n, keep)
    elif window.since != NEW:
        pages = history.in_time_order([history.between(bus, name, window.since, end) for name, end in ends.items()])
        async for batch in pages if window.n is None else _newest(pages, window.n, keep):
            yield batch


async def _newest(pages: history.Pages, n: int, keep: history.Keep | None) -> history.Pages:
    kept: deque[Entry] = deque(maxlen=n)
    async for page in pages:
        kept.extend(filter(keep, page))
    yield list(kept)
