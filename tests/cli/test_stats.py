"""`cryptostream stats` as a person types it."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from rich.console import Console
from typer.testing import CliRunner, Result

from cryptostream.bus.admin import GroupFacts, StreamFacts, total
from cryptostream.bus.connect import Bus, connect
from cryptostream.cli import ingesters, main, stats
from cryptostream.engine.stats import FeedStats, PublisherStats, counters
from cryptostream.errors import NotFound
from cryptostream.testing import ManualClock

START_MS = 1_731_605_400_000
Run = Callable[..., Result]
COUNTED = {
    "publisher": {"publish_count": 30, "error_count": 10, "error_rate": 0.25},
    "ingest": {"active_connections": 1, "total_messages": 7, "error_messages": 2, "connection_errors": 3},
    "pairs_count": 1,
    "pairs_sample": ["BTCUSDT"],
}


@pytest.fixture
async def bus(bus_url: str, data_dir: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=clock) as opened:
        yield opened


@pytest.fixture
def run(bus_url: str, tmp_path: Path) -> Run:
    def invoke(*words: str) -> Result:
        options = ["--redis", bus_url, "--data-dir", str(tmp_path / "data")]
        return CliRunner().invoke(main.app, ["stats", *words, *options])

    return invoke


def put(server: redis.Redis, stream: str, *numbers: int) -> None:
    for number in numbers:
        server.xadd(stream, {"price": "1"}, id=f"{START_MS + number * 1000}-{number}")


def test_answer_has_the_shape_other_tools_know(run: Run, server: redis.Redis) -> None:
    put(server, "trades:BTCUSDT", 1, 2, 3)
    server.xgroup_create("trades:BTCUSDT", "recorder", "0")
    server.xreadgroup("recorder", "one", {"trades:BTCUSDT": ">"}, count=1)
    server.hset("stats:ingest:here:1", "json", json.dumps(COUNTED))
    found = json.loads(run().stdout)
    (stream,), (ingester,) = found.pop("streams"), found.pop("per_ingester")
    assert found == {**COUNTED, "ingesters": 1}
    assert (ingester["published"], ingester["missing"]) == (30, 0)
    assert (stream["stream"], stream["length"]) == ("trades:BTCUSDT", 3)
    assert (stream["first"], stream["last"]) == ("2024-11-14T17:30:01.000Z", "2024-11-14T17:30:03.000Z")
    assert stream["groups"] == [{"name": "recorder", "consumers": 1, "pending": 1, "lag": 2}]
    assert stream["rate_per_s"] == 0.0


def test_words_choose_streams(run: Run, server: redis.Redis) -> None:
    for name in ("trades:BTCUSDT", "trades:ETHUSDT", "klines:BTCUSDT:1m"):
        put(server, name, 1)
    chosen = {
        words: [row["stream"] for row in json.loads(run(*words).stdout)["streams"]]
        for words in [(), ("trades:*",), ("BTCUSDT",), ("trades:ETHUSDT,klines:*",)]
    }
    assert chosen == {
        (): ["klines:BTCUSDT:1m", "trades:BTCUSDT", "trades:ETHUSDT"],
        ("trades:*",): ["trades:BTCUSDT", "trades:ETHUSDT"],
        ("BTCUSDT",): ["klines:BTCUSDT:1m", "trades:BTCUSDT"],
        ("trades:ETHUSDT,klines:*",): ["klines:BTCUSDT:1m", "trades:ETHUSDT"],
    }


def test_empty_bus_is_an_answer_and_an_unknown_stream_is_not(run: Run) -> None:
    found = json.loads(run().stdout)
    assert found["streams"] == []
    assert found["ingesters"] == 0
    missing = run("trades:BTCUSDT")
    assert missing.exit_code == 4
    assert 'no stream "trades:BTCUSDT"' in missing.stderr


def test_csv_is_a_row_for_each_stream(run: Run, server: redis.Redis) -> None:
    put(server, "trades:BTCUSDT", 1)
    header, row = run("-o", "csv").stdout.splitlines()
    assert header == "stream,length,first,last,rate_per_s,memory_bytes,groups"
    assert row.startswith("trades:BTCUSDT,1,2024-11-14T17:30:01.000Z,2024-11-14T17:30:01.000Z,0.0,")


def test_table_shows_streams_and_counters(run: Run, server: redis.Redis) -> None:
    put(server, "trades:BTCUSDT", 1)
    server.hset("stats:ingest:here:1", "json", json.dumps(COUNTED))
    text = run("-o", "table").stdout
    assert "trades:BTCUSDT" in text
    assert "published 30, errors 10 (25.00%)" in text


FIRST = PublisherStats(published=750, duplicates=250, saved=3, spool_bytes=5833, trouble="away")
SECOND = PublisherStats(published=250, duplicates=750)
GAPS = FeedStats(
    gaps_opened=2, gaps_filled=1, filled=40, missing=5, reconnects=6, reconnects_by={"closed": 6}, lag_ms=4.0
)


def ingest(server: redis.Redis, name: str, feed: FeedStats, published: PublisherStats) -> None:
    """What an ingester of that name shows on the bus."""
    host, _, pid = name.partition(":")
    facts = {**counters(feed, published, ["BTCUSDT"]), "at": 1, "host": host, "pid": int(pid)}
    server.hset(f"stats:ingest:{name}", "json", json.dumps(facts))


def test_each_ingester_says_how_often_it_was_first_and_what_it_saved(run: Run, server: redis.Redis) -> None:
    ingest(server, "here:1", GAPS, FIRST)
    ingest(server, "there:2", FeedStats(), SECOND)
    found = json.loads(run().stdout)
    one, other = found["per_ingester"]
    assert one == {
        "ingester": "here:1",
        "published": 750,
        "already_there": 250,
        "saved": 3,
        "gaps": 2,
        "filled": 40,
        "missing": 5,
        "reconnects": 6,
        "spool_bytes": 5833,
        "bus_away": True,
    }
    assert (other["ingester"], other["published"], other["already_there"]) == ("there:2", 250, 750)
    assert (found["publisher"]["publish_count"], found["publisher"]["duplicates"]) == (1000, 1000)
    assert (found["publisher"]["troubled"], found["ingest"]["missing"], found["ingesters"]) == (1, 5, 2)


def test_ingesters_are_listed_where_they_are_several_or_asked_for(run: Run, server: redis.Redis) -> None:
    ingest(server, "here:1", GAPS, FIRST)
    assert "here:1" not in run("-o", "table").stdout
    assert "75%" in run("-o", "table", "--ingesters").stdout
    ingest(server, "there:2", FeedStats(), SECOND)
    shown = run("-o", "table").stdout
    assert ("here:1" in shown, "there:2" in shown, "25%" in shown) == (True, True, True)


def test_what_was_lost_or_waits_is_told_once_there_is_any() -> None:
    told = ingesters.quality(counters(GAPS, FIRST, []))
    assert told == [
        "gaps 2, filled 1 (40 trades); missing 5 trades; spool 5.8 kB; the bus takes nothing from 1",
    ]
    assert ingesters.quality(counters(FeedStats(), SECOND, [])) == []


def test_counters_can_be_added_up_and_tell_what_cannot_beside() -> None:
    shape: dict[str, Any] = counters(GAPS, FIRST, [f"P{number}" for number in range(12)])
    values = [*shape["publisher"].values(), *shape["ingest"].values()]
    assert all(type(value) in (int, float) for value in values)
    assert (shape["lag_ms"], shape["reconnects_by"], shape["trouble"]) == (4.0, {"closed": 6}, "away")
    assert (shape["pairs_count"], len(shape["pairs_sample"])) == (12, 10)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--watch", "soon"], "not a duration"),
        (["--watch", "0s"], "too often"),
        (["--watch", "2s", "-o", "json"], "--watch has no end"),
    ],
)
def test_wrong_use_is_exit_2(run: Run, words: list[str], message: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.stderr


async def test_watching_counts_what_was_added_between_two_looks(bus: Bus, clock: ManualClock) -> None:
    seen = stats.looks(bus, ["trades:*"], clock, every_s=2.0)
    await bus.command.xadd("trades:A", {"a": "1"}, id="1-1")
    assert (await anext(seen)).rates == {"trades:A": 0.0}
    for number in range(2, 12):
        await bus.command.xadd("trades:A", {"a": "1"}, id=f"{number}-1", maxlen=3, approximate=False)
    await bus.command.xadd("trades:B", {"a": "1"}, id="1-1")
    look = await anext(seen)
    assert look.rates == {"trades:A": 5.0, "trades:B": 0.0}
    assert [row["rate_per_s"] for row in stats.answer(look)["streams"]] == [5.0, 0.0]
    await seen.aclose()


async def test_watching_outlives_an_outage(
    redis_server: Callable[..., Any], data_dir: Path, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    server = redis_server()
    async with connect(server.unix_url, data_dir=data_dir, clock=clock) as bus:
        seen = stats.looks(bus, [], clock, every_s=2.0)
        await anext(seen)
        server.restart()
        assert (await anext(seen)).streams == []
        await seen.aclose()
    assert "no answer from" in capsys.readouterr().err


async def test_one_look_is_one(bus: Bus, clock: ManualClock) -> None:
    assert len([look async for look in stats.looks(bus, [], clock, every_s=None)]) == 1
    with pytest.raises(NotFound):
        await anext(stats.looks(bus, ["trades:A"], clock, every_s=None))


def look(*streams: StreamFacts) -> stats.Look:
    return stats.Look(0.0, START_MS + 5000, list(streams), {facts.name: 12.34 for facts in streams}, total([]))


TRADES = StreamFacts(
    "trades:BTCUSDT",
    length=10_000,
    first_ms=START_MS,
    last_ms=START_MS + 3000,
    entries_added=20_000,
    memory_bytes=3_130_000,
    groups=[GroupFacts("recorder", 2, pending=7, lag=None)],
)


def test_panel_says_unknown_where_lag_is_not_known() -> None:
    console = Console(width=80, record=True)
    console.print(stats.panel(look(TRADES)))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["trades:BTCUSDT", "10,000", "2024-11-14", "17:30", "2s", "ago", "12.3", "3.1", "MB"] in lines
    assert ["trades:BTCUSDT", "recorder", "2", "unknown", "7"] in lines
    assert ["streams", "1;", "nobody", "ingests", "now"] in lines


async def test_live_panel_ends_with_the_last_look(capsys: pytest.CaptureFixture[str]) -> None:
    async def two() -> AsyncGenerator[stats.Look, None]:
        yield look()
        yield look(TRADES)

    await stats.show_live(two())
    assert "10,000" in capsys.readouterr().out
