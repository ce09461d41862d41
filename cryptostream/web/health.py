"""Health as words, without a socket: what a running program can be asked, when it is unwell, who may ask from where."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from cryptostream.engine.stall import Stall
from cryptostream.engine.stats import ConsumerFacts, FeedStats, GroupStats, PairFacts, PublisherStats, consumed
from cryptostream.errors import ConfigError

_LONGEST = 600
_ADDRESS = re.compile(
    r"\b[a-z][a-z+]*://[^\s;]*[^\s;,:.]"  # a URL; one of several sentinels has commas
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\[[\da-fA-F:.]+\](?::\d+)?"  # 10.1.2.3:6379, [::1]:6379
    r"|\b(?=[\w.-]*[A-Za-z])\w[\w.-]*:\d{1,5}\b"  # redis-2.lan:6379, 3fa9c1:6379
)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What HTTP shows of a running ingest; each is asked anew for every answer, and answers without waiting."""

    feed: Callable[[], FeedStats]
    published: Callable[[], PublisherStats]
    pairs: Callable[[], Sequence[PairFacts]]
    stats: Callable[[], Mapping[str, Any]]
    """The counters in the shape of `stats -o json`."""
    reasons: Callable[[], Sequence[str]]
    """Why it is unwell, one short phrase each; empty while it is well."""
    consumers: Callable[[], Sequence[ConsumerFacts]] = tuple
    """Those that run in the same process."""


@dataclass(frozen=True, kw_only=True)
class WatchedConsumers:
    """What HTTP shows of a process that only consumes; asked from another thread, so that it answers in any case."""

    consumers: Callable[[], Sequence[ConsumerFacts]]
    stats: Callable[[], Mapping[str, Any]]
    reasons: Callable[[], Sequence[str]]


def watched(consumers: Callable[[], Sequence[ConsumerFacts]], stall: Stall) -> WatchedConsumers:
    """What HTTP shows of consumers that run on one loop, which is watched for standing still."""
    return WatchedConsumers(
        consumers=consumers,
        stats=lambda: {"consumers": consumed(consumers()), "stalls": stall.count, "stalled": stall.trouble},
        reasons=lambda: of_consumers(consumers(), stalled=stall.trouble),
    )


def reasons(feed: FeedStats, published: PublisherStats, *, connections_wanted: int, started: bool) -> list[str]:
    """Why an ingest is unwell now, as an operator reads it and without any address; empty while it is well.

    >>> reasons(FeedStats(active_connections=1), PublisherStats(), connections_wanted=2, started=True)
    ['1 of 2 connections to the exchange is live']
    """
    if not started:
        return ["starting: nothing has been heard yet"]
    return [*_of_sockets(feed.active_connections, connections_wanted), *_of_the_bus(published)]


def _of_sockets(live: int, wanted: int) -> list[str]:
    if live >= wanted:  # more while one is being replaced
        return []
    if not live:
        return ["no connection to the exchange is live"]
    return [f"{live} of {wanted} connections to the exchange {'is' if live == 1 else 'are'} live"]


def _of_the_bus(published: PublisherStats) -> list[str]:
    found = [f"the bus takes nothing: {without_addresses(published.trouble)}"] if published.trouble else []
    if published.overflowed and published.spool_bytes:  # once it is empty, what it had no room for is fetched again
        found.append(f"the spool is full: {published.overflowed:,} records had no room")
    return found


def of_consumers(consumers: Sequence[ConsumerFacts], *, stalled: str = "") -> list[str]:
    """Why consumers are unwell now, each named, without any address; `stalled` says what their loop hangs in.

    >>> full = ConsumerFacts(name="recorder", group=GroupStats(), troubles=["parquet: No space left on device"])
    >>> of_consumers([full])
    ['recorder: parquet: No space left on device']
    """
    found = [stalled] if stalled else []
    for one in consumers:
        found += [f"{one.name}: {why}" for why in _of_consumer(one)]
    return [without_addresses(why) for why in found]


def _of_consumer(one: ConsumerFacts) -> list[str]:
    if not one.started:
        return ["starting: nothing has been read yet"]
    return [*_of_group(one.group), *one.troubles]


def _of_group(group: GroupStats) -> list[str]:
    return [f"the bus gives nothing: {group.trouble}"] if group.trouble else []


def without_addresses(text: str) -> str:
    """Words that may be shown to anybody, out of an error that may name where something is.

    Of a long text the beginning is all that is said. What our own processes are called is left out before it gets among
    the words, not here: their numbers look like anything.

    >>> without_addresses("no answer from redis://10.1.2.3:6379/0: timed out")
    'no answer from the server: timed out'
    >>> without_addresses("moved to 10.1.2.3:7001"), without_addresses("Error 111 connecting to 3fa9c1:6379")
    ('moved to the server', 'Error 111 connecting to the server')
    """
    if len(text) > _LONGEST:
        text = text[:_LONGEST].rpartition(" ")[0]
    return _ADDRESS.sub("the server", text)


def check_exposure(host: str, token: str | None) -> None:
    """Raises ConfigError where others than this machine could read everything unasked."""
    if not is_loopback(host) and not token:
        raise ConfigError(
            f"health on {host or 'every address'} could be read by anybody who reaches this machine",
            hint="set ingest.health_token (CRYPTOSTREAM_INGEST__HEALTH_TOKEN), or leave health_host at 127.0.0.1",
        )


def check_served(host: str, tokens: Sequence[str]) -> None:
    """Raises ConfigError where others than this machine could use API and dashboard unasked."""
    if not is_loopback(host) and not tokens:
        raise ConfigError(
            f"API and dashboard on {host or 'every address'} could be used by anybody who reaches this machine",
            hint="set serve.token or serve.read_token (CRYPTOSTREAM_SERVE__TOKEN), or leave serve.host at 127.0.0.1",
        )
    if len(set(tokens)) < len(tokens):
        raise ConfigError("serve.token and serve.read_token are the same, and only one of them may write")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address.

    >>> [is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost", "0.0.0.0", "::", "", "me.lan")]
    [True, True, True, True, False, False, False, False]
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def is_any(host: str) -> bool:
    """Whether it stands for every address of this machine.

    >>> [is_any(host) for host in ("", "0.0.0.0", "::", "127.0.0.1")]
    [True, True, True, False]
    """
    try:
        return not host or ip_address(host).is_unspecified
    except ValueError:
        return False
