"""`cryptostream replay` as a person types it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner, Result

from cryptostream.cli import main, replay
from cryptostream.errors import UsageError
from cryptostream.tape.forms import frame_line

DATA = Path(__file__).parents[3] / "shared/data/binance"
START = 1_723_161_253_000_000_000  # 2024-08-08T23:54:13Z
Run = Callable[..., Result]


def trade(number: int, pair: str = "BTCUSDT") -> bytes:
    event = {"e": "trade", "E": 1_723_161_253_000 + number, "s": pair, "t": number, "p": "61837.63", "q": "0.02"}
    event |= {"T": 1_723_161_253_000 + number, "m": number % 2 == 0, "M": True}
    return json.dumps({"stream": f"{pair.lower()}@trade", "data": event}, separators=(",", ":")).encode()


def tape(folder: Path, *frames: bytes, name: str = "tape.raw", spacing_s: float = 0.1) -> Path:
    path = folder / name
    path.write_bytes(b"".join(frame_line(START + round(n * spacing_s * 1e9), frame) for n, frame in enumerate(frames)))
    return path


def ten(folder: Path) -> Path:
    """Five trades of each of two pairs, an answer, and a frame that nobody can read."""
    pairs = [trade(number, pair) for number in range(1, 6) for pair in ("BTCUSDT", "ETHUSDT")]
    return tape(folder, b'{"result":null,"id":1}', *pairs, b'{"stream":"btcusdt@trade","data":{"e":"trade"')


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command on no bus, or on the one at `url`."""

    def invoke(*words: object, url: str = "redis://127.0.0.1:1") -> Result:
        monkeypatch.setenv("REDIS_URL", url)
        monkeypatch.setenv("CRYPTOSTREAM_DATA_DIR", str(tmp_path / "data"))
        return CliRunner().invoke(main.app, ["replay", *map(str, words)])

    return invoke


