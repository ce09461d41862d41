"""Names in the configuration become objects here, and nowhere else."""

import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from cryptostream import logs, registry
from cryptostream.bus import admin, history
from cryptostream.bus.ask import heed_cancellation
from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.consume import Group
from cryptostream.bus.keys import stream_key
from cryptostream.bus.publish import Publisher
from cryptostream.config import Config, FeedConfig
from cryptostream.engine.clock import SystemClock, within
from cryptostream.engine.pipeline import Pipeline
from cryptostream.engine.stats import FeedStats, PublisherStats, counters
from cryptostream.errors import BadFrame, BusUnavailable, ConfigError, DataQuality, NotFound, VenueUnavailable
from cryptostream.feed.discover import discover
from cryptostream.feed.rest import Rest
from cryptostream.feed.source import Feed
from cryptostream.feed.transport import transport
from cryptostream.model.instrument import Channel, Instrument, Interval, Subscription, Wanted
from cryptostream.model.ports import Sink, Transform
from cryptostream.registry import did_you_mean
from cryptostream.tape.frames import FrameTape
from cryptostream.transforms import where
from cryptostream.venues.base import Session, Venue

KeyOf = Callable[[Subscription], str]
COUNTERS_EVERY_S = 3.0
_log = logs.get("wiring")


@dataclass(frozen=True)
class Plan:
    """What one feed listens to and over how many connections; `unknown` says which symbols were left out and why."""

    venue: Venue
    subscriptions: Sequence[Subscription]
    sessions: Sequence[Session]
    unknown: Sequence[str] = ()

    @property
    def pairs(self) -> list[str]:
        return list(dict.fromkeys(wanted.pair for wanted in self.subscriptions))


def venue(config: Config, name: str) -> Venue:
    """The venue of that name, with the addresses and units the configuration gives it. Raises ConfigError."""
    own = config.venues.get(name)
    made = registry.load("venues", name)(
        ws_url=own.ws_url if own else None,
        rest_url=own.rest_url if own else None,
        time_unit=config.feed.time_unit,
        raw_json=config.bus.raw_json,
    )
    return cast(Venue, made)


def rest(venue: Venue) -> Rest:
    """A REST client that keeps to the venue's budget; an async context manager."""
    set_on_retry_hooks([_tell_retry])
    return Rest(SystemClock(), weight_per_minute=venue.weight_per_minute, weight_header=venue.weight_header)


def _tell_retry(details: RetryDetails) -> None:
    _log.info("rest.retrying", why=str(details.caused_by), delay_s=round(details.wait_for, 2))


def bus(config: Config) -> Any:
    """The bus of the configuration; an async context manager that gives a Bus."""
    return connect(
        config.bus.url.get_secret_value(),
        data_dir=config.data_dir,
        connect_timeout_s=config.bus.connect_timeout,
        clock=SystemClock(),
    )


def keys(config: Config, prefix: str = "") -> KeyOf:
    """What each subscription's stream is called: the contract's name, or the template of the feed that asks for it.

    A pair that no feed names belongs to the feed that discovers pairs.
    """
    asked = [(feed, wanted) for feed in config.feeds for wanted in feed.channels]
    named = {(feed.venue, wanted, pair): feed.key for feed, wanted in asked for pair in feed.symbols}
    discovered = {(feed.venue, wanted): feed.key for feed, wanted in asked if feed.discover}

    def key_of(one: Subscription) -> str:
        wanted = Wanted(one.channel, one.interval)
        template = named.get((one.exchange, wanted, one.pair), discovered.get((one.exchange, wanted)))
        return prefix + stream_key(one, template)

    return key_of


async def plan(config: Config, feed: FeedConfig, give_up_at: float) -> Plan:
    """Find a feed's pairs, check them against the venue's list, and split them over connections.

    Half of the time until `give_up_at` (seconds of the monotonic clock) may be spent on it. A symbol that the venue
    does not trade is left out and named; raises NotFound if none is left.
    """
    place = venue(config, feed.venue)
    async with rest(place) as client:
        symbols = list(feed.symbols) + await _discovered(config, feed, place, client)
        known, unknown = await _checked(client, place, list(dict.fromkeys(symbols)), _left_s(give_up_at) / 2)
    if not known:
        raise NotFound(f"{feed.venue} trades none of what was asked for: {'; '.join(unknown) or 'no symbols'}")
    wanted = [
        Subscription(feed.venue, channel.channel, pair, channel.interval) for pair in known for channel in feed.channels
    ]
    return Plan(place, wanted, place.sessions(wanted, config.feed.pairs_per_connection), unknown)


