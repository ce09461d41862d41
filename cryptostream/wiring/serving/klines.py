"""One pair's candles out of the venue's klines: each closed one stands at an id that can be told, and is read by it."""

from collections.abc import Sequence
from itertools import pairwise

from msgspec.structs import replace

from cryptostream.bus.glance import PAGE, Glance, Glimpse, Raw, entry
from cryptostream.bus.keys import kline_id
from cryptostream.errors import DataQuality
from cryptostream.model import codec, intervals
from cryptostream.model.events import Kline
from cryptostream.model.instrument import Interval
from cryptostream.model.ports import Clock
from cryptostream.wiring.serving.candle import MOST, Candle, of
from cryptostream.wiring.serving.times import HORIZON_MS

_AGAIN_S = 5.0


class Klines:
    """Candles of one stream. One task at a time."""

    def __init__(self, glance: Glance, clock: Clock, stream: str, interval: Interval, most: int) -> None:
        self._glance = glance
        self._clock = clock
        self._stream = stream
        self._interval = interval
        self._most = most
        self._closed: dict[int, Candle] = {}
        self._missed_s: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._closed)

    async def bars(self, on: Glimpse, since_ms: int) -> Sequence[Candle]:
        """All from a time on that the stream holds, oldest first, the open one last. `on` is a look at the stream."""
        [newest] = await self._glance.newest({self._stream: "+"}, 1)
        still = self._read(newest[0]) if newest else None
        if still is None or on.first_ms is None:
            return []
        windows = self._windows(min(max(since_ms, on.first_ms), still.open_time), still.open_time)
        await self._look_up(windows)
        self._forget(windows)
        found = [self._closed[opened] for opened in windows if opened in self._closed]
        if not still.closed:
            found.append(of(still, closed=False, gap=False))
        return _with_gaps(self._interval, found) if found else []

    def _windows(self, since_ms: int, last: int) -> list[int]:
        """The windows from a time up to the newest, as many as are kept."""
        first = intervals.opens(self._interval, since_ms)
        first = max(first, intervals.shifted(self._interval, last, -self._most + 1))
        return [
            intervals.shifted(self._interval, first, at)
            for at in range(intervals.count(self._interval, first, last) + 1)
        ]

    async def _look_up(self, windows: Sequence[int]) -> None:
        """Read those that are not known; one that was not there is looked for again after a while."""
        now_s = self._clock.monotonic()
        asked = [
            opened
            for opened in windows
            if opened not in self._closed and now_s - self._missed_s.get(opened, -_AGAIN_S) >= _AGAIN_S
        ]
        for start in range(0, len(asked), PAGE):
            piece = asked[start : start + PAGE]
            ids = [kline_id(0, intervals.closes(self._interval, opened), closed=True) for opened in piece]
            pages = await self._glance.pages([(self._stream, one, one, 1) for one in ids])
            for opened, page in zip(piece, pages, strict=True):
                kline = self._read(page[0]) if page else None
                if kline is None:
                    self._missed_s[opened] = now_s
                else:
                    self._closed[opened] = of(kline, closed=kline.closed, gap=False)

    def _forget(self, windows: Sequence[int]) -> None:
        """Keep no more than so many, the newest."""
        last = windows[-1] if windows else 0
        if len(self._closed) > self._most:
            oldest = intervals.shifted(self._interval, last, -self._most)
            self._closed = {opened: bar for opened, bar in self._closed.items() if opened > oldest}
        if len(self._missed_s) > self._most:
            self._missed_s.clear()

    def _read(self, raw: Raw) -> Kline | None:
        told = entry(self._stream, raw)
        try:
            event = codec.event(self._stream, told.entry_id, told.fields)
        except DataQuality:
            return None
        return event if isinstance(event, Kline) and _is_sound(event) else None


def _is_sound(kline: Kline) -> bool:
    """Whether any venue can have said so."""
    prices = (kline.open, kline.high, kline.low, kline.close)
    is_priced = all(0 < price <= MOST for price in prices) and 0 <= kline.volume <= MOST
    return is_priced and 0 <= kline.open_time <= HORIZON_MS


def _with_gaps(interval: Interval, found: Sequence[Candle]) -> list[Candle]:
    """The same, those beside a hole marked."""
    breaks = [intervals.following(interval, one.open_time_ms) != other.open_time_ms for one, other in pairwise(found)]
    beside = [earlier or later for earlier, later in zip([False, *breaks], [*breaks, False], strict=True)]
    return [replace(bar, gap=True) if gap else bar for bar, gap in zip(found, beside, strict=True)]
