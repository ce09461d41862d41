"""Strategies at work on live streams: a loop that runs like a pipeline, through the consumer library."""

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Any, cast

from cryptostream.bus import history
from cryptostream.bus.ask import asking
from cryptostream.bus.connect import Bus
from cryptostream.client.hand import Watch
from cryptostream.client.handlers import Handlers
from cryptostream.client.keeping import Keeping
from cryptostream.client.membership import Membership, Terms
from cryptostream.client.running import Running
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.stats import ConsumerFacts, GroupStats
from cryptostream.errors import BusUnavailable
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry
from cryptostream.model.ports import Clock, Sink
from cryptostream.wiring.alone import Alone
from cryptostream.wiring.desks import Desks

_TELL_S = 0.25
_AT_ONCE = 1000


class Trading:
    """One consumer's strategies: reads `patterns` as a group, and gives each stream's events to one of `desks`."""

    def __init__(
        self, bus: Bus, member: str, terms: Terms, patterns: Sequence[str], desks: Desks, *, deadline_s: float
    ) -> None:
        self.name = terms.group
        self.events = 0
        self.started = False
        self._bus = bus
        self._patterns = patterns
        self._desks = desks
        self._clock = SystemClock()
        self._deadline_s = deadline_s
        self._handlers = Handlers()
        self._handlers.add_keyed("*", desks)
        self._watch = Watch(self._clock, deadline_s)
        self._member = Membership(bus, member, terms, self._handlers, self._watch, self._clock)
        self._told: Told | None = None

    def tell(self, sink: Sink) -> None:
        """Have a sink told of what comes to the streams of signals that are written here, each signal once."""
        self._told = Told(self._bus, sink, self._clock)

    async def run(self) -> None:
        """Read until stopped, or until there is nothing left to read. Raises StateRefused, BusRefused, Fenced."""
        async with AsyncExitStack() as opened:
            if self._told is not None:
                opened.push_async_callback(self._told.tell)
            opened.push_async_callback(self._member.leave)
            await self._member.join(self._patterns)
            keeping = await self._member.keeping()
            assert keeping is not None, "desks have a state"  # noqa: S101
            alone = Alone(self._bus, keeping, self._desks, self._told.follow if self._told is not None else None)
            opened.push_async_callback(alone.leave)
            running = Running(
                self._member,
                self._handlers,
                cast(Keeping, alone),  # it has what is asked of one
                self._watch,
                self._clock,
                deadline_s=self._deadline_s,
                on_gap=None,
            )
            self.started = True
            if not self._member.is_stopped:
                await self._read(running)

    def stop(self) -> None:
        """End after the read at work; what was read after it stays pending."""
        self._member.is_stopped = True
        if self.started:
            self._member.stop()

    def facts(self, group: GroupStats) -> ConsumerFacts:
        """Where it stands. Any thread may ask."""
        trouble = self._watch.trouble()
        return ConsumerFacts(
            name=self.name,
            group=group,
            events=self.events,
            started=self.started,
            troubles=[trouble] if trouble else (),
        )

    @property
    def stats(self) -> GroupStats:
        """What its group counts."""
        return self._member.group.stats if self.started else GroupStats(group=self.name)

    async def _read(self, running: Running) -> None:
        async with aclosing(self._member.reads(one_by_one=True)) as reads:
            async for hands in reads:
                await running.take(hands)
                self.events += sum(hand.done for hand in hands)
                if self._told is not None:
                    await self._told.now_and_then()


class Told:
    """Tells a sink of the entries that come to some streams, each once and in order, however they came there.

    So what is printed is what is written, also where a transaction had to be begun anew.
    """

    def __init__(self, bus: Bus, sink: Sink, clock: Clock) -> None:
        self._bus = bus
        self._sink = sink
        self._clock = clock
        self._places: dict[str, str] = {}
        self._due_s = clock.monotonic()

    async def follow(self, streams: Iterable[str]) -> None:
        """Tell of what comes to these too; what is there now is not told of. Raises BusUnavailable, BusRefused."""
        new = [name for name in streams if name not in self._places]
        if new:
            self._places |= await history.tops(self._bus, new)

    async def now_and_then(self) -> None:
        """Tell of what has come, if that was not done a moment ago."""
        if self._clock.monotonic() >= self._due_s:
            await self.tell()

    async def tell(self) -> None:
        """Tell of what has come; where the bus is away, later."""
        self._due_s = self._clock.monotonic() + _TELL_S
        with suppress(BusUnavailable):
            while self._places and (found := await self._read()):
                entries = [Entry(stream, entry_id, fields) for stream, rows in found for entry_id, fields in rows]
                await self._sink.write(sorted(entries, key=lambda entry: parse_id(entry.entry_id)))
                self._places |= {stream: rows[-1][0] for stream, rows in found}

    async def _read(self) -> Any:
        with asking(self._bus):
            return await self._bus.command.xread(dict[Any, Any](self._places), count=_AT_ONCE)
