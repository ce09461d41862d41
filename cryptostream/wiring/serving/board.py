"""The newest look at the bus, taken again and again, so that whoever asks is answered from memory: a companion."""

from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from cryptostream.bus import admin, history
from cryptostream.bus.admin import Counters, StreamFacts
from cryptostream.bus.ask import heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.events import Entry
from cryptostream.model.ports import Clock

_EVERY_S = 0.5
_SPARK = 40


class Look(msgspec.Struct, frozen=True):
    """The bus at one moment, of our monotonic clock."""

    at_s: float = 0.0
    streams: Mapping[str, StreamFacts] = {}
    rates: Mapping[str, float | None] = {}
    newest: Mapping[str, Entry] = {}
    counters: Sequence[Counters] = ()


class Board:
    """Looks at the bus until cancelled. `look` is the newest, `trouble` says why there is none now."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self.look = Look()
        self.trouble = "starting: nothing has been read yet"
        self.sparks: dict[str, deque[float]] = {}
        self._bus = bus
        self._clock = clock

    async def __call__(self) -> None:
        while True:
            try:
                self.look = await self._look()
                self.trouble = ""
            except (BusUnavailable, BusRefused) as error:
                self.trouble = str(error)
            heed_cancellation()
            await self._clock.sleep(_EVERY_S)

    async def _look(self) -> Look:
        names = await history.streams(self._bus, "*")
        at_s, before = self._clock.monotonic(), self.look
        found = {facts.name: facts for facts in await admin.describe(self._bus, names)}
        rates = {
            name: admin.rate_between(before.streams[name], facts, at_s - before.at_s)
            for name, facts in found.items()
            if name in before.streams
        }
        newest: dict[str, Entry] = {}
        for name in found:
            if name.startswith("trades:") and (last := await history.last(self._bus, name, 1)):
                newest[name] = last[0]
                if "price" in last[0].fields:
                    self.sparks.setdefault(name, deque(maxlen=_SPARK)).append(float(last[0].fields["price"]))
        return Look(at_s, found, rates, newest, await admin.read_counters(self._bus))