def account(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def printed(result: Result) -> list[dict[str, str]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_tape_becomes_entries_and_an_account(run: Run, bus_url: str, tmp_path: Path) -> None:
    told = account(run(ten(tmp_path), url=bus_url))
    with redis.Redis.from_url(bus_url, decode_responses=True) as client:
        found = client.xrange("trades:BTCUSDT")

    assert [entry_id for entry_id, _ in found] == [f"{1_723_161_253_000 + n}-{n}" for n in range(1, 6)]
    assert found[0][1] == {
        "exchange": "binance",
        "pair": "BTCUSDT",
        "price": "61837.63",
        "qty": "0.02",
        "ts": "2024-08-08T23:54:13.001000",
        "side": "buy",
        "trade_id": "1",
        "raw_json": trade(1).decode(),
    }
    assert {name: told[name] for name in ("frames", "bad_frames", "entries", "published", "already_there")} == {
        "frames": 12,
        "bad_frames": 1,
        "entries": 10,
        "published": 10,
        "already_there": 0,
    }
    assert (told["first"], told["last"]) == ("2024-08-08T23:54:13.000000Z", "2024-08-08T23:54:14.100000Z")


def test_a_second_replay_finds_everything_there(run: Run, bus_url: str, tmp_path: Path) -> None:
    first, second = (account(run(ten(tmp_path), url=bus_url)) for _ in range(2))

    assert (second["published"], second["already_there"], second["refused"]) == (0, 10, 0)
    assert second["sha256"] == first["sha256"]


def test_what_a_stream_has_grown_past_is_told(run: Run, real_redis_url: str, tmp_path: Path) -> None:
    account(run(tape(tmp_path, trade(3)), url=real_redis_url))
    line = f'{{"stream":"trades:BTCUSDT","id":"{1_723_161_253_001}-1","pair":"BTCUSDT"}}\n'
    (tmp_path / "tape.raw").write_text(line)
    told = run(tmp_path, url=real_redis_url)

    assert account(told)["refused"] == 1
    assert "older than what their streams hold" in told.stderr


def test_a_prefix_keeps_a_replay_apart(run: Run, bus_url: str, tmp_path: Path) -> None:
    plain = account(run(ten(tmp_path), url=bus_url))
    apart = account(run(ten(tmp_path), "--prefix", "test:", url=bus_url))
    with redis.Redis.from_url(bus_url) as client:
        assert client.xlen("test:trades:ETHUSDT") == client.xlen("trades:ETHUSDT") == 5

    assert apart["published"] == 10
    assert apart["sha256"] == plain["sha256"]


def test_streams_are_trimmed_only_when_asked(run: Run, real_redis_url: str, tmp_path: Path) -> None:
    path = tape(tmp_path, *map(trade, range(1, 10_502)), spacing_s=0.0001)
    account(run(path, "--no-raw", url=real_redis_url))
    account(run(path, "--no-raw", "--maxlen", 100, "--prefix", "short:", url=real_redis_url))
    with redis.Redis.from_url(real_redis_url) as client:
        assert client.xlen("trades:BTCUSDT") == 10_501  # more than bus.maxlen
        assert client.xlen("short:trades:BTCUSDT") < 1000


def test_entries_printed_replay_to_the_same_digest(run: Run, bus_url: str, tmp_path: Path) -> None:
    told = run(ten(tmp_path), "--to", "stdout")
    (tmp_path / "entries.jsonl").write_text(told.stdout)
    again = account(run(tmp_path / "entries.jsonl", url=bus_url))

    assert len(printed(told)) == again["published"] == 10
    assert json.loads(told.stderr)["sha256"] == again["sha256"]
    with redis.Redis.from_url(bus_url) as client:
        assert client.xlen("trades:BTCUSDT") == 5


@pytest.mark.parametrize("options", [["--batch", 1], ["--batch", 7], ["--speed", "20x"], ["--speed", "max"]])
def test_neither_speed_nor_batch_changes_the_digest(run: Run, tmp_path: Path, options: list[object]) -> None:
    plain, other = (run(ten(tmp_path), "--to", "stdout", *more) for more in ([], options))

    assert plain.stdout == other.stdout
    assert json.loads(plain.stderr)["sha256"] == json.loads(other.stderr)["sha256"]


def test_without_raw_json_it_is_another_digest(run: Run, tmp_path: Path) -> None:
    raw, bare = (run(ten(tmp_path), "--to", "stdout", *more) for more in ([], ["--no-raw"]))

    assert "raw_json" in printed(raw)[0] and "raw_json" not in printed(bare)[0]
    assert json.loads(raw.stderr)["sha256"] != json.loads(bare.stderr)["sha256"]


def test_what_is_twice_on_the_tape_is_one_entry(run: Run, bus_url: str, tmp_path: Path) -> None:
    once = account(run(tape(tmp_path, *map(trade, (1, 2, 3))), "--prefix", "once:", url=bus_url))
    twice = account(run(tape(tmp_path, *map(trade, (1, 2, 3, 1, 2, 3))), url=bus_url))

    assert (twice["entries"], twice["published"], twice["frames"]) == (3, 3, 6)
    assert twice["sha256"] == once["sha256"]


SPANS = {
    "since": (["--since", "2024-08-08T23:54:13.800Z"], ["4", "5", "5"]),
    "until": (["--until", "2024-08-08T23:54:13.200Z"], ["1", "1"]),
    "both": (["--since", START // 1_000_000 + 500, "--until", START // 1_000_000 + 600], ["3", "3"]),
}


@pytest.mark.parametrize(("options", "expected"), SPANS.values(), ids=SPANS)
def test_a_span_of_receive_time(run: Run, tmp_path: Path, options: list[object], expected: list[str]) -> None:
    found = printed(run(ten(tmp_path), "--to", "stdout", *options))

    assert [entry["trade_id"] for entry in found] == expected


def test_only_the_symbols_asked_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("ethusdt\nDOGEUSDT\n")
    told = run(ten(tmp_path), "--to", "stdout", "-s", f"@{tmp_path / 'pairs.txt'}")

    assert {entry["pair"] for entry in printed(told)} == {"ETHUSDT"}
    assert "the tape holds nothing of DOGEUSDT" in told.stderr


def test_a_folder_passes_over_what_is_no_tape(run: Run, tmp_path: Path) -> None:
    ten(tmp_path)
    (tmp_path / "README.md").write_text("# Tapes\n")
    told = run(tmp_path, "--to", "stdout")

    assert len(printed(told)) == 10
    assert "README.md: not a tape" in told.stderr


def test_csv_has_one_header(run: Run, tmp_path: Path) -> None:
    lines = run(ten(tmp_path), "--to", "stdout", "--no-raw", "-o", "csv").stdout.splitlines()

    assert lines[0] == "stream,id,exchange,pair,price,qty,ts,side,trade_id"
    assert len(lines) == 11


def test_a_damaged_file_is_played_as_far_as_it_is_whole(run: Run, bus_url: str, tmp_path: Path) -> None:
    path = ten(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    told = run(path, url=bus_url)

    assert told.exit_code == 6
    assert json.loads(told.stdout)["published"] == 10
    assert f"{path} is damaged at line 12" in told.stderr.replace("\n", "")


def test_damage_can_be_skipped(run: Run, bus_url: str, tmp_path: Path) -> None:
    path = ten(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    told = account(run(path, "--skip-bad", url=bus_url))

    assert (told["published"], told["skipped"]) == (10, 1)


REFUSED = {
    "no file": (["absent"], 4, "no such file"),
    "no tape": (["README"], 2, "not a tape"),
    "a speed that is none": (["tape.raw", "--speed", "fast"], 2, "not a speed"),
    "standing still": (["tape.raw", "--speed", "0"], 2, "not a speed"),
    "a time that is none": (["tape.raw", "--since", "yesterday"], 2, "not a time"),
    "a span turned round": (["tape.raw", "--since", "2025-01-01", "--until", "2024-01-01"], 2, "is after"),
    "a prefix with a space": (["tape.raw", "--prefix", "a b"], 2, "not a prefix"),
    "a symbol that is none": (["tape.raw", "-s", "a/b"], 2, "not a symbol"),
    "a list that is not there": (["tape.raw", "-s", "@absent"], 4, "absent"),
    "one JSON answer of a stream": (["tape.raw", "--to", "stdout", "-o", "json"], 2, "one answer"),
    "an unknown venue": (["tape.raw", "--exchange", "binanse"], 78, 'did you mean "binance"'),
    "symbols that never come": (["tape.raw", "--to", "stdout", "-s", "BTCUSTD"], 4, 'did you mean "BTCUSDT"'),
    "frames and entries at once": (["."], 2, "one after the other"),
}


@pytest.mark.parametrize(("words", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_one_line_and_a_code(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, said: str
) -> None:
    ten(tmp_path)
    (tmp_path / "README").write_text("# Tapes\n")
    (tmp_path / "entries.jsonl").write_text('{"stream":"s","id":"1-1"}\n')
    monkeypatch.chdir(tmp_path)
    told = run(*words)

    assert told.exit_code == code
    assert said in told.stderr.replace("\n", " ")
    assert "Traceback" not in told.output


def test_a_bus_out_of_reach_is_exit_5(run: Run, tmp_path: Path) -> None:
    told = run(ten(tmp_path), "--set", "bus.connect_timeout=0.2s")

    assert told.exit_code == 5
    assert told.stdout == ""


@pytest.mark.parametrize(("text", "speed"), [("max", None), ("1x", 1.0), ("10x", 10.0), ("0.5x", 0.5), ("2", 2.0)])
def test_speeds(text: str, speed: float | None) -> None:
    assert replay._speed(text) == speed


@pytest.mark.parametrize("text", ["", "x", "-1x", "nan", "inf", "1xx", "0x"])
def test_not_speeds(text: str) -> None:
    with pytest.raises(UsageError, match="not a speed"):
        replay._speed(text)


def test_an_interrupt_tells_what_was_done(real_redis_url: str, tmp_path: Path) -> None:
    path = tape(tmp_path, *map(trade, range(1, 100)), spacing_s=60)
    code = "from cryptostream.cli import main, replay; main.app()"
    started = subprocess.Popen(
        [sys.executable, "-c", code, "replay", str(path), "--speed", "1x"],
        env=os.environ | {"REDIS_URL": real_redis_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with redis.Redis.from_url(real_redis_url) as client:
        while not client.xlen("trades:BTCUSDT"):
            assert started.poll() is None
    started.send_signal(signal.SIGINT)
    stdout, stderr = started.communicate(timeout=20)

    assert started.returncode == 130, stderr
    assert json.loads(stdout)["published"] == 1


def test_a_real_recording_on_a_real_bus(run: Run, real_redis_url: str) -> None:
    path = DATA / "spot_btcusdt_20240808.raw.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here: the recordings live beside the repository")
    told = account(run(path, "--no-raw", url=real_redis_url))
    with redis.Redis.from_url(real_redis_url) as client:
        assert client.xlen("trades:BTCUSDT") == told["published"] == told["entries"] == 9757
    assert (told["frames"], told["bad_frames"], told["ignored_frames"]) == (41_249, 0, 31_492)
