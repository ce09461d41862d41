"""Backtests at a terminal and in a pipe."""

import io
import json
from dataclasses import replace

import msgspec
import pytest
from msgspec.structs import replace as with_figures
from rich.console import Console

from cryptostream.backtest.result import Figures, Result
from cryptostream.backtest.sweep import Cell, Sweep, grid, parse_param
from cryptostream.backtest.walk import Step, Walk, Window
from cryptostream.cli import results
from tests.backtest.results import START_MS, result

ONE = result(bars=120)
FIGURES = ONE.curves[0].figures
OWN = (("rsi.n", 1), ("rsi.n", 2), ("ema.m", 3), ("ema.m", 4))
HOUR = 3_600_000_000
START = START_MS * 1_000


def printed(of: Result, *, sweep: Sweep | None = None, walk: tuple[Walk, ...] = (), width: int = 120) -> list[str]:
    to = io.StringIO()
    Console(file=to, width=width, color_system=None).print(results.tables(of, sweep=sweep, walk=walk))
    return [line.rstrip() for line in to.getvalue().splitlines()]


def sweep_of(*texts: str, failed: int | None = None) -> Sweep:
    params = [parse_param(text) for text in texts]
    cells = [Cell(each, "rsi", with_figures(FIGURES, sharpe=float(n))) for n, each in enumerate(grid(params))]
    if failed is not None:
        cells[failed] = Cell(cells[failed].params, "rsi", None, "fast is not below slow")
    return Sweep(params, cells)


def walk_of() -> Walk:
    window = Window(START, START + 2 * HOUR, START + 2 * HOUR, START + 3 * HOUR)
    steps = [
        Step(window, {"rsi_period": 7}, with_figures(FIGURES, sharpe=2.0), FIGURES),
        Step(window, None, None, None),
    ]
    return Walk("2h/1h", "sharpe", "rsi", steps, ONE.curves[0])


def test_terminal_shows_the_figures_beside_buy_and_hold() -> None:
    lines = printed(ONE)
    assert lines[0].startswith("BTCUSDT  2024-11-14 00:01 to 2024-11-14 02:00 UTC (1 h 59 m)")
    assert lines[2].split() == ["macd_rsi", "buy", "&", "hold"]
    rows = {line[:13].strip(): line[13:].split() for line in lines[3:18]}
    assert list(rows) == [
        *("final equity", "return", "CAGR", "volatility", "Sharpe", "Sortino", "max drawdown", "its length", "Calmar"),
        *("trades", "win rate", "profit factor", "exposure", "turnover", "fees"),
    ]
    assert rows["trades"] == ["3", "0"]
    assert rows["win rate"][-1] == "–"


def test_terminal_draws_the_equity() -> None:
    [line] = [line for line in printed(ONE) if "▁" in line and line.startswith("macd_rsi")]
    assert line.endswith(f"{ONE.curves[0].equity[-1]:,.2f}")
    assert {"▁", "█"} <= set(line)


def test_terminal_shows_each_pair_where_there_are_several() -> None:
    several = printed(result(bars=120, pairs=("BTCUSDT", "ETHUSDT"), strategies=("rsi", "ema")))
    starts = [tuple(line.split()[:2]) for line in several]
    for pair in ("BTCUSDT", "ETHUSDT"):
        assert {(pair, "rsi"), (pair, "ema")} <= set(starts)
    assert not any(line.startswith("BTCUSDT  macd_rsi") for line in printed(ONE))


def test_narrow_terminal_keeps_a_line_to_a_curve() -> None:
    lines = printed(ONE, width=80)
    assert sum(line.startswith("macd_rsi") for line in lines) == 1


def test_words_of_others_do_not_steer_the_terminal() -> None:
    word = "a\x1b[2J[red]b\u202e"
    lines = printed(result(120, (word, "ETHUSDT"), (word,), notes=(word,)))
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "note: a[2J[red]b" in text


def test_terminal_ranks_a_sweep() -> None:
    lines = printed(ONE, sweep=sweep_of("fast=1,2", "slow=3,4", failed=3))
    title = lines.index("4 runs, best first by Sharpe")
    assert [line.split()[:3] for line in lines[title + 2 : title + 6]] == [
        ["rsi", "2", "3"],
        ["rsi", "1", "4"],
        ["rsi", "1", "3"],
        ["rsi", "2", "4"],
    ]
    assert lines[title + 5].endswith("fast is not below slow")


