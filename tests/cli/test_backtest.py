"""`cryptostream backtest-stream` as a person types it: whatever the source, a strategy says and earns the same."""

import csv
import json
from collections.abc import Callable, Iterator
from math import sin
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import redis
from typer.testing import CliRunner, Result

from cryptostream.cli import main
from cryptostream.model.codec import iso
from cryptostream.model.events import Entry
from cryptostream.tape import schema
from cryptostream.tape.parts import SUFFIX, stem

START_MS = 1_731_605_400_000
TRADES = 4_000
Run = Callable[..., Result]
CHEAT = '''
from cryptostream.model.events import Signal

SEEN = {}


class Cheat:
    """Remembers, beyond its own life, what came next."""

    warm_up = 0
    values = {}

    def __init__(self):
        self.last = ""

    def on_bar(self, bar):
        if self.last:
            SEEN[self.last] = bar.close
        self.last = bar.entry_id
        if SEEN.get(bar.entry_id, 0.0) > bar.close:
            yield Signal("buy")
'''
RAISES = '''
class Raises:
    """Fails at its tenth bar."""

    warm_up = 0
    values = {}

    def __init__(self):
        self.bars = 0

    def on_bar(self, bar):
        self.bars += 1
        if self.bars == 10:
            raise KeyError("no such thing")
        return ()
'''


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(main.app, ["backtest-stream", *words, "--data-dir", str(tmp_path / "data")])

    return invoke


def market(pair: str) -> Iterator[dict[str, str]]:
    """Trades that go up and down in waves, one each 250 ms."""
    for number in range(1, TRADES + 1):
        price = 100 + 5 * sin(number / 90 + len(pair)) + sin(number / 17)
        ts = (START_MS + number * 250) * 1000
        yield {
            "exchange": "binance",
            "pair": pair,
            "price": f"{price:.2f}",
            "qty": f"{1 + number % 7}.50000000",
            "ts": iso(ts),
            "side": "buy" if number % 3 else "sell",
            "trade_id": str(number),
        }


def entries(pair: str) -> list[Entry]:
    rows = enumerate(market(pair), 1)
    return [Entry(f"trades:{pair}", f"{START_MS + number * 250}-{number}", fields) for number, fields in rows]


