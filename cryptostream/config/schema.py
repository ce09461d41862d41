"""Every setting there is: its name, range, default, and what it does. `docs/configuration.md` is checked against it."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator

from cryptostream.bus.group.ownership import Shard
from cryptostream.config import alerts as alerting
from cryptostream.config.addresses import BusUrl, HttpUrl, SecretUrl, WsUrl
from cryptostream.config.alerts import AlertConfig
from cryptostream.config.feeds import Discover, FeedConfig, check_venue, clashes
from cryptostream.config.lists import Symbol, Symbols, listed
from cryptostream.config.quantities import Duration, Flag, Size, Whole, between, spelled_bytes
from cryptostream.config.reading import Stream
from cryptostream.config.section import Section, several
from cryptostream.config.sinks import BUS, Sink
from cryptostream.config.strategies import Strategy, mistakes, mixed
from cryptostream.config.words import told, wrong
from cryptostream.engine.machine import data_home
from cryptostream.model.duration import spelled
from cryptostream.model.instrument import check_symbol
from cryptostream.model.times import place
from cryptostream.registry import names
from cryptostream.transforms import where
from cryptostream.transforms.bars import parse_bars
from cryptostream.venues import coingecko
from cryptostream.web.health import check_exposure, check_served

__all__ = ["BusConfig", "Config", "ConsumerConfig", "Discover", "FeedConfig", "FeedDefaults"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def _check_bars(text: str) -> str:
    told(parse_bars, text)
    return text


def _check_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise wrong("the name of a consumer should be letters, digits, - and _, at most 64")
    return text


def _check_shard(text: str) -> str:
    told(Shard.parse, text)
    return text


def _check_start(text: str) -> str:
    if text.startswith("-"):
        raise wrong("a configuration has no now; write a time as in 2026-11-01T00:00:00Z")
    told(place, text)
    return text


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise wrong("lies in a home folder and there is none; set CRYPTOSTREAM_DATA_DIR") from None


Name = Annotated[str, AfterValidator(_check_name)]
Coin = Annotated[str, AfterValidator(lambda text: told(check_symbol, text))]
Venue = Annotated[str, AfterValidator(check_venue)]
Folder = Annotated[Path, AfterValidator(_expanded)]


class BusConfig(Section):
    """Redis Streams in the middle."""

    url: BusUrl = Field(
        SecretUrl("embedded://"),
        description="Where Redis is: redis://, rediss://, unix://, or embedded:// for a private server of our own.",
    )
    maxlen: Whole = Field(
        10_000, ge=0, le=10**12, description="Entries to keep in each stream, approximately; 0 never trims."
    )
    raw_json: Flag = Field(
        True,
        description="Keep the frame as received in each entry; without it an entry takes less than half the memory.",
    )
    connect_timeout: Annotated[Duration, between(0.001, 3600, spelled)] = Field(
        30.0, description="How long a start waits for the bus and the exchange before it gives up. 1ms to 1h."
    )


class SpoolConfig(Section):
    """Where records wait while the bus is away: a log on this machine's disk."""

    max_bytes: Annotated[Size, between(1 << 20, 1 << 40, spelled_bytes)] = Field(
        1 << 30, description="What it may hold; trades beyond are fetched again once there is room. 1MiB to 1TiB."
    )
    fsync: Literal["always", "interval", "never"] = Field(
        "interval",
        description="When it is forced to disk: after each write, once a second, or when the machine likes. "
        "A crash of the process alone loses nothing in any case.",
    )


