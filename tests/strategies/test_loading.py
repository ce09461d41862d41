"""From a name and parameters to a strategy, and what is said of every mistake on the way."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from cryptostream import registry
from cryptostream.errors import ConfigError, CryptostreamError, NotFound, UsageError
from cryptostream.model.events import Bar, Signal, Trade
from cryptostream.strategies.loading import REQUIRED, Param, converted, find, fingerprint, make, params
from tests.strategies.market import SIX, bars, said

SOURCE = '''
from cryptostream.model.events import Signal


class Breakout:
    """Buys what rises."""

    warm_up = 1

    def __init__(self, step: float = 1.0) -> None:
        self.step = step
        self.last = 0.0

    @property
    def values(self):
        return {"last": self.last}

    def on_bar(self, bar):
        last, self.last = self.last, bar.close
        if last and bar.close - last >= self.step:
            yield Signal("buy")
'''


class Anything:
    """A strategy with one parameter of each kind."""

    warm_up = 0
    values: Mapping[str, float | None] = {}

    def __init__(
        self,
        period: int = 20,
        factor: float = 0.5,
        kind: Literal["sma", "ema"] = "sma",
        limit: float | None = None,
        short: bool = True,
        name: str = "x",
        untyped=3,
    ) -> None:
        if period > 1_000:
            raise ValueError("period should be 1000 or less")
        self.given = [period, factor, kind, limit, short, name, untyped]

    def on_trade(self, trade: Trade) -> list[Signal]:
        return []


class Bare:
    """The least that a strategy can be."""

    warm_up = 0
    values: Mapping[str, float | None] = {}

    def on_bar(self, bar: Bar) -> None:
        """Take in nothing."""


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "names", lambda kind: tuple(sorted(SIX)))
    monkeypatch.setattr(registry, "load", lambda kind, name: SIX[name])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "strategies"
    found.mkdir()
    (found / "breakout.py").write_text(SOURCE)
    return found


def refused(kind: type[CryptostreamError], name: str | type, given: Mapping[str, Any], *paths: Path) -> str:
    """What is said of it, with the hint."""
    with pytest.raises(kind) as caught:
        make(name, given, paths=paths)
    return f"{caught.value} | {caught.value.hint}"


def test_parameters_are_listed_with_their_types_and_defaults() -> None:
    assert params(SIX["rsi_trend"]) == (
        Param("period", int, 14),
        Param("bull", float, 60.0),
        Param("bear", float, 40.0),
    )
    assert str(params(SIX["macd_rsi"])[3]) == "rsi_period=14"


def test_a_parameter_without_default_or_type_is_listed_as_one() -> None:
    class Odd:
        def __init__(self, period, width=2.0, cap=None, *rest, **others):
            pass

    assert params(Odd) == (Param("period", Any, REQUIRED), Param("width", float, 2.0), Param("cap", Any, None))
    assert params(Bare) == ()


@pytest.mark.parametrize(
    ("given", "place", "expected"),
    [
        ({"period": "14"}, 0, 14),
        ({"period": 14.0}, 0, 14),
        ({"factor": "2.5"}, 1, 2.5),
        ({"factor": 2}, 1, 2.0),
        ({"kind": "ema"}, 2, "ema"),
        ({"limit": None}, 3, None),
        ({"limit": "1.5"}, 3, 1.5),
        ({"short": "false"}, 4, False),
        ({"name": "14"}, 5, "14"),
        ({"untyped": "4"}, 6, 4),
    ],
)
def test_a_value_is_read_as_the_type_that_is_asked_for(given: dict[str, Any], place: int, expected: object) -> None:
    made: Any = make(Anything, given)
    assert made.given[place] == expected
    assert type(made.given[place]) is type(expected)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"period": 14.5}, "period should be a whole number, got 14.5"),
        ({"period": "14.5"}, 'period should be a whole number, got "14.5"'),
        ({"period": True}, "period should be a whole number, got true"),
        ({"period": None}, "period should be a whole number, got null"),
        ({"period": [1]}, "period should be a whole number, got [1]"),
        ({"factor": float("nan")}, "factor should be a number, got nan"),
        ({"factor": "inf"}, "factor should be a number, got inf"),
        ({"factor": True}, "factor should be a number, got true"),
        ({"kind": "wma"}, 'kind should be sma or ema, got "wma"'),
        ({"limit": "nan"}, "limit should be a number, got nan"),
        ({"limit": "x"}, 'limit should be a number or nothing, got "x"'),
        ({"short": "perhaps"}, 'short should be true or false, got "perhaps"'),
        ({"name": 5}, "name should be text, got 5"),
        ({"untyped": "x"}, 'untyped should be a whole number, got "x"'),
    ],
)
def test_a_value_that_does_not_fit_is_refused(given: dict[str, Any], words: str) -> None:
    assert refused(UsageError, Anything, given) == f"strategy Anything: {words} | "


def test_an_unknown_parameter_is_told_with_the_nearest_or_all() -> None:
    told = refused(UsageError, "macd_rsi", {"rsi_perod": 7})
    assert told == 'strategy macd_rsi has no parameter "rsi_perod" | did you mean "rsi_period"?'
    assert "it has: period=14, bull=60.0, bear=40.0" in refused(UsageError, "rsi_trend", {"xyz": 7})
    assert "it has: none" in refused(UsageError, Bare, {"xyz": 7})


def test_a_missing_parameter_is_told() -> None:
    class Needy(Bare):
        def __init__(self, period: int) -> None:
            self.period = period

    assert "strategy Needy has to be told its period" in refused(UsageError, Needy, {})
    assert vars(make(Needy, {"period": "3"})) == {"period": 3}


def test_a_strategy_that_takes_any_parameter_is_given_them() -> None:
    class Open(Bare):
        def __init__(self, **others: Any) -> None:
            self.others = others

    assert vars(make(Open, {"x": 1})) == {"others": {"x": 1}}


def test_what_the_strategy_itself_refuses_names_the_strategy() -> None:
    assert refused(UsageError, Anything, {"period": 1_001}) == "strategy Anything: period should be 1000 or less | "
    assert "strategy ma_cross: fast should be less than slow, got 9 and 5" in refused(
        UsageError, "ma_cross", {"fast": 9, "slow": 5}
    )


def test_a_constructor_that_breaks_is_told() -> None:
    class Broken(Bare):
        def __init__(self) -> None:
            {}["x"]

    assert "strategy Broken cannot be made: KeyError: 'x'" in refused(UsageError, Broken, {})


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        (lambda bar: bar, "prices is a function, which cannot be saved"),
        ({1.0}, "prices is a set, which cannot be saved"),
        ((1.0,), "prices is a tuple, which cannot be saved"),
        ([[1.0, {2.0}]], "prices[0][1] is a set, which cannot be saved"),
    ],
)
def test_what_could_not_be_saved_is_refused_by_its_attribute(attribute: object, words: str) -> None:
    class Forgetful(Bare):
        def __init__(self) -> None:
            self.prices = attribute

    assert f"strategy Forgetful: {words}" in refused(UsageError, Forgetful, {})


def test_a_class_is_a_strategy_by_what_it_takes() -> None:
    class Deaf:
        warm_up = 0
        values: Mapping[str, float | None] = {}

    assert "Deaf is no strategy: it has neither on_bar nor on_trade" in refused(UsageError, Deaf, {})
    assert make(Bare) is not make(Bare)


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ({"values": {}}, "no attribute 'warm_up'"),
        ({"warm_up": 1}, "no attribute 'values'"),
        ({"warm_up": "1", "values": {}}, "its warm_up should be a number of bars, got '1'"),
        ({"warm_up": True, "values": {}}, "its warm_up should be a number of bars, got True"),
        ({"warm_up": -1, "values": {}}, "its warm_up should be a number of bars, got -1"),
        ({"warm_up": 1, "values": {"price": None}}, "price cannot name a value, a signal has that already"),
        ({"warm_up": 1, "values": [1]}, "its values should be a mapping, got list"),
    ],
)
def test_warm_up_and_values_are_asked_for_at_once(without: dict[str, Any], words: str) -> None:
    kind = type("Half", (), {"on_bar": lambda self, bar: [], **without})
    assert words in refused(UsageError, kind, {})


def test_parameters_that_cannot_be_read_are_told() -> None:
    class Unreadable(Bare):
        def __init__(self, period: "Nowhere" = 3) -> None:  # type: ignore[name-defined]  # noqa: F821
            pass

    assert "the parameters of strategy Unreadable cannot be read" in refused(UsageError, Unreadable, {})


@pytest.mark.parametrize("name", SIX)
def test_a_registered_name_is_found(name: str) -> None:
    assert find(name) is SIX[name]
    assert type(make(name)) is SIX[name]


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    told = refused(UsageError, "rsi_revresion", {})
    assert told == 'unknown strategy "rsi_revresion" | did you mean "rsi_reversion"?'
    assert "known: bollinger_breakout, ma_cross" in refused(UsageError, "xyz", {})


@pytest.mark.parametrize("whence", ["{}/breakout.py", "{}/breakout.py:Breakout", "breakout.py", "breakout.py:Breakout"])
def test_a_file_holds_a_strategy(folder: Path, whence: str) -> None:
    strategy = make(whence.format(folder), {"step": "2"}, paths=[folder])
    assert [number for number, _ in said(strategy, bars([1, 2, 4, 9]))] == [3, 4]


def test_a_file_is_looked_for_here_first(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    here = find("strategies/breakout.py", paths=[Path()])
    assert here is find(str(folder / "breakout.py"), paths=[folder])


def test_the_same_file_gives_the_same_class(folder: Path) -> None:
    one = find("breakout.py", paths=[folder])
    assert one is find(str(folder / ".." / "strategies" / "breakout.py") + ":Breakout", paths=[folder.parent])
    other = folder.parent / "breakout.py"
    other.write_text(SOURCE)
    assert find(str(other), paths=[folder.parent]) is not one


def test_a_file_elsewhere_is_not_run(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("raise SystemExit")
    told = refused(ConfigError, str(outside), {}, folder)
    assert "outside.py lies outside of the folders that strategies may come from" in told
    assert f"add {tmp_path} to plugins.paths" in told
    (folder / "linked.py").symlink_to(outside)
    assert "lies outside" in refused(ConfigError, "linked.py", {}, folder)
    assert "lies outside" in refused(ConfigError, f"{folder}/../outside.py", {}, folder)
    assert "lies outside" in refused(ConfigError, str(folder / "breakout.py"), {})


def test_a_folder_beside_of_almost_the_same_name_is_elsewhere(folder: Path) -> None:
    beside = folder.with_name("strategies-of-others")
    beside.mkdir()
    (beside / "breakout.py").write_text(SOURCE)
    assert "lies outside" in refused(ConfigError, str(beside / "breakout.py"), {}, folder)


def test_a_link_inside_is_followed(folder: Path) -> None:
    (folder / "again.py").symlink_to(folder / "breakout.py")
    assert find("again.py", paths=[folder]) is find("breakout.py", paths=[folder])


def test_a_missing_file_is_not_found(folder: Path) -> None:
    assert "no strategy file missing.py" in refused(NotFound, "missing.py", {}, folder)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def on_bar(:\n", r"wrong\.py:1: SyntaxError: invalid syntax"),
        ("x = 1\nimport nowhere_to_be_found\n", r"wrong\.py:2: ModuleNotFoundError: No module named"),
        ("def f():\n    return 1 / 0\n\nf()\n", r"wrong\.py:2: ZeroDivisionError: division by zero"),
        ("import json\njson.loads('{')\n", r"wrong\.py:2: JSONDecodeError: "),
        ("raise SystemExit(3)\n", r"wrong\.py:1: SystemExit: 3"),
        ("raise ValueError('one\\ntwo')\n", r"wrong\.py:1: ValueError: one two"),
        ("raise ValueError\n", r"wrong\.py:1: ValueError \|"),
        ("x = '\0'", r"wrong\.py.*SyntaxError"),
        ("x = 1\n", r"wrong\.py holds no strategy \| a class with on_bar or on_trade"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(folder: Path, source: str, words: str) -> None:
    (folder / "wrong.py").write_text(source)
    told = refused(ConfigError, "wrong.py", {}, folder)
    assert re.match(words, told), told
    assert "\n" not in told


def test_a_file_that_failed_may_be_mended(folder: Path) -> None:
    (folder / "mended.py").write_text("x =")
    refused(ConfigError, "mended.py", {}, folder)
    assert not [name for name in sys.modules if name.startswith("mended")]
    (folder / "mended.py").write_text(SOURCE)
    assert make("mended.py", paths=[folder])


def test_of_several_strategies_one_is_named(folder: Path) -> None:
    (folder / "two.py").write_text(
        f"{SOURCE}\n\nclass Fade(Breakout):\n    pass\n\n\nclass _Base(Breakout):\n    pass\n"
    )
    told = refused(ConfigError, "two.py", {}, folder)
    assert told == "two.py holds 2 strategies: Breakout, Fade | name one: two.py:Breakout"
    assert find("two.py:Fade", paths=[folder]).__name__ == "Fade"
    assert 'holds no strategy Faed | did you mean "Fade"?' in refused(ConfigError, "two.py:Faed", {}, folder)
    assert "it holds: Breakout, Fade" in refused(ConfigError, "two.py:xyz", {}, folder)


def test_what_a_file_imports_is_not_its_own(folder: Path) -> None:
    (folder / "own.py").write_text(f"from cryptostream.strategies.base import OnBar\n{SOURCE}")
    assert find("own.py", paths=[folder]).__name__ == "Breakout"


def test_a_file_may_import_what_lies_beside_it_and_dataclasses_work(folder: Path) -> None:
    (folder / "levels_of_mine.py").write_text("STEP = 3.0\n")
    lines = "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom levels_of_mine import STEP\n"
    (folder / "uses.py").write_text(f"{lines}\n@dataclass\nclass Level:\n    price: float = STEP\n\n{SOURCE}")
    assert params(find("uses.py", paths=[folder])) == (Param("step", float, 1.0),)


def test_a_module_holds_a_strategy(folder: Path, tmp_path: Path) -> None:
    package = folder / "my_own_pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "strategies.py").write_text(SOURCE)
    found = find("my_own_pkg.strategies:Breakout", paths=[folder])
    assert (found.__module__, found.__name__) == ("my_own_pkg.strategies", "Breakout")
    assert found is find("my_own_pkg.strategies:Breakout", paths=[tmp_path])
    assert 'did you mean "Breakout"?' in refused(ConfigError, "my_own_pkg.strategies:Brakeout", {}, folder)


def test_a_module_is_looked_for_in_the_folders_of_plugins_only_while_it_is_loaded(folder: Path) -> None:
    before = list(sys.path)
    refused(ConfigError, "nowhere_at_all:Breakout", {}, folder)
    assert sys.path == before


def test_installed_modules_go_before_those_of_the_folders(folder: Path) -> None:
    sys.modules.pop("pyclbr", None)
    (folder / "pyclbr.py").write_text("raise SystemExit")
    assert "pyclbr holds no strategy" in refused(ConfigError, "pyclbr:Breakout", {}, folder)


def test_a_module_that_is_not_there_is_told_apart_from_one_that_cannot_be_loaded(folder: Path) -> None:
    assert "no module nowhere_at_all to take a strategy from" in refused(ConfigError, "nowhere_at_all:Breakout", {})
    (folder / "half_broken.py").write_text("x = 1\nimport nowhere_at_all\n")
    assert re.search(
        r"half_broken\.py:2: ModuleNotFoundError", refused(ConfigError, "half_broken:Breakout", {}, folder)
    )
    (folder / "wrong_syntax.py").write_text("x =\n")
    assert re.search(r"wrong_syntax\.py:1: SyntaxError", refused(ConfigError, "wrong_syntax:Breakout", {}, folder))
    (folder / "raising_one.py").write_text("\n1 / 0\n")
    assert re.search(r"raising_one\.py:2: ZeroDivisionError", refused(ConfigError, "raising_one:Breakout", {}, folder))


def test_a_class_that_is_no_strategy_is_not_taken() -> None:
    assert "pathlib holds no strategy" in refused(ConfigError, "pathlib:Path", {})


def test_the_fingerprint_is_that_of_the_values_and_not_of_how_they_were_written() -> None:
    plain = fingerprint(Anything, {})
    assert re.fullmatch("[0-9a-f]{16}", plain)
    assert plain == fingerprint(Anything, {"period": "20"}) == fingerprint(Anything, {"factor": 0.5, "period": 20})
    others = {fingerprint(Anything, {"period": 21}), fingerprint(Anything, {"name": "y"}), fingerprint(Bare, {})}
    assert len({plain, *others}) == 4


def test_the_fingerprint_of_a_strategy_stays_what_it_is() -> None:
    """Saved state is found by it: who changes it on purpose writes so into the changelog."""
    assert fingerprint(SIX["macd_rsi"], {"rsi_period": 14}) == "58c1f00da1b7f6f8"


def test_the_fingerprint_of_a_file_is_that_of_its_text(folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    for name, source in (("same.py", SOURCE), ("other.py", SOURCE + "\n# changed\n")):
        (elsewhere / name).write_text(source)
    here, same, other = (
        fingerprint(find(name, paths=[folder, elsewhere]), {}) for name in ("breakout.py", "same.py", "other.py")
    )
    assert here == same != other


def test_parameters_that_are_no_plain_data_have_no_fingerprint() -> None:
    class Odd(Bare):
        def __init__(self, start: Any = None) -> None:
            self.start = 0.0

    with pytest.raises(UsageError, match="no plain data"):
        fingerprint(Odd, {"start": np.zeros(3)})


def test_what_is_not_given_is_left_out_of_what_is_converted() -> None:
    assert converted(Anything, {"period": "7"}) == {"period": 7}
