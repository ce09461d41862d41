"""Probes: what the web may ask, answered from the newest look at the bus, or by the bus itself."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cryptostream import __version__
from cryptostream.bus import admin, history
from cryptostream.bus.connect import Bus
from cryptostream.bus.glance import Glance, Raw
from cryptostream.bus.keys import indicators_key
from cryptostream.config import Config
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import NotFound, UsageError
from cryptostream.model.events import Entry
from cryptostream.model.instrument import Channel, Interval, Pair, Subscription, parse_pair
from cryptostream.registry import did_you_mean
from cryptostream.web import shown
from cryptostream.web.health import Watched, is_loopback, without_addresses
from cryptostream.wiring.basics import is_tagged, keys
from cryptostream.wiring.serving import hosted, letters, named, pages, reading, wrong
from cryptostream.wiring.serving.bars import Shelf
from cryptostream.wiring.serving.board import Board
from cryptostream.wiring.serving.flow import process_of
from cryptostream.wiring.serving.jobs import Jobs
from cryptostream.wiring.serving.times import stamp

MOST_ENTRIES = 5_000
_EVENTS_AT_ONCE = 200


class BusProbes:
    """See `web.probes.Probes`. `watched` is the ingest of the same process, for its metrics."""

    def __init__(self, config: Config, bus: Bus, board: Board, jobs: Jobs, watched: Watched | None = None) -> None:
        self.answers: Mapping[int, int] = {}
        """How many requests were answered, by status, for the metrics."""
        self._watched = watched
        self._config = config
        self._bus = bus
        self._board = board
        self._jobs = jobs
        self._clock = SystemClock()
        self._glance = Glance(bus)
        self._key_of = keys(config)
        self._shelf = Shelf(self._glance, self._clock, self._key_of)
        self._started = stamp(self._clock.now_ns() // 1_000_000) or ""

    def about(self) -> shown.About:
        look, told = self._board.look, self._config.serve
        consuming = [f"consume {one.host}:{one.pid}" for one in look.consumers]
        return shown.About(
            version=__version__,
            description="Market data from exchanges to Redis Streams.",
            running=[*(f"ingest {process_of(one)}" for one in look.counters), *consuming],
            started=self._started,
            dashboard="/dashboard/" if told.dashboard and find_spec("nicegui") else None,
            docs="/docs" if is_loopback(told.host) else None,
            paths=[],
        )

    def health(self) -> shown.Health:
        look = self._board.look
        reasons = self._away() or list(look.unnamed)
        ticks = sum(int(one.ingest.get("total_messages", 0)) for one in look.counters)
        live = sum(int(one.ingest.get("active_connections", 0)) for one in look.counters)
        newest = max((quote.ts for quote in look.quotes if quote.ts), default=None)
        followed = {pair for one in look.counters for pair in one.followed}
        return shown.Health(
            status="degraded" if reasons else "ok",
            redis_connected=not self._board.trouble,
            ws_connected=live > 0,
            symbols_tracked=len(followed) or sum(one.pairs_count for one in look.counters),
            tick_count=ticks,
            last_tick_time=newest,
            reasons=reasons,
        )

    def stats(self) -> Mapping[str, Any]:
        return admin.total(self._board.look.counters)

    def quotes(self) -> Sequence[shown.Quote]:
        return self._board.look.quotes

    def streams(self) -> Sequence[shown.Stream]:
        return self._board.look.streams

    def groups(self) -> Sequence[shown.Group]:
        return [group for parts in self._board.look.groups.values() for group in parts]

    def pipeline(self) -> shown.Pipeline:
        look = self._board.look
        return shown.Pipeline(
            wrong=[*self._severe(), *(() if self._board.trouble else look.wrong)],
            redis_connected=not self._board.trouble,
            bus=_kind_of(self._bus.url),
            ingesters=[_ingester(one) for one in look.counters],
            messages_per_s=look.messages_per_s,
            published_per_s=look.published_per_s,
            latency=look.latency,
            gaps_open=[wrong.gap_of(fact) for fact in wrong.filling(look.counters)],
            dead_letters=dict(look.letters),
        )

    def consumers(self) -> Sequence[shown.Consumer]:
        return hosted.consumers(self._board.look)

    def strategies(self) -> Sequence[shown.Strategy]:
        return hosted.strategies(self._board.look)

    def realtime(self) -> shown.Realtime:
        consumers = self.consumers()
        reasons = [*self._away(), *wrong.of_realtime(consumers)]
        return shown.Realtime(status="degraded" if reasons else "ok", reasons=reasons, consumers=list(consumers))

    def metrics(self, accept: str) -> tuple[bytes, str]:
        from cryptostream.web import busmetrics

        return busmetrics.exposed(self, accept, watched=self._watched, answers=self.answers)

    async def indicators(self, symbol: str) -> Sequence[shown.Indicators]:
        pairs = self._meant(symbol)
        tagged = is_tagged(self._config)
        told = await self._glance.hashes([indicators_key(one.exchange, one.name, tagged=tagged) for one in pairs])
        found = [reading.indicators(pair, fields) for pair, fields in zip(pairs, told, strict=True) if fields]
        return [one for one in found if one is not None]

    async def signals(
        self, symbol: str | None, *, strategy: str | None = None, since_ms: int | None = None, limit: int = 100
    ) -> Sequence[shown.Signal]:
        _check(limit)
        of = named.strategy(strategy) if strategy else ""
        pairs = set(self._meant(symbol, must_be_there=False)) if symbol else None
        streams = {
            name: read
            for name in self._board.look.glimpses
            if name.startswith("signals:")
            and (read := named.named(name)) is not None
            and (pairs is None or read.pair in pairs)
            and (not of or read.of == of)
        }
        newest = await pages.newest(self._glance, self._board.look.glimpses, streams, limit, since_ms or 0)
        found = [reading.signal(streams[name], raw) for name, raw in newest]
        return [one for one in found if one is not None]

    async def trades(
        self, pair: str, *, since_ms: int | None = None, until_ms: int | None = None, limit: int = 100
    ) -> Sequence[shown.Trade]:
        _check(limit)
        stream = self._stream_of(self._meant(pair)[0])
        until = "+" if until_ms is None else str(until_ms)

        async def back(place: str, count: int) -> list[Raw]:
            return (await self._glance.newest({stream: place}, count))[0]

        async def on(place: str, count: int) -> list[Raw]:
            return await self._glance.page(stream, place, until, count)

        if since_ms is None:
            found = (await pages.upto(limit, until, back))[::-1]
        else:
            found = await pages.upto(limit, str(since_ms), on)
        return [one for raw in found if (one := reading.trade(stream, raw)) is not None]

    async def bars(
        self,
        pair: str,
        interval: str,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        limit: int = 500,
    ) -> Sequence[shown.Bar]:
        return await self._shelf.bars(
            self._meant(pair)[0],
            interval,
            self._board.look.glimpses,
            since_ms=since_ms,
            until_ms=until_ms,
            limit=limit,
        )

    def events(self, streams: Sequence[str]) -> AsyncIterator[Sequence[Entry]]:
        wanted = [named.pattern(each) for each in streams]
        named.check_few(wanted, self._board.look.glimpses)
        return self._following(wanted)

    async def _following(self, wanted: Sequence[str]) -> AsyncIterator[Sequence[Entry]]:
        names = sorted({name for each in wanted for name in await history.streams(self._bus, each)})
        tops = await history.tops(self._bus, names)
        async for batch in history.follow(self._bus, wanted, tops, self._clock, at_once=_EVENTS_AT_ONCE):
            yield batch

    async def letters(self, limit: int = 100) -> Sequence[shown.Letter]:
        _check(limit)
        return await letters.newest(self._glance, self._board.look.glimpses, limit)

    async def reports(self) -> Sequence[shown.Report]:
        return await asyncio.to_thread(self._jobs.reports.listed)

    async def curves(self, name: str) -> shown.Curves:
        return await asyncio.to_thread(self._jobs.reports.curves, name)

    async def page(self, name: str) -> Path:
        return await asyncio.to_thread(self._jobs.reports.page, name)

    async def recordings(self) -> Sequence[str]:
        return await asyncio.to_thread(self._jobs.recordings.listed)

    def jobs(self) -> Sequence[shown.Job]:
        return self._jobs.listed()

    def _away(self) -> list[str]:
        trouble = self._board.trouble
        return [f"the bus is away: {without_addresses(trouble)}"] if trouble else []

    def _severe(self) -> list[str]:
        """Why health is bad. Of a bus that is away nothing else is known."""
        return self._away() or list(self._board.look.severe)

    def _meant(self, symbol: str, *, must_be_there: bool = True) -> list[Pair]:
        """The pairs that a symbol stands for: of the venue that is named, else of the default one, else of any.

        Raises UsageError for what is none, NotFound for one that nobody knows.
        """
        wanted = parse_pair(symbol)
        known = [Pair(quote.exchange, quote.pair) for quote in self._board.look.quotes]
        if wanted in known:
            return [wanted]
        found = [one for one in known if one.name == wanted.name] if ":" not in symbol else []
        if found or not must_be_there:
            return found or [wanted]
        if any(self._key_of(one) in self._board.look.glimpses for one in _klines_of(wanted)):
            return [wanted]
        hint = did_you_mean(str(wanted), map(str, known)) or f"cryptostream subscribe {wanted} follows it"
        raise NotFound(f"nothing of {wanted} on the bus", hint=hint)

    def _stream_of(self, pair: Pair) -> str:
        there = self._board.look.glimpses
        for channel in (Channel.TRADES, Channel.AGG_TRADES):
            if (name := self._key_of(Subscription(pair.exchange, channel, pair.name))) in there:
                return name
        raise NotFound(f"no trades of {pair} yet", hint="they come with its first trade; klines alone make bars")


def _check(limit: int) -> None:
    if not 1 <= limit <= MOST_ENTRIES:
        raise UsageError(f"not a number of entries: {limit}", hint=f"1 to {MOST_ENTRIES}")


def _klines_of(pair: Pair) -> Iterator[Subscription]:
    return (Subscription(pair.exchange, Channel.KLINES, pair.name, interval) for interval in Interval)


def _kind_of(url: str) -> str:
    """What a bus is, without its address.

    >>> _kind_of("redis+sentinel://h1:26379/main"), _kind_of("embedded:///home/me")
    ('redis+sentinel', 'embedded')
    """
    return url.partition(":")[0]


def _ingester(one: admin.Counters) -> shown.Ingester:
    def counted(name: str) -> int:
        return int(one.ingest.get(name, 0))

    return shown.Ingester(
        process=process_of(one),
        connections=counted("active_connections"),
        messages=counted("total_messages"),
        published=int(one.publisher.get("publish_count", 0)),
        duplicates=int(one.publisher.get("duplicates", 0)) + counted("duplicates"),
        errors=int(one.publisher.get("error_count", 0)),
        reconnects=counted("reconnects"),
        gaps_opened=counted("gaps_opened"),
        gaps_filled=counted("gaps_filled"),
        gaps_unfillable=counted("gaps_unfillable"),
        spool_bytes=int(one.publisher.get("spool_bytes", 0)),
        lag_ms=one.lag_ms,
        trouble=without_addresses(one.trouble),
    )
