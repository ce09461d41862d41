"""Consumers: what to read, what to keep of it, where to write it."""

import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from cryptostream import registry
from cryptostream.bus import history
from cryptostream.bus.connect import Bus
from cryptostream.bus.group.lease import Leases
from cryptostream.bus.group.member import member
from cryptostream.bus.group.ownership import EVERYTHING, Shard
from cryptostream.bus.group.seam import Seam
from cryptostream.bus.group.source import Group, GroupSettings
from cryptostream.bus.keys import of_pair
from cryptostream.client.membership import Terms
from cryptostream.config import Config, ConsumerConfig
from cryptostream.config.reading import KINDS
from cryptostream.config.sinks import BUS
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.pipeline import Pipeline
from cryptostream.engine.runtime import Work
from cryptostream.engine.stats import ConsumerFacts, GroupStats
from cryptostream.errors import ConfigError, UsageError
from cryptostream.model.instrument import Channel, Interval
from cryptostream.model.ports import Archive, Ownership, Sink, Transform
from cryptostream.model.times import place
from cryptostream.transforms import where
from cryptostream.wiring.basics import is_tagged
from cryptostream.wiring.desks import Desks
from cryptostream.wiring.past import Past
from cryptostream.wiring.roster import roster
from cryptostream.wiring.trading import Trading

_STATE_VERSION = "1"
"""Of what strategies are remembered by."""


@dataclass(frozen=True, kw_only=True)
class Until:
    """What ends consumers by themselves."""

    idle_s: float | None = None
    """Nothing came for so long."""
    once: bool = False
    """What is there at the start has been read."""
    entries: int | None = None


class Loop(Work, Protocol):
    """What runs a consumer."""

    def facts(self, group: GroupStats) -> ConsumerFacts: ...


@dataclass(frozen=True)
class Consuming:
    """One consumer that may run: its loop, and who counts."""

    pipeline: Loop
    count: Callable[[], GroupStats]
    member: str

    @property
    def stats(self) -> GroupStats:
        """What its group has counted."""
        return self.count()

    def facts(self) -> ConsumerFacts:
        """Where it stands now."""
        return self.pipeline.facts(self.stats)


@asynccontextmanager
async def consumers(config: Config, names: Sequence[str], on: Bus, until: Until) -> AsyncIterator[list[Consuming]]:
    """The configured consumers of these names, ready to run. Raises ConfigError, BusUnavailable, BusRefused."""
    async with AsyncExitStack() as opened:
        yield [await _consumer(config, name, on, until, opened) for name in names]


async def _consumer(config: Config, name: str, on: Bus, until: Until, opened: AsyncExitStack) -> Consuming:
    told, clock = config.consumers[name], SystemClock()
    sinks = {_name(wanted): _sink(name, wanted) for wanted in told.write if BUS not in wanted}
    me = await opened.enter_async_context(member(config.data_dir, name, config.consume.name))
    found = patterns(told.read)
    settings = GroupSettings(
        start=place(told.start),
        count=config.consume.batch,
        claim_idle_s=config.consume.claim_idle,
        max_deliveries=config.consume.max_deliveries,
        until=await _tops(on, found) if until.once else None,
    )
    if told.strategies:
        return await _strategies(config, name, on, until, me, settings, sinks.get("console"), opened)
    arguments: dict[str, Any] = {
        "group": name,
        "consumer": me,
        "clock": clock,
        "settings": settings,
        "ownership": await _ownership(config, name, on, me, opened),
    }
    recorded = _recorded(config, told, sinks)
    source = Seam(on, found, recorded, **arguments) if recorded else Group(on, found, **arguments)
    pipeline = Pipeline(
        name,
        source,
        list(sinks.values()),
        transform=_filter(told.where),
        limit=until.entries,
        until_idle_s=until.idle_s,
        max_held=config.bus.maxlen // 2,
        slow_after_s=config.consume.deadline,
        clock=clock,
    )
    return Consuming(pipeline, lambda: source.stats, me)


