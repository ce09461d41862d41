"""Counters that every part of a pipeline keeps, counted per batch and read by whoever shows them."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain
from typing import Any, TypeVar

import msgspec

from cryptostream.model.events import KlineRecord, Record, TradeRecord

LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Histogram:
    """How often a value was at most each of some bounds, as Prometheus counts: one call a batch, never a sample kept.

    >>> waited = Histogram((1.0, 2.0))
    >>> for seconds in (0.5, 1.0, 7.0):
    ...     waited.observe(seconds)
    >>> waited.counts, waited.total, waited.sum
    ([2, 0, 1], 3, 8.5)
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = LATENCY_S) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """How many fell at or below each bound and above the one before; the last are those above all bounds."""
        self.sum = 0.0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and (self.bounds, self.counts, self.sum) == (
            other.bounds,
            other.counts,
            other.sum,
        )

    @property
    def total(self) -> int:
        return sum(self.counts)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: "Histogram") -> None:
        """Take in what another one of the same bounds has counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


def quantile(counts: Sequence[int], share: float, bounds: Sequence[float] = LATENCY_S) -> float | None:
    """Where that share of what a Histogram's `counts` hold lies, evenly spread within each bucket; None of nothing.

    What lies above all bounds is said to lie at the last of them.

    >>> quantile([2, 0, 2, 0], 0.5, (1.0, 2.0, 4.0)), quantile([2, 0, 2, 0], 0.75, (1.0, 2.0, 4.0))
    (1.0, 3.0)
    >>> quantile([0, 0, 0, 7], 0.5, (1.0, 2.0, 4.0)), quantile([0, 0], 0.5, (1.0,))
    (4.0, None)
    """
    wanted, below = share * sum(counts), 0
    if not wanted:
        return None
    for count, under, bound in zip(counts, (0.0, *bounds), bounds, strict=False):
        if count and below + count >= wanted:
            return under + (bound - under) * (wanted - below) / count
        below += count
    return bounds[-1]


def delay_s(records: Sequence[Record], now_ns: int) -> float | None:
    """How long ago the exchange dated the first of these that a socket brought, never below zero; None of no such.

    What was fetched over REST came late for its own reasons: a trade that was `filled`, and a closed kline without an
    event's time, which is dated by its window's end.
    """
    oldest = next(filter(_heard, records), None)
    return None if oldest is None else max(0.0, now_ns / 1e9 - oldest.ts / 1e6)


def _heard(record: Record) -> bool:
    if isinstance(record, TradeRecord):
        return not record.filled
    return isinstance(record, KlineRecord) and record.ts // 1000 > record.close_time * record.closed


class PairFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Where one subscription stands: the newest id released and its time in microseconds, what it waits for."""

    exchange: str
    channel: str
    pair: str
    state: str = "live"
    """live, filling (a gap is open), silent (it said nothing yet) or left out."""
    last_id: int | None = None
    ts: int | None = None
    gap_from: int | None = None
    gap_to: int | None = None
    held: int = 0
    note: str = ""


class FeedStats(msgspec.Struct):
    """What one feed has seen since it started."""

    active_connections: int = 0
    total_messages: int = 0
    error_messages: int = 0
    ignored_messages: int = 0
    connection_errors: int = 0
    reconnects: int = 0
    reconnects_by: dict[str, int] = {}
    """The same by reason; reasons are few and fixed."""
    dropped: int = 0
    """Records the inbox had no room for; trades among them are fetched again."""
    duplicates: int = 0
    """Trades that had been released before: re-sent, or seen on two sockets."""
    filled: int = 0
    """Trades that were missed live and came over REST."""
    gaps_opened: int = 0
    gaps_filled: int = 0
    gaps_unfillable: int = 0
    missing: int = 0
    """Trades, and windows of klines, that never came; all in gap entries."""
    held: int = 0
    """Trades that wait for missing ones now."""
    stale: int = 0
    """Streams found silent while their pair traded."""
    rotations: int = 0
    """Connections replaced before they ended."""
    lag_ms: float | None = None
    """Receive time less the venue's event time of the newest frame; negative where our clock is behind."""
    exchange_to_socket: Histogram = msgspec.field(default_factory=Histogram)
    """Seconds, one a batch: of its oldest record, if that came by a socket; never below zero."""
    socket_to_published: Histogram = msgspec.field(default_factory=Histogram)
    """Seconds that the oldest record of a batch waited until Redis had answered for it."""


