"""The public consumer: a member of a group that reads streams as events, event by event, in batches, or by handlers.

What was handed over is acknowledged when the next is asked for, so that whatever raises, or is killed, leaves its event
pending, and it comes again.
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.group.member import member
from cryptostream.bus.group.ownership import EVERYTHING, Shard
from cryptostream.bus.group.source import GroupSettings
from cryptostream.client import looking
from cryptostream.client.hand import OnGap, Watch, tell
from cryptostream.client.handlers import Handlers, Keyed
from cryptostream.client.looking import StreamInfo, When
from cryptostream.client.membership import Membership, Terms
from cryptostream.client.running import Running
from cryptostream.client.warming import Past
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.machine import data_home
from cryptostream.engine.stats import GroupStats
from cryptostream.errors import UsageError
from cryptostream.model import times
from cryptostream.model.events import Entry, Event, Gap
from cryptostream.model.ports import Clock, Ownership

BODY = "the body of the loop"
C = TypeVar("C", bound=Callable[..., Any])
K = TypeVar("K", bound=Callable[[], Keyed])


class Consumer:
    """Reads streams as one member of a consumer group; an async context manager.

    `streams` are names or Redis globs, and streams that appear later are picked up. `from_` is where a group begins
    that does not exist: "earliest", "new", an entry id, or a time (datetime, epoch ms, "2024-11-14T17:30:00Z", "-15m").
    `name` tells the members of a group apart and is made of the host's name unless given; one that comes back under
    its name reads first what it left pending. `batch` entries are read of a stream at once. An entry that was delivered
    `max_deliveries` times goes to `dlq:<group>`; what another member had for `claim_idle_s` seconds is taken over.

    Members share the entries of a stream unless each owns whole streams: `shard="1/4"`, or `ownership="lease"` where
    they come and go. Gap entries are events like others, unless `on_gap` takes them. `deadline_s` is how long an event
    may be at work before `trouble` says so; an async handler is cancelled then. The loop ends when nothing came for
    `until_idle_s` seconds, if given. `version` and `config` say what made the state of keyed handlers. `warm_up` is
    called with a stream of which they have none, and the id of its first event, and gives what came before, page by
    page; those that have `warm(event)` take it in.

    A bus that is down is waited for: `connect_timeout_s` seconds at the start, and after that for ever. `embedded://`
    keeps its data in `data_dir`, by default where `cryptostream` keeps it.

    Raises UsageError at once for a shard, a place or an ownership that is none.
    """

    def __init__(
        self,
        url: str = "embedded://",
        *,
        group: str,
        streams: Sequence[str] | str = (),
        name: str | None = None,
        from_: str | int | datetime = "earliest",
        batch: int = 100,
        deadline_s: float = 30.0,
        max_deliveries: int = 5,
        claim_idle_s: float = 30.0,
        shard: str | None = None,
        ownership: Literal["lease"] | Ownership | None = None,
        version: str = "1",
        config: str = "",
        on_gap: OnGap | None = None,
        until_idle_s: float | None = None,
        warm_up: Past | None = None,
        connect_timeout_s: float = 30.0,
        data_dir: Path | str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._url = url
        self._patterns = [streams] if isinstance(streams, str) else list(streams)
        self._name = name
        start = _place(from_, self._clock.now_ns())
        self._terms = Terms(
            group=group,
            settings=GroupSettings(start=start, count=batch, claim_idle_s=claim_idle_s, max_deliveries=max_deliveries),
            ownership=_ownership(shard, ownership),
            version=version,
            config=config,
            until_idle_s=until_idle_s,
            warm_up=warm_up,
        )
        self._deadline_s = deadline_s
        self._on_gap = on_gap
        self._connect_timeout_s = connect_timeout_s
        self._data_dir = Path(data_dir) if data_dir else _data_dir()
        self._handlers = Handlers()
        self._watch = Watch(self._clock, deadline_s)
        self._opened = AsyncExitStack()
        self._bus: Bus | None = None
        self._member: Membership | None = None
        self._stats = GroupStats(group=group)
        self._loop: AsyncGenerator[Any, None] | None = None
        self._is_stopped = False

    async def __aenter__(self) -> Self:
        """Connect. Raises BusUnavailable, BusRefused, ConfigError."""
        async with AsyncExitStack() as opening:
            way = connect(
                self._url, data_dir=self._data_dir, connect_timeout_s=self._connect_timeout_s, clock=self._clock
            )
            self._bus = await opening.enter_async_context(way)
            self._opened = opening.pop_all()
        self._is_stopped = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Acknowledge what is handled, leave the rest pending, and hang up. What the body raised at has failed once."""
        joined, self._member, self._bus = self._member, None, None
        try:
            if joined is not None:
                await joined.leave(error)
            if self._loop is not None:
                await self._loop.aclose()
        finally:
            self._watch.hand, self._stats.trouble = None, ""
            await self._opened.aclose()

    # Reading: one of these at a time.

    def __aiter__(self) -> AsyncIterator[Event | Entry]:
        """Events, in order within their stream. Each is acknowledged when the next is asked for.

        One at which the loop was left, by an exception or by `break`, is brought again when another loop begins; to end
        after an event that was handled, `stop`.
        """
        self._loop = self._events()
        return self._loop

    def batches(self) -> AsyncIterator[list[Event | Entry]]:
        """What each read gives, all streams together. A batch is acknowledged when the next is asked for."""
        self._loop = self._batches()
        return self._loop

    async def run(self) -> None:
        """Give every event to its handlers, until `stop`; opens and closes the consumer if that was not done.

        An event that a handler raises at, or takes too long for, comes again, and what follows it in its stream after
        it. Raises Fenced where a keyed handler's stream is another's, StateRefused where its state is.
        """
        async with AsyncExitStack() as opened:
            if self._bus is None:
                await opened.enter_async_context(self)
            self.subscribe(*self._handlers.patterns)
            joined = await self._joined("")
            running = Running(
                joined,
                self._handlers,
                await joined.keeping(),
                self._watch,
                self._clock,
                deadline_s=self._deadline_s,
                on_gap=self._on_gap,
            )
            async with aclosing(joined.reads(one_by_one=True)) as reads:
                async for hands in reads:
                    await running.take(hands)

    def stop(self) -> None:
        """End the loop after the event at work; what was read beside it stays pending and comes first next time."""
        self._is_stopped = True
        if self._member is not None:
            self._member.stop()

    # Handlers.

    def on(self, pattern: str) -> Callable[[C], C]:
        """Have a function, plain or async, called with each event of the streams that match a name or a glob."""

        def add(call: C) -> C:
            self._handlers.add(pattern, call)
            return call

        return add

    def keyed(self, pattern: str) -> Callable[[K], K]:
        """Have an instance of a class made for each stream that matches, and called with its events.

        It gives back what to write, entries (`Output`s) and hashes that it keeps up to date (`Latest`), or None. These,
        its attributes and the acknowledgement are one transaction: whatever is killed, no entry is written twice and
        none is missing. One that raised at an entry and has `set_aside(entry, error)` may leave it out.
        """

        def add(make: K) -> K:
            self._handlers.add_keyed(pattern, make)
            return make

        return add

    # Streams.

    def subscribe(self, *patterns: str) -> None:
        """Read these too from now on."""
        self._patterns = list(dict.fromkeys([*self._patterns, *patterns]))
        if self._member is not None:
            self._member.group.listen(patterns)

    def unsubscribe(self, *patterns: str) -> None:
        """Read no more what only these asked for; what is pending of it stays pending."""
        self._patterns = [pattern for pattern in self._patterns if pattern not in patterns]
        if self._member is not None:
            self._member.group.ignore(patterns)

    async def latest(self, name: str) -> Event | Entry | None:
        """The newest event of a stream (`klines:BTCUSDT:1m`), or of a pair's trades (`BTCUSDT`); None if there is none.

        Gaps are passed over. Nothing is acknowledged.
        """
        return await looking.latest(self._connected, name)

    async def stream_info(self, stream: str) -> StreamInfo:
        """How much a stream holds, from where to where, and where its groups stand. Raises NotFound."""
        return await looking.stream_info(self._connected, stream)

    def between(self, stream: str, since: When, until: When) -> AsyncIterator[Event | Entry]:
        """What a stream holds of the exchange's time from `since` to `until`, both included, in order.

        A moment is a datetime (UTC if it has no zone), epoch ms, "2024-11-14T17:30:00Z" or "-15m".
        """
        return looking.between(self._connected, stream, since, until, self._clock.now_ns())

    # How it goes.

    @property
    def stats(self) -> GroupStats:
        """What was read, acknowledged, redelivered, set aside and lost since reading began; it stays when it ends."""
        return self._stats

    @property
    def trouble(self) -> str:
        """Why nothing moves: what the bus says, or who has had which event for too long; empty while all is well.

        May be asked from any thread, and answers while a handler holds up all others.
        """
        return self.stats.trouble or self._watch.trouble()

    # Inside.

    @property
    def _connected(self) -> Bus:
        if self._bus is None:
            raise UsageError("this consumer is not open", hint="async with Consumer(...) as consumer:")
        return self._bus

    async def _events(self) -> AsyncGenerator[Event | Entry, None]:
        joined, on_gap = await self._joined(BODY), self._on_gap
        async with aclosing(joined.reads(one_by_one=True)) as reads:
            async for hands in reads:
                for hand in hands:
                    self._watch.hand = hand
                    for hand.done, event in enumerate(hand.events):  # noqa: B020 - others look there for its place
                        if on_gap is not None and type(event) is Gap:
                            await tell(on_gap, event)
                            continue
                        yield event
                    await joined.finish(hand)
                    hand.let_go()
                    if joined.is_stopped:
                        break

    async def _batches(self) -> AsyncGenerator[list[Event | Entry], None]:
        joined = await self._joined(BODY)
        async with aclosing(joined.reads(one_by_one=False)) as reads:
            async for hands in reads:
                self._watch.hand = hands[0]
                batch = [event for hand in hands for event in hand.events]
                if self._on_gap is not None and Gap in set(map(type, batch)):
                    batch = await _without_gaps(batch, self._on_gap)
                if batch:
                    yield batch
                del batch
                for hand in hands:
                    await joined.finish(hand)
                    hand.let_go()

    async def _joined(self, who: str) -> Membership:
        """The group, joined at the first read: by then it is known what is wanted, and whether anybody remembers."""
        bus = self._connected
        self._watch.who = who
        if self._member is None:
            if not self._patterns:
                raise UsageError("there is nothing to read", hint='streams=["trades:*"], or a handler for some')
            name = await self._opened.enter_async_context(member(self._data_dir, self._terms.group, self._name))
            joining = Membership(bus, name, self._terms, self._handlers, self._watch, self._clock)
            joining.is_stopped = self._is_stopped
            self._member = joining
            await joining.join(self._patterns)
            self._stats = joining.group.stats
        return self._member


