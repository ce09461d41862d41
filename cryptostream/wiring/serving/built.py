"""One pair's bars out of the stream of its trades, read on from where the last reader left it."""

from collections import deque
from collections.abc import Sequence

from cryptostream.bus.glance import PAGE, Glance, Glimpse, Raw, entry, id_of
from cryptostream.errors import DataQuality
from cryptostream.model import codec, memory
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Gap, Micros, Trade
from cryptostream.transforms.bars import Bars, BarSpec
from cryptostream.wiring.serving.candle import MOST, Candle, of
from cryptostream.wiring.serving.times import HORIZON_MS

_ALWAYS = 20_000
"""A stream of so few entries is read from its beginning."""
_AT_MOST = 100_000
"""No more of a long one is read for its first bars."""
_AHEAD_MS = 86_400_000
_ZERO = (0, 0)
_TRIMMED = Gap("", "", "", 0, 0, "trimmed", Micros(0))


class Built:
    """Bars of one stream. One task at a time."""

    def __init__(self, glance: Glance, stream: str, spec: BarSpec, most: int) -> None:
        self._glance = glance
        self._stream = stream
        self._spec = spec
        self._closed: deque[Candle] = deque(maxlen=most)
        self._bars = Bars(spec)
        self._asked_ms: int | None = None
        self._seen: Glimpse | None = None
        self._next = "-"
        self._place = _ZERO
        self._last_ms = 0
        self._is_partial = False

    def __len__(self) -> int:
        return len(self._closed)

    async def bars(self, on: Glimpse, since_ms: int) -> Sequence[Candle]:
        """All from a time on that can be had, oldest first, the open one last. `on` is a look at the stream."""
        if self._asked_ms is None or since_ms < self._asked_ms or self._is_another(on):
            start = _start(self._spec, on, since_ms)
            page = await self._glance.page(self._stream, start)
            self._begin(on, start, since_ms)  # only now: whoever had no answer leaves what was there
        else:
            page = await self._glance.page(self._stream, self._next)
            self._miss(on)
        self._seen = on
        while page:
            for raw in page:
                self._take(raw)
            self._place = parse_id(id_of(page[-1]))
            self._next = f"({self._place[0]}-{self._place[1]}"
            if len(page) < PAGE:
                break
            page = await self._glance.page(self._stream, self._next)
        still = self._open()
        return [*self._closed, still] if still else list(self._closed)

    def _is_another(self, on: Glimpse) -> bool:
        """Whether the name stands for another stream now: by what only ever grows, from look to look.

        A look is older than what was read after it, so that the place where that ended says nothing about it.
        """
        if self._seen is None or on.added is None or self._seen.added is None:
            return self._seen is not None and (on.last_ms or 0) < (self._seen.last_ms or 0)
        return on.added < self._seen.added

    def _begin(self, on: Glimpse, start: str, since_ms: int) -> None:
        self._bars = Bars(self._spec)
        self._closed.clear()
        self._place, self._next = _ZERO, start
        self._asked_ms = 0 if start == "-" else since_ms
        self._is_partial = on.is_trimmed if start == "-" else self._spec.kind != "time"

    def _miss(self, on: Glimpse) -> None:
        """What is gone from the stream was never read."""
        first = parse_id(id_of(on.first)) if on.first else _ZERO
        if first > self._place > _ZERO and first[1] != self._place[1] + 1:
            self._bars.update(_TRIMMED)

    def _take(self, raw: Raw) -> None:
        told = entry(self._stream, raw)
        try:
            event = codec.event(self._stream, told.entry_id, told.fields)
        except DataQuality:
            return
        if not isinstance(event, Trade | Gap) or not _is_sound(event):
            return
        self._last_ms = event.ts // 1000
        bar = self._bars.update(event)
        if bar is not None:
            self._closed.append(of(bar, closed=True, gap=bar.gap or self._is_partial))
            self._is_partial = False

    def _open(self) -> Candle | None:
        """The bar that trades still change."""
        state = memory.remembered(self._bars)
        if not state["_trades"]:
            return None
        is_timed = self._spec.kind == "time"
        return Candle(
            open_time_ms=state["_open_ms"],
            close_time_ms=state["_until_us"] // 1000 - 1 if is_timed else self._last_ms,
            open=state["_open"],
            high=state["_high"],
            low=state["_low"],
            close=state["_close"],
            volume=state["_volume"],
            trades=state["_trades"],
            closed=False,
            gap=state["_gap"] or self._is_partial,
        )


def _is_sound(event: Trade | Gap) -> bool:
    """Whether anybody can have traded so; a time that lies far beyond its id's would keep a bar open for ever."""
    ms = event.ts // 1000
    if not 0 <= ms <= min(HORIZON_MS, parse_id(event.entry_id)[0] + _AHEAD_MS):
        return False
    return isinstance(event, Gap) or (0 < event.price <= MOST and 0 <= event.qty <= MOST)


def _start(spec: BarSpec, on: Glimpse, since_ms: int) -> str:
    """From where on a stream is read for bars from a time on."""
    if on.first_ms is None or on.last_ms is None or on.length <= _ALWAYS:
        return "-"
    first_ms, last_ms = min(on.first_ms, HORIZON_MS), min(on.last_ms, HORIZON_MS)
    an_entry_ms = (last_ms - first_ms) / on.length
    fewest, most = (round(last_ms - count * an_entry_ms) for count in (_ALWAYS, _AT_MOST))
    wanted_ms = max(most, min(fewest, since_ms))
    if wanted_ms <= first_ms:
        return "-"
    return str(spec.window(wanted_ms)[0] if spec.kind == "time" else wanted_ms)