async def _strategies(
    config: Config,
    name: str,
    on: Bus,
    until: Until,
    me: str,
    settings: GroupSettings,
    console: Sink | None,
    opened: AsyncExitStack,
) -> Consuming:
    """A consumer whose strategies read whole streams, and write their signals to the bus."""
    if until.entries is not None:
        raise UsageError("strategies are not ended after so many entries", hint="--once, --until-idle or --duration")
    told = config.consumers[name]
    made = roster(config, told)
    past = Past(config, on, _archive(config), made) if told.warm_up else None
    terms = Terms(
        group=name,
        settings=settings,
        ownership="lease" if config.consume.ownership == "lease" else _share(config),
        version=_STATE_VERSION,
        config=made.fingerprint,
        until_idle_s=until.idle_s,
        maxlen=config.bus.maxlen,
        warm_up=await opened.enter_async_context(past) if past is not None else None,
    )
    desks = Desks(
        made.desk,
        group=name,
        config={label: made.only(label).fingerprint for label in made.labels},
        ttl_s=told.latest_ttl,
        clock=SystemClock(),
        tagged=is_tagged(config),
    )
    loop = Trading(on, me, terms, patterns(told.read), desks, deadline_s=config.consume.deadline)
    if console is not None:
        loop.tell(console)
    return Consuming(loop, lambda: loop.stats, me)


def _share(config: Config) -> Ownership:
    return Shard.parse(config.consume.shard) if config.consume.shard else EVERYTHING


async def _ownership(config: Config, group: str, on: Bus, me: str, opened: AsyncExitStack) -> Ownership:
    if config.consume.ownership == "lease":
        return await opened.enter_async_context(Leases(on, group, me, SystemClock()))
    return _share(config)


async def _tops(on: Bus, patterns: Sequence[str]) -> dict[str, str]:
    names = {name for pattern in patterns for name in await history.streams(on, pattern)}
    return await history.tops(on, sorted(names))


def _recorded(config: Config, told: ConsumerConfig, sinks: Mapping[str, Sink]) -> Archive | None:
    """What is recorded of the past, where a consumer is to begin there; a recorder does not read its own."""
    if told.start in ("earliest", "new") or "parquet" in sinks:
        return None
    return _archive(config)


def _archive(config: Config) -> Archive | None:
    from cryptostream.tape.parquet import Recording

    folder = archive_of(config)
    return Recording(folder) if folder is not None else None


def archive_of(config: Config) -> Path | None:
    """The recorded folder of this configuration, if there is one: the one it names, or its recorder's."""
    if config.consume.archive:
        return config.consume.archive
    written = (sink["parquet"] for told in config.consumers.values() for sink in told.write if "parquet" in sink)
    return next((Path(params["dir"]) for params in written if "dir" in params), None)


def patterns(read: Sequence[str]) -> list[str]:
    """What a configuration says is read, as globs of streams."""
    return [pattern for word in read for pattern in _patterns(word)]


def _patterns(read: str) -> list[str]:
    """Streams as a consumer names them: a channel is all its pairs, a pair all its channels, else a key or a glob.

    >>> _patterns("trades"), _patterns("klines:1m"), _patterns("BTCUSDT")
    (['trades:*'], ['klines:*:1m'], ['*:BTCUSDT', '*:BTCUSDT:*', '*:{BTCUSDT}', '*:{BTCUSDT}:*'])
    >>> _patterns("trades:BTC*"), _patterns("trades:BTCUSDT")
    (['trades:BTC*'], ['trades:BTCUSDT'])
    """
    channel, _, rest = read.partition(":")
    if channel == Channel.KLINES and rest in set(Interval):
        return [f"{channel}:*:{rest}"]
    if rest or history.is_glob(read):
        return [read]
    return [f"{read}:*"] if read in KINDS else of_pair(read)


def place_param(name: str) -> str:
    """What a sink calls the file or folder that it writes, the first thing it is given; empty where it writes none.

    >>> place_param("jsonl"), place_param("console")
    ('path', '')
    """
    first = next(iter(inspect.signature(registry.load("sinks", name)).parameters), "")
    return first if first in ("path", "dir") else ""


def _name(wanted: Mapping[str, Any]) -> str:
    return next(iter(wanted))


def _sink(consumer: str, wanted: Mapping[str, Any]) -> Sink:
    [(name, params)] = wanted.items()
    try:
        return cast(Sink, registry.load("sinks", name)(**params))
    except ConfigError as error:
        raise ConfigError(f"consumers.{consumer}.write: {name}: {error}", hint=error.hint) from error


def _filter(text: str | None) -> Transform | None:
    if text is None:
        return None
    holds = where.compile(text)
    return lambda entry: (entry,) if holds(where.facts(entry)) else ()
