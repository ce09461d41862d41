"""`cryptostream discover` as a person types it, against venues on loopback."""

import csv
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import stamina
import structlog
from typer.testing import CliRunner, Result

from cryptostream.cli import main

KEY = "CG-canary-0123456789"
Run = Callable[..., Result]


class Venues(ThreadingHTTPServer):
    """A ranking of coins and an exchange in one; `coins` and `status` are a test's to change."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.coins = ["btc", "eth", "usdc", "sol", "leo"]
        self.status = 200
        self.asked = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, path: str) -> tuple[int, object]:
        self.asked += 1
        listed = ("BTC", "ETH", "USDC", "SOL", "XRP", "BNB")
        if path.endswith("/exchangeInfo"):
            return 200, {"symbols": [_row(base) for base in listed]}
        if path.endswith("/ticker/price"):
            return 200, [{"symbol": f"{base}USDT", "price": "100"} for base in listed]
        coins = [{"id": name, "symbol": name, "name": name.title(), "current_price": 100} for name in self.coins]
        return self.status, [coin | {"market_cap_rank": rank} for rank, coin in enumerate(coins, 1)]


def _row(base: str) -> dict[str, str]:
    return {"symbol": f"{base}USDT", "status": "TRADING", "baseAsset": base, "quoteAsset": "USDT"}


class Answering(BaseHTTPRequestHandler):
    server: Venues

    def do_GET(self) -> None:
        status, value = self.server.answer(urlsplit(self.path).path)
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def venues() -> Iterator[Venues]:
    with Venues() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def run(venues: Venues, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COINGECKO_URL", venues.url)
    monkeypatch.setenv("BINANCE_REST_URL", venues.url)
    monkeypatch.setenv("COINGECKO_API_KEY", KEY)
    monkeypatch.setenv("CRYPTOSTREAM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FALLBACK_PAIRS", "BTCUSDT,XRPUSDT")

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(main.app, ["discover", *map(str, words)])

    with stamina.set_testing(True, attempts=1):
        yield invoke
    structlog.reset_defaults()  # the command sent logs to a stderr that is closed now


def pairs(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [row["pair"] for row in json.loads(result.stdout)]


def test_on_a_pipe_the_list_is_json_and_its_origin_goes_to_stderr(run: Run) -> None:
    result = run("--top", 3)
    assert json.loads(result.stdout)[0] == {"rank": 1, "coin": "Btc", "pair": "BTCUSDT", "price": 100.0, "note": ""}
    assert pairs(result) == ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"]
    assert "4 pairs of binance, live" in result.stderr


def test_csv_and_jsonl_hold_the_same_rows(run: Run) -> None:
    rows = csv.DictReader(io.StringIO(run("-o", "csv").stdout))
    lines = run("-o", "jsonl").stdout.splitlines()
    assert [row["pair"] for row in rows] == [json.loads(line)["pair"] for line in lines] != []


def test_the_table_shows_rank_and_price(run: Run) -> None:
    assert "SOLUSDT" in run("-o", "table").stdout


def test_what_was_left_out_says_why(run: Run) -> None:
    rows = json.loads(run("--show-dropped").stdout)
    assert {row["coin"]: row["note"] for row in rows if row["pair"] is None} == {
        "Usdc": "left out: excluded",
        "Leo": "left out: no pair",
    }


def test_a_saved_list_is_a_configuration_that_compares_as_equal(run: Run, tmp_path: Path) -> None:
    saved = tmp_path / "pairs.yaml"
    result = run("--top", 3, "--save", saved)
    assert f"cryptostream ingest -c {saved}" in result.stderr
    assert saved.read_text() == (
        "# 4 pairs of binance, live\nfeeds:\n- binance:\n    symbols:\n"
        "    - BTCUSDT\n    - ETHUSDT\n    - SOLUSDT\n    - XRPUSDT\n"
    )
    assert json.loads(run("--top", 3, "--against", saved).stdout) == []


def test_diff_names_what_came_what_left_and_what_moved(run: Run, venues: Venues) -> None:
    run()
    venues.coins = ["sol", "btc", "bnb"]
    changes = json.loads(run("--diff").stdout)
    assert [(row["change"], row["pair"], row["place"], row["was"]) for row in changes] == [
        ("added", "BNBUSDT", 3, None),
        ("removed", "ETHUSDT", None, 2),
        ("moved", "SOLUSDT", 1, 3),
    ]


def test_a_printed_list_can_be_compared_with(run: Run, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(run("--top", 1, "--show-dropped").stdout)
    changes = json.loads(run("--top", 2, "--against", tmp_path / "old.json").stdout)
    assert [(row["change"], row["pair"]) for row in changes] == [("added", "ETHUSDT")]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [("gone.yaml", None, 4), ("bad.json", "{}{", 2), ("other.json", "[1]", 2), ("bad.yaml", "feeds: 7", 78)],
)
def test_a_file_that_is_no_list_is_refused(run: Run, tmp_path: Path, name: str, content: str | None, code: int) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    result = run("--against", tmp_path / name)
    assert (result.exit_code, result.stdout) == (code, "")


def test_without_an_answer_the_list_is_the_last_one_and_then_the_fallback(run: Run, venues: Venues) -> None:
    venues.status = 500
    result = run("--top", 2)
    assert pairs(result) == ["BTCUSDT", "XRPUSDT"]
    assert "2 pairs of binance, fallback" in result.stderr
    venues.status = 200
    run("--top", 2)
    venues.status = 429
    result = run("--top", 2)
    assert pairs(result) == ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
    assert "last good list of" in result.stderr
    assert "COINGECKO_API_KEY" in result.stderr
    assert KEY not in result.output


def test_offline_asks_nobody(run: Run, venues: Venues) -> None:
    good = pairs(run())
    venues.asked = 0
    assert pairs(run("--offline")) == good
    assert venues.asked == 0


def test_a_folder_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    result = run("--save", tmp_path / "gone" / "pairs.yaml")
    assert result.exit_code == 4
    assert f"no such folder: {tmp_path / 'gone'}" in result.stderr.replace("\n", "")


def test_strict_ends_with_5_unless_the_list_is_live(run: Run, venues: Venues, tmp_path: Path) -> None:
    assert run("--strict").exit_code == 0
    venues.status = 500
    result = run("--strict", "--save", tmp_path / "pairs.yaml")
    assert (result.exit_code, result.stdout) == (5, "")
    assert not (tmp_path / "pairs.yaml").exists()
    assert run("--strict", "--offline").exit_code == 2