class FeedDefaults(Section):
    """How every feed listens."""

    transport: Literal["auto", "websockets", "picows"] = Field(
        "auto", description="What speaks websocket; auto takes picows where the extra `fast` is installed."
    )
    pairs_per_connection: Whole = Field(50, ge=1, le=1024, description="Pairs on one connection.")
    max_frame: Annotated[Size, between(1024, 64 << 20, spelled_bytes)] = Field(
        4 << 20, description="The largest frame to take; a larger one ends its connection. 1KiB to 64MiB."
    )
    time_unit: Literal["millisecond", "microsecond"] = Field(
        "millisecond", description="How exact the times are that the venue is asked for."
    )
    inbox_max: Whole = Field(
        200_000,
        ge=1,
        le=10_000_000,
        description="Records held while the bus is slow, before any is dropped and counted.",
    )
    rotate_after: Annotated[Duration, between(1, 23.5 * 3600, spelled)] = Field(
        23 * 3600.0,
        description="Age at which a connection is replaced, less up to a tenth by chance: the new one is heard before "
        "the old one is left. 1s to 23h30m.",
    )
    silent_after: Annotated[Duration, between(1, 86_400, spelled)] = Field(
        60.0,
        description="The least silence of a stream after which the venue is asked over REST whether its pair traded; "
        "longer for pairs that trade seldom. 1s to 1d.",
    )


class VenueConfig(Section):
    """Other addresses of one venue: a mirror, a test net, the local exchange."""

    ws_url: WsUrl | None = Field(None, description="Its websocket: wss://, or ws:// on this machine.")
    rest_url: HttpUrl | None = Field(None, description="Its REST: https://, or http:// on this machine.")


class DiscoveryConfig(Section):
    """Which pairs the biggest coins stand for."""

    url: HttpUrl = Field(coingecko.PUBLIC_URL, description="The ranking of coins (CoinGecko's API).")
    api_key: SecretStr | None = Field(None, min_length=1, description="A Demo key for it. Secret.")
    pro_api_key: SecretStr | None = Field(None, min_length=1, description="A Pro key for it. Secret.")
    top: Whole = Field(200, ge=1, le=2000, description="How many pairs, where neither feed nor flag says.")
    quote: Symbol = Field("USDT", description="What they are traded against, where neither feed nor flag says.")
    fallback_pairs: Symbols = Field(
        ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT"],
        min_length=1,
        description="Pairs that are always in the list, and all of it when nobody answers.",
    )
    exclude: Annotated[list[Coin], BeforeValidator(listed)] = Field(
        [], description="Coins to leave out, by ticker, pair or CoinGecko id, beside stablecoins and wrapped coins."
    )
    aliases: dict[str, Symbol] = Field({}, description="The base a coin trades under, by CoinGecko id.")
    refresh: Annotated[Duration, between(1, 7 * 86_400, spelled)] = Field(
        3600.0, description="How long a list is good before it is asked for again. 1s to 7d."
    )


class GapsConfig(Section):
    """What is done about trades that are missing."""

    deadline: Annotated[Duration, between(0.1, 86_400, spelled)] = Field(
        120.0,
        description="How long a pair waits while none of its missing trades can be had, before they are recorded as a "
        "gap. 100ms to 1d.",
    )
    grace: Annotated[Duration, between(0, 10, spelled)] = Field(
        0.25, description="How long a missing trade may still arrive by itself before it is asked for. 0s to 10s."
    )
    max_events: Whole = Field(
        100_000,
        ge=0,
        le=10**9,
        description="The most trades of one pair that are fetched for one gap; older ones stay missing.",
    )
    hold_events: Whole = Field(
        100_000,
        ge=0,
        le=10**8,
        description="Trades of all pairs that may wait for missing ones; more are fetched again.",
    )
    hold_bytes: Annotated[Size, between(0, 16 << 30, spelled_bytes)] = Field(
        64 << 20, description="Their size in memory, approximately. 0B to 16GiB."
    )


class Served(Section):
    """A command that can be asked over HTTP how it is."""

    health_port: Whole = Field(8099, ge=0, le=65_535, description="Port of the health endpoint; 0 takes a free one.")
    health_host: str = Field(
        "127.0.0.1",
        description="Address of the health endpoint; any but this machine's own needs `health_token`.",
    )
    health_token: SecretStr | None = Field(
        None, min_length=16, description="Who shows it (as `Authorization: Bearer`) may read all but `/health`. Secret."
    )

    @model_validator(mode="after")
    def _shown_to_whom(self) -> Self:
        told(lambda host: check_exposure(host, self.token), self.health_host)
        return self

    @property
    def token(self) -> str | None:
        """The token itself."""
        return self.health_token.get_secret_value() if self.health_token else None


