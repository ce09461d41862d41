"""What strategies take in before they speak: what the stream still holds, what was recorded, the venue's candles."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from cryptostream import logs
from cryptostream.bus import history
from cryptostream.bus.connect import Bus
from cryptostream.bus.pack import Entries
from cryptostream.config import Config
from cryptostream.engine.clock import SystemClock, within
from cryptostream.errors import BadFrame, CryptostreamError, DataQuality, VenueUnavailable
from cryptostream.feed import pages
from cryptostream.model import codec
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry, Event, Gap, Kline, Trade
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.model.ports import Archive
from cryptostream.transforms.bars import parse_bars
from cryptostream.wiring.basics import rest, venue
from cryptostream.wiring.roster import Roster

MOST = 100_000
"""Entries of an archive, or of bars that have no windows, that are read at most."""
_ASK_S = 15.0
"""How long a venue has for its candles."""
_LAST = 2**63
_log = logs.get("wiring")

Pages = AsyncIterator[Sequence[Event]]


class Past:
    """Reads the past of a stream, so much that strategies which need `bars` of it are warm. Nothing is promised.

    Trades are read from the opening of the first window that is wanted. What the stream has lost is taken from an
    archive, and what that has not from the venue's candles, up to the first window of which all trades are there.
    """

    def __init__(self, config: Config, on: Bus, archive: Archive | None, roster: Roster) -> None:
        self._config = config
        self._bus = on
        self._archive = archive
        self._spec = roster.bars
        self._bars = max(roster.warm_ups.values())
        self._clock = SystemClock()

    async def __call__(self, stream: str, before: str) -> Pages:
        """Events of a stream below an entry id, in order. Raises BusUnavailable."""
        first = await self._first(stream)
        if first is None or not self._bars:
            return
        if isinstance(first, Trade) and self._spec.kind != "time":
            yield _events(await history.last(self._bus, stream, self._most, top=f"({before}"))
            return
        since_ms = self._since(first, parse_id(before)[0])
        recorded = await asyncio.to_thread(self._recorded, stream, since_ms, first.entry_id)
        begins = recorded[0][0].ts // 1000 if recorded else parse_id(first.entry_id)[0]
        candles, whole_ms = await self._candles(first, since_ms, begins)
        if candles:
            yield candles
        for page in recorded:
            yield [event for event in page if _opened(event) >= whole_ms]
        async for found in history.between(self._bus, stream, str(max(since_ms, whole_ms)), f"({before}"):
            yield _events(found)

    async def _first(self, stream: str) -> Trade | Kline | None:
        """The oldest event that the stream still holds."""
        async for page in history.between(self._bus, stream):
            return next((event for event in _events(page) if isinstance(event, Trade | Kline)), None)
        return None

    @property
    def _most(self) -> int:
        """How many trades may be needed for bars that have no windows."""
        return min(MOST, self._bars * int(self._spec.size)) if self._spec.kind == "tick" else MOST

    def _since(self, first: Trade | Kline, now_ms: int) -> int:
        """When the first window that is wanted opens, milliseconds."""
        spec = parse_bars(first.interval) if isinstance(first, Kline) else self._spec
        opened = spec.window(now_ms)[0]
        for _ in range(self._bars):
            opened = spec.window(opened - 1)[0]
        return max(0, opened)

    def _recorded(self, stream: str, since_ms: int, first_id: str) -> Sequence[list[Event]]:
        """What an archive has from a time on of what the stream has no more; of too many the newest."""
        found: deque[list[Event]] = deque()
        if self._archive is None or since_ms >= parse_id(first_id)[0]:
            return found
        count = 0
        with suppress(DataQuality):
            for page in self._archive.after(stream, f"{max(0, since_ms - 1)}-{_LAST}"):
                events = _events([entry for entry in page if parse_id(entry.entry_id) < parse_id(first_id)])
                if not events:
                    break
                found.append(events)
                count += len(events)
                while count - len(found[0]) >= MOST:
                    count -= len(found.popleft())
        return found

    async def _candles(self, first: Trade | Kline, since_ms: int, begins_ms: int) -> tuple[list[Event], int]:
        """The venue's candles from a time up to the first window that trades fill, and when that opens."""
        name = first.interval if isinstance(first, Kline) else self._spec.text
        spec = parse_bars(name)
        if name not in set(Interval) or begins_ms <= since_ms:
            return [], since_ms
        whole_ms = spec.window(begins_ms)[1]
        wanted = Subscription(first.exchange, Channel.KLINES, first.pair, Interval(name))
        try:
            found = await within(self._clock, _ASK_S, self._asked(wanted, since_ms, whole_ms - 1))
        except (VenueUnavailable, BadFrame, TimeoutError, CryptostreamError) as error:
            _log.warning("warm_up.without_candles", pair=first.pair, why=str(error) or f"no answer in {_ASK_S:g} s")
            return [], since_ms
        return found, whole_ms

    async def _asked(self, wanted: Subscription, first_ms: int, last_ms: int) -> list[Event]:
        place, entry_of = venue(self._config, wanted.exchange), Entries()
        async with rest(place) as client:
            asked = pages.klines(place, client.get, wanted, first_ms, last_ms, clock=self._clock)
            return [event async for page in asked for event in _events([entry_of(kline) for kline in page])]


def _events(entries: Sequence[Entry]) -> list[Event]:
    """The trades, closed klines and gaps among entries."""
    found: list[Event] = []
    for entry in entries:
        with suppress(DataQuality):
            event: Any = codec.event(entry.stream, entry.entry_id, entry.fields)
            if isinstance(event, Trade | Gap) or (isinstance(event, Kline) and event.closed):
                found.append(event)
    return found


def _opened(event: Event) -> int:
    """When the window of a candle opens, or when a trade was made; milliseconds."""
    return event.open_time if isinstance(event, Kline) else event.ts // 1000
