"""Feeds that run: from the exchange's socket to the bus, and back where something was lost on the way."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

from cryptostream.bus.ask import insist
from cryptostream.bus.awaited import Rewind
from cryptostream.bus.connect import Bus
from cryptostream.bus.publish import Publisher
from cryptostream.bus.resume import positions
from cryptostream.bus.spool import Spool
from cryptostream.config import Config
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.pipeline import Pipeline
from cryptostream.engine.stats import FeedStats, PairFacts, PublisherStats, merged
from cryptostream.errors import DataQuality, VenueUnavailable
from cryptostream.feed.source import Feed, FeedSettings
from cryptostream.feed.transport import transport
from cryptostream.model.events import DeadLetter, LedgerRecord, Record
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.model.ports import Position, Sink
from cryptostream.tape.frames import FrameTape
from cryptostream.wiring.basics import INGESTER, KeyOf, keys
from cryptostream.wiring.plans import Plan, left_s

SinkOf = Callable[[PublisherStats], Sink]


@dataclass(frozen=True)
class Running:
    """One feed on its way to one sink."""

    plan: Plan
    feed: Feed
    sink: Sink
    published: PublisherStats
    pipeline: Pipeline


@dataclass(frozen=True)
class Ingest:
    """All feeds of a process, and what is counted on their way."""

    running: Sequence[Running]
    tapes: Sequence[FrameTape]
    key_of: KeyOf

    @property
    def pipelines(self) -> list[Pipeline]:
        return [one.pipeline for one in self.running]

    @property
    def feeds(self) -> list[Feed]:
        return [one.feed for one in self.running]

    @property
    def subscriptions(self) -> list[Subscription]:
        return [wanted for feed in self.feeds for wanted in feed.subscriptions]

    @property
    def pairs(self) -> list[str]:
        """The pairs that are followed now."""
        return list(dict.fromkeys(wanted.pair for wanted in self.subscriptions))

    @property
    def trade_streams(self) -> dict[str, str]:
        """The stream that each pair's trades go to."""
        return {one.pair: self.key_of(one) for one in self.subscriptions if one.channel is Channel.TRADES}

    @property
    def reached(self) -> bool:
        """Whether any venue was ever reached."""
        return any(feed.reached for feed in self.feeds)

    def read(self) -> tuple[FeedStats, PublisherStats, int]:
        """The counters of all feeds, of what was published, and how many pairs are followed."""
        return self.feed(), self.published(), len(self.pairs)

    def feed(self) -> FeedStats:
        return merged([FeedStats(), *(feed.stats for feed in self.feeds)])

    def published(self) -> PublisherStats:
        return merged([PublisherStats(), *(one.published for one in self.running)])

    def facts(self) -> list[PairFacts]:
        """Where every subscription stands, those that were left out too."""
        left_out = [
            PairFacts(exchange=one.plan.venue.name, channel="", pair=pair, state="left out", note=why)
            for one in self.running
            for pair, _, why in (problem.partition(" ") for problem in one.plan.unknown)
        ]
        return [facts for feed in self.feeds for facts in feed.pairs()] + left_out

    def check(self, *, interrupted: bool) -> None:
        """At the end: raises DataQuality if a tape has holes, VenueUnavailable if nobody was ever reached.

        Not if a signal ended it, who may have come first.
        """
        wanted = [connection for feed in self.feeds for connection in feed.connections]
        if wanted and not self.reached and not interrupted:
            url = wanted[0].url
            raise VenueUnavailable(f"no connection to {url} before the end", hint="give it more time")
        if dropped := sum(tape.dropped for tape in self.tapes):
            raise DataQuality(f"{dropped} frames are missing from the tape", hint="its disk is slower than the feed")

    @property
    def gaps(self) -> int:
        """How often data was missing for good: could not be had, was lost by the bus, came too late for its stream."""
        published = self.published()
        return max(self.feed().gaps_unfillable, published.gaps) + published.refused

    def check_gaps(self) -> None:
        """Raises DataQuality if data is missing for good."""
        if gaps := self.gaps:
            raise DataQuality(
                f"data is missing for good, in {gaps:,} place{'s' * (gaps != 1)}",
                hint="the streams' gap entries and `cryptostream tail 'events:*'` say which",
            )


