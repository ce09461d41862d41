"""The newest look at the bus, taken again and again, so that whoever asks is answered from memory: a companion.

Streams of trades are looked at in each round, the others in every few; a round of a thousand streams takes a second,
one of a few a quarter of it. All questions are asked in small pieces (`bus/glance.py`), and what was seen is handed
over whole at the end of a round, so that it may be read from any thread.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cryptostream import logs
from cryptostream.bus import admin, history
from cryptostream.bus.admin import Consumers, Counters
from cryptostream.bus.ask import heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.glance import PIECE, Glance, Glimpse, GroupAt
from cryptostream.engine.stats import PairFacts
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.ports import Clock
from cryptostream.web import shown
from cryptostream.wiring.basics import KeyOf
from cryptostream.wiring.serving import wrong
from cryptostream.wiring.serving.flow import Alive, Flow
from cryptostream.wiring.serving.quoting import Quoting
from cryptostream.wiring.serving.times import stamp

SILENCE_S = 1.5
"""A bus that has not answered for so long is away."""
_ROUND_S = 0.25
_LEAST_REST_S = 0.05
_STREAMS_A_SECOND = 1000
_AT_A_TIME = 128
_NAMES_S = 2.0
_COUNTERS_S = 1.0
_GROUPS_S = 2.0
_MEMBERS_S = 10.0
_MEMORY_S = 30.0
_EVERY = 4
"""Other streams than those of trades are looked at in each fourth round, if there are many."""
_FEW = 200
_RATE_S = 5.0
_MOST_STREAMS_ASKED = 20
_log = logs.get("web")
T = TypeVar("T")


@dataclass(frozen=True)
class Look:
    """The bus at one moment: all of it made, and never changed."""

    glimpses: Mapping[str, Glimpse] = field(default_factory=dict)
    streams: Sequence[shown.Stream] = ()
    quotes: Sequence[shown.Quote] = ()
    counters: Sequence[Counters] = ()
    consumers: Sequence[Consumers] = ()
    groups: Mapping[str, Sequence[shown.Group]] = field(default_factory=dict)
    """By the group's name."""
    latency: shown.Latency = field(default_factory=lambda: shown.Latency(p50_ms=None, p99_ms=None))
    messages_per_s: float | None = None
    published_per_s: float | None = None
    severe: Sequence[str] = ()
    """Why health is bad, in words."""
    unnamed: Sequence[str] = ()
    """The same for anybody: no process is named."""
    wrong: Sequence[str] = ()
    """What else is wrong."""
    letters: Mapping[str, int] = field(default_factory=dict)


