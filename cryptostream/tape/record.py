"""The recorder: entries into Parquet files that are whole whatever happens, each entry once."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from cryptostream.engine.clock import SystemClock
from cryptostream.errors import CryptostreamError
from cryptostream.model.events import Entry
from cryptostream.model.ports import Clock, Sink
from cryptostream.tape import measures
from cryptostream.tape.closing import Closer
from cryptostream.tape.gather import Part
from cryptostream.tape.parts import folder_of, make_folder
from cryptostream.tape.retention import check_apart
from cryptostream.tape.rounds import Rounds
from cryptostream.tape.shelf import Shelf
from cryptostream.tape.tidy import Tidying, tidy
from cryptostream.tape.waiting import Waiting

MAX_BYTES = 128 << 20
"""What waits for its file, in memory, all streams together. Above it nothing is taken; above three quarters of it the
largest file is closed early, so that there is room before it is needed."""
_MAX_SIZE = 1 << 30  # Arrow counts the bytes of a column's texts in 31 bits
_COMPRESSIONS = ("zstd", "snappy", "gzip", "lz4", "none")
_SHELVES = 4096


class Parquet(Sink):
    """Entries to Parquet files by columns, in folders by channel, pair and day.

    `write` only gathers: an entry is safe once its file is closed, which is every `rotate`, or after so many `rows` or
    bytes of text (`size`). `held` tells what is not safe yet. An entry that was recorded before, by whomever, is not
    written twice. While a disk refuses, `trouble` says so, what was gathered is kept and tried again, and above
    MAX_BYTES `write` waits. Every `compact` (0s: never) small files are merged, and what is older than `keep_for` or
    more than `keep_bytes` in all goes to the `archive` folder, or is deleted where there is none.

    Raises ConfigError for settings that are none.
    """

    def __init__(
        self,
        dir: str,  # noqa: A002 - as it is called in the configuration
        rotate: str = "15m",
        rows: int = 1_000_000,
        size: str = "64MiB",
        compression: str = "zstd",
        raw_json: bool = True,
        compact: str = "1h",
        keep_for: str | None = None,
        keep_bytes: str | None = None,
        archive: str | None = None,
        clock: Clock = SystemClock(),  # noqa: B008 - it holds nothing
    ) -> None:
        self.recorded = 0
        """Entries that are safe in a file that we wrote."""
        self.duplicates = 0
        """Entries that were recorded before, or came twice."""
        self._folder = measures.folder("dir", dir)
        self._rotate_s = measures.seconds("rotate", rotate)
        self._rows = measures.count("rows", rows)
        self._size = min(measures.size("size", size), _MAX_SIZE)
        self._compression = measures.one_of("compression", compression, _COMPRESSIONS)
        self._tidy_every_s = measures.seconds("compact", compact)
        self._tidying = Tidying(
            compression=self._compression,
            keep_s=None if keep_for is None else measures.seconds("keep_for", keep_for),
            keep_bytes=None if keep_bytes is None else measures.size("keep_bytes", keep_bytes),
            archive=None if archive is None else measures.folder("archive", archive),
        )
        self._rounds = Rounds()
        check_apart(self._folder, self._tidying.archive)
        self._clock = clock
        self._shelves: dict[tuple[str, int], Shelf] = {}
        self._waiting = Waiting(self._shelf, "" if measures.switch("raw_json", raw_json) else "raw_json")
        self._closer = Closer(self._safe, clock)

    @property
    def trouble(self) -> str:
        """Why the disk takes nothing now; empty while it does."""
        return self._closer.trouble

    async def __aenter__(self) -> Self:
        """Make the folder. Raises CryptostreamError where that cannot be."""
        try:
            await asyncio.to_thread(make_folder, self._folder)
        except OSError as error:
            raise CryptostreamError(f"cannot record to {self._folder}: {error.strerror}") from error
        await self._closer.__aenter__()
        self._tidier = asyncio.create_task(self._tidy()) if self._tidy_every_s else None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Make safe what can be, unless an error is on its way; what is held then is not recorded."""
        self._rounds.stop()
        try:
            if kind is None:
                await self.flush()
        finally:
            if self._tidier is not None:
                self._tidier.cancel()
            await self._closer.__aexit__(kind, error, trace)

    async def write(self, events: Sequence[Entry]) -> None:
        """Gather entries, and close what has to be closed; called with none, that alone."""
        self._check()
        now = self._clock.monotonic()
        self._waiting.add(events, now)
        if self._waiting.crowded or now >= self._waiting.oldest_s + self._rotate_s:
            self._waiting.gather()
            self._close(self._waiting.take(lambda part: self._is_full(part) or now >= part.begun_s + self._rotate_s))
            await self._make_room()

    @property
    def closing(self) -> bool:
        """Whether files are on their way to the disk."""
        return self._waiting.closing(None)

    def held(self) -> Mapping[str, str]:
        """Of each stream that has any, the id of the first entry, in the order of writing, that is not safe yet."""
        return self._waiting.held

    async def flush(self, streams: Collection[str] | None = None) -> None:
        """Make safe what is held of these streams, of all unless told.

        Where the disk refuses, it returns after one more try of a file: `held` tells what came of it.
        """
        self._waiting.gather()
        self._close(self._waiting.take(lambda part: streams is None or part.stream in streams))
        self._closer.hurry()
        failures = self._closer.failures
        while self._waiting.closing(streams) and self._closer.failures == failures:
            await self._closer.change()

    def _check(self) -> None:
        """Raise what nobody expected, if that has happened."""
        self._closer.check()
        if self._tidier is not None and self._tidier.done():
            self._tidier.result()

    async def _tidy(self) -> None:
        while True:
            now_ms = self._clock.now_ns() // 1_000_000
            await asyncio.to_thread(tidy, self._folder, self._tidying, now_ms, self._rounds)
            await self._clock.sleep(self._tidy_every_s)

    def _close(self, parts: Iterable[Part]) -> None:
        for part in parts:
            self._closer.add(part)

    def _is_full(self, part: Part) -> bool:
        return part.rows >= self._rows or part.nbytes >= self._size

    async def _make_room(self) -> None:
        """Close the largest files until what is open is not too much; wait while all of it is."""
        while self._waiting.open_bytes > MAX_BYTES * 3 // 4:
            self._close(self._waiting.take_largest())
        while self._waiting.nbytes > MAX_BYTES:
            await self._closer.change()

    def _safe(self, part: Part, new: int) -> None:
        self._waiting.safe(part)
        self.recorded += new
        self.duplicates += part.rows - new

    def _shelf(self, stream: str, day: int, entries: Sequence[Entry]) -> Shelf:
        """The place of a stream's entries of a day."""
        if (stream, day) not in self._shelves:
            while len(self._shelves) >= _SHELVES:
                del self._shelves[next(iter(self._shelves))]
            shown = next((entry for entry in entries if entry.fields.get("kind") != "gap"), entries[0])
            folder = folder_of(self._folder, stream, shown.fields, day)
            self._shelves[stream, day] = Shelf(folder, stream, self._compression)
        return self._shelves[stream, day]