class PublisherStats(msgspec.Struct):
    """What one publisher has written since it started."""

    published: int = 0
    duplicates: int = 0
    """Entries that the stream already held."""
    gaps: int = 0
    """Gap entries written, whoever found out that something is missing."""
    saved: int = 0
    """Trades this ingester had missed and found in the stream when it had fetched them: another one wrote them."""
    refused: int = 0
    """Entries that the stream has no place for any more."""
    errors: int = 0
    spooled: int = 0
    """Records that went to the spool because the bus was away."""
    spool_bytes: int = 0
    """What the spool holds now."""
    overflowed: int = 0
    """Records the spool had no room for; trades among them are fetched again."""
    trouble: str = ""
    """Why the bus takes nothing now; empty while it does."""
    exchange_to_bus: Histogram = msgspec.field(default_factory=Histogram)
    """Seconds from the exchange's time to Redis' answer, one a write: of its oldest record, if a socket brought it.

    What waited in the spool is counted too, with all of its wait.
    """


class GroupStats(msgspec.Struct):
    """What one member of a consumer group has read since it started."""

    group: str = ""
    streams: int = 0
    """Streams that it reads now."""
    read: int = 0
    """Entries handed over, each as often as it was delivered."""
    acked: int = 0
    redelivered: int = 0
    """Entries handed over again: pending from an earlier run, or rejected."""
    claimed: int = 0
    """Entries taken over from members that are gone."""
    rejected: int = 0
    """Times that an entry could not be handled."""
    dead_letters: int = 0
    """Entries set aside after that happened too often."""
    lost: int = 0
    """Entries that the stream's length took away before they were read, or before they were acknowledged."""
    resets: int = 0
    """Groups made again because the bus had lost them."""
    trouble: str = ""
    """Why the bus gives nothing now; empty while it does."""


class ConsumerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Where one consumer stands."""

    name: str
    group: GroupStats
    events: int = 0
    """What went to its sinks or its handlers."""
    held: int = 0
    """Entries that its sinks have and have not made safe."""
    started: bool = True
    troubles: Sequence[str] = ()
    """What keeps its sinks or handlers from their work now, each named."""


S = TypeVar("S", FeedStats, PublisherStats, GroupStats)


def merged(parts: Sequence[S]) -> S:
    """Several parts' counters as one: sums, the worst lag, the first trouble."""
    kind = type(parts[0])
    return kind(**{name: _merged([getattr(part, name) for part in parts], name) for name in kind.__struct_fields__})


def _merged(values: Sequence[Any], name: str) -> Any:
    if name == "lag_ms":
        return max((lag for lag in values if lag is not None), default=None)
    if isinstance(values[0], Histogram):
        whole = Histogram(values[0].bounds)
        for one in values:
            whole.add(one)
        return whole
    if isinstance(values[0], dict):
        return {key: sum(one.get(key, 0) for one in values) for key in dict.fromkeys(chain.from_iterable(values))}
    return next(filter(None, values), "") if isinstance(values[0], str) else sum(values)


_FEED_SHOWN = (
    "active_connections",
    "total_messages",
    "error_messages",
    "ignored_messages",
    "connection_errors",
    "reconnects",
    "rotations",
    "dropped",
    "duplicates",
    "filled",
    "gaps_opened",
    "gaps_filled",
    "gaps_unfillable",
    "missing",
    "held",
    "stale",
)
_PUBLISHED_SHOWN = ("duplicates", "saved", "refused", "spooled", "spool_bytes", "overflowed")
_PAIRS_SHOWN = 10
UNWELL_SHOWN = 200


def standing(pairs: Sequence[PairFacts]) -> dict[str, object]:
    """Which pairs are followed, and where those subscriptions stand that are not live, for other processes."""
    return {
        "followed": list(dict.fromkeys(f"{one.exchange}:{one.pair}" for one in pairs if one.state != "left out")),
        "unwell": [one for one in pairs if one.state != "live"][:UNWELL_SHOWN],
    }


def counters(feed: FeedStats, publisher: PublisherStats, pairs: list[str]) -> dict[str, object]:
    """The counters in the shape that `stats` shows and other processes read.

    `publisher` and `ingest` hold numbers alone, for those of several ingesters are added up; the rest stands beside.
    """
    tried = publisher.published + publisher.errors
    return {
        "publisher": {
            "publish_count": publisher.published,
            "error_count": publisher.errors,
            "error_rate": publisher.errors / tried if tried else 0.0,
            **{name: getattr(publisher, name) for name in _PUBLISHED_SHOWN},
            "troubled": int(bool(publisher.trouble)),
        },
        "ingest": {name: getattr(feed, name) for name in _FEED_SHOWN},
        "pairs_count": len(pairs),
        "pairs_sample": pairs[:_PAIRS_SHOWN],
        "lag_ms": feed.lag_ms,
        "reconnects_by": feed.reconnects_by,
        "trouble": publisher.trouble,
    }


def consumed(consumers: Sequence[ConsumerFacts]) -> dict[str, object]:
    """Consumers in the shape that `/stats` shows, by their names."""
    return {
        one.name: {
            **msgspec.structs.asdict(one.group),
            "events": one.events,
            "held": one.held,
            "started": one.started,
            "troubles": list(one.troubles),
        }
        for one in consumers
    }
