"""`cryptostream consume` as a person types it, on both engines."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner, Result

from cryptostream.cli import main

START_MS = 1_731_605_400_000
Run = Callable[..., Result]


@pytest.fixture
def run(bus_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def invoke(*words: str) -> Result:
        options = ["--redis", bus_url, "--data-dir", str(tmp_path / "data"), "--health-port", "0"]
        return CliRunner().invoke(main.app, ["consume", *words, *options])

    return invoke


def put(server: redis.Redis, pair: str, *numbers: int) -> None:
    for number in numbers:
        trade = {
            "exchange": "binance",
            "pair": pair,
            "price": f"{number}.50000000",
            "qty": "0.10000000",
            "ts": "2024-11-14T17:30:00.000000",
            "side": "buy",
            "trade_id": str(number),
        }
        server.xadd(f"trades:{pair}", trade, id=f"{START_MS + number}-{number}")


def numbers(text: str) -> list[tuple[str, str]]:
    return [(one["pair"], one["trade_id"]) for one in map(json.loads, text.splitlines())]


def test_once_prints_what_is_there_and_ends(run: Run, server: redis.Redis) -> None:
    put(server, "BTCUSDT", 1, 2)
    put(server, "ETHUSDT", 7)
    found = run("trades:*", "--group", "g", "--once")
    assert found.exit_code == 0, found.stderr
    assert sorted(numbers(found.stdout)) == [("BTCUSDT", "1"), ("BTCUSDT", "2"), ("ETHUSDT", "7")]
    assert server.xpending("trades:BTCUSDT", "g")["pending"] == 0


def test_a_group_goes_on_where_it_stood(run: Run, server: redis.Redis) -> None:
    put(server, "BTCUSDT", 1, 2)
    run("trades", "--group", "g", "--once")
    put(server, "BTCUSDT", 3)
    assert numbers(run("trades", "--group", "g", "--once").stdout) == [("BTCUSDT", "3")]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("earliest", ["1", "2", "3"]),
        (f"{START_MS + 2}-2", ["2", "3"]),
        (f"({START_MS + 2}-2", ["3"]),
        (str(START_MS + 3), ["3"]),
        ("2024-11-14T17:30:00.002Z", ["2", "3"]),
        ("new", []),
    ],
)
def test_a_new_group_begins_where_it_is_told(run: Run, server: redis.Redis, start: str, expected: list[str]) -> None:
    put(server, "BTCUSDT", 1, 2, 3)
    found = run("BTCUSDT", "--group", "g", "--from", start, "--until-idle", "300ms")
    assert [number for _, number in numbers(found.stdout)] == expected


def test_a_count_ends_it_to_the_entry_and_the_rest_is_left(run: Run, server: redis.Redis) -> None:
    put(server, "BTCUSDT", *range(1, 6))
    assert len(numbers(run("trades", "--group", "g", "--count", "2").stdout)) == 2
    assert [number for _, number in numbers(run("trades", "--group", "g", "--once").stdout)] == ["3", "4", "5"]


def test_a_filter_keeps_what_holds_and_acknowledges_the_rest(run: Run, server: redis.Redis) -> None:
    put(server, "BTCUSDT", 1, 2, 3)
    found = run("trades", "--group", "g", "--where", "price > 2", "--once")
    assert [number for _, number in numbers(found.stdout)] == ["2", "3"]
    assert server.xpending("trades:BTCUSDT", "g")["pending"] == 0


def test_a_sink_writes_where_out_says(run: Run, server: redis.Redis, tmp_path: Path) -> None:
    put(server, "BTCUSDT", 1, 2)
    assert run("trades", "-g", "g", "--once", "--sink", "jsonl", "--out", "a/b.jsonl").exit_code == 0
    assert len((tmp_path / "a" / "b.jsonl").read_text().splitlines()) == 2


def test_parquet_is_closed_and_acknowledged_at_the_end(run: Run, server: redis.Redis, tmp_path: Path) -> None:
    put(server, "BTCUSDT", 1, 2, 3)
    assert run("trades", "-g", "g", "--once", "--sink", "parquet", "--out", "data").exit_code == 0
    [part] = (tmp_path / "data").rglob("*.parquet")
    assert part.parent.relative_to(tmp_path / "data").parts == ("channel=trades", "pair=BTCUSDT", "date=2024-11-14")
    assert server.xpending("trades:BTCUSDT", "g")["pending"] == 0


def test_sqlite_has_each_entry_once_however_often_it_is_consumed(run: Run, server: redis.Redis, tmp_path: Path) -> None:
    put(server, "BTCUSDT", 1, 2)
    for group in ("one", "two"):
        assert run("trades", "-g", group, "--once", "--sink", "sqlite", "--out", "t.db").exit_code == 0
    with sqlite3.connect(tmp_path / "t.db") as database:
        assert database.execute("select count(*) from trades").fetchone() == (2,)
    database.close()


def test_a_shard_reads_its_streams_alone(run: Run, server: redis.Redis) -> None:
    pairs = ["ADAUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"]
    for pair in pairs:
        put(server, pair, 1)
    shares = [
        [pair for pair, _ in numbers(run("trades", "-g", "g", "--shard", shard, "--once").stdout)]
        for shard in ("1/2", "2/2")
    ]
    assert all(shares)
    assert sorted(shares[0] + shares[1]) == pairs


def test_with_leases_a_lone_member_reads_everything(run: Run, server: redis.Redis) -> None:
    put(server, "BTCUSDT", 1)
    put(server, "ETHUSDT", 2)
    found = run("trades", "-g", "g", "--ownership", "lease", "--once")
    assert sorted(numbers(found.stdout)) == [("BTCUSDT", "1"), ("ETHUSDT", "2")]


def test_what_was_recorded_comes_before_the_stream_and_nothing_twice(
    run: Run, server: redis.Redis, tmp_path: Path
) -> None:
    put(server, "BTCUSDT", *range(1, 7))
    run("trades", "-g", "recorder", "--once", "--sink", "parquet", "--out", "data")
    server.xtrim("trades:BTCUSDT", maxlen=2, approximate=False)
    put(server, "BTCUSDT", 7, 8)
    found = run("trades", "-g", "g", "--from", str(START_MS + 3), "--archive", "data", "--until-idle", "300ms")
    assert [number for _, number in numbers(found.stdout)] == ["3", "4", "5", "6", "7", "8"]


def test_a_dry_run_reads_nothing_and_makes_no_group(run: Run, server: redis.Redis) -> None:
    put(server, "BTCUSDT", 1)
    [row] = json.loads(run("trades", "-g", "g", "--dry-run").stdout)
    assert (row["group"], row["stream"], row["entries"], row["begins"]) == ("g", "trades:BTCUSDT", 1, "earliest")
    assert server.xinfo_groups("trades:BTCUSDT") == []


def test_the_consumers_of_the_configuration_run_by_name(run: Run, server: redis.Redis, tmp_path: Path) -> None:
    (tmp_path / "cryptostream.yaml").write_text(
        "consumers:\n"
        "  one: {read: trades, write: [{jsonl: {path: one.jsonl}}]}\n"
        "  two: {read: trades, write: [{jsonl: {path: two.jsonl}}]}\n"
    )
    put(server, "BTCUSDT", 1)
    assert run("two", "--once").exit_code == 0
    assert not (tmp_path / "one.jsonl").exists()
    assert run("--once").exit_code == 0
    assert all(len((tmp_path / f"{name}.jsonl").read_text().splitlines()) == 1 for name in ("one", "two"))


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["trades", "--from", "new"], 2, "--from without --group"),
        (["--group", "g"], 2, "names no stream"),
        (["trades"], 2, "names no consumers"),
        (["trades", "--requests"], 2, "names no consumers"),
        (["--requests", "--once"], 2, "--requests waits for them"),
        (["trades", "-g", "g", "--sink", "parquett"], 78, 'did you mean "parquet"?'),
        (["trades", "-g", "g", "--out", "x"], 2, "console does not"),
        (["trades", "-g", "g", "--sink", "jsonl"], 78, "missing a required argument: 'path'"),
        (["trades", "-g", "g", "--from", "yesterday"], 78, "not a time"),
        (["trades", "-g", "g", "--shard", "5/4"], 78, "5/4"),
        (["trades", "-g", "g", "--shard", "1/2", "--ownership", "lease"], 78, "both say"),
        (["trades", "-g", "a b"], 78, "letters, digits"),
        (["trades:NOSUCH", "-g", "g", "--once"], 4, 'no stream "trades:NOSUCH"'),
    ],
)
def test_what_cannot_be_consumed_is_told_in_one_line(run: Run, words: list[str], code: int, told: str) -> None:
    found = run(*words)
    assert (found.exit_code, told in found.stderr) == (code, True), found.stderr
    assert "Traceback" not in found.stderr


def test_entries_that_were_trimmed_unread_are_told_and_end_with_6_where_that_matters(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = request.getfixturevalue("real_redis_url")
    monkeypatch.chdir(tmp_path)
    with redis.Redis.from_url(url, decode_responses=True, protocol=2) as server:
        put(server, "BTCUSDT", 1, 2)
        words = ["consume", "trades", "-g", "g", "--redis", url, "--data-dir", "data", "--health-port", "0", "--once"]
        assert CliRunner().invoke(main.app, words).exit_code == 0
        put(server, "BTCUSDT", *range(3, 13))
        server.xtrim("trades:BTCUSDT", maxlen=3, approximate=False)
        found = CliRunner().invoke(main.app, [*words, "--fail-on-gap"])
    assert found.exit_code == 6
    assert "7 entries" in found.stderr
