"""What runs beside the feeds: counters on the bus, health over HTTP, pairs looked for again, reasons to end."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cryptostream import logs
from cryptostream.bus import admin, embedded
from cryptostream.bus import health as bus_health
from cryptostream.bus.ask import asking, heed_cancellation, insist
from cryptostream.bus.connect import Bus
from cryptostream.bus.health import BusFacts, eviction
from cryptostream.config import Config
from cryptostream.engine.alert import Alert
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.stall import Stall
from cryptostream.engine.stats import ConsumerFacts, FeedStats, PairFacts, PublisherStats, counters, standing
from cryptostream.errors import BusRefused, BusUnavailable, ConfigError, VenueUnavailable
from cryptostream.feed.discover import LIVE
from cryptostream.feed.refresh import limited
from cryptostream.model.finding import Level, warn
from cryptostream.wiring.basics import INGESTER
from cryptostream.wiring.following import Following
from cryptostream.wiring.ingest import Ingest
from cryptostream.wiring.plans import discovered

if TYPE_CHECKING:
    from cryptostream.web.apart import Apart
    from cryptostream.web.health import Watched
    from cryptostream.web.server import Endpoint

COUNTERS_EVERY_S = 3.0
SOON_S = 0.5
"""The same while a connection is missing, so that others see soon that it is there."""
GAPS_EVERY_S = 0.5
ALERTS_EVERY_S = 3.0
_UNTOLD = warn(
    "bus eviction", "it does not tell what it does when its memory is full", "let our user ask: ACL SETUSER ... +info"
)
Consumed = Callable[[], Sequence[ConsumerFacts]]
"""How the consumers of a process are."""
_log = logs.get("wiring")


class Counting:
    """Shows the counters of this process on the bus, for `stats` elsewhere: a companion, and once more at the end."""

    def __init__(self, on: Bus, stage: Ingest) -> None:
        self.trouble = ""
        """Why the bus does not answer; empty while it does, also while there is nothing to publish."""
        self.feed = FeedStats()
        self.published = PublisherStats()
        self.pairs: Sequence[PairFacts] = ()
        """What was written last; nobody changes it any more."""
        self._bus = on
        self._stage = stage
        self._clock = SystemClock()

    async def __call__(self) -> None:
        """Write every few seconds until cancelled."""
        while True:
            await self.write()
            heed_cancellation()
            wanted = sum(len(feed.connections) for feed in self._stage.feeds)
            await self._clock.sleep(COUNTERS_EVERY_S if self.feed.active_connections >= wanted else SOON_S)

    async def write(self) -> None:
        """Write once; a bus that does not take it is told by `trouble`, and once in the log."""
        host, _, pid = INGESTER.rpartition(":")
        self.feed, self.published, self.pairs = self._stage.feed(), self._stage.published(), self._stage.facts()
        facts = {
            **counters(self.feed, self.published, self._stage.pairs),
            **standing(self.pairs),
            "latency": self.published.exchange_to_bus.counts,
            "at": self._clock.now_ns(),
            "host": host,
            "pid": int(pid),
        }
        try:
            await admin.write_counters(self._bus, INGESTER, facts)
        except (BusUnavailable, BusRefused) as error:
            if not self.trouble:
                _log.warning("counters.unwritten", why=str(error))
            self.trouble = str(error)
        else:
            self.trouble = ""


class Alerting:
    """Says in the log what an operator has to know, once, and in `reasons` for as long as it lasts: a companion."""

    def __init__(self, stage: Ingest) -> None:
        self.reasons: list[str] = []
        self._stage = stage
        self._alert = Alert()
        self._clock = SystemClock()

    async def __call__(self) -> None:
        """Look every few seconds until cancelled."""
        while True:
            await self._clock.sleep(ALERTS_EVERY_S)
            before = bool(self.reasons)
            self.reasons = self._alert.look(self._clock.monotonic(), self._stage.feed(), self._stage.facts())
            if self.reasons and not before:
                _log.warning("ingest.alert", why="; ".join(self.reasons))
            elif before and not self.reasons:
                _log.info("ingest.alert_over")


class Refreshing:
    """Looks for pairs again and again, and lets a feed follow what was found: a companion, by the feed's number.

    At most half of the list changes at once, unless `force`; where the ranking does not answer the old list stays.
    """

    def __init__(self, config: Config, following: Following, number: int, *, force: bool = False) -> None:
        self._config = config
        self._following = following
        self._number = number
        self._force = force
        self._clock = SystemClock()

    async def __call__(self) -> None:
        """Ask every `discovery.refresh` until cancelled."""
        while True:
            await self._clock.sleep(self._config.discovery.refresh)
            await self.refresh()

    async def refresh(self) -> None:
        """Ask once; what cannot be had is told in the log, and nothing changes."""
        planned, before = self._following.plan(self._number), self._following.base(self._number)
        try:
            found = await discovered(self._config, planned.feed, planned.venue, planned.client, force=self._force)
        except (VenueUnavailable, ConfigError) as error:
            _log.warning("discovery.unanswered", why=str(error))
            return
        if found.source != LIVE:
            _log.warning("discovery.kept", why=f"no live list, only the {found.source}")
            return
        named = [pair for pair in planned.feed.symbols if pair in planned.pairs]  # the others were left out
        wanted = list(dict.fromkeys([*named, *(ranked.pair for ranked in found.pairs)]))
        pairs, deferred = limited(before, wanted, force=self._force)
        if deferred:
            _log.warning("discovery.deferred", changes=len(deferred), why="at most half of the list changes at once")
        if set(pairs) == set(before):
            return
        try:
            await self._following.found(self._number, pairs)
        except (BusUnavailable, BusRefused) as error:
            _log.warning("discovery.postponed", why=f"where the new streams stand is not known: {error}")


async def check_bus(on: Bus, *, strict: bool, within_s: float) -> None:
    """Warn of a server that deletes whole streams when its memory is full; raises ConfigError instead if `strict`.

    One that does not tell may do so; the embedded server is our own, and does not.
    """
    if on.url.startswith("embedded:"):
        return
    clock = SystemClock()

    async def look() -> BusFacts:
        with asking(on):
            return await bus_health.look(on, clock)

    facts = await insist(look, clock, within_s)
    found = _UNTOLD if facts.policy is None else eviction(facts.policy)
    if found.level is Level.OK:
        return
    if strict:
        raise ConfigError(f"the bus is not safe: {found.detail}", hint=found.fix)
    _log.warning("bus.unsafe", why=found.detail, fix=found.fix)


def refreshing(config: Config, following: Following, *, force: bool) -> Sequence[Refreshing]:
    """A companion for each feed that discovers its pairs."""
    discovering = [number for number, plan in enumerate(following.plans) if plan.feed.discover]
    return [Refreshing(config, following, number, force=force) for number in discovering]


def until_gap(stage: Ingest, drain: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    """A companion that asks to drain once a gap could not be filled."""

    async def watch() -> None:
        clock = SystemClock()
        while not stage.gaps:
            await clock.sleep(GAPS_EVERY_S)
        drain()

    return watch


def until_lost(config: Config, on: Bus) -> list[Callable[[], Awaitable[None]]]:
    """A companion that ends everything once an embedded bus is gone for good; nobody waits for that of others."""
    if not on.url.startswith("embedded:"):
        return []
    return [partial(embedded.until_lost, config.data_dir, SystemClock())]


def health(
    config: Config,
    stage: Ingest,
    alerting: Alerting,
    counting: Counting | None,
    consumers: Consumed = list,
    *,
    asked: bool | None,
) -> "Endpoint | None":
    """Health over HTTP: a companion whose port is taken from now on; None where the default port is somebody else's.

    `consumers` says how those are that run in the same process.

    Raises ConfigError for an address that cannot be had, or, where it was `asked` for, is taken.
    """
    from cryptostream.web.app import endpoint
    from cryptostream.web.health import Watched, of_consumers, reasons

    def unwell() -> Sequence[str]:
        wanted = sum(len(feed.connections) for feed in stage.feeds)
        started = stage.reached or not wanted
        of_feeds = reasons(stage.feed(), published(), connections_wanted=wanted, started=started)
        return [*of_feeds, *alerting.reasons, *of_consumers(consumers())]

    def published() -> PublisherStats:
        stats = stage.published()
        return replace(stats, trouble=stats.trouble or (counting.trouble if counting else ""))

    watched = Watched(
        feed=stage.feed,
        published=published,
        pairs=stage.facts,
        stats=lambda: counters(stage.feed(), published(), stage.pairs),
        reasons=unwell,
        consumers=consumers,
    )
    told = config.ingest
    return endpoint(watched, told.health_host, told.health_port, asked=bool(asked), token=told.token)


def counted(counting: Counting, consumers: Consumed = list) -> "Watched":
    """The counters of a process as of seconds ago, for who asks from another thread: what counts, nobody else touches.

    Its health is not told: that is what `health` is for.
    """
    from cryptostream.web.health import Watched

    return Watched(
        feed=lambda: counting.feed,
        published=lambda: counting.published,
        pairs=lambda: counting.pairs,
        stats=dict,
        reasons=list,
        consumers=consumers,
    )


def consumers_health(config: Config, consumers: Consumed, stall: Stall, *, asked: bool | None) -> "Apart | None":
    """Health of a process that only consumes, from a thread of its own; else as `health`. Raises ConfigError."""
    from cryptostream.web.apart import Apart
    from cryptostream.web.app import endpoint
    from cryptostream.web.health import watched

    told = config.consume
    facts = watched(consumers, stall)
    served = endpoint(facts, told.health_host, told.health_port, asked=bool(asked), token=told.token)
    return Apart(served) if served else None