async def _discovered(config: Config, feed: FeedConfig, place: Venue, client: Rest) -> list[str]:
    if feed.discover is None:
        return []
    settings = config.discovery.model_copy(update={"top": feed.discover.top, "quote": feed.discover.quote})
    found = await discover(client, place, settings, config.data_dir)
    for warning in found.warnings:
        _log.warning("discovery.warning", what=warning)
    return [ranked.pair for ranked in found.pairs]


def _left_s(give_up_at: float) -> float:
    return max(1.0, give_up_at - SystemClock().monotonic())


async def _checked(client: Rest, place: Venue, symbols: Sequence[str], within_s: float) -> tuple[list[str], list[str]]:
    """Symbols the venue trades, and a line on each it does not: it would acknowledge them and stay silent."""
    try:
        listed = place.instruments(await within(SystemClock(), within_s, client.get(place.instruments_request())))
    except (VenueUnavailable, BadFrame, TimeoutError) as error:
        _log.warning("symbols.unchecked", venue=place.name, why=str(error) or f"no answer in {within_s:.0f} s")
        return list(symbols), []
    instruments = {instrument.pair: instrument for instrument in listed}
    problems = {symbol: _problem(symbol, instruments) for symbol in symbols}
    for symbol, problem in problems.items():
        if problem:
            _log.warning("symbols.left_out", venue=place.name, symbol=symbol, why=problem)
    return [s for s in symbols if not problems[s]], [f"{s} {why}" for s, why in problems.items() if why]


def _problem(symbol: str, instruments: dict[str, Instrument]) -> str:
    instrument = instruments.get(symbol)
    if instrument is None:
        return " ".join(filter(None, ("is not listed,", did_you_mean(symbol, instruments)))).rstrip(",")
    return "" if instrument.tradable else "is listed and does not trade now"


@dataclass(frozen=True)
class Ingest:
    """Feeds that run: their pipelines, and what is counted on the way."""

    feeds: Sequence[Feed]
    pipelines: Sequence[Pipeline]
    published: PublisherStats
    pairs: Sequence[str]
    trade_streams: Mapping[str, str]
    """The stream that each pair's trades go to."""
    tapes: Sequence[FrameTape]

    def read(self) -> tuple[FeedStats, PublisherStats, int]:
        """The counters of all feeds, of what was published, and how many pairs are followed."""
        return merged([feed.stats for feed in self.feeds]), self.published, len(self.pairs)

    def check(self) -> None:
        """At the end: raises VenueUnavailable if nobody was ever reached, DataQuality if a tape has holes."""
        if self.feeds and not any(feed.reached for feed in self.feeds):
            url = self.feeds[0].connections[0].session.url
            raise VenueUnavailable(f"no connection to {url} before the end", hint="give it more time")
        if dropped := sum(tape.dropped for tape in self.tapes):
            raise DataQuality(f"{dropped} frames are missing from the tape", hint="its disk is slower than the feed")


@asynccontextmanager
async def ingest(
    config: Config,
    plans: Sequence[Plan],
    sink_of: Callable[[PublisherStats], Sink],
    *,
    give_up_at: float,
    record: Path | None = None,
    limit: int | None = None,
) -> AsyncIterator[Ingest]:
    """A pipeline for each plan, ready to run; with `record`, every raw frame goes to a tape as well."""
    published = PublisherStats()
    async with AsyncExitStack() as opened:
        tapes = [await _tapes(planned, record, opened) for planned in plans]
        feeds = [_feed(config, *each, connect_timeout_s=_left_s(give_up_at)) for each in zip(plans, tapes, strict=True)]
        pipelines = [Pipeline("ingest", feed, [sink_of(published)], limit=limit) for feed in feeds]
        key_of = keys(config)
        wanted = [one for planned in plans for one in planned.subscriptions]
        trades = {one.pair: key_of(one) for one in wanted if one.channel is Channel.TRADES}
        pairs = [pair for planned in plans for pair in planned.pairs]
        yield Ingest(feeds, pipelines, published, pairs, trades, [tape for some in tapes for tape in some])


