"""What Prometheus reads, checked by its own parsers."""

import json

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from cryptostream.engine.stats import FeedStats, PairFacts, PublisherStats
from cryptostream.web.health import Watched
from cryptostream.web.metrics import MAX_PAIRS, exposed

FEED = FeedStats(
    active_connections=2,
    total_messages=1000,
    error_messages=1,
    ignored_messages=2,
    connection_errors=3,
    reconnects=5,
    reconnects_by={"closed": 4, "silent": 1},
    dropped=6,
    duplicates=7,
    filled=8,
    gaps_opened=9,
    gaps_filled=5,
    gaps_unfillable=1,
    missing=12,
    held=13,
    stale=14,
    rotations=15,
    lag_ms=-2.5,
)
PUBLISHED = PublisherStats(
    published=900, duplicates=20, saved=3, refused=4, errors=5, spooled=6, spool_bytes=700, overflowed=8
)


def pair(name: str, **facts: object) -> PairFacts:
    return PairFacts(**{"exchange": "binance", "channel": "trades", "pair": name, **facts})  # type: ignore[arg-type]


def scraped(
    feed: FeedStats = FEED,
    published: PublisherStats = PUBLISHED,
    pairs: list[PairFacts] | None = None,
    why: tuple[str, ...] = (),
    accept: str = "text/plain",
) -> str:
    watched = Watched(
        feed=lambda: feed, published=lambda: published, pairs=lambda: pairs or [], stats=dict, reasons=lambda: why
    )
    return exposed(watched, accept)[0].decode()


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(text: str) -> dict[str, float]:
    """Every sample's value by its name and labels, the labels in their order."""
    return {
        " ".join([sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_counter_has_its_sample() -> None:
    found = samples(scraped())
    expected = {
        "active_connections": 2,
        "received_messages_total": 1000,
        "dead_letters_total": 1,
        "ignored_messages_total": 2,
        "connection_errors_total": 3,
        "reconnects_total reason=closed": 4,
        "reconnects_total reason=silent": 1,
        "dropped_records_total": 6,
        "duplicates_total where=continuity": 7,
        "duplicates_total where=bus": 20,
        "filled_trades_total": 8,
        "gaps_total status=opened": 9,
        "gaps_total status=filled": 5,
        "gaps_total status=unfillable": 1,
        "missing_trades_total": 12,
        "held_trades": 13,
        "stale_streams_total": 14,
        "rotations_total": 15,
        "lag_seconds": -0.0025,
        "published_entries_total": 900,
        "saved_trades_total": 3,
        "refused_entries_total": 4,
        "publish_errors_total": 5,
        "spooled_records_total": 6,
        "spool_bytes": 700,
        "overflowed_records_total": 8,
        "bus_available": 1,
        "healthy": 1,
    }
    assert {name: found.get(f"cryptostream_{name}") for name in expected} == expected


@pytest.mark.parametrize("field", sorted(FeedStats.__struct_fields__ + PublisherStats.__struct_fields__))
def test_no_counter_is_forgotten(field: str) -> None:
    """Whatever is counted one day changes what is scraped."""
    changed: dict[str, object] = {"reconnects_by": {"new": 1}, "trouble": "away", "lag_ms": 77.0}
    kind = FeedStats if field in FeedStats.__struct_fields__ else PublisherStats
    made = kind()
    if field in ("exchange_to_socket", "socket_to_published", "exchange_to_bus"):
        getattr(made, field).observe(0.003)
    else:
        setattr(made, field, changed.get(field, 12_345))
    if field == "reconnects":
        return  # the sum of reconnects_by, which Prometheus makes itself
    given = {"feed": made} if isinstance(made, FeedStats) else {"published": made}
    plain = {"feed": FeedStats(), "published": PublisherStats()}
    assert scraped(**{**plain, **given}) != scraped(**plain)  # type: ignore[arg-type]


def test_names_follow_the_rules() -> None:
    found = families(scraped(pairs=[pair("BTCUSDT", last_id=1, ts=1, gap_from=2, gap_to=3)]))
    assert all(name.startswith("cryptostream_") and family.documentation for name, family in found.items())
    counters = [sample for family in found.values() if family.type == "counter" for sample in family.samples]
    assert counters
    assert all(sample.name.endswith("_total") for sample in counters)
    text = scraped()
    assert text.count("# HELP ") == text.count("# TYPE ") == len(families(text))


def test_histograms_are_cumulative_and_agree_with_themselves() -> None:
    feed = FeedStats()
    for seconds in (0.0001, 0.003, 0.003, 99.0):
        feed.exchange_to_socket.observe(seconds)
    found = samples(scraped(feed))
    name = "cryptostream_exchange_to_socket_seconds"
    assert [found[f"{name}_bucket le={bound}"] for bound in ("0.0005", "0.0025", "0.005", "30.0", "+Inf")] == [
        1.0,
        1.0,
        3.0,
        3.0,
        4.0,
    ]
    assert (found[f"{name}_count"], round(found[f"{name}_sum"], 4)) == (4.0, 99.0061)
    assert found["cryptostream_socket_to_published_seconds_count"] == 0.0


def test_lag_that_is_not_known_is_left_out() -> None:
    assert "cryptostream_lag_seconds" not in families(scraped(FeedStats()))


def test_what_is_wrong_shows_as_zero() -> None:
    found = samples(scraped(published=PublisherStats(trouble="away"), why=("the bus takes nothing: away",)))
    assert (found["cryptostream_healthy"], found["cryptostream_bus_available"]) == (0.0, 0.0)
    assert "canary" not in scraped(published=PublisherStats(trouble="canary"), why=("canary",))


def test_a_pair_has_its_newest_trade_and_its_gap() -> None:
    found = samples(
        scraped(
            pairs=[
                pair("BTCUSDT", last_id=5_123_456_789, ts=1_731_605_400_123_000),
                pair("ETHUSDT", state="filling", last_id=1, ts=2_000_000, gap_from=2, gap_to=9),
                pair("币安人生USDT", state="silent"),
            ]
        )
    )
    at = "channel=trades exchange=binance pair="
    assert found[f"cryptostream_pair_last_id {at}BTCUSDT"] == 5_123_456_789
    assert found[f"cryptostream_pair_last_trade_timestamp_seconds {at}BTCUSDT"] == 1_731_605_400.123
    assert [found[f"cryptostream_pair_gap_open {at}{name}"] for name in ("BTCUSDT", "ETHUSDT", "币安人生USDT")] == [
        0,
        1,
        0,
    ]
    assert f"cryptostream_pair_last_id {at}币安人生USDT" not in found
    assert found["cryptostream_subscriptions state=filling"] == 1


def test_labels_by_pair_are_bounded_and_the_rest_is_told() -> None:
    channels = ("trades", "klines:1m")
    many = [pair(f"P{number}USDT", channel=channel, last_id=1) for number in range(250) for channel in channels]
    found = samples(scraped(pairs=many))
    shown = {name.rpartition("pair=")[2] for name in found if name.startswith("cryptostream_pair_last_id")}
    assert (len(shown), "P199USDT" in shown, "P200USDT" in shown) == (MAX_PAIRS, True, False)
    assert found["cryptostream_pairs_without_metrics"] == 50
    assert found["cryptostream_subscriptions state=live"] == 500


def test_a_pair_that_was_left_out_is_counted_and_has_no_series() -> None:
    found = samples(scraped(pairs=[pair("GONEUSDT", channel="", state="left out", note="unknown")]))
    assert found["cryptostream_subscriptions state=left out"] == 1
    assert not [name for name in found if "GONEUSDT" in name]


def test_build_info_names_the_version() -> None:
    text = scraped()
    assert 'version="0.1.0"' in text
    assert families(text)["cryptostream_build_info"].samples[0].value == 1


def test_who_accepts_openmetrics_gets_it() -> None:
    text = scraped(
        pairs=[pair("BTCUSDT", last_id=1, ts=1)], accept="application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"
    )
    assert text.endswith("# EOF\n")
    names = {family.name for family in openmetrics_families(text)}
    assert {"cryptostream_gaps", "cryptostream_exchange_to_socket_seconds", "cryptostream_build"} <= names


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain;version=0.0.4", "application/json"])
def test_everybody_else_gets_plain_text(accept: str) -> None:
    watched = Watched(feed=FeedStats, published=PublisherStats, pairs=list, stats=dict, reasons=list)
    text, kind = exposed(watched, accept)
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    assert families(text.decode())


def test_a_label_cannot_break_out_of_its_line() -> None:
    evil = 'X"} 1\ncryptostream_healthy 0\\'
    found = text_string_to_metric_families(scraped(pairs=[pair(evil)]))
    labels = [
        sample.labels for family in found if family.name == "cryptostream_pair_gap_open" for sample in family.samples
    ]
    assert json.dumps([one["pair"] for one in labels]) == json.dumps([evil])
