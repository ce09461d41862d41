"""Indicators by name, as a YAML file has them."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from cryptostream import registry
from cryptostream.errors import ConfigError
from cryptostream.indicators import Ema, Highest, Macd, feed, make, making
from tests.indicators.market import walk


@pytest.mark.parametrize("name", sorted(making.OWN))
def test_each_of_ours_can_be_made_without_parameters(name: str) -> None:
    indicator = make(name)
    assert type(indicator) is making.OWN[name]
    assert indicator.warm_up is not None
    for one in walk(12, indicator.warm_up):
        feed(indicator, one)
    assert indicator.ready


def test_parameters_arrive() -> None:
    assert make("ema", period=9).warm_up == Ema(9).warm_up
    assert make("macd", fast=3, slow=8, signal=4).warm_up == Macd(3, 8, 4).warm_up
    assert isinstance(make("highest", period=5), Highest)


@pytest.mark.parametrize(
    ("name", "params", "told", "hint"),
    [
        ("rsy", {}, 'unknown indicator "rsy"', 'did you mean "rsi"?'),
        ("bolinger", {}, 'unknown indicator "bolinger"', 'did you mean "bollinger"?'),
        ("quux", {}, 'unknown indicator "quux"', "known: atr, bollinger"),
        ("rsi", {"periode": 7}, 'indicator "rsi" has no parameter "periode"', 'did you mean "period"?'),
        ("macd", {"x": 7}, 'indicator "macd" has no parameter "x"', "its parameters: fast, slow, signal, seed"),
        ("rsi", {"period": 0}, 'indicator "rsi": period must be a whole number from 1 to 100000, not 0', ""),
        ("macd", {"fast": 30}, 'indicator "macd": fast must be less than slow', ""),
    ],
)
def test_mistake_is_named(name: str, params: dict[str, Any], told: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make(name, **params)
    assert told in str(raised.value)
    assert hint in raised.value.hint


class Doubled:
    """Twice the close."""

    takes = "close"
    warm_up = 1

    def __init__(self, factor: float, shift: float = 0.0) -> None:
        self.factor, self.shift, self.value = factor, shift, None

    def update(self, x: float) -> float:
        return x * self.factor + self.shift


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "names", lambda kind: ("doubled",))
    monkeypatch.setattr(registry, "load", lambda kind, name: Doubled)


@pytest.mark.usefixtures("others")
def test_indicator_of_another_package_is_made_by_its_name() -> None:
    assert make("doubled", factor=2.0).update(4.0) == 8.0
    assert "doubled" in making.names()


@pytest.mark.usefixtures("others")
def test_missing_parameter_is_named() -> None:
    with pytest.raises(ConfigError, match='indicator "doubled" needs a parameter "factor"'):
        make("doubled")


def test_parameters_and_defaults_can_be_listed() -> None:
    assert making.parameters("macd") == {"fast": 12, "slow": 26, "signal": 9, "seed": "mean"}
    assert making.about("rsi").startswith("Relative strength index")


def test_parameters_of_talipp_are_those_that_a_user_sets() -> None:
    pytest.importorskip("talipp", reason="talipp is not installed")
    assert making.parameters("talipp:EMA") == {"period": making.REQUIRED}
    assert making.about("talipp:ADX") == "Average Directional Index."


def test_a_class_that_is_registered_and_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("broken", "cryptostream.indicators.nowhere:Broken", "cryptostream.indicators")
    monkeypatch.setattr(registry, "entry_points", lambda **_: [point])
    with pytest.raises(ConfigError, match='indicator "broken" cannot be loaded: No module named'):
        registry.load("indicators", "broken")
