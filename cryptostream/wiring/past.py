"""What strategies take in before they speak: what the stream still holds, what was recorded, the venue's candles."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain
from threading import Event as Flag
from types import TracebackType
from typing import Any, NamedTuple, Self

from cryptostream.bus import history
from cryptostream.bus.ask import heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.group.place import before as right_before
from cryptostream.config import Config
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import DataQuality
from cryptostream.model import codec
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry, Event, Gap, Kline, Trade
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.model.ports import Archive
from cryptostream.transforms.bars import BarSpec, parse_bars
from cryptostream.wiring.candles import Candles
from cryptostream.wiring.roster import Roster

MOST = 100_000
"""Entries of an archive, or of bars that have no windows, that are read at most."""
CAUSE = "not recorded"
"""Of a gap that stands where nobody has what came."""
_BEFORE_MS = 60_000
"""An archive that has something of so long before a window has all of the window, if nothing is missing after that."""
_LAST = 2**63

Pages = AsyncGenerator[Sequence[Event], None]
Quote = Trade | Kline


class Past:
    """Reads the past of a stream, so much that strategies which need `bars` of it are warm. Nothing is promised.

    Trades are read from the opening of the first window that is wanted. What the stream has lost is taken from an
    archive as far as it joins the stream, and what that has not from the venue's candles, up to the first window of
    which all trades are there. Where nobody has what came, trades of an archive that joins nothing are better than
    none, and a gap stands in each hole. An async context manager, for it keeps a connection to each venue.
    """

    def __init__(self, config: Config, on: Bus, archive: Archive | None, roster: Roster) -> None:
        self._bus = on
        self._archive = archive
        self._spec = roster.bars
        self._bars = max(roster.warm_ups.values())
        self._candles = Candles(config, SystemClock())

    async def __aenter__(self) -> Self:
        await self._candles.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._candles.__aexit__(kind, error, trace)

    async def __call__(self, stream: str, before: str) -> Pages:
        """Events of a stream below an entry id, in order. Raises BusUnavailable."""
        first = await self._first(stream)
        if first is None or not self._bars:
            return
        if isinstance(first, Trade) and self._spec.kind != "time":
            found = await history.last(self._bus, stream, self._most, top=f"({before}")
            for at in range(0, len(found), history.PAGE):
                yield _events(found[at : at + history.PAGE])
                await SystemClock().sleep(0)
            return
        spec = parse_bars(first.interval) if isinstance(first, Kline) else self._spec
        now_ms = parse_id(before)[0]
        since_ms = self._since(spec, now_ms)
        row = _Row(spec, is_contiguous=await self._candles.is_contiguous(first.exchange))
        recorded = await self._read(stream, since_ms, first, row)
        heed_cancellation()
        candles = await self._asked(spec, since_ms, recorded.begins, now_ms)
        yield row.joined(candles, since_ms)
        whole_ms = spec.window(candles[-1].open_time)[1] if candles else since_ms
        for page in recorded.pages:
            yield row.joined(page, whole_ms)
        async for found in history.between(self._bus, stream, await self._start(stream, whole_ms), f"({before}"):
            yield row.joined(_events(found), whole_ms)

    async def _first(self, stream: str) -> Quote | None:
        """The oldest event that the stream still holds."""
        async for page in history.between(self._bus, stream):
            return next((event for event in _events(page) if isinstance(event, Quote)), None)
        return None

    @property
    def _most(self) -> int:
        """How many trades may be needed for bars that have no windows."""
        return min(MOST, self._bars * int(self._spec.size)) if self._spec.kind == "tick" else MOST

    def _since(self, spec: BarSpec, now_ms: int) -> int:
        """When the first window that is wanted opens, milliseconds."""
        opened = spec.window(now_ms)[0]
        if spec.size:
            return max(0, opened - self._bars * int(spec.size))
        for _ in range(self._bars):  # months
            if opened <= 0:
                break
            opened = spec.window(opened - 1)[0]
        return max(0, opened)

    async def _start(self, stream: str, whole_ms: int) -> str:
        """The last entry before a time: it says whether something is missing right after it."""
        if whole_ms <= 0:
            return "-"
        found = await history.last(self._bus, stream, 1, top=str(whole_ms - 1))
        return found[0].entry_id if found else str(whole_ms)

    async def _read(self, stream: str, since_ms: int, first: Quote, row: "_Row") -> "_Recorded":
        """What an archive has from a time on of what the stream has no more."""
        is_over = Flag()  # for a thread cannot be cancelled
        if self._archive is None or _reaches(first, since_ms):
            return _Recorded((), first)
        try:
            return await asyncio.to_thread(_recorded, self._archive, stream, since_ms, first, row, is_over)
        finally:
            is_over.set()

    async def _asked(self, spec: BarSpec, since_ms: int, begins: Quote, now_ms: int) -> list[Kline]:
        """The venue's candles from a time up to the first window that trades fill; none of a window that is open."""
        if spec.text not in set(Interval) or _reaches(begins, since_ms):
            return []
        until_ms = min(spec.window(_opened(begins))[1], spec.window(now_ms)[0])
        if until_ms <= since_ms:
            return []
        wanted = Subscription(begins.exchange, Channel.KLINES, begins.pair, Interval(spec.text))
        return await self._candles(wanted, since_ms, until_ms - 1)


