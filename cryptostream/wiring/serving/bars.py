"""Candles out of the bus: a venue's klines where it keeps them, else built from trades; what was read is kept.

Asked again, only what is new is read, a small page at a time. At most MOST_KEPT pairs and intervals are kept, each with
at most MOST bars, and MOST_ALTOGETHER of all; what was not asked for longest goes.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol

from cryptostream.bus.glance import Glance, Glimpse
from cryptostream.errors import NotFound, UsageError
from cryptostream.model import intervals
from cryptostream.model.instrument import Channel, Interval, Pair, Subscription
from cryptostream.model.ports import Clock
from cryptostream.transforms.bars import BarSpec, parse_bars
from cryptostream.web import shown
from cryptostream.wiring.basics import KeyOf
from cryptostream.wiring.serving.built import Built
from cryptostream.wiring.serving.candle import Candle
from cryptostream.wiring.serving.klines import Klines
from cryptostream.wiring.serving.times import HORIZON_MS

MOST = 5_000
MOST_KEPT = 50
MOST_ALTOGETHER = 50_000
_FEWEST = 500


class Series(Protocol):
    """One pair's bars of one interval, brought up to date when somebody asks."""

    def __len__(self) -> int:
        """How many bars it keeps."""

    async def bars(self, on: Glimpse, since_ms: int) -> Sequence[Candle]:
        """All from a time on that can be had, oldest first, the open one last."""


class Shelf:
    """The bars that were asked for lately."""

    def __init__(self, glance: Glance, clock: Clock, key_of: KeyOf) -> None:
        self._glance = glance
        self._clock = clock
        self._key_of = key_of
        self._kept: OrderedDict[tuple[str, str], tuple[asyncio.Lock, Series]] = OrderedDict()

    async def bars(
        self,
        pair: Pair,
        interval: str,
        there: Mapping[str, Glimpse],
        *,
        since_ms: int | None,
        until_ms: int | None,
        limit: int,
    ) -> list[shown.Bar]:
        """The newest `limit` of these times; `there` is what the bus holds. Raises NotFound, UsageError."""
        if not 1 <= limit <= MOST:
            raise UsageError(f"not a number of bars: {limit}", hint=f"1 to {MOST}")
        spec = parse_bars(interval)
        stream, wanted_ms, is_klines = self._chosen(pair, spec, there, since_ms, until_ms, limit)
        found = await self._series(stream, spec, is_klines=is_klines).bars(there[stream], wanted_ms)
        chosen = [
            bar
            for bar in found
            if (since_ms is None or bar.open_time_ms >= since_ms) and (until_ms is None or bar.open_time_ms <= until_ms)
        ]
        self._make_room()
        return [bar.shown() for bar in chosen[-limit:]]

    def _make_room(self) -> None:
        while len(self._kept) > 1 and (
            len(self._kept) > MOST_KEPT or sum(len(series) for _, series in self._kept.values()) > MOST_ALTOGETHER
        ):
            self._kept.popitem(last=False)

    def _chosen(
        self,
        pair: Pair,
        spec: BarSpec,
        there: Mapping[str, Glimpse],
        since_ms: int | None,
        until_ms: int | None,
        limit: int,
    ) -> tuple[str, int, bool]:
        """The stream to take, from when on it is wanted, and whether it is one of klines."""
        trades = [
            name
            for channel in (Channel.TRADES, Channel.AGG_TRADES)
            if there.get(name := self._key_of(Subscription(pair.exchange, channel, pair.name)))
        ]
        klines = self._klines(pair, spec, there)
        ends = [min(there[name].last_ms or 0, HORIZON_MS) for name in (*trades[:1], *klines)]
        if not ends:
            raise NotFound(f"no trades and no klines of {pair}", hint="cryptostream subscribe follows a pair")
        last_ms = max(ends) if until_ms is None else min(until_ms, max(ends))
        wanted_ms = _back(spec, last_ms, max(limit, _FEWEST)) if since_ms is None else since_ms
        if not klines:
            return trades[0], wanted_ms, False
        if trades and _reaches_further(there[trades[0]], there[klines[0]], Interval(spec.text), wanted_ms):
            return trades[0], wanted_ms, False
        return klines[0], wanted_ms, True

    def _klines(self, pair: Pair, spec: BarSpec, there: Mapping[str, Glimpse]) -> list[str]:
        if spec.text not in set(Interval):
            return []
        wanted = Subscription(pair.exchange, Channel.KLINES, pair.name, Interval(spec.text))
        name = self._key_of(wanted)
        return [name] if name in there and there[name].last is not None else []

    def _series(self, stream: str, spec: BarSpec, *, is_klines: bool) -> "_Turn":
        key = (stream, spec.text)
        if key not in self._kept:
            made: Series = (
                Klines(self._glance, self._clock, stream, Interval(spec.text), MOST)
                if is_klines
                else Built(self._glance, stream, spec, MOST)
            )
            self._kept[key] = (asyncio.Lock(), made)
        self._kept.move_to_end(key)
        return _Turn(*self._kept[key])


class _Turn:
    """One series, asked by one task at a time."""

    def __init__(self, lock: asyncio.Lock, series: Series) -> None:
        self._lock = lock
        self._series = series

    async def bars(self, on: Glimpse, since_ms: int) -> Sequence[Candle]:
        async with self._lock:
            return list(await self._series.bars(on, since_ms))


def _back(spec: BarSpec, last_ms: int, limit: int) -> int:
    """When so many time bars ago was; 0 where the length of a bar is no time."""
    if spec.kind != "time":
        return 0
    length_ms = int(spec.size) or 31 * 86_400_000
    return max(0, spec.window(last_ms)[0] - (limit - 1) * length_ms)


def _reaches_further(trades: Glimpse, klines: Glimpse, interval: Interval, wanted_ms: int) -> bool:
    """Whether trades tell of a time that is wanted and that klines do not know."""
    if klines.first_ms is None or trades.first_ms is None:
        return klines.first_ms is None
    known_ms = intervals.opens(interval, min(klines.first_ms, HORIZON_MS))
    return wanted_ms < known_ms and trades.first_ms < known_ms
