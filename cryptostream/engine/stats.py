"""Counters that every part of a pipeline keeps, counted per batch and read by whoever shows them."""

import msgspec


class FeedStats(msgspec.Struct):
    """What one feed has seen since it started."""

    active_connections: int = 0
    total_messages: int = 0
    error_messages: int = 0
    ignored_messages: int = 0
    connection_errors: int = 0
    reconnects: int = 0
    dropped: int = 0
    lag_ms: float | None = None
    """Receive time less the venue's event time of the newest frame; negative where our clock is behind."""


class PublisherStats(msgspec.Struct):
    """What one publisher has written since it started."""

    published: int = 0
    duplicates: int = 0
    """Entries that the stream already held."""
    refused: int = 0
    """Entries that the stream has no place for any more."""
    errors: int = 0


def counters(feed: FeedStats, publisher: PublisherStats, pairs: list[str]) -> dict[str, object]:
    """The counters in the shape that `stats` shows and other processes read."""
    tried = publisher.published + publisher.errors
    return {
        "publisher": {
            "publish_count": publisher.published,
            "error_count": publisher.errors,
            "error_rate": publisher.errors / tried if tried else 0.0,
            "duplicates": publisher.duplicates,
            "refused": publisher.refused,
        },
        "ingest": {
            "active_connections": feed.active_connections,
            "total_messages": feed.total_messages,
            "error_messages": feed.error_messages,
            "connection_errors": feed.connection_errors,
            "reconnects": feed.reconnects,
            "dropped": feed.dropped,
        },
        "pairs_count": len(pairs),
        "pairs_sample": pairs[:10],
    }
