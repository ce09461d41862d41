"""talipp's indicators, bounded in memory, saved and restored, with the very values of talipp."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cryptostream.errors import ConfigError
from cryptostream.indicators import feed, make, making, parts, talipp
from cryptostream.model import memory
from cryptostream.model.events import Bar
from tests.indicators.market import bar, walk

pytest.importorskip("talipp", reason="talipp is not installed")

OTHERS: dict[str, dict[str, Any]] = {
    "ALMA": {"period": 9, "offset": 0.85, "sigma": 6.0},
    "ParabolicSAR": {"init_accel_factor": 0.02, "accel_factor_inc": 0.02, "max_accel_factor": 0.2},
    "STC": {"fast_macd_period": 5, "slow_macd_period": 9, "stoch_period": 7, "stoch_smoothing_period": 3},
    "ZigZag": {"sensitivity": 0.01, "min_trend_length": 3},
}
NAMES = talipp.names()
every_name = pytest.mark.parametrize("name", NAMES)


def params(name: str) -> dict[str, Any]:
    """Some that differ from each other."""
    if name in OTHERS:
        return OTHERS[name]
    wanted = [param for param, default in making.parameters(f"talipp:{name}").items() if default is making.REQUIRED]
    return {param: 4 + 3 * place for place, param in enumerate(wanted)}


def made(name: str) -> talipp.Talipp:
    indicator = make(f"talipp:{name}", **params(name))
    assert isinstance(indicator, talipp.Talipp)
    return indicator


def raw(name: str) -> Callable[[Bar], Any]:
    """The library itself, which keeps everything."""
    OHLCV = talipp._module("ohlcv").OHLCV  # noqa: N806

    indicator = talipp._classes()[name](**params(name))
    bars = made(name).takes == "bar"

    def add(one: Bar) -> Any:
        indicator.add(OHLCV(one.open, one.high, one.low, one.close, one.volume) if bars else one.close)
        return indicator[-1] if indicator else None

    return add


def test_about_sixty_are_there() -> None:
    assert len(NAMES) > 55
    assert "talipp:ADX" in making.names()


@every_name
def test_values_are_those_of_talipp_with_all_it_ever_saw(name: str) -> None:
    indicator, whole = made(name), raw(name)
    longest = 0
    for one in walk(13, 500, still=0.0):
        value, wanted = feed(indicator, one), whole(one)
        longest = max(longest, *map(len, indicator._lists))
        assert parts(value) == (told(wanted) if value is not None else {})
    assert indicator.ready
    assert longest <= 2 * indicator._keep + 1


def told(value: Any) -> dict[str, float]:
    """A value of talipp's as numbers by name."""
    if isinstance(value, float | int):
        return {"": float(value)}
    told = dict(vars(value))
    if "ohlcv" in told:
        told["ohlcv"] = value.ohlcv.low if value.type.name == "LOW" else value.ohlcv.high
    ways = {"UP": 1.0, "HIGH": 1.0, "DOWN": -1.0, "LOW": -1.0}
    return {key: ways[part.name] if hasattr(part, "name") else float(part) for key, part in told.items()}


@every_name
def test_warm_up_is_exact(name: str) -> None:
    indicator = made(name)
    assert indicator.warm_up is not None
    for number, one in enumerate(walk(14, indicator.warm_up, still=0.0), start=1):
        assert (feed(indicator, one) is not None) == (number == indicator.warm_up)


@every_name
def test_what_was_saved_goes_on_bit_by_bit(name: str) -> None:
    bars, chance = walk(15, 400), random.Random(name)
    cuts = {3, chance.randrange(20, 60), chance.randrange(60, 390)}
    indicator, copies = made(name), []
    for number, one in enumerate(bars):
        if number in cuts:
            saved = msgspec.msgpack.encode(memory.remembered(indicator))
            copies.append(made(name))
            memory.recall(copies[-1], msgspec.msgpack.decode(saved))
        value = feed(indicator, one)
        assert all(feed(other, one) == value for other in copies)
    assert all(memory.remembered(other) == memory.remembered(indicator) for other in copies)


