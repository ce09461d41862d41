"""The live source: every connection of one venue, what was missed fetched over REST, one inbox, batches of records."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

from cryptostream import logs
from cryptostream.engine.stats import FeedStats, PairFacts, delay_s
from cryptostream.errors import VenueUnavailable
from cryptostream.feed.backfill import Backfill
from cryptostream.feed.candlefill import CandleFill
from cryptostream.feed.connection import Connection
from cryptostream.feed.conversation import OnRaw, Shared
from cryptostream.feed.door import Door
from cryptostream.feed.gate import Gate
from cryptostream.feed.inbox import Inbox
from cryptostream.feed.lines import Lines, left_out
from cryptostream.feed.regroup import Group, halves, regroup
from cryptostream.feed.silence import Silence
from cryptostream.feed.transport import Connect
from cryptostream.model.events import Record
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.model.ports import Batch, Clock, Position, Source
from cryptostream.venues.base import Request, Rule, Venue
from cryptostream.venues.candles import Candles
from cryptostream.venues.continuity import Continuity

Ask = Callable[[Request], Awaitable[bytes]]
Resume = Callable[[Sequence[Subscription]], Awaitable[Mapping[Subscription, Position]]]
_log = logs.get("feed")


@dataclass(frozen=True)
class FeedSettings:
    """How a feed listens, and what it does about what is missing; the configuration says what each of them means."""

    inbox_max: int = 200_000
    max_frame: int = 4 << 20
    pairs_per_connection: int = 50
    connect_timeout_s: float = 30.0
    rotate_after_s: float = 23 * 3600.0
    silent_after_s: float = 60.0
    grace_s: float = 0.25
    deadline_s: float = 120.0
    max_events: int = 100_000
    hold_events: int = 100_000
    hold_bytes: int = 64 << 20


class Feed(Source):
    """A source of records from live sessions, each once and in order; never waits for whoever reads it.

    What was missed is fetched by `ask`; without it, it is given up after the deadline. `resume` tells where the streams
    of subscriptions stand, for them to go on from there. While there is no `room` further on, nothing is fetched.
    `on_raw` sees the frames of every socket.

    Raises VenueUnavailable, in an exception group, if no session reaches the venue within `connect_timeout_s`.
    """

    def __init__(
        self,
        venue: Venue,
        subscriptions: Collection[Subscription],
        *,
        connect: Connect,
        clock: Clock,
        random: Random | None = None,
        settings: FeedSettings | None = None,
        ask: Ask | None = None,
        resume: Resume | None = None,
        room: Callable[[], bool] = lambda: True,
        on_raw: OnRaw | None = None,
        ingester: str = "",
    ) -> None:
        self.subscriptions = tuple(dict.fromkeys(subscriptions))
        """What is followed now."""
        self._venue = venue
        self._settings = settings = settings or FeedSettings()
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - jitter, not a secret
        self._resume = resume
        self._room = room
        self._left_out: dict[Subscription, str] = {}
        self._stats = FeedStats()
        self.inbox = Inbox(settings.inbox_max)
        self._lines = self._line_up(ingester)
        self._backfill, candlefill, self._silence = self._fetchers(ask or _nobody)
        self._fetching: list[Backfill | CandleFill | Silence] = [self._backfill, candlefill]
        if ask is not None:
            self._fetching.append(self._silence)
        self._gate = Gate(venue.limits, clock, connect_timeout_s=settings.connect_timeout_s)
        self._shared = Shared(
            connect=connect,
            limits=venue.limits,
            gate=self._gate,
            door=self._lines.door,
            stats=self._stats,
            clock=clock,
            max_frame=settings.max_frame,
            on_raw=on_raw,
        )
        self._stopped = False
        self._running: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._connections: dict[Connection, asyncio.Task[None] | None] = {}
        for group in self._regrouped():
            self._connect(group)

    @property
    def connections(self) -> list[Connection]:
        """One for each group of pairs; they come and go with the pairs."""
        return list(self._connections)

    @property
    def reached(self) -> bool:
        """Whether any connection was ever made."""
        return self._gate.connected

    @property
    def stats(self) -> FeedStats:
        """The counters, brought up to date."""
        stats = self._stats
        talking = [each for connection in self.connections for each in connection.conversations]
        for conversation in talking:
            conversation.count_ignored()
        continuity = self._lines.continuity
        stats.dropped, stats.duplicates, stats.held = self._lines.door.dropped, continuity.duplicates, continuity.held
        newest = max(talking, key=lambda each: each.received_at, default=None)
        if newest is not None and newest.session.event_time:
            stats.lag_ms = newest.received_at / 1e6 - newest.session.event_time / 1e3
        return stats

    @property
    def left_out(self) -> Collection[Subscription]:
        """What is followed no more because its frames are too large; `change` follows it again where it is asked to."""
        return self._left_out.keys()

    def pairs(self) -> list[PairFacts]:
        """Where every subscription stands; those left out on the way too."""
        notes = {wanted: why for connection in self.connections for wanted, why in connection.refused.items()}
        followed = [self._lines.facts(wanted, notes.get(wanted, "")) for wanted in self.subscriptions]
        return followed + [left_out(wanted, why) for wanted, why in self._left_out.items()]

    async def __aenter__(self) -> Self:
        await self._seed(self.subscriptions)
        self._gate.begin()
        self._running = await asyncio.TaskGroup().__aenter__()
        self._tasks = [self._running.create_task(fetching.run()) for fetching in self._fetching]
        for connection in self._connections:
            self._start(connection)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._running is not None:
            await self._running.__aexit__(kind, error, trace)

    async def batches(self) -> AsyncIterator[Batch[Record]]:
        """All that has arrived since the last batch, until stopped."""
        while True:
            records, since_ns = await self.inbox.take()
            if not records:
                return
            self._time(records[0], since_ns)
            yield Batch(records, since_ns)

    def _time(self, oldest: Record, arrived_ns: int) -> None:
        """Count how long the oldest record of a batch came from the exchange, if it came by a socket."""
        if (delay := delay_s([oldest], arrived_ns)) is not None:
            self._stats.exchange_to_socket.observe(delay)

    async def commit(self, batch: Batch[Record]) -> None:
        """A venue cannot be told; how long the oldest record was on its way is counted."""
        self._stats.socket_to_published.observe(max(0.0, (self._clock.now_ns() - batch.token) / 1e9))

    def stop(self) -> None:
        """Leave every socket; what was received is still handed over."""
        self._stopped = True
        for connection in self._connections:
            connection.stop()
        for task in (*self._tasks, *filter(None, self._connections.values())):
            task.cancel()
        self.inbox.close()

    def rewind(self, wanted: Subscription, last_id: int) -> bool:
        """What was handed over of a subscription after an id (of klines: a time in ms) is lost, and wanted again.

        False where it never comes again, because its ids cannot be asked for.
        """
        if wanted.channel is not Channel.KLINES and self._venue.rule(wanted.channel) is not Rule.CONTIGUOUS:
            return False
        self._lines.door.rewind(wanted, last_id)
        return True

    async def change(self, subscriptions: Collection[Subscription]) -> None:
        """Follow these from now on: what stays is not interrupted, what is new goes on from where its stream stands."""
        wanted = tuple(dict.fromkeys(subscriptions))
        added, removed = _without(wanted, self.subscriptions), _without(self.subscriptions, wanted)
        if not added and not removed:
            return
        await self._seed(added)
        if self._stopped:
            return
        added, removed = _without(wanted, self.subscriptions), _without(self.subscriptions, wanted)
        self.subscriptions = wanted
        self._left_out = {each: why for each, why in self._left_out.items() if each not in wanted}
        connections, groups = self.connections, self._regrouped()
        if not connections:
            self._gate.be_patient()  # whoever asks for pairs now asks a process that runs, not one that starts
        for connection, group in zip(connections, groups, strict=False):
            self._move(connection, group)
        for group in groups[len(connections) :]:
            self._connect(group)
        cause = f"{len(added)} subscriptions added, {len(removed)} removed"
        self._lines.door.tell("pairs_changed", count=len(added) + len(removed), cause=cause)

    async def _seed(self, subscriptions: Sequence[Subscription]) -> None:
        if self._resume is not None and subscriptions:
            self._lines.seed(await self._resume(subscriptions))

    def _line_up(self, ingester: str) -> Lines:
        settings, candles = self._settings, Candles()
        continuity = Continuity(
            self._venue.rule,
            on_gap=lambda wanted: self._backfill.wanted(wanted),
            hold_events=settings.hold_events,
            hold_bytes=settings.hold_bytes,
        )
        door = Door(continuity, candles, self.inbox, self._clock, self._venue.name, ingester)
        return Lines(continuity, candles, door)

    def _fetchers(self, ask: Ask) -> tuple[Backfill, CandleFill, Silence]:
        """Who fetches what is missing, and who finds out that something is."""
        lines, venue, clock, stats, settings = self._lines, self._venue, self._clock, self._stats, self._settings
        room, door = self._has_room, lines.door
        backfill = Backfill(venue, ask, lines.continuity, door, room=room, clock=clock, settings=settings, stats=stats)
        candlefill = CandleFill(venue, ask, lines.candles, door, room=room, clock=clock, settings=settings, stats=stats)
        silence = Silence(
            venue,
            ask,
            lines.continuity,
            door,
            resubscribe=self._resubscribe,
            clock=clock,
            silent_after_s=settings.silent_after_s,
            stats=stats,
        )
        return backfill, candlefill, silence

    def _has_room(self) -> bool:
        return self.inbox.roomy and self._room()

    def _regrouped(self) -> list[Group]:
        """What each connection is to follow, and behind them what new ones are."""
        return regroup(
            [connection.group for connection in self._connections],
            self.subscriptions,
            pairs=self._settings.pairs_per_connection,
            streams=self._venue.limits.streams_per_connection,
        )

    def _connect(self, group: Group) -> None:
        connection = Connection(
            group,
            self._shared,
            session=self._venue.session,
            random=self._random,
            rotate_after_s=self._settings.rotate_after_s,
            active=self._lines.active,
            on_open=self._silence.expect,
            on_over=self._left,
            on_too_large=self._isolate,
        )
        self._connections[connection] = None
        self._start(connection)

    def _start(self, connection: Connection) -> None:
        if self._running is not None and not self._stopped:
            self._connections[connection] = self._running.create_task(connection.run())

    def _move(self, connection: Connection, group: Group) -> None:
        if not group:
            self._end(connection)
        elif group != connection.group:
            connection.move(group)

    def _end(self, connection: Connection) -> None:
        connection.stop()
        task = self._connections.pop(connection)
        if task is not None:
            task.cancel()

    def _left(self, group: Group) -> None:
        """A socket is over: what it followed and nobody wants any more is forgotten."""
        gone = _without(group, self.subscriptions)
        self._lines.forget(gone)
        self._silence.forget(gone)

    def _resubscribe(self, wanted: Subscription) -> None:
        for connection in self._connections:
            connection.resubscribe(wanted)

    def _isolate(self, connection: Connection) -> None:
        """A frame too large to be read does not say whose it is: the group is halved until its pair is alone."""
        parts = halves(connection.group)
        if parts is not None:
            first, second = parts
            connection.move(first)
            self._connect(second)
            return
        why = f"its frames are larger than {self._settings.max_frame:,} bytes"
        self._left_out.update(dict.fromkeys(connection.group, why))
        self.subscriptions = _without(self.subscriptions, connection.group)
        _log.error("feed.left_out", pair=connection.group[0].pair, why=why)
        self._lines.door.tell("pairs_changed", count=len(connection.group), cause=f"{connection.group[0].pair}: {why}")
        self._end(connection)


async def _nobody(_: Request) -> bytes:
    """Who is asked where nobody can be."""
    raise VenueUnavailable("there is nobody to ask")


def _without(some: Sequence[Subscription], others: Collection[Subscription]) -> Group:
    left_over = set(others)
    return tuple(each for each in some if each not in left_over)
