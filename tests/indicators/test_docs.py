"""What `docs/indicators.md` says is so."""

import re
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from cryptostream.indicators import feed, make, making
from tests.indicators.market import walk

PAGE = (Path(__file__).parents[2] / "docs" / "indicators.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE)


def test_table_has_all_of_ours() -> None:
    assert {name: kind for name, kind, _ in ROWS} == {name: kind.__name__ for name, kind in making.OWN.items()}


@pytest.mark.parametrize(("name", "params"), [(name, params) for name, _, params in ROWS])
def test_table_has_the_parameters_and_their_defaults(name: str, params: str) -> None:
    told = eval(f"dict({', '.join(re.findall('`(.*?)`', params))})")
    assert told == making.parameters(name)


def test_first_example_is_true() -> None:
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], names)
    assert names["macd"].warm_up == 34


def test_indicator_of_ones_own_works() -> None:
    names: dict[str, Any] = {"deque": deque}
    exec(next(code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "class" in code), names)
    momentum, bars = names["Momentum"](period=3), walk(20, 8)
    values = [feed(momentum, one) for one in bars]
    assert values[: momentum.warm_up - 1] == [None] * 3
    assert values[-1] == bars[-1].close - bars[-4].close


def test_examples_of_talipp_work() -> None:
    pytest.importorskip("talipp", reason="talipp is not installed")
    code = next(code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "talipp:ADX" in code)
    names: dict[str, Any] = {"make": make}
    exec(code, names)
    assert names["adx"].takes == "bar"
