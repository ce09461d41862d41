"""`cryptostream backtest-stream` as a person types it: whatever the source, a strategy says and earns the same."""

import csv
import json
import os
import sys
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


PRINTS = '''
print("loaded")


class Prints:
    """Says more than it should."""

    warm_up = 0
    values = {}

    def __init__(self, period: int = 3):
        print("made")

    def on_bar(self, bar):
        print("bar", bar.close)
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


def test_what_is_kept_lies_in_the_data_folder_with_its_curves_and_its_page(
    run: Run, daily: Path, tmp_path: Path
) -> None:
    answer = told(run(str(daily), "--strategy", "macd_rsi", "--bars", "5s", "--keep", "first"))
    folder = tmp_path / "data" / "reports"
    kept = json.loads((folder / "first.json").read_text())
    curves = kept.pop("curves")
    assert {**answer, "made": kept["made"]} == kept
    assert (folder / "first.html").read_text().startswith("<!DOCTYPE html>")
    lengths = {len(line) for kind in ("equity", "drawdown") for line in curves[kind].values()}
    assert lengths == {len(curves["times_ms"])}
    assert curves["equity"].keys() == {"macd_rsi", "buy and hold"}
    assert min(curves["drawdown"]["macd_rsi"]) == pytest.approx(answer["strategies"]["macd_rsi"]["max_drawdown"])
    assert curves["equity"]["macd_rsi"][-1] == pytest.approx(answer["strategies"]["macd_rsi"]["final"])
    refused = run(str(daily), "--strategy", "macd_rsi", "--keep", "../first")
    assert (refused.exit_code, "no name for a report" in refused.stderr) == (2, True)


def test_processes_change_nothing_and_what_they_print_is_none_of_the_data(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prints.py").write_text(PRINTS)
    options = (str(folder), "--strategy", "macd_rsi", "--strategy", "prints.py", "--bars", "5s", "-p", "fast=8,12")
    alone = told(run(*options, "--jobs", "1"))
    monkeypatch.setattr("cryptostream.cli.backtesting._WORTH", 0)
    assert told(run(*options, "--jobs", "2")) == alone
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.count("bar ") > 300


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


def test_each_strategy_is_varied_over_its_own_parameters_and_shown_with_its_best(run: Run, daily: Path) -> None:
    both = ("--strategy", "macd_rsi", "--strategy", "rsi_reversion", "--bars", "5s", "--by", "final")
    options = (*both, "-p", "macd_rsi.fast=8,12", "-p", "rsi_period=7..21:7")
    known = told(run(str(daily), *both, "-p", "rsi_reversion.period=5,9", "-p", "macd_rsi.fast=8,12"))
    cells = known["sweep"]["cells"]
    assert [(cell["strategy"], sorted(cell["params"])) for cell in cells] == [
        *[("macd_rsi", ["macd_rsi.fast"])] * 2,
        *[("rsi_reversion", ["rsi_reversion.period"])] * 2,
    ]
    for strategy, name in (("macd_rsi", "fast"), ("rsi_reversion", "period")):
        own = [cell for cell in cells if cell["strategy"] == strategy]
        finals = [cell["figures"]["final"] for cell in own]
        assert finals == sorted(finals, reverse=True)
        assert known["params"][strategy][name] == own[0]["params"][f"{strategy}.{name}"]
        assert known["strategies"][strategy]["final"] == finals[0]
    one = told(run(str(daily), *options))["sweep"]["cells"]
    assert [cell["strategy"] for cell in one] == ["macd_rsi"] * 6


def test_a_parameter_told_to_one_strategy_outdoes_the_bare_name(run: Run, daily: Path) -> None:
    words = ("--strategy", "macd_rsi", "--bars", "5s", "-p", "macd_rsi.fast=8,9", "-p", "fast=10,11,12")
    cells = told(run(str(daily), *words))["sweep"]["cells"]
    assert sorted(cell["params"]["macd_rsi.fast"] for cell in cells) == [8, 9]
    assert {len(cell["params"]) for cell in cells} == {1}


def test_terminal_and_page_show_a_sweep_of_each_strategy(run: Run, daily: Path, tmp_path: Path) -> None:
    words = ("--strategy", "macd_rsi", "--strategy", "rsi_reversion", "--bars", "5s", "-o", "table")
    varied = ("-p", "macd_rsi.fast=8,12", "-p", "rsi_reversion.period=5,7,9")
    found = run(str(daily), *words, *varied, "--report", str(tmp_path / "out.html"))
    assert found.exit_code == 0, found.stderr
    assert "2 runs, best first by Sharpe" in found.stdout
    assert "3 runs, best first by Sharpe" in found.stdout
    page = (tmp_path / "out.html").read_text()
    assert page.count("Sharpe by macd_rsi.fast") == page.count("Sharpe by rsi_reversion.period") == 1


def test_signals_may_be_called_otherwise(run: Run, daily: Path) -> None:
    words = (str(daily), "--bars", "5s", "--strategy", "macd_rsi")
    alone = told(run(*words, "-p", "fast=8"))["strategies"]["macd_rsi"]
    for params in (("as=fast.v2", "fast=8"), ("macd_rsi.as=fast.v2", "macd_rsi.fast=8")):
        [(name, figures)] = told(run(*words, "-p", params[0], "-p", params[1]))["strategies"].items()
        assert (name, figures) == ("fast.v2", alone)
    two = (*words, "--strategy", "ma_cross", "-p", "ma_cross.as=b", "-p", "macd_rsi.as=a", "-p", "a.fast=8")
    assert set(told(run(*two))["strategies"]) == {"a", "b"}


def test_what_live_wrote_under_another_name_is_proven_under_it(run: Run, server: redis.Redis, bus_url: str) -> None:
    pipeline = server.pipeline(transaction=False)
    for entry in entries("BTCUSDT"):
        pipeline.xadd(entry.stream, dict(entry.fields), id=entry.entry_id)
    pipeline.execute()
    what = ("--strategy", "macd_rsi", "-p", "as=mine", "-p", "fast=8", "--bars", "5s", "--redis", bus_url)
    live = CliRunner().invoke(main.app, ["consume", *what, "--once"])
    assert (live.exit_code, "signals:mine:BTCUSDT" in live.stdout) == (0, True), live.stderr
    proof = told(run("trades:BTCUSDT", *what, "--verify", "signals:mine:BTCUSDT"))
    assert proof["equal"] is True
    assert proof["compared"] == len(live.stdout.splitlines()) > 3


def test_what_strategies_print_is_none_of_the_data(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prints.py").write_text(PRINTS)
    words = (str(folder), "--strategy", "prints.py", "--bars", "5s")
    found = run(*words)
    assert {"loaded", "made", "bar 100.4"} <= {line[:9] for line in found.stderr.splitlines()}
    assert told(found)["strategies"].keys() == {"prints"}
    assert told(run(*words, "-p", "period=1,2"))["sweep"]["cells"]
    assert told(run(str(folder), *words[1:], "-s", "BTCUSDT", "-p", "period=1,2", "--walk", "6m/3m", "--by", "final"))
    assert sys.stdout is not sys.stderr


def test_nothing_of_any_pair_is_not_found(run: Run, daily: Path, folder: Path, tmp_path: Path) -> None:
    options = ("--strategy", "macd_rsi", "--bars", "5s")
    empty = tmp_path / "ETHUSDT-trades-2024-11-14.csv"
    late = run(str(folder), *options, "--since", "2030-01-01")
    assert (late.exit_code, late.stdout) == (4, "")
    assert "nothing of BTCUSDT, ETHUSDT from 2030-01-01 00:00:00 on" in late.stderr
    both = run(str(daily), *options, "--since", "2030-01-01", "--until", "2030-01-02", "-p", "fast=8,9")
    assert both.exit_code == 4
    assert "nothing of BTCUSDT between 2030-01-01 00:00:00 and 2030-01-02 00:00:00" in both.stderr
    for text in ("", "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match\n"):
        empty.write_text(text)
        found = run(str(empty), *options)
        assert (found.exit_code, found.stdout) == (4, "")
        assert "nothing of ETHUSDT in" in found.stderr
    some = told(run(str(daily), str(empty), *options))
    assert "there is nothing of ETHUSDT: that share of the cash was not used" in some["notes"]
    assert not any("there is nothing" in note for note in told(run(str(folder), *options))["notes"])


def test_where_nothing_can_be_written_is_told_before_anything_is_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to(tmp_path / "elsewhere.html")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    places = {"nowhere/x.html": 4, "link.html": 2, "fifo": 2, "folder": 2, "x" * 300: 2}
    for option in ("--report", "--trades"):
        for place, code in places.items():
            found = run(str(tmp_path / "not-there.csv"), "--strategy", "macd_rsi", option, str(tmp_path / place))
            assert found.exit_code == code, (option, place, found.stderr)
            assert option in found.stderr
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "fifo").is_fifo()


def test_what_is_read_is_not_written_over(run: Run, daily: Path) -> None:
    before = daily.read_bytes()
    found = run(str(daily), "--strategy", "macd_rsi", "--trades", daily.name)
    assert found.exit_code == 2
    assert "what is read" in found.stderr.replace("\n", " ")
    assert daily.read_bytes() == before


RUNS = {
    "--report": "x.html",
    "--trades": "x.parquet",
    "--fee-bps": "10",
    "--slippage-bps": "3",
    "--cash": "5",
    "--latency": "1s",
    "--size": "5",
    "--fill": "bar-open",
    "--mode": "bars",
    "--by": "final",
    "--walk": "6m/3m",
    "--long-only": "",
}


@pytest.mark.parametrize("way", ["--check-lookahead", "--verify"])
@pytest.mark.parametrize(("option", "value"), RUNS.items(), ids=RUNS)
def test_an_option_that_would_say_nothing_is_refused(run: Run, daily: Path, way: str, option: str, value: str) -> None:
    asked = (way, "signals:macd_rsi:BTCUSDT") if way == "--verify" else (way,)
    found = run(str(daily), "--strategy", "macd_rsi", *asked, option, *filter(None, [value]))
    assert found.exit_code == 2
    assert f"{way} does nothing with {option}" in found.stderr


def test_a_proof_and_a_look_at_the_future_are_two_runs(run: Run, daily: Path) -> None:
    found = run(str(daily), "--strategy", "macd_rsi", "--verify", "signals:macd_rsi:BTCUSDT", "--check-lookahead")
    assert found.exit_code == 2
    assert "--verify does nothing with --check-lookahead" in found.stderr


def test_a_price_beyond_all_measure_is_no_warning(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-trades-2024-11-14.csv"
    path.write_text("".join(f"{n},1e300,1e300,1,{START_MS + n * 900},True,True\n" for n in range(1, 60)))
    for bars in ("5s", "dollar:1e6", "volume:1e302"):
        found = run(str(path), "--strategy", "macd_rsi", "--bars", bars)
        assert "Warning" not in found.stderr


def test_klines_are_bars_already(run: Run, tmp_path: Path) -> None:
    told_of = {"exchange": "binance", "pair": "BTCUSDT", "interval": "1m", "volume": "1", "quote_volume": "100"}
    more = {"taker_buy_volume": "1", "taker_buy_quote_volume": "50", "trades": "5", "closed": "true"}
    with (tmp_path / "tape.jsonl").open("w") as tape:
        for number in range(60):
            opens, price = START_MS + number * 60_000, f"{100 + 5 * sin(number / 6):.4f}"
            times = {"open_time": str(opens), "close_time": str(opens + 59_999), "ts": iso((opens + 60_000) * 1000)}
            prices = dict.fromkeys(("open", "high", "low", "close"), price)
            name = {"stream": "klines:BTCUSDT:1m", "id": f"{opens + 59_999}-1"}
            print(json.dumps({**name, **told_of, **times, **prices, **more}), file=tape)
    words = ("tape.jsonl", "--strategy", "ma_cross")
    assert told(run(*words))["pairs"][0]["bars"] == 60
    found = run(*words, "--bars", "5m")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "--bars 5m says nothing: klines are bars of 1m already" in found.stderr
    late = run(*words, "--since", "2030-01-01")
    assert (late.exit_code, late.stdout) == (4, "")


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
        (("--bars", "1s"), 2, "backtest-stream names no strategy"),
        (("--strategy", "macd_rsi", "--by", "foo"), 2, 'no figure "foo"'),
        (("--strategy", "macd_rsi", "-p", "as=a:b"), 2, "cannot name the signals"),
        (("--strategy", "macd_rsi", "-p", "as=a,b"), 2, "cannot name the signals"),
        (("--strategy", "macd_rsi", "-p", "mcd.as=a"), 2, '"mcd" is none of the strategies'),
        (("--strategy", "macd_rsi", "--strategy", "ma_cross", "-p", "as=a"), 2, "which strategy is as=a for?"),
        (("--strategy", "macd_rsi", "--strategy", "ma_cross", "-p", "ma_cross.as=macd_rsi"), 2, "named twice"),
        (("--strategy", "ma_cross", "-p", "fast=50,60", "-p", "slow=20"), 2, "none of 2 sets of parameters"),
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


def test_a_figure_that_is_none_is_told_before_anything_is_read(run: Run) -> None:
    assert run("not-there.csv", "--strategy", "macd_rsi", "--by", "foo").exit_code == 2


def test_what_is_not_there_is_not_found(run: Run, tmp_path: Path) -> None:
    assert run(str(tmp_path / "nothing.csv"), "--strategy", "macd_rsi").exit_code == 4
    (tmp_path / "empty").mkdir()
    assert run(str(tmp_path / "empty"), "--strategy", "macd_rsi").exit_code in (2, 4)
