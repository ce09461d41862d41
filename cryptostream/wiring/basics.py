"""Venues, REST clients, the bus and the names of streams, as the configuration has them."""

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from cryptostream import logs, registry
from cryptostream.bus.connect import connect
from cryptostream.bus.keys import stream_key
from cryptostream.config import Config, FeedConfig
from cryptostream.engine.clock import SystemClock
from cryptostream.feed.rest import Rest
from cryptostream.model.instrument import Subscription, Wanted
from cryptostream.venues.base import Venue

INGESTER = f"{socket.gethostname()}:{os.getpid()}"
"""Who we are among several ingesters."""
KeyOf = Callable[[Subscription], str]
_log = logs.get("wiring")


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


def is_tagged(config: Config) -> bool:
    """Whether keys carry their pair as a hash tag: in a cluster."""
    return "+cluster:" in config.bus.url.get_secret_value()


def keys(config: Config, prefix: str = "") -> KeyOf:
    """What each subscription's stream is called: the contract's name, or the template of the feed that asks for it.

    A pair that no feed names belongs to the feed that discovers pairs, else to the venue's first. In a cluster the pair
    is the hash tag.
    """
    tagged = is_tagged(config)
    asked = [(feed, wanted) for feed in config.feeds for wanted in feed.channels]
    named = {(feed.venue, wanted, pair): feed.key for feed, wanted in asked for pair in feed.symbols}
    others = {(feed.venue, wanted): feed.key for feed, wanted in asked if feed is adopter(config.feeds, feed.venue)}
    others |= {(feed.venue, wanted): feed.key for feed, wanted in asked if feed.discover}

    def key_of(one: Subscription) -> str:
        wanted = Wanted(one.channel, one.interval)
        template = named.get((one.exchange, wanted, one.pair), _for_any(others.get((one.exchange, wanted))))
        return prefix + stream_key(one, template, tagged=tagged)

    return key_of


def adopter(feeds: Sequence[FeedConfig], exchange: str) -> FeedConfig | None:
    """Whose a pair is that no feed of a venue names: the feed's that discovers pairs, else the first's."""
    ours = [feed for feed in feeds if feed.venue == exchange]
    return next((feed for feed in ours if feed.discover), next(iter(ours), None))


def _for_any(template: str | None) -> str | None:
    """A template that can name the streams of more than one pair."""
    return template if template and "{pair}" in template else None
