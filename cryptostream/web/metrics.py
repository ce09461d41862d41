"""What a process counts of its own work, as Prometheus reads it: nothing is counted twice, nothing per trade.

Label values are few and fixed but for pairs: the first MAX_PAIRS have series of their own, and how many have none is
told. Groups are as many as the configuration has consumers.
"""

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric

from cryptostream import __version__
from cryptostream.engine.stats import ConsumerFacts, FeedStats, PairFacts, PublisherStats
from cryptostream.web.families import PREFIX, counter, counters, gauge, gauges, histogram, text
from cryptostream.web.health import Watched, WatchedConsumers

MAX_PAIRS = 200

_FEED = {
    "received_messages": ("total_messages", "Messages received from the exchange."),
    "dead_letters": ("error_messages", "Messages nobody could read, set aside."),
    "ignored_messages": ("ignored_messages", "Messages that carry no data."),
    "connection_errors": ("connection_errors", "Connections that failed or broke."),
    "rotations": ("rotations", "Connections replaced before they ended."),
    "dropped_records": ("dropped", "Records the inbox had no room for; trades among them are fetched again."),
    "filled_trades": ("filled", "Trades that were missed live and fetched later."),
    "missing_trades": ("missing", "Trades and windows of klines that could not be had, all in gap entries."),
    "stale_streams": ("stale", "Times that a stream was found silent while its pair traded."),
}
_PUBLISHED = {
    "published_entries": ("published", "Entries written to the bus."),
    "gap_entries": ("gaps", "Gap entries written, whoever found out that something is missing."),
    "saved_trades": ("saved", "Trades missed here that another ingester had written."),
    "refused_entries": ("refused", "Entries that their stream has no place for any more."),
    "publish_errors": ("errors", "Entries the bus refused with an error."),
    "spooled_records": ("spooled", "Records that went to the spool because the bus was away."),
    "overflowed_records": ("overflowed", "Records the spool had no room for; trades among them are fetched again."),
}

_GROUPS = {
    "group_read_entries": ("read", "Entries handed over, each as often as it was delivered."),
    "group_acknowledged_entries": ("acked", "Entries acknowledged."),
    "group_redelivered_entries": ("redelivered", "Entries handed over again: pending from before, or rejected."),
    "group_claimed_entries": ("claimed", "Entries taken over from members that are gone."),
    "group_rejected_entries": ("rejected", "Times that an entry could not be handled."),
    "group_dead_letters": ("dead_letters", "Entries set aside because they could not be handled."),
    "group_lost_entries": ("lost", "Entries trimmed before they were read or acknowledged."),
    "group_resets": ("resets", "Groups made again because the bus had lost them."),
}
_GROUPS_NOW: dict[str, tuple[Callable[[ConsumerFacts], float], str]] = {
    "group_streams": (lambda one: one.group.streams, "Streams that are read now."),
    "group_held_entries": (lambda one: one.held, "Entries that the sinks have and have not made safe."),
    "group_bus_available": (lambda one: not one.group.trouble, "1 while the bus answers."),
    "group_working": (lambda one: not one.troubles, "1 while no sink and no handler is in trouble."),
}


def exposed(watched: Watched | WatchedConsumers, accept: str = "") -> tuple[bytes, str]:
    """The metrics of a process and their content type, as who asks accepts it."""
    return text(lambda: _all(watched), accept)


def _all(watched: Watched | WatchedConsumers) -> Iterator[Metric]:
    yield build()
    yield healthy(not watched.reasons())
    yield from of_process(watched)


def build() -> Metric:
    facts = {"version": __version__, "python": platform.python_version()}
    return InfoMetricFamily(f"{PREFIX}build", "What runs here.", facts)


def healthy(well: bool) -> Metric:
    return gauge("healthy", "1 while `/health` answers 200.", well)


def of_process(watched: Watched | WatchedConsumers) -> Iterator[Metric]:
    """What a process counts of its own work: of an ingest, and of consumers where there are any."""
    if isinstance(watched, Watched):
        yield from _of_ingest(watched)
    if consumers := watched.consumers():
        yield from _of_consumers(consumers)