class IngestConfig(Served):
    """The command `ingest`."""

    symbols: Symbols = Field([], description="Pairs to listen to where the feeds name none.")
    gaps: GapsConfig = GapsConfig()


class ConsumeConfig(Served):
    """How every consumer reads."""

    health_port: Whole = Field(8098, ge=0, le=65_535, description="Port of the health endpoint; 0 takes a free one.")
    name: Annotated[str, AfterValidator(_check_name)] | None = Field(
        None,
        description="This member's name in its groups; it keeps what it had begun across a restart. The host's name, "
        "and a number for each further process of one machine, unless set.",
    )
    ownership: Literal["compete", "lease"] = Field(
        "compete",
        description="`compete`: members take what comes, for work that needs no order. `lease`: each stream has one "
        "owner, shared out anew when members come and go.",
    )
    shard: Annotated[str, AfterValidator(_check_shard)] | None = Field(
        None, description="`2/4`: read the second quarter of the streams, the same ones on every machine."
    )
    batch: Whole = Field(100, ge=1, le=100_000, description="Entries taken from each stream at a time.")
    claim_idle: Annotated[Duration, between(0, 86_400, spelled)] = Field(
        30.0,
        description="How long entries stay with a member that does not finish them, before others do; 0s: for ever. "
        "0s to 1d.",
    )
    max_deliveries: Whole = Field(
        5, ge=1, le=1000, description="How often an entry that cannot be handled is tried, before it is set aside."
    )
    deadline: Annotated[Duration, between(0.1, 3600, spelled)] = Field(
        5.0, description="How long a sink may take over one batch before health names it. 100ms to 1h."
    )
    archive: Path | None = Field(
        None,
        description="A recorded folder that `--from` reads before the streams; unless set, where the consumers of this "
        "configuration record to.",
    )

    @model_validator(mode="after")
    def _one_owner(self) -> Self:
        if self.shard and self.ownership == "lease":
            raise wrong("`shard` and `ownership: lease` both say who reads which streams; use one of them")
        return self


class ServeConfig(Section):
    """The commands `serve` and `run`: the HTTP API and the dashboard."""

    host: str = Field("127.0.0.1", description="Address to serve at; any but this machine's own needs a token.")
    port: Whole = Field(8000, ge=0, le=65_535, description="Port of the API and the dashboard; 0 takes a free one.")
    token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Who shows it (as `Authorization: Bearer`) may read and write; at least 16 characters. Secret.",
    )
    read_token: SecretStr | None = Field(
        None, min_length=16, description="Who shows it may read; at least 16 characters. Secret."
    )
    dashboard: Flag = Field(True, description="Whether there is a dashboard, where the extra `dashboard` is installed.")

    @model_validator(mode="after")
    def _served_to_whom(self) -> Self:
        tokens = [token.get_secret_value() for token in (self.token, self.read_token) if token]
        told(lambda host: check_served(host, tokens), self.host)
        return self


