"""The bus and all who work on it, as Prometheus reads them, out of what the probes know at the moment of a scrape.

One target is enough to watch everything: ingesters and consumers show their counters on the bus. Streams, groups and
processes come from outside, so each has a bound, and how many are beyond it is told. While the bus is away what was
known of it is not shown: Prometheus would take it for news.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from prometheus_client.core import Metric

from cryptostream.web import shown
from cryptostream.web.families import Row, counters, gauge, gauges, text
from cryptostream.web.health import Watched, WatchedConsumers
from cryptostream.web.metrics import build, healthy, of_process
from cryptostream.web.probes import Probes

MAX_STREAMS = 200
MAX_GROUPS = 50
MAX_PROCESSES = 50
_KINDS = ("trades", "agg_trades", "klines", "signals", "events", "dlq", "alerts")

_INGESTER: dict[str, tuple[Callable[[shown.Ingester], float], str]] = {
    "ingester_received_messages": (lambda one: one.messages, "Messages received from the exchange."),
    "ingester_published_entries": (lambda one: one.published, "Entries written to the bus."),
    "ingester_duplicates": (lambda one: one.duplicates, "Trades that came again."),
    "ingester_publish_errors": (lambda one: one.errors, "Entries the bus refused with an error."),
    "ingester_reconnects": (lambda one: one.reconnects, "Connections made again."),
}
_INGESTER_NOW: dict[str, tuple[Callable[[shown.Ingester], float | None], str]] = {
    "ingester_connections": (lambda one: one.connections, "Connections to the exchange that are live now."),
    "ingester_spool_bytes": (lambda one: one.spool_bytes, "What its spool holds now."),
    "ingester_bus_available": (lambda one: not one.trouble, "1 while the bus takes what it writes."),
    "ingester_lag_seconds": (
        lambda one: None if one.lag_ms is None else one.lag_ms / 1000,
        "Receive time less event time of its newest message.",
    ),
}
_CONSUMER: dict[str, tuple[Callable[[shown.Consumer], float], str]] = {
    "consumer_read_entries": (lambda one: one.read, "Entries handed over, each as often as it was delivered."),
    "consumer_acknowledged_entries": (lambda one: one.acked, "Entries acknowledged."),
    "consumer_dead_letters": (lambda one: one.dead_letters, "Entries set aside because they could not be handled."),
    "consumer_lost_entries": (lambda one: one.lost, "Entries trimmed before they were read or acknowledged."),
}
_STREAM_NOW: dict[str, tuple[Callable[[shown.Stream], float | None], str]] = {
    "stream_entries": (lambda one: one.length, "Entries that it holds."),
    "stream_memory_bytes": (lambda one: one.memory_bytes, "What it takes of the server's memory."),
    "stream_last_entry_timestamp_seconds": (lambda one: _seconds(one.last), "Time of its newest entry."),
}
_GROUP: dict[str, tuple[Callable[[Sequence[shown.Group]], float], str]] = {
    "group_lag_entries": (lambda parts: sum(one.lag or 0 for one in parts), "Entries that a group was not given yet."),
    "group_unknown_lag_streams": (
        lambda parts: sum(one.lag is None for one in parts),
        "Streams of a group whose lag the server cannot know.",
    ),
    "group_pending_entries": (
        lambda parts: sum(one.pending for one in parts),
        "Entries given to members and not acknowledged.",
    ),
    "group_members": (
        lambda parts: max(one.consumers for one in parts),
        "Members that the bus knows, alive or not, of the stream that has most.",
    ),
}


def exposed(
    probes: Probes,
    accept: str = "",
    *,
    watched: Watched | WatchedConsumers | None = None,
    answers: Mapping[int, int] | None = None,
) -> tuple[bytes, str]:
    """The metrics and their content type, as who asks accepts it; with `watched`, those of our own work as well.

    `answers` are the requests that were answered here, by status.
    """
    return text(lambda: _all(probes, watched, answers or {}), accept)


def _all(probes: Probes, watched: Watched | WatchedConsumers | None, answers: Mapping[int, int]) -> Iterator[Metric]:
    health, pipeline = probes.health(), probes.pipeline()
    yield build()
    yield healthy(health.status == "ok")
    yield gauge("bus_reachable", "1 while the bus answers.", health.redis_connected)
    yield gauge(
        "problems", "How many things are wrong now; the dashboard's Pipeline page says which.", len(pipeline.wrong)
    )
    yield counters("http_answers", "Requests that were answered here.", "status", sorted(answers.items()))
    if watched is not None:
        yield from of_process(watched)
    if not health.redis_connected:
        return
    yield from _of_pipeline(pipeline)
    yield from _of_ingesters(pipeline.ingesters)
    states = Counter(one.state for one in probes.quotes())
    yield gauges("pairs", "Pairs, by how they stand.", "state", states.items())
    yield from _of_consumers(probes.consumers())
    streams = probes.streams()
    yield from _of_streams(streams)
    yield from _of_groups([group for one in streams for group in one.groups])


def _of_pipeline(pipeline: shown.Pipeline) -> Iterator[Metric]:
    for share, ms in (("p50", pipeline.latency.p50_ms), ("p99", pipeline.latency.p99_ms)):
        if ms is not None:
            told = f"The {share} of the time from the exchange to the bus' answer, of the last minute."
            yield gauge(f"latency_{share}_seconds", told, ms / 1000)
    yield gauge("gaps_open", "Places where trades are missing and looked for.", len(pipeline.gaps_open))
    kept = sorted(pipeline.dead_letters.items())[:MAX_GROUPS]
    yield gauges("dead_letters_kept", "Dead letters that wait for somebody.", "queue", kept)


def _of_ingesters(every: Sequence[shown.Ingester]) -> Iterator[Metric]:
    yield gauge("ingesters", "Processes that ingest.", len(every))
    few = sorted(every, key=lambda one: one.process)[:MAX_PROCESSES]
    for name, (value, told) in _INGESTER.items():
        yield counters(name, told, "process", [(one.process, value(one)) for one in few])
    for name, (now, told) in _INGESTER_NOW.items():
        yield gauges(name, told, "process", [(one.process, now(one)) for one in few])
    gaps: list[Row] = []
    for one in few:
        gaps += [(one.process, "opened", one.gaps_opened), (one.process, "filled", one.gaps_filled)]
        gaps.append((one.process, "unfillable", one.gaps_unfillable))
    yield counters("ingester_gaps", "Stretches of missing trades, by what became of them.", "process status", gaps)


def _of_consumers(every: Sequence[shown.Consumer]) -> Iterator[Metric]:
    states = {"running": 0, "paused": 0, "failed": 0, "waiting": 0}
    for one in every:
        states[one.state] += 1
    yield gauges("consumers", "Consumers, by what they do now.", "state", states.items())
    few = sorted(every, key=lambda one: (one.name, one.process))[:MAX_PROCESSES]
    for name, (value, told) in _CONSUMER.items():
        yield counters(name, told, "consumer process", [(one.name, one.process, value(one)) for one in few])


def _of_streams(every: Sequence[shown.Stream]) -> Iterator[Metric]:
    kinds = Counter(_kind(one.stream) for one in every)
    yield gauges("streams", "Streams, by what they hold.", "kind", kinds.items())
    few = sorted(every, key=lambda one: one.stream)[:MAX_STREAMS]
    yield gauge("streams_without_metrics", "Streams that have no series of their own.", len(every) - len(few))
    for name, (now, told) in _STREAM_NOW.items():
        yield gauges(name, told, "stream", [(one.stream, now(one)) for one in few])
    added = [(one.stream, one.entries_added) for one in few]
    yield counters("stream_entries_added", "Entries that it ever had, trimmed ones too.", "stream", added)


def _of_groups(every: Sequence[shown.Group]) -> Iterator[Metric]:
    """Each group over all its streams, and stream by stream for as many as there is room for."""
    by: dict[str, list[shown.Group]] = {}
    for one in sorted(every, key=lambda one: (one.group, one.stream)):
        by.setdefault(one.group, []).append(one)
    for name, (over_all, told) in _GROUP.items():
        yield gauges(name, told, "group", [(group, over_all(by[group])) for group in list(by)[:MAX_GROUPS]])
    few = [one for parts in by.values() for one in parts][:MAX_STREAMS]
    left_out = len(every) - len(few)
    yield gauge("group_streams_without_metrics", "Streams of groups that have no series of their own.", left_out)
    lag, pending = ([(one.group, one.stream, getattr(one, told)) for one in few] for told in ("lag", "pending"))
    yield gauges("group_stream_lag_entries", "The same lag, stream by stream.", "group stream", lag)
    yield gauges("group_stream_pending_entries", "What is pending, stream by stream.", "group stream", pending)


def _kind(stream: str) -> str:
    kind = stream.partition(":")[0]
    return kind if kind in _KINDS else "other"


def _seconds(stamp: str | None) -> float | None:
    if stamp is None:
        return None
    told = datetime.fromisoformat(stamp)
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