@pytest.fixture
def daily(tmp_path: Path) -> Path:
    """A daily file as the venue publishes it."""
    path = tmp_path / "BTCUSDT-trades-2024-11-14.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        for trade in market("BTCUSDT"):
            number = int(trade["trade_id"])
            maker = "True" if trade["side"] == "sell" else "False"
            rows.writerow([number, trade["price"], trade["qty"], "1", START_MS + number * 250, maker, "True"])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a recorder wrote: two pairs."""
    root = tmp_path / "recorded"
    root.mkdir()
    for pair in ("BTCUSDT", "ETHUSDT"):
        table = schema.table(entries(pair))
        pq.write_table(table, root / f"{stem(f'trades:{pair}')}.part{SUFFIX}")
    return root


def told(found: Result) -> dict[str, Any]:
    assert found.exit_code == 0, found.stderr
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def test_a_daily_file_a_recording_a_tape_and_a_stream_give_the_same(
    run: Run, daily: Path, folder: Path, tmp_path: Path, server: redis.Redis, bus_url: str
) -> None:
    tape = tmp_path / "tape.jsonl"
    lines = ({"stream": one.stream, "id": one.entry_id, **one.fields} for one in entries("BTCUSDT"))
    tape.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    pipeline = server.pipeline(transaction=False)
    for entry in entries("BTCUSDT"):
        pipeline.xadd(entry.stream, dict(entry.fields), id=entry.entry_id)
    pipeline.execute()
    options = ("--strategy", "macd_rsi", "--bars", "5s", "--symbols", "BTCUSDT")
    found = [told(run(str(source), *options)) for source in (daily, folder, tape)]
    found.append(told(run("trades:BTCUSDT", *options, "--redis", bus_url)))
    assert found[0]["strategies"]["macd_rsi"]["signals"] > 3
    assert found[0]["pairs"][0]["trades"] == TRADES
    for other in found[1:]:
        assert other["strategies"] == found[0]["strategies"]
        assert other["benchmark"] == found[0]["benchmark"]


def test_both_modes_do_the_same_for_several_pairs_and_strategies(run: Run, folder: Path) -> None:
    options = (str(folder), "--strategy", "macd_rsi", "--strategy", "rsi_reversion", "--bars", "5s", "--latency", "1s")
    bars, events = told(run(*options, "--mode", "bars")), told(run(*options, "--mode", "events"))
    assert bars == events
    assert [pair["pair"] for pair in bars["pairs"]] == ["BTCUSDT", "ETHUSDT"]
    assert set(bars["strategies"]) == {"macd_rsi", "rsi_reversion"}
    assert bars["terms"]["latency_ms"] == 1000.0
    assert bars["strategies"]["macd_rsi"]["cash"] == 10_000.0


def test_a_report_and_the_round_trips_are_written(run: Run, daily: Path, tmp_path: Path) -> None:
    report, trades = tmp_path / "out.html", tmp_path / "out.parquet"
    found = run(str(daily), "--strategy", "macd_rsi", "--bars", "5s", "--report", str(report), "--trades", str(trades))
    made = told(found)["strategies"]["macd_rsi"]["trips"]
    assert pq.read_table(trades).num_rows == made > 0
    page = report.read_text()
    assert "macd_rsi" in page
    assert page.startswith("<!DOCTYPE html>")
    assert f"{made} round trips" in found.stderr


def test_processes_change_nothing(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = (str(folder), "--strategy", "macd_rsi", "--bars", "5s", "-p", "fast=8,12")
    alone = told(run(*options, "--jobs", "1"))
    monkeypatch.setattr("cryptostream.cli.backtesting._WORTH", 0)
    assert told(run(*options, "--jobs", "2")) == alone


def test_a_sweep_ranks_every_combination_and_runs_the_best(run: Run, daily: Path) -> None:
    found = told(
        run(str(daily), "--strategy", "macd_rsi", "--bars", "5s", "-p", "fast=8..12:4", "-p", "rsi_period=7,14")
    )
    cells = found["sweep"]["cells"]
    assert len(cells) == 4
    assert [cell["figures"]["sharpe"] for cell in cells] == sorted(
        (cell["figures"]["sharpe"] for cell in cells), reverse=True
    )
    assert {name: found["params"]["macd_rsi"][name] for name in ("fast", "rsi_period")} == cells[0]["params"]


def test_combinations_that_make_no_sense_are_told_and_the_others_run(run: Run, daily: Path) -> None:
    found = told(run(str(daily), "--strategy", "ma_cross", "--bars", "5s", "-p", "fast=5,50", "-p", "slow=20"))
    assert [(cell["params"]["fast"], cell["figures"] is None) for cell in found["sweep"]["cells"]] == [
        (5, False),
        (50, True),
    ]
    assert "fast" in found["sweep"]["cells"][1]["why"]


def test_a_walk_trades_only_what_it_was_not_trained_on(run: Run, daily: Path) -> None:
    options = ("--strategy", "macd_rsi", "--bars", "5s", "-p", "rsi_period=7,14", "--walk", "6m/3m", "--by", "final")
    [walk] = told(run(str(daily), *options))["walk"]
    assert len(walk["windows"]) == 3
    for window in walk["windows"]:
        assert window["test_start"] == window["train_end"]
        assert window["test"]["start"] >= window["test_start"]


def test_no_strategy_of_ours_knows_the_future_and_its_warm_up_is_told(run: Run, daily: Path) -> None:
    found = run(str(daily), "--strategy", "macd_rsi", "--bars", "5s", "--check-lookahead")
    rows = json.loads(found.stdout)
    assert found.exit_code == 0
    assert {row["indicator"] for row in rows} == {"macd", "macd_signal", "macd_histogram", "rsi"}
    assert {row["foresight"] for row in rows} == {False}
    assert {row["warm_up"] for row in rows} == {34}
    assert next(row for row in rows if row["indicator"] == "rsi")["first_value"] == 15


def test_a_strategy_that_knows_the_future_is_found_out(run: Run, daily: Path, tmp_path: Path) -> None:
    (tmp_path / "cheat.py").write_text(CHEAT)
    found = run(str(daily), "--strategy", "cheat.py", "--bars", "5s", "--check-lookahead")
    assert found.exit_code == 6
    assert "said buy" in found.stderr.replace("\n", " ")


def test_a_strategy_that_raises_stops_it_at_the_entry(run: Run, daily: Path, tmp_path: Path) -> None:
    (tmp_path / "raises.py").write_text(RAISES)
    found = run(str(daily), "--strategy", "raises.py", "--bars", "5s")
    assert found.exit_code == 6
    told = found.stderr.replace("\n", " ")
    assert "strategy raises of BTCUSDT failed at entry" in told
    assert "KeyError: 'no such thing'" in told


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--bars", "1s"), 2, "names no strategy"),
        (("--strategy", "mcad_rsi"), 2, 'did you mean "macd_rsi"?'),
        (("--strategy", "macd_rsi", "-p", "rsi_perod=7"), 2, 'did you mean "rsi_period"?'),
        (("--strategy", "macd_rsi", "-p", "rsi_period=x"), 2, "should be a whole number"),
        (("--strategy", "macd_rsi", "--bars", "1x"), 2, "not a kind of bar"),
        (("--strategy", "macd_rsi", "--cash", "-5"), 2, "--cash -5 is not above 0"),
        (("--strategy", "macd_rsi", "--fill", "nxt-trade"), 2, 'did you mean "next-trade"?'),
        (("--strategy", "macd_rsi", "--symbols", "BTCUSD"), 4, 'did you mean "BTCUSDT"?'),
        (("--strategy", "macd_rsi", "--consumer", "x"), 2, 'no consumer "x"'),
        (("--strategy", "macd_rsi", "-p", "fast=8,9", "--by", "sharp"), 2, 'did you mean "sharpe"?'),
        (("--strategy", "macd_rsi", "--since", "2024-11-15", "--until", "2024-11-14"), 2, "is after"),
        (("--strategy", "macd_rsi", "--walk", "30d/7d"), 2, "there is"),
    ],
)
def test_a_mistake_is_told_in_one_line(run: Run, daily: Path, words: tuple[str, ...], code: int, message: str) -> None:
    found = run(str(daily), *words)
    assert found.exit_code == code, found.stderr
    assert message in found.stderr.replace("\n", " ")


def test_what_is_not_there_is_not_found(run: Run, tmp_path: Path) -> None:
    assert run(str(tmp_path / "nothing.csv"), "--strategy", "macd_rsi").exit_code == 4
    (tmp_path / "empty").mkdir()
    assert run(str(tmp_path / "empty"), "--strategy", "macd_rsi").exit_code in (2, 4)
