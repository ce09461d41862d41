"""Names in a configuration become objects."""

from pathlib import Path

import pytest

from cryptostream import config, wiring
from cryptostream.bus import admin
from cryptostream.bus.connect import connect
from cryptostream.engine.stats import FeedStats, Histogram, PairFacts, PublisherStats
from cryptostream.errors import ConfigError
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.testing import ManualClock

AGGREGATES = Subscription("binance", Channel.AGG_TRADES, "BTCUSDT")


def loaded(tmp_path: Path, text: str) -> config.Config:
    path = tmp_path / "it.yaml"
    path.write_text(text)
    return config.load([path], sets=(), flags={}, env={}).config


def test_a_feeds_template_names_the_streams_of_its_own_pairs(tmp_path: Path) -> None:
    key_of = wiring.keys(
        loaded(
            tmp_path,
            "feeds:\n"
            "  - binance: {symbols: [BTCUSDT], key: 'mine:{pair}'}\n"
            "  - binance: {symbols: [ETHUSDT]}\n"
            "  - binance: {discover: {top: 5}, channels: ['klines:1m'], key: 'all:{pair}:{interval}'}\n",
        )
    )
    trades = [Subscription("binance", Channel.TRADES, pair) for pair in ("BTCUSDT", "ETHUSDT")]
    klines = Subscription("binance", Channel.KLINES, "XRPUSDT", Interval.M1)
    assert [key_of(one) for one in (*trades, klines)] == ["mine:BTCUSDT", "trades:ETHUSDT", "all:XRPUSDT:1m"]


def test_in_a_cluster_the_pair_is_the_hash_tag_of_its_streams(tmp_path: Path) -> None:
    text = (
        "bus: {url: 'redis+cluster://h:1'}\nfeeds:\n  - binance: {symbols: [ETHUSDT], key: 'flow:{exchange}:{pair}'}\n"
    )
    key_of = wiring.keys(loaded(tmp_path, text))
    named = Subscription("binance", Channel.TRADES, "ETHUSDT")
    assert [key_of(one) for one in (AGGREGATES, named)] == ["agg_trades:{BTCUSDT}", "flow:binance:{ETHUSDT}"]


def test_a_pair_that_no_feed_names_is_called_as_the_feed_that_takes_it_in_calls_its_own(tmp_path: Path) -> None:
    feeds = "feeds:\n  - binance: {symbols: [ETHUSDT], key: 'flow:{pair}'}\n  - binance: {symbols: [SOLUSDT]}\n"
    added = Subscription("binance", Channel.TRADES, "BTCUSDT")
    assert wiring.keys(loaded(tmp_path, feeds))(added) == "flow:BTCUSDT"
    assert wiring.keys(loaded(tmp_path, feeds))(AGGREGATES) == "agg_trades:BTCUSDT"
    one_stream = feeds.replace("flow:{pair}", "flow")
    assert wiring.keys(loaded(tmp_path, one_stream))(added) == "trades:BTCUSDT"


def test_a_venue_gets_the_addresses_of_the_configuration(tmp_path: Path) -> None:
    told = loaded(tmp_path, "venues: {binance: {ws_url: 'ws://127.0.0.1:1'}}\nfeed: {time_unit: microsecond}\n")
    session = wiring.venue(told, "binance").session([Subscription("binance", Channel.TRADES, "BTCUSDT")])
    assert session.url == "ws://127.0.0.1:1/stream?timeUnit=MICROSECOND"


def test_an_unknown_venue_is_told_with_the_closest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="binanse") as caught:
        wiring.venue(loaded(tmp_path, "{}"), "binanse")
    assert caught.value.hint == 'did you mean "binance"?'


async def test_an_ingester_shows_on_the_bus_what_it_follows_and_how_that_is(
    bus_url: str, data_dir: Path, clock: ManualClock
) -> None:
    class Stage:
        """An ingest of two pairs, one of which waits for trades."""

        pairs = ("BTCUSDT", "ETHUSDT")
        unwell = PairFacts(exchange="binance", channel="trades", pair="ETHUSDT", state="filling", gap_from=5, gap_to=9)

        def feed(self) -> FeedStats:
            return FeedStats(lag_ms=12.5, reconnects=1, reconnects_by={"closed": 1})

        def published(self) -> PublisherStats:
            made = PublisherStats(published=7, trouble="no right to write", exchange_to_bus=Histogram())
            made.exchange_to_bus.observe(0.02)
            return made

        def facts(self) -> list[PairFacts]:
            return [PairFacts(exchange="binance", channel="trades", pair="BTCUSDT", last_id=1), self.unwell]

    async with connect(bus_url, data_dir=data_dir, clock=clock) as bus:
        await wiring.Counting(bus, Stage()).write()  # type: ignore[arg-type]
        (told,) = await admin.read_counters(bus)
    assert (told.followed, told.unwell) == (["binance:BTCUSDT", "binance:ETHUSDT"], [Stage.unwell])
    assert (told.latency[5], sum(told.latency), len(told.latency)) == (1, 1, 16)
    assert (told.lag_ms, told.reconnects_by, told.trouble) == (12.5, {"closed": 1}, "no right to write")