class ConsumerConfig(Section):
    """What to read, what to keep of it, where to write it; its name is its consumer group."""

    read: Annotated[list[Stream], BeforeValidator(listed)] = Field(
        min_length=1,
        description="Channels (`trades`, `klines:1m`), pairs (`BTCUSDT`), streams (`trades:BTCUSDT`), globs.",
    )
    start: Annotated[str, AfterValidator(_check_start)] = Field(
        "earliest",
        description="Where a group that is new begins: `earliest`, `new`, an entry id, or a time (RFC 3339).",
    )
    where: str | None = Field(None, description='A filter: `qty*price > 1e5 and side == "buy"`.')
    strategies: Annotated[list[Strategy], BeforeValidator(listed)] = Field(
        [],
        description="What makes signals of it: `macd_rsi`, `{macd_rsi: {rsi_period: 7}}`, `my_pkg.module:Class`, "
        "`strategies/mine.py`; `as: NAME` among the parameters names the signals.",
    )
    bars: Annotated[str, AfterValidator(_check_bars)] | None = Field(
        None,
        description="What trades become for strategies: `1m` (where unset), `90s`, `tick:100`, `volume:10`, "
        "`dollar:1e6`.",
    )
    warm_up: Flag = Field(
        True,
        description="Whether strategies take in what came before, from stream, archive and REST, before they speak.",
    )
    latest_ttl: Annotated[Duration, between(1, 30 * 86_400, spelled)] = Field(
        3600.0, description="How long the hash `indicators:<PAIR>` outlives the last bar. 1s to 30d."
    )
    write: Annotated[list[Sink], BeforeValidator(listed)] = Field(
        min_length=1,
        description="Sinks: `console`, `jsonl: {path: FILE}`, `parquet: {dir: DIR}`, `sqlite: {path: FILE}`, "
        "`postgres`; strategies write to the `bus`, and to the `console` too where that is said.",
    )

    @model_validator(mode="after")
    def _signals_or_entries(self) -> Self:
        sinks = {name for sink in self.write for name in sink}
        if not self.strategies and BUS in sinks:
            raise wrong("the bus takes signals, and no strategies make any; name strategies")
        if not self.strategies and self.bars is not None:
            raise wrong("bars are for strategies, and there are none")
        if self.strategies and (others := sinks - {BUS, "console"}):
            raise wrong(
                f"strategies write to the bus, not to {', '.join(sorted(others))}; let another consumer read signals"
            )
        if self.strategies and self.where is not None:
            raise wrong("strategies take in whole streams, and `where` would leave holes in them")
        if self.strategies and (why := mixed(self.read)):
            raise wrong(why)
        return self

    @field_validator("where")
    @classmethod
    def _filter(cls, text: str | None) -> str | None:
        if text is not None:
            told(where.compile, text)
        return text


class PluginsConfig(Section):
    """Code that is not part of this program."""

    paths: Annotated[list[Folder], BeforeValidator(listed)] = Field(
        [Path()],
        max_length=100,
        description="Folders whose Python files may be strategies; no file elsewhere is loaded.",
    )


class Config(Section):
    """The whole configuration."""

    bus: BusConfig = BusConfig()
    spool: SpoolConfig = SpoolConfig()
    feeds: list[FeedConfig] = Field([], max_length=1000)
    feed: FeedDefaults = FeedDefaults()
    venues: dict[Venue, VenueConfig] = Field({}, json_schema_extra={"propertyNames": {"enum": list(names("venues"))}})
    discovery: DiscoveryConfig = DiscoveryConfig()
    ingest: IngestConfig = IngestConfig()
    consume: ConsumeConfig = ConsumeConfig()
    serve: ServeConfig = ServeConfig()
    consumers: dict[Name, ConsumerConfig] = Field({})
    alerts: dict[Name, AlertConfig] = Field({})
    plugins: PluginsConfig = PluginsConfig()
    data_dir: Folder = Field(
        default_factory=lambda: data_home(os.environ),
        validate_default=True,
        description="Where the embedded bus and the last good lists live; XDG's data home unless set.",
    )

    @model_validator(mode="before")
    @classmethod
    def _without_empty_sections(cls, value: Any) -> Any:
        """`bus:` with nothing below it says nothing."""
        if not isinstance(value, Mapping):
            return value
        return {key: inner for key, inner in value.items() if inner is not None or key not in cls.model_fields}

    @field_validator("feeds")
    @classmethod
    def _keys_differ(cls, feeds: list[FeedConfig]) -> list[FeedConfig]:
        several(clashes(feeds))
        return feeds

    @model_validator(mode="after")
    def _strategies_can_be_made(self) -> Self:
        several(mistakes(self.consumers, self.plugins.paths))
        return self

    @model_validator(mode="after")
    def _alerts_end(self) -> Self:
        several(alerting.mistakes(self.alerts))
        return self
