"""What `tail` shows of recordings: their last entries, or those of a window, in order of time."""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count, islice
from pathlib import Path

from cryptostream.bus.history import Keep
from cryptostream.cli.reading import LAST, NEW, Window
from cryptostream.errors import UsageError
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry
from cryptostream.model.ports import Clock
from cryptostream.tape.parttape import PartTape
from cryptostream.tape.play import EntryPlayer
from cryptostream.tape.reader import Reel, find

_NS_PER_MS = 1_000_000
_LOOKED_AT = 100
_Id = tuple[int, float]
_FIRST, _LAST = (0, 0.0), (1 << 63, float("inf"))


def opened(words: Sequence[str]) -> list[Reel[Entry]]:
    """The recordings of entries under some paths. Raises NotFound, and UsageError for frames."""
    found = find([Path(word) for word in words])
    if found.frames:
        raise UsageError(
            f"{found.frames[0].path} holds frames, and no entries", hint="cryptostream replay --to stdout plays them"
        )
    return found.entries


def fields_of(tapes: Sequence[Reel[Entry]]) -> set[str]:
    """The names of the fields that the recordings' first entries have. Raises DataQuality."""
    return {field for tape in tapes[:_LOOKED_AT] for line in islice(tape, 1) for field in line.item.fields}


async def batches(
    tapes: Sequence[Reel[Entry]], window: Window, clock: Clock, *, keep: Keep | None
) -> AsyncGenerator[list[Entry], None]:
    """The entries of a window that `keep` wants. Raises DataQuality where a recording is damaged."""
    if window.since is None:
        yield _newest(tapes, _wanted(window, keep), LAST if window.n is None else window.n)
    elif window.since != NEW:
        wanted, kept = _wanted(window, keep), deque[Entry](maxlen=window.n)
        since, until = _bounds(window)
        first, last = since[0] * _NS_PER_MS, (until[0] + 1) * _NS_PER_MS - 1
        async for batch in EntryPlayer(tapes, clock=clock, since=first, until=last).batches():
            found = list(filter(wanted, batch.events))
            if window.n is None:
                yield found
            else:
                kept.extend(found)
        yield list(kept)


def _bounds(window: Window) -> tuple[_Id, _Id]:
    """The lowest and the highest id of a window."""
    since = window.since if window.since not in (None, "-") else None
    lowest = _FIRST if since is None else _id(since.removeprefix("("), 0.0)
    return lowest, _LAST if window.until is None else _id(window.until, float("inf"))


def _id(text: str, sequence: float) -> _Id:
    ms, number = parse_id(text)
    return ms, number if "-" in text else sequence


def _wanted(window: Window, keep: Keep | None) -> Callable[[Entry], bool]:
    lowest, highest = _bounds(window)
    leaves_first_out = window.since is not None and window.since.startswith("(")

    def wanted(entry: Entry) -> bool:
        this = parse_id(entry.entry_id)
        inside = lowest <= this <= highest and not (leaves_first_out and this == lowest)
        return inside and (keep is None or keep(entry))

    return wanted


def _newest(tapes: Sequence[Reel[Entry]], wanted: Callable[[Entry], bool], n: int) -> list[Entry]:
    """The last `n` entries of all together; of files only as much is read as it takes."""
    best: list[tuple[int, str, int, int, Entry]] = []
    tie = count()
    for tape in sorted(tapes, key=_ends, reverse=True) if n else ():
        if len(best) == n and _ends(tape)[0] < best[0][0]:
            break
        for entry in _backwards(tape):
            ms, sequence = parse_id(entry.entry_id)
            if len(best) == n and ms < best[0][0] and isinstance(tape, PartTape):
                break
            if wanted(entry):
                heappush(best, (ms, entry.stream, sequence, next(tie), entry))
                if len(best) > n:
                    heappop(best)
    return [entry for *_, entry in sorted(best, key=lambda one: one[:4])]


def _ends(tape: Reel[Entry]) -> _Id:
    """Where a recording ends, as far as that is known."""
    return parse_id(tape.stretch.last_id) if isinstance(tape, PartTape) else _LAST


def _backwards(tape: Reel[Entry]) -> Iterator[Entry]:
    """The entries of a recording, the newest first where that can be had."""
    if isinstance(tape, PartTape):
        for page in tape.stretch.newest():
            yield from reversed(page)
    else:
        yield from (line.item for line in tape)