async def _tapes(planned: Plan, record: Path | None, opened: AsyncExitStack) -> list[FrameTape]:
    """A tape for each connection, open; none where nothing is recorded."""
    if record is None:
        return []
    made = [FrameTape(record, f"{planned.venue.name}-{n}", clock=SystemClock()) for n in range(len(planned.sessions))]
    return [await opened.enter_async_context(tape) for tape in made]


def _feed(config: Config, planned: Plan, tapes: Sequence[FrameTape], *, connect_timeout_s: float) -> Feed:
    return Feed(
        planned.sessions,
        connect=transport(config.feed.transport),
        limits=planned.venue.limits,
        clock=SystemClock(),
        inbox_max=config.feed.inbox_max,
        max_frame=config.feed.max_frame,
        connect_timeout_s=connect_timeout_s,
        tapes=[tape.write for tape in tapes],
    )


def publisher(config: Config, on: Bus, *, stats: PublisherStats | None = None) -> Publisher:
    """The sink that writes records to the bus; several may count into one `stats`."""
    return Publisher(on, clock=SystemClock(), maxlen=config.bus.maxlen, key_of=keys(config), stats=stats)


class Counting:
    """Shows the counters of this process on the bus, for `stats` elsewhere: a companion, and once more at the end."""

    def __init__(self, on: Bus, stage: Ingest) -> None:
        self._bus = on
        self._stage = stage
        self._clock = SystemClock()
        self._host, self._pid = socket.gethostname(), os.getpid()

    async def __call__(self) -> None:
        """Write every few seconds until cancelled."""
        while True:
            await self.write()
            heed_cancellation()
            await self._clock.sleep(COUNTERS_EVERY_S)

    async def write(self) -> None:
        """Write once; a bus that is away is told in the log alone."""
        feed, published, _ = self._stage.read()
        shape = counters(feed, published, list(self._stage.pairs))
        facts = {**shape, "at": self._clock.now_ns(), "host": self._host, "pid": self._pid}
        try:
            await admin.write_counters(self._bus, f"{self._host}:{self._pid}", facts)
        except BusUnavailable as error:
            _log.debug("counters.unwritten", why=str(error))


def merged(parts: Sequence[FeedStats]) -> FeedStats:
    """Several feeds' counters as one; the lag is the worst."""
    if len(parts) == 1:
        return parts[0]
    names = [name for name in FeedStats.__struct_fields__ if name != "lag_ms"]
    lags = [part.lag_ms for part in parts if part.lag_ms is not None]
    sums = {name: sum(getattr(part, name) for part in parts) for name in names}
    return FeedStats(**sums, lag_ms=max(lags, default=None))


def consumer(config: Config, name: str, on: Bus) -> Pipeline:
    """The pipeline of one consumer: its name is its group, its filter the transform. Raises ConfigError."""
    told = config.consumers[name]
    clock = SystemClock()
    patterns = [pattern for read in told.read for pattern in _patterns(read)]
    source = Group(on, patterns, group=name, consumer=socket.gethostname(), clock=clock)
    return Pipeline(name, source, [_sink(name, wanted) for wanted in told.write], transform=_filter(told.where))


def _patterns(read: str) -> list[str]:
    """Streams as a consumer names them: a channel is all its pairs, a pair all its channels, else a key or a glob.

    >>> _patterns("trades"), _patterns("klines:1m"), _patterns("BTCUSDT")
    (['trades:*'], ['klines:*:1m'], ['*:BTCUSDT', '*:BTCUSDT:*'])
    >>> _patterns("trades:BTC*"), _patterns("trades:BTCUSDT")
    (['trades:BTC*'], ['trades:BTCUSDT'])
    """
    channel, _, rest = read.partition(":")
    if channel == Channel.KLINES and rest in set(Interval):
        return [f"{channel}:*:{rest}"]
    if rest or history.is_glob(read):
        return [read]
    return [f"{read}:*"] if read in set(Channel) else [f"*:{read}", f"*:{read}:*"]


def _sink(consumer: str, wanted: Mapping[str, Any]) -> Sink:
    [(name, params)] = wanted.items()
    try:
        return cast(Sink, registry.load("sinks", name)(**params))
    except TypeError as error:
        problem = str(error).partition("() ")[2] or str(error)
        raise ConfigError(f"consumers.{consumer}.write: {name} {problem}") from error


def _filter(text: str | None) -> Transform | None:
    if text is None:
        return None
    holds = where.compile(text)
    return lambda entry: (entry,) if holds(where.facts(entry)) else ()
