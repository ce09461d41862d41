"""`replay`, `verify` and `tail` of what the recorder wrote, as a person types them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner, Result

from cryptostream.cli import main
from cryptostream.model.digest import Digest
from cryptostream.model.events import Entry
from cryptostream.tape import parttape, stretch
from tests.tape.recordings import START_MS, damage, record, trade, trades

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command on no bus, or on the one at `url`."""

    def invoke(*words: object, url: str = "redis://127.0.0.1:1") -> Result:
        monkeypatch.setenv("REDIS_URL", url)
        monkeypatch.setenv("CRYPTOSTREAM_DATA_DIR", str(tmp_path / "data"))
        return CliRunner().invoke(main.app, list(map(str, words)))

    return invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two streams, one of them in two files, of which one was merged into another and not yet deleted."""
    root = tmp_path / "parquet"
    left_behind = record(root, trades(4, 6))
    record(root, trades(1, 6), replaces=[left_behind.name])
    record(root, trades(7, 9))
    record(root, trades(1, 9, "ETHUSDT"))
    return root


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def ids(result: Result) -> list[tuple[str, int]]:
    return [(row["pair"], int(row["trade_id"])) for row in rows(result)]


def digest(*entries: Entry) -> str:
    made = Digest()
    for entry in entries:
        made.add(entry.stream, entry.entry_id, entry.fields)
    return made.hexdigest()


BOTH = [(pair, number) for number in range(1, 10) for pair in ("BTCUSDT", "ETHUSDT")]


def test_a_folder_is_played_in_order_of_time(run: Run, folder: Path) -> None:
    assert ids(run("replay", folder, "--to", "stdout")) == BOTH


def test_a_replay_into_the_bus_keeps_ids_and_texts(run: Run, folder: Path, bus_url: str) -> None:
    told = json.loads(run("replay", folder, url=bus_url).stdout)
    with redis.Redis.from_url(bus_url, decode_responses=True, protocol=2) as client:
        found = [Entry("trades:BTCUSDT", *one) for one in client.xrange("trades:BTCUSDT")]

    assert found == trades(1, 9)
    assert (told["entries"], told["published"], told["already_there"]) == (18, 18, 0)
    assert told["sha256"] == digest(*trades(1, 9), *trades(1, 9, "ETHUSDT"))


@pytest.mark.parametrize("options", [["--batch", "1"], ["--batch", "7"], ["--speed", "100000x"]])
def test_the_digest_does_not_depend_on_batches_or_speed(
    run: Run, folder: Path, bus_url: str, options: list[str]
) -> None:
    told = json.loads(run("replay", folder, *options, url=bus_url).stdout)
    assert told["sha256"] == digest(*trades(1, 9), *trades(1, 9, "ETHUSDT"))


def test_a_span_and_pairs_are_kept(run: Run, folder: Path) -> None:
    span = ("--since", START_MS + 3, "--until", START_MS + 8)
    result = run("replay", folder, "--to", "stdout", "--symbols", "BTCUSDT", *span)
    assert ids(result) == [("BTCUSDT", number) for number in range(3, 9)]


def test_one_file_is_played_although_another_replaces_it(run: Run, folder: Path) -> None:
    [path] = folder.rglob(f"*BTCUSDT.{trade(4).entry_id}.parquet")
    assert ids(run("replay", path, "--to", "stdout")) == [("BTCUSDT", number) for number in (4, 5, 6)]


def test_a_damaged_file_is_named_and_the_others_are_played(run: Run, tmp_path: Path) -> None:
    broken = record(tmp_path / "p", trades(1, 300))
    record(tmp_path / "p", trades(301, 302))
    damage(broken)
    result = run("replay", tmp_path / "p", "--to", "stdout")

    assert result.exit_code == 6
    assert f"{broken} is damaged" in result.stderr
    assert [json.loads(line)["trade_id"] for line in result.stdout.splitlines()] == ["301", "302"]
    assert ids(run("replay", "--skip-bad", tmp_path / "p", "--to", "stdout")) == [("BTCUSDT", 301), ("BTCUSDT", 302)]


def test_a_file_that_is_not_finished_is_passed_over(run: Run, folder: Path) -> None:
    (folder / ".x.parquet.inprogress").write_bytes(b"PAR1")
    result = run("replay", folder, "--to", "stdout")

    assert ids(result) == BOTH
    assert "not finished" in result.stderr


def test_a_whole_folder_is_proven(run: Run, folder: Path) -> None:
    told = json.loads(run("verify", folder).stdout)

    assert told["proven"] is True
    found = {one["stream"]: (one["entries"], one["first_entry"], one["last_entry"]) for one in told["streams"]}
    assert found["trades:BTCUSDT"] == (9, trade(1).entry_id, trade(9).entry_id)


def test_entries_that_are_missing_between_files_are_found(run: Run, tmp_path: Path) -> None:
    record(tmp_path, trades(1, 3))
    record(tmp_path, trades(6, 7))
    result = run("verify", tmp_path)

    assert result.exit_code == 6
    assert json.loads(result.stdout)["streams"][0]["holes"]["spans"] == [[4, 5]]


def test_a_file_that_does_not_hold_what_it_says_is_not_proven(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pages are whole, and still it is another entry than the one that was written."""
    path = record(tmp_path, trades(1, 3))
    real = stretch.schema.restored

    def forged(*args: Any, **more: Any) -> list[Entry]:
        first, *others = real(*args, **more)
        return [Entry(first.stream, first.entry_id, {**first.fields, "qty": "9"}), *others]

    monkeypatch.setattr(stretch.schema, "restored", forged)
    result = run("verify", path)

    assert result.exit_code == 6
    assert f"{path} is damaged: its entries are not those that were written" in result.stderr


