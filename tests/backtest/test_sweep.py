"""Parameters as people write them, the grid they make, and which of its cells is best."""

from typing import Any

import pytest

from cryptostream.backtest.result import Figures
from cryptostream.backtest.sweep import (
    MOST,
    Cell,
    Param,
    Value,
    addressed,
    best,
    grid,
    parse_param,
    ranked,
)
from cryptostream.errors import UsageError
from cryptostream.model.events import Micros

NONE: dict[str, Any] = dict.fromkeys(Figures.__struct_fields__, 0.0)


def cell(number: int, **figures: float | None) -> Cell:
    return Cell({"n": number}, "rsi", Figures(**{**NONE, "start": Micros(0), "end": Micros(1), **figures}))


def order(cells: list[Cell]) -> list[Value]:
    return [each.params["n"] for each in cells]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("n=7..21:7", (7, 14, 21)),
        ("n=7..20:7", (7, 14)),
        ("n=1..3", (1, 2, 3)),
        ("n=5..5", (5,)),
        ("n=-2..2:2", (-2, 0, 2)),
        ("n=14", (14,)),
        ("n=1,2,5", (1, 2, 5)),
        ("n=2, 1 ,2", (2, 1)),
        ("n=0.1..0.5:0.1", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("n=1..2:0.5", (1.0, 1.5, 2.0)),
        ("n=.5,1e-3", (0.5, 0.001)),
        ("n=7..9,20,0.5", (7, 8, 9, 20, 0.5)),
        ("n=true,false,1", (True, False, 1)),
        ("n=ema,talipp:ADX", ("ema", "talipp:ADX")),
    ],
)
def test_param_is_read_as_it_is_meant(text: str, values: tuple[Value, ...]) -> None:
    read = parse_param(text)
    assert read == Param("n", values)
    assert [type(value) for value in read.values] == [type(value) for value in values]


def test_steps_of_a_range_do_not_drift() -> None:
    values = parse_param("level=0..100:0.1").values
    assert values == tuple(number / 10 for number in range(1001))


def test_param_can_name_its_strategy() -> None:
    assert parse_param("macd_rsi.rsi_period=14").name == "macd_rsi.rsi_period"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rsi_period", "not a parameter"),
        ("=7", "not a parameter"),
        ("rsi period=7", "not a parameter"),
        ("a.b.c=7", "not a parameter"),
        ("n=", "not a parameter"),
        ("n=1,,2", "no value of n"),
        ("n=1_000", "no value of n"),
        ("n=１", "no value of n"),
        ("n=1...3", "has no step"),
        ("n=1..3:", "no value of n"),
        ("n=<script>", "no value of n"),
        ("n=0.1..0.5", "has no step"),
        ("n=21..7", "ends before it begins"),
        ("n=7..21:0", "not above zero"),
        ("n=7..21:-7", "not above zero"),
        ("n=0..1e9:1e-9", "more than 10,000"),
        ("n=1..9000,1..9000:2", "n has more than 10,000 values"),
        ("n=0..1e99:1e-99", "more than 10,000"),
        ("n=1..1000000", "1,000,000 values"),
    ],
)
def test_mistake_in_a_param_is_told(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        parse_param(text)
    assert raised.value.hint


def test_grid_changes_the_last_parameter_first() -> None:
    made = grid([Param("fast", (1, 2)), Param("slow", (10, 20))])
    assert [(one["fast"], one["slow"]) for one in made] == [(1, 10), (1, 20), (2, 10), (2, 20)]


def test_grid_of_nothing_is_one_run() -> None:
    assert grid([]) == [{}]


def test_grid_has_a_limit_and_says_how_many_there_would_be() -> None:
    hundred = tuple(range(100))
    assert len(grid([Param("a", hundred), Param("b", hundred)])) == MOST
    with pytest.raises(UsageError, match=r"20,000 combinations \(100 of a x 100 of b x 2 of c\), more than 10,000"):
        grid([Param("a", hundred), Param("b", hundred), Param("c", (1, 2))])
    with pytest.raises(UsageError, match=r"3 combinations .* more than 2"):
        grid([Param("a", (1, 2, 3))], most=2)


def test_parameter_given_twice_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="n is given twice"):
        grid([Param("n", (1,)), Param("n", (2,))])


def test_bare_name_goes_to_all_that_have_it_and_the_full_name_wins() -> None:
    known = {"rsi": ["period"], "ema": ["period", "slow"], "macd": ["fast"]}
    settled = addressed({"ema.period": 9, "period": 7, "slow": 30}, known)
    assert settled == {"rsi": {"period": 7}, "ema": {"period": 9, "slow": 30}, "macd": {}}


@pytest.mark.parametrize(
    ("name", "hint"),
    [("perod", 'did you mean "period"?'), ("rsi.perod", 'did you mean "rsi.period"?'), ("x", "parameters: rsi.period")],
)
def test_parameter_that_nobody_has_is_told(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f'no strategy has a parameter "{name}"') as raised:
        addressed({name: 1}, {"rsi": ["period"]})
    assert raised.value.hint == hint


def test_best_has_the_highest_sharpe_and_unknown_comes_last() -> None:
    cells = [cell(0, sharpe=None), cell(1, sharpe=-1.0), cell(2, sharpe=0.0), cell(3, sharpe=float("nan"))]
    assert order(ranked(cells)) == [2, 1, 0, 3]
    assert best(cells) is cells[2]


def test_equals_keep_the_order_of_the_grid() -> None:
    assert order(ranked([cell(0, sharpe=1.0), cell(1, sharpe=2.0), cell(2, sharpe=2.0)])) == [1, 2, 0]


@pytest.mark.parametrize(
    ("figure", "values", "expected"),
    [
        ("total_return", (0.1, 0.3, -0.2), [1, 0, 2]),
        ("max_drawdown", (-0.3, -0.1, -0.2), [1, 2, 0]),
        ("max_drawdown_s", (300.0, 100.0, 200.0), [1, 2, 0]),
        ("volatility", (0.3, 0.1, 0.2), [1, 2, 0]),
        ("fees", (3.0, 1.0, 2.0), [1, 2, 0]),
    ],
)
def test_better_is_what_a_trader_calls_better(figure: str, values: tuple[float, ...], expected: list[int]) -> None:
    cells = [cell(number, **{figure: value}) for number, value in enumerate(values)]
    assert order(ranked(cells, figure)) == expected


def test_combination_that_could_not_be_run_is_never_the_best() -> None:
    failed = Cell({"n": 1}, "rsi", None, "fast is not below slow")
    assert ranked([failed, cell(2, sharpe=-5.0)])[0].params == {"n": 2}
    assert best([failed]) is None
    assert best([]) is None


@pytest.mark.parametrize(("name", "hint"), [("sharp", 'did you mean "sharpe"?'), ("start", "figures: final")])
def test_unknown_figure_is_told(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f'no figure "{name}"') as raised:
        best([], name)
    assert raised.value.hint.startswith(hint)