class _Recorded(NamedTuple):
    """What an archive has; all after `begins` is there up to the stream, and in it."""

    pages: Sequence[list[Event]]
    begins: Quote


class _Row:
    """Events in a row: where the one after another is not the next, a gap is put between them."""

    def __init__(self, spec: BarSpec, *, is_contiguous: bool) -> None:
        self.is_contiguous = is_contiguous
        self._window: Callable[[int], tuple[int, int]] = spec.window
        self._known: Event | None = None
        self._given = (-1, 0)
        self._is_missing = False

    def joined(self, events: Iterable[Event], from_ms: int) -> list[Event]:
        """Those from a time on, and the gaps; what is before that only says what is missing after it."""
        found: list[Event] = []
        for event in events:
            is_wanted = _opened(event) >= from_ms
            if is_wanted and parse_id(event.entry_id) <= self._given:
                continue
            self._is_missing = self._is_missing or self.is_hole(self._known, event)
            if is_wanted and self._is_missing and (gap := self._gap(event)) is not None:
                found.append(gap)
            if is_wanted:
                found.append(event)
                self._given = parse_id(event.entry_id)
            self._is_missing = isinstance(event, Gap) and not is_wanted
            self._known = event
        return found

    def is_hole(self, known: Event | None, event: Event) -> bool:
        """Whether something is missing, or may be, between one and the other; a gap says so itself."""
        if isinstance(event, Kline):
            return isinstance(known, Kline) and event.open_time > self._window(known.open_time)[1]
        if not isinstance(event, Trade):
            return False
        number = _number(known)
        return number is None or (self.is_contiguous and event.trade_id > number + 1)

    def _gap(self, event: Event) -> Gap | None:
        """The gap right before an event, where there is a place for it."""
        entry_id = right_before(event.entry_id)
        if not isinstance(event, Quote) or parse_id(entry_id) <= self._given:
            return None
        if isinstance(event, Kline):
            last = self._window(event.open_time - 1)[0]
            first = self._window(self._known.open_time)[1] if isinstance(self._known, Kline) else last
        else:
            last, number = max(0, event.trade_id - 1), _number(self._known)
            first = number + 1 if number is not None else last
        ts = event.ts if self._known is None else self._known.ts
        return Gap(entry_id, event.exchange, event.pair, min(first, last), last, CAUSE, ts)


def _recorded(archive: Archive, stream: str, since_ms: int, first: Quote, row: _Row, is_over: Flag) -> _Recorded:
    """What an archive has from right before a time on, below the stream's first entry; of too many the newest."""
    found: deque[list[Event]] = deque()
    count, end = 0, parse_id(first.entry_id)
    overlaps = False
    with suppress(DataQuality):
        for page in archive.after(stream, f"{max(0, since_ms - _BEFORE_MS - 1)}-{_LAST}"):
            below = [entry for entry in page if parse_id(entry.entry_id) < end]
            found.append(_events(below))
            count += len(found[-1])
            while count - len(found[0]) >= MOST:
                count -= len(found.popleft())
            overlaps = len(below) < len(page)
            if overlaps or is_over.is_set():
                break
    if isinstance(first, Trade) and not (row.is_contiguous or overlaps):
        return _Recorded((), first)  # nothing says that it joins the stream
    return _Recorded(found, _begins(found, first, row))


def _begins(found: Iterable[list[Event]], first: Quote, row: _Row) -> Quote:
    """The one from which on nothing is missing up to the stream."""
    begins: Quote = first
    known: Event | None = None
    is_whole = False
    for event in chain(chain.from_iterable(found), [first]):
        if isinstance(event, Quote) and (not is_whole or row.is_hole(known, event)):
            begins, is_whole = event, True
        known = event
    return begins


def _reaches(begins: Quote, since_ms: int) -> bool:
    """Whether all is there from a time on; of a trade that was made at that time, others may have come before it."""
    return _opened(begins) <= since_ms if isinstance(begins, Kline) else _opened(begins) < since_ms


def _events(entries: Sequence[Entry]) -> list[Event]:
    """The trades, closed klines and gaps among entries."""
    found: list[Event] = []
    for entry in entries:
        with suppress(DataQuality):
            event: Any = codec.event(entry.stream, entry.entry_id, entry.fields)
            if isinstance(event, Trade | Gap) or (isinstance(event, Kline) and event.closed):
                found.append(event)
    return found


def _number(event: Event | None) -> int | None:
    """The id of a trade, or of the last that is missing."""
    return event.trade_id if isinstance(event, Trade) else event.gap_to if isinstance(event, Gap) else None


def _opened(event: Event) -> int:
    """When the window of a candle opens, a trade was made, or a gap stands; milliseconds."""
    if isinstance(event, Gap):
        return parse_id(event.entry_id)[0]
    return event.open_time if isinstance(event, Kline) else event.ts // 1000