async def _without_gaps(batch: Sequence[Event | Entry], on_gap: OnGap) -> list[Event | Entry]:
    """A batch without its gaps, which are told."""
    for event in batch:
        if isinstance(event, Gap):
            await tell(on_gap, event)
    return [event for event in batch if not isinstance(event, Gap)]


def _place(wanted: str | int | datetime, now_ns: int) -> str:
    """Where a group begins: the id before the first entry that it reads. Raises UsageError."""
    return times.place(str(looking.ms_of(wanted, now_ns)) if not isinstance(wanted, str) else wanted, now_ns)


def _ownership(shard: str | None, wanted: Literal["lease"] | Ownership | None) -> Literal["lease"] | Ownership:
    """Who owns which streams. Raises UsageError."""
    if shard is not None and wanted is not None:
        raise UsageError("either a shard or an ownership, not both")
    if isinstance(wanted, str) and wanted != "lease":
        raise UsageError(f'there is no ownership "{wanted}"', hint='ownership="lease", or shard="1/4"')
    return Shard.parse(shard) if shard is not None else wanted or EVERYTHING


def _data_dir() -> Path:
    """Where `cryptostream` keeps its data unless told."""
    told = os.environ.get("CRYPTOSTREAM_DATA_DIR")
    return (Path(told) if told else data_home(os.environ)).expanduser()
