"""The page on strategies says what is so: its examples run, its YAML loads, its tables are those of the classes."""

import re
from pathlib import Path
from typing import Any

import pytest

from cryptostream import registry
from cryptostream.config import load
from cryptostream.model.codec import signal_fields
from cryptostream.strategies.loading import find, make, params
from tests.strategies.market import QUICK, SIX, bars, said, walk

PAGE = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What the examples leave behind, and what they printed."""
    monkeypatch.setattr(registry, "names", lambda kind: tuple(SIX))
    monkeypatch.setattr(registry, "load", lambda kind, name: SIX[name])
    made: dict[str, Any] = {"__name__": "page"}
    for block in blocks("python"):
        exec(compile(block, "docs/strategies.md", "exec"), made)
    made["printed"] = capsys.readouterr().out.splitlines()
    return made


def test_every_example_prints_what_stands_behind_it(names: dict[str, Any]) -> None:
    assert names["printed"] == re.findall(r"^print\(.*  # (.*)$", PAGE, re.MULTILINE)


def test_the_strategy_of_the_page_works(names: dict[str, Any]) -> None:
    strategy = make(names["Breakout"], {"period": "2"})
    assert [(number, each.side) for number, each in said(strategy, bars([1, 2, 3, 2, 1, 2]))] == [
        (3, "buy"),
        (4, "exit"),
        (6, "buy"),
    ]
    assert said(make(names["Breakout"]), walk(1, 20)) == []


def test_a_file_with_the_strategy_of_the_page_loads(tmp_path: Path) -> None:
    (source,) = [block for block in blocks("python") if "class Breakout" in block]
    (tmp_path / "breakout.py").write_text(source)
    assert find("breakout.py", paths=[tmp_path]).__name__ == "Breakout"


@pytest.mark.parametrize("block", blocks("yaml"))
def test_every_configuration_on_the_page_loads(
    block: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strategies").mkdir()
    (source,) = [text for text in blocks("python") if "class Breakout" in text]
    (tmp_path / "strategies" / "breakout.py").write_text(source)
    (tmp_path / "cryptostream.yaml").write_text(block)
    (consumer,) = load([tmp_path / "cryptostream.yaml"]).config.consumers.values()
    assert consumer.strategies


@pytest.mark.parametrize("name", SIX)
def test_the_tables_are_those_of_the_classes(name: str) -> None:
    rule, strength, *_ = re.findall(rf"^\| `{name}` \|(.*)$", PAGE, re.MULTILINE)
    listed, warm_up = (cell.strip() for cell in rule.split("|")[3:5])
    assert listed.replace(" (or `ema`)", "") == f"`{' '.join(map(str, params(SIX[name])))}`"
    assert int(warm_up) == make(SIX[name]).warm_up
    assert strength


def test_the_values_and_fields_of_the_page_are_those_of_signals() -> None:
    told = re.sub(r"\s+", " ", PAGE.partition("Their values, which signals carry: ")[2].partition("How each")[0])
    expected = {" ".join(make(kind).values) for kind in SIX.values()}
    assert set(re.findall("`([a-z_ ]+)`", told)) == expected
    ((_, signal), *_) = said(make(SIX["rsi_trend"], QUICK["rsi_trend"]), walk(1))
    for field in signal_fields(signal).keys() - signal.values.keys():
        assert f"`{field}`" in PAGE