class Board:
    """Looks at the bus until cancelled. `look` is the newest, `trouble` says why there is none of now."""

    def __init__(self, bus: Bus, clock: Clock, key_of: KeyOf) -> None:
        self.look = Look()
        self._bus = bus
        self._clock = clock
        self._glance = Glance(bus)
        self._said = "starting: nothing has been read yet"
        self._was_away = False
        self._answered_s = clock.monotonic()
        self._due: dict[str, float] = {}
        self._round = 0
        self._names: list[str] = []
        self._glimpses: dict[str, Glimpse] = {}
        self._added: dict[str, deque[tuple[float, int]]] = {}
        self._memory: dict[str, int | None] = {}
        self._groups: dict[str, list[shown.Group]] = {}
        self._streams: dict[str, shown.Stream] = {}
        self._counters: Sequence[Counters] = ()
        self._consumers: Sequence[Consumers] = ()
        self._flow = Flow()
        self._behind = wrong.Groups()
        self._quoting = Quoting(self._glance, key_of)
        self._ingesting: Alive[Counters] = Alive()
        self._consuming: Alive[Consumers] = Alive()
        self._silent: dict[PairFacts, float] = {}

    @property
    def trouble(self) -> str:
        """Why nothing is known of now; empty while the bus answers."""
        waited_s = self._clock.monotonic() - self._answered_s
        return self._said or (f"the bus has not answered for {waited_s:.0f} s" if waited_s > SILENCE_S else "")

    async def __call__(self) -> None:
        """Look, and look again. Raises nothing: a bus that is away is asked until it is back."""
        while True:
            heed_cancellation()
            began_s = self._clock.monotonic()
            await self.attempt()
            spent_s = self._clock.monotonic() - began_s
            await self._clock.sleep(max(_LEAST_REST_S, _ROUND_S - spent_s))

    async def attempt(self) -> None:
        """Look once; `trouble` says why that could not be."""
        try:
            await self.refresh()
        except (BusUnavailable, BusRefused) as error:
            self._tell(str(error))

    async def refresh(self) -> None:
        """Look once. Raises BusUnavailable, BusRefused."""
        if self._is_due("names", _NAMES_S):
            await self._find()
        if self._is_due("counters", _COUNTERS_S):
            await self._count()
        for part in _pieces(self._wanted(), _AT_A_TIME):
            began_s = self._clock.monotonic()
            for names in _pieces(part):
                self._saw(names, await self._glance.streams(names))
            await self._pace(len(part), began_s)
        await self._weigh()
        if self._is_due("groups", _GROUPS_S):
            await self._ask_groups()
        await self._quoting.learn(self._glimpses, self._clock.monotonic())
        self._round += 1
        self.look = self._made()
        self._tell("")

    async def _pace(self, streams: int, began_s: float) -> None:
        """Spread a round over its time, so that the bus is heard all the while; the first one is in a hurry."""
        if self._round:
            spent_s = self._clock.monotonic() - began_s
            await self._clock.sleep(max(0.0, streams / _STREAMS_A_SECOND - spent_s))

    def _tell(self, said: str) -> None:
        if said:
            if not self._was_away:
                _log.warning("web.bus_away", why=said)
            self._ingesting, self._consuming = Alive(), Alive()
            self._due.clear()  # what is there when it is back may be something else
        elif self._was_away and not said:
            _log.info("web.bus_answers")
        self._said, self._was_away = said, bool(said)
        if not said:
            self._heard()

    def _heard(self) -> None:
        self._answered_s = self._clock.monotonic()

    def _is_due(self, what: str, every_s: float) -> bool:
        now_s = self._clock.monotonic()
        if now_s < self._due.get(what, 0.0):
            return False
        self._due[what] = now_s + every_s
        return True

    async def _find(self) -> None:
        """Which streams there are; what is gone is forgotten."""
        self._names = await history.streams(self._bus, "*")
        self._heard()
        there = set(self._names)
        for kept in (self._glimpses, self._added, self._memory, self._groups, self._streams):
            for gone in kept.keys() - there:
                del kept[gone]
        self._quoting.forget_all_but(there)

    async def _count(self) -> None:
        now_s = self._clock.monotonic()
        self._counters = self._ingesting.alive(await admin.read_counters(self._bus), now_s)
        self._consumers = self._consuming.alive(await admin.read_consumers(self._bus), now_s)
        self._heard()
        self._flow.saw(self._counters)
        self._quoting.told(self._counters)
        silent = [fact for one in self._counters for fact in one.unwell if fact.state == "silent"]
        self._silent = {fact: self._silent.get(fact, now_s) for fact in silent}

    def _wanted(self) -> list[str]:
        """The streams to look at in this round."""
        if len(self._names) <= _FEW or self._round % _EVERY == 0:
            return self._names
        return [name for name in self._names if name not in self._glimpses or self._quoting.has(name)]

    def _saw(self, names: Sequence[str], found: Sequence[Glimpse | None]) -> None:
        now_s = self._clock.monotonic()
        self._heard()
        for name, glimpse in zip(names, found, strict=True):
            if glimpse is None:
                self._glimpses.pop(name, None)
                self._streams.pop(name, None)
                continue
            self._glimpses[name] = glimpse
            rate = self._rate(glimpse, now_s)
            self._streams[name] = self._stream(glimpse, rate)
            self._quoting.saw(glimpse, rate)

    def _rate(self, glimpse: Glimpse, now_s: float) -> float | None:
        """Entries a second, of the last few."""
        if glimpse.added is None:
            return None
        added = self._added.setdefault(glimpse.name, deque())
        if added and glimpse.added < added[-1][1]:  # another stream has its name now
            added.clear()
        added.append((now_s, glimpse.added))
        while len(added) > 2 and added[1][0] <= now_s - _RATE_S:
            added.popleft()
        then_s, before = added[0]
        return round((glimpse.added - before) / (now_s - then_s), 3) if now_s > then_s else None

    async def _ask_groups(self) -> None:
        asked = [glimpse for glimpse in self._glimpses.values() if glimpse.groups]
        found: dict[str, list[GroupAt]] = {}
        for piece in _pieces(asked):
            for one, groups in zip(piece, await self._glance.groups(piece), strict=True):
                found[one.name] = groups
                self._groups[one.name] = shown_now = [_group(one.name, each) for each in groups]
                self._streams[one.name] = self._streams[one.name].model_copy(update={"groups": shown_now})
            self._heard()
        for left in self._groups.keys() - found.keys():
            del self._groups[left]
        self._behind.saw(self._clock.monotonic(), found)
        if self._is_due("members", _MEMBERS_S):
            await self._ask_members()

    async def _ask_members(self) -> None:
        """Whether anybody reads for groups that have something to do."""
        waiting = set(self._behind.waiting)
        asked: dict[str, list[str]] = {}
        for stream, groups in self._groups.items():
            for one in groups:
                if one.group in waiting and (one.lag or one.pending):
                    asked.setdefault(one.group, []).append(stream)
        found: dict[str, int | None] = {}
        for group, streams in asked.items():
            idle = [await self._glance.idle_ms(stream, group) for stream in streams[:_MOST_STREAMS_ASKED]]
            found[group] = min((one for one in idle if one is not None), default=None)
        self._behind.idle_ms = found

    async def _weigh(self) -> None:
        """Ask for the memory of all streams now and then, of new ones at once."""
        asked = self._glimpses if self._is_due("memory", _MEMORY_S) else self._glimpses.keys() - self._memory.keys()
        for names in _pieces(sorted(asked)):
            self._memory |= zip(names, await self._glance.memory(names), strict=True)
            self._heard()

    def _made(self) -> Look:
        """All that was seen, as it is shown."""
        groups: dict[str, list[shown.Group]] = {}
        for parts in self._groups.values():
            for one in parts:
                groups.setdefault(one.group, []).append(one)
        letters = {name: one.length for name, one in self._glimpses.items() if name.startswith("dlq:") and one.length}
        running = frozenset(row.name for one in self._consumers for row in one.consumers if row.state == "running")
        now_s = self._clock.monotonic()
        silent = [fact for fact, since_s in self._silent.items() if now_s - since_s >= wrong.SILENT_S]
        return Look(
            glimpses=dict(self._glimpses),
            streams=[self._streams[name] for name in self._names if name in self._streams],
            quotes=self._quoting.quotes(),
            counters=self._counters,
            consumers=self._consumers,
            groups=groups,
            latency=self._flow.latency,
            messages_per_s=self._flow.rate("ingest", "total_messages"),
            published_per_s=self._flow.rate("publisher", "publish_count"),
            severe=wrong.of_ingesters(self._counters),
            unnamed=wrong.of_ingesters(self._counters, wrong.unnamed),
            wrong=[
                *wrong.of_data(self._counters, silent),
                *wrong.of_consumers(self._consumers),
                *self._behind.wrong(running),
                *wrong.of_letters(letters),
            ],
            letters=letters,
        )

    def _stream(self, glimpse: Glimpse, rate: float | None) -> shown.Stream:
        return shown.Stream(
            stream=glimpse.name,
            length=glimpse.length,
            first=stamp(glimpse.first_ms),
            last=stamp(glimpse.last_ms),
            rate_per_s=rate,
            memory_bytes=self._memory.get(glimpse.name),
            groups=self._groups.get(glimpse.name, []),
            entries_added=glimpse.added,
        )


def _group(stream: str, one: GroupAt) -> shown.Group:
    facts = one.facts
    return shown.Group(group=facts.name, stream=stream, consumers=facts.consumers, pending=facts.pending, lag=facts.lag)


def _pieces(whole: Sequence[T], size: int = PIECE) -> list[Sequence[T]]:
    return [whole[start : start + size] for start in range(0, len(whole), size)]