def test_each_strategy_has_ranks_and_parameters_of_its_own() -> None:
    params = [parse_param("rsi.n=1,2"), parse_param("ema.m=3,4")]
    cells = [Cell({f"{of}": value}, of[:3], with_figures(FIGURES, sharpe=float(value))) for of, value in OWN]
    sweep = Sweep(params, cells)
    lines = printed(ONE, sweep=sweep)
    assert [line.split()[:2] for line in lines if line.startswith(("rsi", "ema"))] == [
        *(["rsi", "2"], ["rsi", "1"], ["ema", "4"], ["ema", "3"]),
    ]
    assert lines.count("2 runs, best first by Sharpe") == 2
    told = results.answer(ONE, sweep=sweep)["sweep"]["cells"]
    assert [cell["params"] for cell in told] == [{"rsi.n": 2}, {"rsi.n": 1}, {"ema.m": 4}, {"ema.m": 3}]
    assert [row["ema.m"] for row in results.sweep_rows(sweep)] == [None, None, 4, 3]


def test_terminal_shows_the_best_of_a_large_sweep() -> None:
    lines = printed(ONE, sweep=sweep_of("n=1..100"))
    assert "100 runs, best first by Sharpe, 20 of them" in lines
    assert sum(line.startswith("rsi ") for line in lines) == 20


def test_terminal_shows_what_each_window_chose() -> None:
    lines = printed(ONE, walk=(walk_of(),))
    assert any(line.startswith("rsi 2h/1h: out of sample") for line in lines)
    [chosen, nothing] = [line for line in lines if line.startswith("2024-11-14 02:00 to 2024-11-14 03:00")]
    assert "rsi_period=7" in chosen
    assert "nothing" in nothing


def test_pipe_has_every_figure_by_its_field_to_the_last_digit() -> None:
    told = json.loads(json.dumps(results.answer(ONE)))
    assert told["strategies"]["macd_rsi"] == msgspec.structs.asdict(FIGURES)
    assert list(told["strategies"]["macd_rsi"]) == list(Figures.__struct_fields__)
    assert told["benchmark"]["name"] == "buy & hold"
    assert told["benchmark"]["total_return"] == ONE.benchmark.figures.total_return
    assert told["benchmark"]["win_rate"] is None
    [pair] = told["pairs"]
    assert (pair["pair"], pair["bars"], pair["gaps"]) == ("BTCUSDT", 120, 2)
    assert pair["strategies"]["macd_rsi"]["fees"] == ONE.of_pairs["macd_rsi", "BTCUSDT"].fees
    assert told["terms"] == ONE.terms
    assert told["params"] == {"macd_rsi": {"rsi_period": 14, "level": 0.5}}
    assert "sweep" not in told
    assert "walk" not in told


def test_pipe_has_no_number_that_json_has_not() -> None:
    curve = replace(ONE.curves[0], figures=with_figures(FIGURES, sharpe=float("nan"), profit_factor=float("inf")))
    told = json.dumps(results.answer(replace(ONE, curves=[curve])), allow_nan=False)
    assert json.loads(told)["strategies"]["macd_rsi"]["sharpe"] is None


def test_pipe_has_the_sweep_and_the_walk() -> None:
    told = json.loads(json.dumps(results.answer(ONE, sweep=sweep_of("n=1,2", failed=0), walk=(walk_of(),))))
    assert [cell["params"] for cell in told["sweep"]["cells"]] == [{"n": 2}, {"n": 1}]
    assert [cell["why"] for cell in told["sweep"]["cells"]] == [None, "fast is not below slow"]
    [walk] = told["walk"]
    assert (walk["spec"], walk["strategy"], walk["figure"]) == ("2h/1h", "rsi", "sharpe")
    assert [step["chosen"] for step in walk["windows"]] == [{"rsi_period": 7}, None]
    assert walk["windows"][0]["train"]["sharpe"] == 2.0


def test_rows_of_a_sweep_have_one_shape() -> None:
    rows = results.sweep_rows(sweep_of("fast=1,2", "fees=1", failed=0))
    assert [list(row) for row in rows] == [["strategy", "fast", "param.fees", *Figures.__struct_fields__, "why"]] * 2
    assert [(row["fast"], row["param.fees"], row["sharpe"]) for row in rows] == [(2, 1, 1.0), (1, 1, None)]
    assert rows[0]["fees"] == FIGURES.fees


def test_rows_of_a_walk_have_one_shape() -> None:
    first, second = results.walk_rows(walk_of())
    assert list(first) == list(second)
    assert (first["chosen"], first["train_sharpe"], first["test_trips"]) == ("rsi_period=7", 2.0, FIGURES.trips)
    assert (second["chosen"], second["test_total_return"]) == (None, None)
    assert first["test_start"] - first["train_start"] == 2 * HOUR


@pytest.mark.parametrize("pairs", [0, 1])
def test_result_without_bars_is_told_too(pairs: int) -> None:
    none = result(bars=1, gaps=())
    none = none if pairs else replace(none, pairs=[], curves=[], of_pairs={})
    assert printed(none)
    assert len(results.answer(none)["pairs"]) == pairs