@every_name
def test_market_that_does_not_move_stops_nothing(name: str) -> None:
    indicator = made(name)
    for one in [*walk(16, 90), *[bar(5.0, 5.0, 5.0, 5.0, 0.0)] * 40, *walk(17, 90)]:
        feed(indicator, one)
    assert indicator.ready
    assert indicator.value == indicator.value  # no NaN


@pytest.mark.parametrize("name", ["CCI", "VTX", "VWMA"])
def test_bar_at_which_talipp_divides_by_zero_leaves_no_trace(name: str) -> None:
    indicator, still = made(name), bar(5.0, 5.0, 5.0, 5.0, 0.0)
    for one in [*walk(19, 30), *[still] * 30]:
        feed(indicator, one)
    before = memory.remembered(indicator)
    feed(indicator, still)
    assert memory.remembered(indicator) == before


@pytest.mark.parametrize("name", ["ADX", "EMA"])
def test_what_is_no_number_is_refused_and_changes_nothing(name: str) -> None:
    indicator = made(name)
    feed(indicator, bar(1.0, 2.0, 1.0, 1.5))
    before = memory.remembered(indicator)
    with pytest.raises(ValueError, match="finite"):
        feed(indicator, bar(1.0, 2.0, 1.0, float("nan")))
    assert memory.remembered(indicator) == before


def test_memory_of_another_indicator_is_refused() -> None:
    with pytest.raises(ValueError, match="not that of talipp:EMA"):
        memory.recall(made("EMA"), memory.remembered(made("SMA")))


def test_average_is_told_by_its_name() -> None:
    one, other = (
        make("talipp:MACD", fast_period=3, slow_period=5, signal_period=2, ma_type="SMA"),
        make("talipp:MACD", fast_period=3, slow_period=5, signal_period=2),
    )
    values = [(feed(one, each), feed(other, each)) for each in walk(18, 30)]
    assert values[-1][0] != values[-1][1]


@pytest.mark.parametrize(
    ("name", "params", "message", "hint"),
    [
        ("talipp:ADXX", {}, 'unknown indicator "talipp:ADXX"', 'did you mean "talipp:ADX"?'),
        ("talipp:nothing of this", {}, "unknown indicator", "known: talipp:ADX"),
        ("talipp:ADX", {"di_period": 14}, 'needs a parameter "adx_period"', ""),
        ("talipp:EMA", {"perod": 3}, 'has no parameter "perod"', 'did you mean "period"?'),
        ("talipp:EMA", {"period": 3, "input_values": []}, 'has no parameter "input_values"', ""),
        ("talipp:EMA", {"period": 0}, "period must be a whole number from 1 to 2000, not 0", ""),
        ("talipp:HMA", {"period": 2_001}, "period must be a whole number from 1 to 2000, not 2001", ""),
        ("talipp:EMA", {"period": 2.5}, "period must be a whole number from 1 to 2000, not 2.5", ""),
        ("talipp:BB", {"period": 5, "std_dev_mult": "two"}, "std_dev_mult must be a number, not 'two'", ""),
        ("talipp:AO", {"fast_period": 3, "slow_period": 5, "ma_type": "SMMMA"}, 'did you mean "SMMA"?', ""),
        ("talipp:ALMA", {"period": 4, "offset": 1, "sigma": 0.0}, "cannot work with these parameters", ""),
    ],
)
def test_mistake_is_named(name: str, params: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make(name, **params)
    assert message in str(raised.value)
    assert hint in raised.value.hint


def test_without_talipp_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    talipp._module.cache_clear()
    talipp._classes.cache_clear()
    monkeypatch.setattr(talipp, "import_module", missing)
    with pytest.raises(ConfigError) as raised:
        make("talipp:ADX")
    assert "indicators" in raised.value.hint
    assert talipp.names() == ()