def _of_ingest(watched: Watched) -> Iterator[Metric]:
    feed, published = watched.feed(), watched.published()
    yield from _of_feed(feed)
    yield from _of_publisher(published)
    yield _duplicates(feed, published)
    yield from _of_pairs(watched.pairs())


def _of_feed(feed: FeedStats) -> Iterator[Metric]:
    yield from (counter(name, told, getattr(feed, field)) for name, (field, told) in _FEED.items())
    gaps = {"opened": feed.gaps_opened, "filled": feed.gaps_filled, "unfillable": feed.gaps_unfillable}
    yield counters("gaps", "Stretches of missing trades, by what became of them.", "status", gaps.items())
    yield counters("reconnects", "Connections made again, by why.", "reason", feed.reconnects_by.items())
    yield gauge("active_connections", "Connections to the exchange that are live now.", feed.active_connections)
    yield gauge("held_trades", "Trades that wait for missing ones now.", feed.held)
    if feed.lag_ms is not None:
        yield gauge("lag_seconds", "Receive time less event time of the newest message.", feed.lag_ms / 1000)
    yield histogram(
        "exchange_to_socket_seconds", "From the exchange's time of a message to its arrival.", feed.exchange_to_socket
    )
    yield histogram(
        "socket_to_published_seconds",
        "From arrival until the bus had answered, of the oldest record of each batch.",
        feed.socket_to_published,
    )


def _of_publisher(published: PublisherStats) -> Iterator[Metric]:
    yield from (counter(name, told, getattr(published, field)) for name, (field, told) in _PUBLISHED.items())
    yield histogram(
        "exchange_to_bus_seconds",
        "From the exchange's time of the oldest record of a write until the bus had answered, spooled or not.",
        published.exchange_to_bus,
    )
    yield gauge("spool_bytes", "What the spool holds now.", published.spool_bytes)
    yield gauge("bus_available", "1 while the bus takes what it is given.", not published.trouble)


def _duplicates(feed: FeedStats, published: PublisherStats) -> Metric:
    by = {"continuity": feed.duplicates, "bus": published.duplicates}
    return counters(
        "duplicates", "What came again: trades released before, entries that were in their stream.", "where", by.items()
    )


def _of_pairs(pairs: Sequence[PairFacts]) -> Iterator[Metric]:
    states = Counter(one.state for one in pairs)
    yield gauges("subscriptions", "What is followed, by how it stands.", "state", states.items())
    names = list(dict.fromkeys((one.exchange, one.pair) for one in pairs))
    shown = set(names[:MAX_PAIRS])
    yield gauge("pairs_without_metrics", "Pairs that have no series of their own here.", len(names) - len(shown))
    yield from _of_shown([one for one in pairs if (one.exchange, one.pair) in shown and one.channel])


def _of_shown(pairs: Sequence[PairFacts]) -> Sequence[Metric]:
    newest = _pair_gauge("pair_last_trade_timestamp_seconds", "Time of the newest record released.")
    last_id = _pair_gauge("pair_last_id", "Id of the newest record released.")
    gap_open = _pair_gauge("pair_gap_open", "1 while trades are missing and looked for.")
    for one in pairs:
        labels = [one.exchange, one.channel, one.pair]
        gap_open.add_metric(labels, one.gap_from is not None)
        if one.ts is not None:
            newest.add_metric(labels, one.ts / 1e6)
        if one.last_id is not None:
            last_id.add_metric(labels, one.last_id)
    return newest, last_id, gap_open


def _of_consumers(consumers: Sequence[ConsumerFacts]) -> Iterator[Metric]:
    for name, (field, told) in _GROUPS.items():
        yield counters(name, told, "group", [(one.name, getattr(one.group, field)) for one in consumers])
    for name, (now, told) in _GROUPS_NOW.items():
        yield gauges(name, told, "group", [(one.name, now(one)) for one in consumers])
    consumed = [(one.name, one.events) for one in consumers]
    yield counters("consumed_events", "What went to sinks or handlers.", "group", consumed)


def _pair_gauge(name: str, told: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, told, labels=["exchange", "channel", "pair"])