def test_a_torn_file_is_not_proven(run: Run, folder: Path) -> None:
    path = record(folder, trades(10, 12))
    path.write_bytes(path.read_bytes()[:-9])
    result = run("verify", folder)

    assert result.exit_code == 6
    assert f"{path} is damaged" in result.stderr


def test_parquet_is_not_repaired_in_place(run: Run, folder: Path) -> None:
    [path] = folder.rglob(f"*BTCUSDT.{trade(4).entry_id}.parquet")
    result = run("verify", "--repair", path)

    assert result.exit_code == 2
    assert "--repair --into" in result.stderr
    assert [each.name for each in path.parent.iterdir() if each.suffix != ".parquet"] == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], BOTH[-10:]),
        (["-n", "3"], BOTH[-3:]),
        (["-n", "0"], []),
        (["-n", "99"], BOTH),
        (["--from", "earliest"], BOTH),
        (["--from", "new"], []),
        (["--from", trade(8).entry_id], BOTH[-4:]),
        (["--from", f"({trade(8).entry_id}"], BOTH[-2:]),
        (["--since", str(START_MS + 9)], BOTH[-2:]),
        (["--until", str(START_MS + 2), "-n", "3"], BOTH[1:4]),
        (["--since", str(START_MS + 2), "--until", str(START_MS + 3)], BOTH[2:6]),
        (["--since", str(START_MS), "-n", "3"], BOTH[-3:]),
        (["--from", "earliest", "--count", "3"], BOTH[:3]),
        (["--where", 'side == "buy" and pair == "ETHUSDT"', "-n", "2"], [("ETHUSDT", 6), ("ETHUSDT", 8)]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else "",
)
def test_tail_shows_what_was_recorded(run: Run, folder: Path, words: list[str], expected: list[Any]) -> None:
    assert ids(run("tail", folder, *words)) == expected


def test_tail_shows_the_same_of_json_lines(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "entries.jsonl").write_text(run("replay", folder, "--to", "stdout").stdout)
    for words in (["-n", "3"], ["--since", START_MS + 8], ["-n", "2", "--until", START_MS + 5]):
        assert ids(run("tail", tmp_path / "entries.jsonl", *words)) == ids(run("tail", folder, *words))


def test_tail_reads_of_a_long_recording_only_its_end(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for first in (1, 101, 201):
        record(tmp_path, trades(first, first + 99))
    monkeypatch.setattr(parttape.Stretch, "pages", None)
    opened: list[str] = []
    real = stretch._backwards
    monkeypatch.setattr(stretch, "_backwards", lambda part, rows: (opened.append(part.path.name), real(part, rows))[1])
    monkeypatch.setattr(parttape.PartTape, "_pages", lambda self: iter([trades(1, 1)]))

    assert [number for _, number in ids(run("tail", tmp_path, "-n", "5"))] == [296, 297, 298, 299, 300]
    assert opened == [f"trades-BTCUSDT.{trade(201).entry_id}.parquet"]


def test_tail_has_fields_templates_and_one_answer(run: Run, folder: Path) -> None:
    result = run("tail", folder, "-n", "1", "--template", "{pair} {trade_id}")
    assert result.stdout == "ETHUSDT 9\n"
    assert run("tail", folder, "-n", "1", "--fields", "price,pair", "-o", "csv").stdout.splitlines()[0] == "price,pair"
    assert len(json.loads(run("tail", folder, "-n", "4", "-o", "json").stdout)) == 4
    assert run("tail", folder, "--fields", "prise").exit_code == 2


def test_tail_of_nothing_frames_or_both_is_an_error_with_its_own_code(run: Run, folder: Path, tmp_path: Path) -> None:
    assert run("tail", tmp_path / "not" / "there").exit_code == 4
    assert run("tail", folder, "trades:BTCUSDT").exit_code == 2
    (tmp_path / "tape.raw").write_bytes(b'1723161253000000000 {"e":"trade"}\n')
    result = run("tail", tmp_path / "tape.raw")
    assert result.exit_code == 2
    assert "replay --to stdout" in result.stderr


def test_tail_of_a_damaged_file_names_it(run: Run, tmp_path: Path) -> None:
    path = record(tmp_path, trades(1, 300))
    damage(path)
    result = run("tail", tmp_path, "--from", "earliest")

    assert result.exit_code == 6
    assert str(path) in result.stderr
