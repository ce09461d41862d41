"""What Prometheus reads of a bus and of all who work on it, checked by its own parsers."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from cryptostream.engine.stats import ConsumerFacts, FeedStats, GroupStats, PairFacts, PublisherStats
from cryptostream.web import shown
from cryptostream.web.busmetrics import MAX_GROUPS, MAX_PROCESSES, MAX_STREAMS, exposed
from cryptostream.web.families import MAX_LABEL
from cryptostream.web.health import Watched
from tests.web.probes import FakeProbes, consumer, ingester, stream


def samples(probes: FakeProbes, watched: Watched | None = None) -> dict[str, float]:
    """Every sample's value by its name without our prefix, and its labels in their order; none is there twice."""
    text = exposed(probes, watched=watched)[0].decode()
    found = [
        (" ".join([one.name, *(f"{key}={value}" for key, value in sorted(one.labels.items()))]), one.value)
        for family in text_string_to_metric_families(text)
        for one in family.samples
    ]
    assert len(found) == len(dict(found)), "Prometheus takes no scrape with the same series twice"
    assert all(name.startswith("cryptostream_") for name, _ in found)
    return {name.removeprefix("cryptostream_"): value for name, value in found}


def test_everything_that_the_probes_know_has_its_sample() -> None:
    found = samples(FakeProbes(["BTCUSDT"]))
    at = "stream=trades:BTCUSDT"
    expected = {
        "healthy": 1,
        "bus_reachable": 1,
        "problems": 0,
        "latency_p50_seconds": 0.004,
        "latency_p99_seconds": 0.021,
        "gaps_open": 0,
        "dead_letters_kept queue=dlq:ingest": 1,
        "ingesters": 1,
        "ingester_received_messages_total process=here:7": 12_345,
        "ingester_published_entries_total process=here:7": 12_300,
        "ingester_duplicates_total process=here:7": 45,
        "ingester_publish_errors_total process=here:7": 0,
        "ingester_reconnects_total process=here:7": 1,
        "ingester_connections process=here:7": 2,
        "ingester_spool_bytes process=here:7": 0,
        "ingester_bus_available process=here:7": 1,
        "ingester_lag_seconds process=here:7": 0.0015,
        "ingester_gaps_total process=here:7 status=opened": 1,
        "ingester_gaps_total process=here:7 status=unfillable": 0,
        "pairs state=live": 1,
        "consumers state=running": 1,
        "consumers state=failed": 0,
        "consumer_read_entries_total consumer=momentum process=here:8": 12_300,
        "consumer_acknowledged_entries_total consumer=momentum process=here:8": 12_298,
        "consumer_dead_letters_total consumer=momentum process=here:8": 0,
        "consumer_lost_entries_total consumer=momentum process=here:8": 0,
        "streams kind=trades": 1,
        "streams_without_metrics": 0,
        f"stream_entries {at}": 10_000,
        f"stream_memory_bytes {at}": 1_048_576,
        f"stream_entries_added_total {at}": 20_000,
        f"stream_last_entry_timestamp_seconds {at}": 1_731_605_400.123,
        "group_lag_entries group=momentum": 3,
        "group_unknown_lag_streams group=momentum": 0,
        "group_pending_entries group=momentum": 2,
        "group_members group=momentum": 1,
        f"group_stream_lag_entries group=momentum {at}": 3,
        f"group_stream_pending_entries group=momentum {at}": 2,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_a_bus_that_is_away_says_so_and_nothing_that_was_known_of_it() -> None:
    probes = FakeProbes()
    probes.reasons = ["no answer from the bus"]
    found = samples(probes)
    assert (found["healthy"], found["bus_reachable"], found["problems"]) == (0, 0, 1)
    assert {name.partition(" ")[0] for name in found} == {"build_info", "healthy", "bus_reachable", "problems"}


class Strange(FakeProbes):
    """A bus whose streams, groups and processes somebody else named, and many of them."""

    def streams(self) -> list[shown.Stream]:
        made = [stream(f"odd{number:04}:{'x' * 10}") for number in range(300)]
        groups = [shown.Group(group=f"g{n:03}", stream="s", consumers=0, pending=1, lag=None) for n in range(90)]
        long = [stream("z" * MAX_LABEL + end) for end in "ab"]
        return [*made[1:], made[0].model_copy(update={"groups": groups}), *long]

    def pipeline(self) -> shown.Pipeline:
        many = [ingester().model_copy(update={"process": f"h:{number:03}"}) for number in range(80)]
        letters = {f"dlq:g{number}": 1 for number in range(80)}
        return super().pipeline().model_copy(update={"ingesters": many, "dead_letters": letters})


def test_names_that_others_chose_are_bounded_in_number_and_length_and_the_rest_is_told() -> None:
    found = samples(Strange())

    def shown_of(metric: str) -> int:
        return sum(name.startswith(f"{metric} ") for name in found)

    assert shown_of("stream_entries") == MAX_STREAMS
    assert found["streams_without_metrics"] == 302 - MAX_STREAMS
    assert found["streams kind=other"] == 302
    assert shown_of("group_lag_entries") == shown_of("dead_letters_kept") == MAX_GROUPS
    assert shown_of("group_stream_pending_entries") == MAX_STREAMS
    assert shown_of("ingester_connections") == MAX_PROCESSES
    assert found["ingesters"] == 80
    assert max(map(len, found)) < 2 * MAX_LABEL


def test_two_names_that_are_the_same_when_cut_are_one_series() -> None:
    probes = FakeProbes()
    probes.told_consumers = [consumer("y" * MAX_LABEL + end) for end in "ab"]
    found = samples(probes)
    assert sum(name.startswith("consumer_read_entries_total") for name in found) == 1


@pytest.mark.parametrize("field", ["lag", "memory_bytes", "last", "entries_added"])
def test_what_is_not_known_is_left_out(field: str) -> None:
    class Unknowing(FakeProbes):
        def streams(self) -> list[shown.Stream]:
            one = stream("trades:BTCUSDT").model_copy(update={field: None} if field != "lag" else {})
            groups = [group.model_copy(update={"lag": None}) for group in one.groups]
            return [one.model_copy(update={"groups": groups})]

    names = {"lag": "group_stream_lag_entries", "last": "stream_last_entry", "entries_added": "stream_entries_added"}
    found = samples(Unknowing())
    assert not [name for name in found if name.startswith(names.get(field, f"stream_{field}"))]
    assert found["group_unknown_lag_streams group=momentum"] == 1


def test_answers_are_counted_by_status() -> None:
    text = exposed(FakeProbes(), answers={200: 41, 429: 7})[0].decode()
    assert 'cryptostream_http_answers_total{status="200"} 41.0' in text
    assert 'cryptostream_http_answers_total{status="429"} 7.0' in text


def test_a_process_that_ingests_and_serves_shows_both_and_nothing_twice() -> None:
    watched = Watched(
        feed=lambda: FeedStats(total_messages=7, reconnects_by={"closed": 1}, lag_ms=1.0),
        published=lambda: PublisherStats(published=5),
        pairs=lambda: [PairFacts(exchange="binance", channel="trades", pair="BTCUSDT", last_id=1, ts=1)],
        stats=dict,
        reasons=list,
        consumers=lambda: [ConsumerFacts(name="momentum", group=GroupStats(read=3))],
    )
    found = samples(FakeProbes(), watched)
    assert (found["received_messages_total"], found["ingesters"]) == (7, 1)
    assert found["group_read_entries_total group=momentum"] == 3
    text = exposed(FakeProbes(), "application/openmetrics-text;version=1.0.0", watched=watched)[0].decode()
    families = [family.name for family in openmetrics_families(text)]
    assert len(families) == len(set(families))
