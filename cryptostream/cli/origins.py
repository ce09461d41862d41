"""Where `verify` reads: streams of the bus, each as it is now, or recordings. Both hand over entries in batches."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cryptostream.bus import history
from cryptostream.bus.ask import asking, heed_cancellation
from cryptostream.errors import DataQuality, NotFound
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry

if TYPE_CHECKING:
    from cryptostream.bus.connect import Bus
    from cryptostream.tape.play import EntryPlayer, FramePlayer

Batches = AsyncGenerator[list[Entry], None]
_LOOKS_LIKE_A_PATH = (".raw", ".gz", ".jsonl", ".parquet", ".txt", ".csv", ".zip", "/")


def is_path(word: str) -> bool:
    """Whether a word names a recording: a file or folder that is there, or what looks like one.

    >>> is_path("trades:BTCUSDT"), is_path("BTCUSDT"), is_path("data/tape"), is_path("tape.raw.gz")
    (False, False, True, True)
    """
    return Path(word).exists() or "/" in word or word.endswith(_LOOKS_LIKE_A_PATH)


class Origin(Protocol):
    """Entries of any number of streams, those of one stream in the order in which they are kept."""

    @property
    def progress(self) -> tuple[int, int]:
        """How much has been read, of how much."""

    def batches(self) -> Batches: ...


@dataclass(frozen=True)
class Span:
    """Epoch milliseconds, both included; None is without bound."""

    since: int | None = None
    until: int | None = None

    @property
    def bounded(self) -> bool:
        return self.since is not None or self.until is not None


class OnBus:
    """Streams of the bus, one after the other, up to what they hold now."""

    def __init__(self, bus: "Bus", names: Sequence[str], span: Span) -> None:
        self.bus = bus
        self.names = names
        self._span = span
        self._read = 0
        self._size = 0

    @property
    def progress(self) -> tuple[int, int]:
        return self._read, max(self._read, self._size)

    async def batches(self) -> Batches:
        """Every stream's entries in the span, a page at a time."""
        tops = await history.tops(self.bus, self.names)
        for name in self.names:
            with asking(self.bus, name):
                self._size += await self.bus.command.xlen(name)
        for name in self.names:
            async for page in self.stream(name, tops[name]):
                yield page

    async def again(self, name: str) -> Batches:
        """One stream's entries in the span, as it is now."""
        tops = await history.tops(self.bus, [name])
        async for page in self.stream(name, tops[name]):
            yield page

    async def stream(self, name: str, top: str) -> Batches:
        """One stream's entries in the span, up to `top`."""
        since = "-" if self._span.since is None else str(self._span.since)
        until = top if self._span.until is None else min(top, str(self._span.until), key=_end)
        async for page in history.between(self.bus, name, since, until):
            heed_cancellation()
            self._read += len(page)
            yield page

    async def oldest(self, name: str) -> str:
        """The id of a stream's oldest entry now: what is below it was trimmed."""
        with asking(self.bus, name):
            found = await self.bus.command.xrange(name, count=1)
        return str(found[0][0]) if found else history.BEGINNING


def _end(entry_id: str) -> tuple[int, float]:
    """Where a span up to an id ends: milliseconds alone mean all of them."""
    ms, sequence = parse_id(entry_id)
    return ms, sequence if "-" in entry_id else float("inf")


class OnTape:
    """Recordings: entries as they are, or frames through the code that meets them live.

    `entry_of` makes an entry of what the player plays. Two sockets may have carried the same frame while one took over
    from the other; a replay writes it once, so that frames which came twice are told and no failure.
    """

    def __init__(self, player: "FramePlayer | EntryPlayer", entry_of: Callable[[Any], Entry], *, frames: bool) -> None:
        self.damage: DataQuality | None = None
        """Why it ended before its end."""
        self.plays_frames = frames
        self._player = player
        self._entry_of = entry_of

    @property
    def progress(self) -> tuple[int, int]:
        return self._player.position, self._player.size

    @property
    def tolerated(self) -> frozenset[str]:
        """Failures that are none here."""
        return frozenset({"duplicates"} if self.plays_frames else ())

    @property
    def unreadable(self) -> int:
        """Lines and frames that nobody can read."""
        return self._player.left_out + getattr(self._player, "bad", 0)

    async def batches(self) -> Batches:
        """All that is whole; what is damaged is kept in `damage`."""
        try:
            async for batch in self._player.batches():
                yield list(map(self._entry_of, batch.events))
        except DataQuality as damage:
            self.damage = damage


async def on_bus(bus: "Bus", words: Sequence[str], span: Span) -> OnBus:
    """The streams that words stand for. Raises NotFound."""
    from cryptostream.cli import reading

    found = await reading.find(bus, words)
    if not found.names:
        raise NotFound(f"no stream matches {', '.join(words)}")
    return OnBus(bus, found.names, span)