@asynccontextmanager
async def ingest(
    config: Config,
    plans: Sequence[Plan],
    to: Bus | SinkOf,
    *,
    give_up_at: float,
    record: Path | None = None,
    limit: int | None = None,
) -> AsyncIterator[Ingest]:
    """A pipeline for each plan, ready to run, to the bus or into a sink; with `record`, frames go to tapes as well."""
    async with AsyncExitStack() as opened:
        tapes = await _tapes(plans, record, opened)
        running = [
            _running(config, planned, to, tape, connect_timeout_s=left_s(give_up_at), limit=limit)
            for planned, tape in zip_longest(plans, tapes)
        ]
        yield Ingest(running, tapes, keys(config))


async def _tapes(plans: Sequence[Plan], record: Path | None, opened: AsyncExitStack) -> list[FrameTape]:
    """A tape for each feed, open; none where nothing is recorded."""
    if record is None:
        return []
    made = [FrameTape(record, f"{planned.venue.name}-{n}", clock=SystemClock()) for n, planned in enumerate(plans)]
    return [await opened.enter_async_context(tape) for tape in made]


def _running(
    config: Config,
    planned: Plan,
    to: Bus | SinkOf,
    tape: FrameTape | None,
    *,
    connect_timeout_s: float,
    limit: int | None,
) -> Running:
    """A feed and its sink, each knowing what it needs of the other: what was lost, and whether there is room."""
    published = PublisherStats()
    key_of = keys(config)

    def lost(wanted: Subscription, last_id: int) -> bool:
        return feed.rewind(wanted, last_id)

    def room() -> bool:
        return not (isinstance(sink, Publisher) and sink.full)

    sink = _publisher(config, to, stats=published, rewind=lost) if isinstance(to, Bus) else to(published)
    feed = Feed(
        planned.venue,
        planned.subscriptions,
        connect=transport(config.feed.transport),
        clock=SystemClock(),
        settings=_settings(config, connect_timeout_s),
        ask=planned.client.get,
        resume=partial(_positions, config, to, key_of) if isinstance(to, Bus) else None,
        room=room,
        on_raw=tape.write if tape else None,
        ingester=INGESTER,
    )
    return Running(planned, feed, sink, published, Pipeline("ingest", feed, [sink], limit=limit, counts=_is_data))


async def _positions(
    config: Config, on: Bus, key_of: KeyOf, wanted: Sequence[Subscription]
) -> Mapping[Subscription, Position]:
    """Where streams stand; a bus that is away for a moment is asked again."""
    return await insist(partial(positions, on, key_of, wanted), SystemClock(), config.bus.connect_timeout)


def _is_data(record: Record) -> bool:
    return not isinstance(record, DeadLetter | LedgerRecord)


def _settings(config: Config, connect_timeout_s: float) -> FeedSettings:
    feed, gaps = config.feed, config.ingest.gaps
    return FeedSettings(
        inbox_max=feed.inbox_max,
        max_frame=feed.max_frame,
        pairs_per_connection=feed.pairs_per_connection,
        connect_timeout_s=connect_timeout_s,
        rotate_after_s=feed.rotate_after,
        silent_after_s=feed.silent_after,
        grace_s=gaps.grace,
        deadline_s=gaps.deadline,
        max_events=gaps.max_events,
        hold_events=gaps.hold_events,
        hold_bytes=gaps.hold_bytes,
    )


def _publisher(
    config: Config,
    on: Bus,
    *,
    stats: PublisherStats,
    rewind: Rewind,
) -> Publisher:
    """The sink that writes records to the bus, through a spool while the bus is away."""
    spool = Spool(config.data_dir, on.url, max_bytes=config.spool.max_bytes, fsync=config.spool.fsync)
    return Publisher(
        on,
        clock=SystemClock(),
        maxlen=config.bus.maxlen,
        key_of=keys(config),
        stats=stats,
        spool=spool,
        rewind=rewind,
        ingester=INGESTER,
    )
