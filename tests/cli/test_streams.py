"""`cryptostream streams` as a person types it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner, Result

from cryptostream.cli import main, render
from cryptostream.cli.render import Output

START_MS = 1_731_605_400_000  # 2024-11-14T17:30:00Z
Run = Callable[..., Result]


@pytest.fixture
def run(bus_url: str, tmp_path: Path) -> Run:
    def invoke(*words: str) -> Result:
        options = ["--redis", bus_url, "--data-dir", str(tmp_path / "data")]
        return CliRunner().invoke(main.app, ["streams", *words, *options])

    return invoke


def entry_id(number: int) -> str:
    return f"{START_MS + number * 1000}-{number}"


def put(server: redis.Redis, stream: str, *numbers: int, **more: str) -> None:
    for number in numbers:
        fields = {"pair": "A", "price": "1.50", "qty": "0.10", "trade_id": str(number), "raw_json": '{"é":"\\n"}'}
        server.xadd(stream, dict[Any, Any]({**fields, **more}), id=entry_id(number))


@pytest.fixture
def filled(server: redis.Redis) -> redis.Redis:
    """Ten trades, of which the group `slow` has read three and acknowledged two, and a stream of klines."""
    put(server, "trades:A", *range(1, 11))
    put(server, "klines:A:1m", 1)
    server.xgroup_create("trades:A", "slow", "0")
    server.xreadgroup("slow", "one", {"trades:A": ">"}, count=3)
    server.xack("trades:A", "slow", entry_id(1), entry_id(2))
    return server


def printed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def numbers(server: redis.Redis, stream: str = "trades:A") -> list[int]:
    return [int(fields["trade_id"]) for _, fields in server.xrange(stream)]


def test_ls_shows_every_stream_with_the_group_that_is_furthest_behind(run: Run, filled: redis.Redis) -> None:
    filled.xgroup_create("trades:A", "done", entry_id(10), entries_read=10)
    klines, trades = printed(run("ls"))
    trades.pop("memory_bytes")  # fakeredis has none
    assert trades == {
        "stream": "trades:A",
        "length": 10,
        "first": "2024-11-14T17:30:01.000Z",
        "last": "2024-11-14T17:30:10.000Z",
        "groups": 2,
        "lag": 7,
        "pending": 1,
    }
    assert (klines["stream"], klines["groups"], klines["lag"]) == ("klines:A:1m", 0, None)


def test_ls_of_an_empty_bus_is_an_empty_list(run: Run) -> None:
    assert printed(run("ls")) == []


def test_words_choose_streams(run: Run, filled: redis.Redis) -> None:
    assert [row["stream"] for row in printed(run("ls", "trades:*"))] == ["trades:A"]
    assert len(printed(run("ls", "a"))) == 2


@pytest.mark.parametrize("command", [("ls",), ("info",), ("trim", "--maxlen", "1", "-y"), ("export",)])
def test_no_such_stream_is_exit_4_with_a_hint(run: Run, filled: redis.Redis, command: tuple[str, ...]) -> None:
    result = run(*command, "trades:B")
    assert (result.exit_code, result.stdout) == (4, "")
    assert 'did you mean "trades:A"?' in result.stderr


def test_info_tells_ends_fields_what_was_trimmed_and_groups(run: Run, filled: redis.Redis) -> None:
    filled.xtrim("trades:A", maxlen=9, approximate=False)
    (row,) = printed(run("info", "trades:A"))
    assert (row["first_id"], row["last_id"]) == (entry_id(2), entry_id(10))
    assert (row["length"], row["entries_added"], row["removed"]) == (9, 10, 1)
    assert row["fields"] == ["pair", "price", "qty", "raw_json", "trade_id"]
    (group,) = row["groups"]
    assert (group["group"], group["pending"], group["last_delivered"]) == ("slow", 1, entry_id(3))


def test_info_of_an_empty_stream_has_no_ends(run: Run, filled: redis.Redis) -> None:
    filled.xtrim("trades:A", maxlen=0, approximate=False)
    (row,) = printed(run("info", "trades:A"))
    assert (row["length"], row["first_id"], row["bytes_per_entry"]) == (0, None, None)


def test_trim_keeps_the_newest(run: Run, filled: redis.Redis) -> None:
    filled.xgroup_destroy("trades:A", "slow")
    (row,) = printed(run("trim", "trades:A", "--maxlen", "4", "-y"))
    assert (row["removed"], row["left"], row["from"]) == (6, 4, entry_id(7))
    assert numbers(filled) == [7, 8, 9, 10]


@pytest.mark.parametrize(
    ("before", "first"),
    [
        ("2024-11-14T17:30:07Z", 7),
        (str(START_MS + 7000), 7),
        (entry_id(7), 7),
        (f"({entry_id(7)}", 8),
        ("earliest", 1),
    ],
)
def test_trim_keeps_what_is_from_a_place_on(run: Run, filled: redis.Redis, before: str, first: int) -> None:
    filled.xgroup_destroy("trades:A", "slow")
    run("trim", "trades:A", "--before", before, "-y")
    assert numbers(filled) == list(range(first, 11))


def test_trim_is_refused_while_a_group_would_lose_something(run: Run, filled: redis.Redis) -> None:
    result = run("trim", "trades:A", "--maxlen", "4", "-y")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "group slow has not read 3 of them and has not acknowledged 1" in result.stderr
    assert numbers(filled) == list(range(1, 11))
    assert run("trim", "trades:A", "--maxlen", "4", "-y", "--force").exit_code == 0
    assert numbers(filled) == [7, 8, 9, 10]


def test_trim_takes_what_every_group_has_done(run: Run, filled: redis.Redis) -> None:
    assert run("trim", "trades:A", "--maxlen", "8", "-y").exit_code == 0
    assert numbers(filled) == list(range(3, 11))


def test_dry_run_counts_and_asks_nobody(run: Run, filled: redis.Redis) -> None:
    (row,) = printed(run("trim", "trades:A", "--maxlen", "4", "--dry-run"))
    assert (row["removed"], row["unread"], row["pending"]) == (6, 3, 1)
    assert numbers(filled) == list(range(1, 11))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trim", "trades:A", "-y"), "say what stays"),
        (("trim", "trades:A", "--maxlen", "1", "--before", "-1h", "-y"), "say what stays"),
        (("trim", "trades:A", "--before", "new", "-y"), "leaves nothing"),
        (("trim", "trades:A", "--maxlen", "1"), "--yes"),
        (("export", "trades:A", "-o", "parquet"), "not to stdout"),
        (("export", "trades:A", "--fields", "prise"), 'did you mean "price"?'),
        (("export", "trades:A", "--since", "yesterday"), "not a time"),
    ],
)
def test_wrong_use_is_exit_2_with_the_reason(
    run: Run, filled: redis.Redis, words: tuple[str, ...], message: str
) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert numbers(filled) == list(range(1, 11))


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_export_writes_whole_entries_stream_by_stream(run: Run, filled: redis.Redis, tmp_path: Path) -> None:
    out = tmp_path / "new" / "a.jsonl"
    result = run("export", "A", "--out", str(out))
    assert (result.exit_code, result.stdout) == (0, "")
    written = lines(out)
    assert [row["stream"] for row in written] == ["klines:A:1m"] + ["trades:A"] * 10
    [(first_id, fields), *_] = filled.xrange("trades:A")
    assert written[1] == {"stream": "trades:A", "id": first_id, **fields}
    assert "11 entries of 2 streams" in result.stderr


def test_exported_entries_can_be_replayed(run: Run, filled: redis.Redis, bus_url: str, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    run("export", "trades:A", "--out", str(out))
    words = ["replay", str(out), "--prefix", "again:", "--redis", bus_url, "--data-dir", str(tmp_path)]
    assert CliRunner().invoke(main.app, words).exit_code == 0
    assert filled.xrange("again:trades:A") == filled.xrange("trades:A")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), list(range(1, 11))),
        (("--since", "2024-11-14T17:30:08Z"), [8, 9, 10]),
        (("--until", str(START_MS + 2000)), [1, 2]),
        (("--since", str(START_MS + 3000), "--until", str(START_MS + 4999)), [3, 4]),
    ],
)
def test_export_to_stdout_takes_a_span(
    run: Run, filled: redis.Redis, words: tuple[str, ...], expected: list[int]
) -> None:
    result = run("export", "trades:A", *words)
    assert [int(json.loads(line)["trade_id"]) for line in result.stdout.splitlines()] == expected


def test_export_of_csv_has_a_column_for_everything_gaps_included(run: Run, filled: redis.Redis, tmp_path: Path) -> None:
    gap = {"kind": "gap", "pair": "A", "gap_from": "11", "gap_to": "12", "cause": "=evil()"}
    filled.xadd("trades:A", dict[Any, Any](gap), id=entry_id(11))
    put(filled, "trades:A", 13)
    out = tmp_path / "a.csv"
    result = run("export", "trades:A", "--no-raw", "--out", str(out))
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ["stream", "entry_id", "pair", "price", "qty", "trade_id", "kind", "gap_from", "gap_to", "cause"]
    assert list(rows[0]) == columns
    assert (rows[0]["entry_id"], rows[0]["price"]) == (entry_id(1), "1.50")
    assert (rows[10]["gap_from"], rows[10]["cause"]) == ("11", "'=evil()")
    assert "no column" not in result.stderr


def test_export_of_chosen_fields(run: Run, filled: redis.Redis) -> None:
    result = run("export", "trades:A", "--fields", "price,qty", "-o", "csv")
    assert result.stdout.splitlines()[:2] == ["stream,entry_id,price,qty", f"trades:A,{entry_id(1)},1.50,0.10"]
    first = json.loads(run("export", "trades:A", "--fields", "price").stdout.splitlines()[0])
    assert first == {"stream": "trades:A", "id": entry_id(1), "price": "1.50"}


def test_export_writes_over_a_file_only_with_a_yes(run: Run, filled: redis.Redis, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    out.write_text("mine")
    assert run("export", "trades:A", "--out", str(out)).exit_code == 2
    assert out.read_text() == "mine"
    assert run("export", "trades:A", "--out", str(out), "-y").exit_code == 0
    assert len(lines(out)) == 10


def test_export_that_fails_leaves_no_file(
    run: Run, filled: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(render, "json_text", fail)
    result = run("export", "trades:A", "--out", str(tmp_path / "a.jsonl"))
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert list(tmp_path.glob("*a.jsonl*")) == []
    assert list(tmp_path.glob(".*")) == []


def test_export_to_parquet_adds_what_is_not_there_yet(run: Run, filled: redis.Redis, tmp_path: Path) -> None:
    import duckdb

    out = tmp_path / "data"
    words = ("export", "trades:A", "-o", "parquet", "--out", str(out))
    assert run(*words).exit_code == 0
    put(filled, "trades:A", 11)
    again = run("export", "trades:A", "--out", str(out))  # a folder is Parquet
    assert "10 of them were there before" in again.stderr
    files = f"{out}/**/*.parquet"
    found = duckdb.sql(f"select entry_id, price from read_parquet('{files}') order by entry_id").fetchall()
    assert [(row[0], str(row[1])) for row in found] == [
        (entry_id(number), "1.50000000") for number in sorted(range(1, 12), key=entry_id)
    ]


def test_export_to_parquet_does_not_wait_for_a_disk_that_refuses(run: Run, filled: redis.Redis, tmp_path: Path) -> None:
    (tmp_path / "channel=trades").write_text("in the way")
    result = run("export", "trades:A", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert f"cannot write to {tmp_path}" in result.stderr.replace("\n", "")


@pytest.mark.parametrize("command", [("info", "trades:A"), ("trim", "trades:A", "--maxlen", "9", "--dry-run")])
def test_tables_say_the_same_to_a_person(
    run: Run, filled: redis.Redis, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(render, "chosen", lambda output, *, stream=False: Output.TABLE)
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert "trades:A" in result.stdout
    assert "2024-11-14 17:30" in result.stdout


def test_list_for_a_person_fits_a_terminal_and_says_how_old_things_are(
    run: Run, filled: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "chosen", lambda output, *, stream=False: Output.TABLE)
    put(filled, "klines:BTCUSDT:15m", 1)
    lines = run("ls").stdout.splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    assert "d ago" in lines[1]
