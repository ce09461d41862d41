"""What holds for every indicator: its warm-up is exact, it forgets nothing, it refuses what is no number."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from cryptostream.indicators import (
    Atr,
    Bollinger,
    Ema,
    Highest,
    Indicator,
    Lowest,
    Macd,
    Rsi,
    Sma,
    Stochastic,
    Vwap,
    feed,
    parts,
    read,
)
from cryptostream.model import memory
from tests.indicators.market import bar, walk

Make = Callable[[], Indicator[Any, Any]]

KINDS: Mapping[str, Make] = {
    "sma": lambda: Sma(7),
    "sma of one": lambda: Sma(1),
    "ema": lambda: Ema(7),
    "ema from its first value": lambda: Ema(7, seed="first"),
    "rsi": lambda: Rsi(5),
    "rsi of one": lambda: Rsi(1),
    "macd": lambda: Macd(3, 8, 4),
    "macd from its first value": lambda: Macd(3, 8, 4, seed="first"),
    "bollinger": lambda: Bollinger(6, 1.5),
    "bollinger of one": lambda: Bollinger(1),
    "atr": lambda: Atr(5),
    "atr with the first range": lambda: Atr(5, first_range=True),
    "vwap": lambda: Vwap(6),
    "vwap of what was paid": lambda: Vwap(6, price="traded"),
    "stochastic": lambda: Stochastic(5, 3, 2),
    "fast stochastic": lambda: Stochastic(5, 1, 1),
    "highest": lambda: Highest(6),
    "lowest": lambda: Lowest(6),
}
WARM_UPS = {
    "sma": 7,
    "ema": 7,
    "ema from its first value": 1,
    "rsi": 6,
    "macd": 11,
    "macd from its first value": 1,
    "bollinger": 6,
    "atr": 6,
    "atr with the first range": 5,
    "vwap": 6,
    "stochastic": 8,
    "fast stochastic": 5,
    "highest": 6,
    "lowest": 6,
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def copied(indicator: Indicator[Any, Any], fresh: Indicator[Any, Any]) -> Indicator[Any, Any]:
    """Another one with the same memory, as it comes out of a file."""
    memory.recall(fresh, msgspec.msgpack.decode(msgspec.msgpack.encode(memory.remembered(indicator))))
    return fresh


@every_kind
def test_first_value_comes_with_the_update_that_is_told(make: Make) -> None:
    indicator = make()
    for number, next_bar in enumerate(walk(1, 60), start=1):
        value = feed(indicator, next_bar)
        assert (value is not None) == (number >= indicator.warm_up) == indicator.ready  # type: ignore[operator]
        assert value == indicator.value


@pytest.mark.parametrize(("kind", "warm_up"), WARM_UPS.items())
def test_warm_up_is_that_of_the_parameters(kind: str, warm_up: int) -> None:
    assert KINDS[kind]().warm_up == warm_up


@every_kind
def test_what_was_saved_at_any_moment_goes_on_bit_by_bit(make: Make) -> None:
    bars, chance = walk(2, 120), random.Random(3)
    cuts = {*range(25), *chance.sample(range(120), 20)}
    indicator, copies = make(), []
    for number, next_bar in enumerate(bars):
        if number in cuts:
            copies.append(copied(indicator, make()))
        value = feed(indicator, next_bar)
        assert all(feed(other, next_bar) == value and other.value == value for other in copies)
    assert all(memory.remembered(other) == memory.remembered(indicator) for other in copies)


@every_kind
def test_memory_does_not_grow(make: Make) -> None:
    sizes, indicator = [], make()
    for next_bar in walk(4, 600):
        feed(indicator, next_bar)
        sizes.append(len(msgspec.msgpack.encode(memory.remembered(indicator))))
    assert max(sizes[300:]) <= max(sizes[:300]) + 8  # a number or two may be written longer


@every_kind
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("updates", [0, 1, 40])
def test_what_is_no_number_is_refused_and_changes_nothing(make: Make, wrong: float, updates: int) -> None:
    indicator = make()
    for next_bar in walk(5, updates):
        feed(indicator, next_bar)
    before = memory.remembered(indicator)
    with pytest.raises(ValueError, match="finite"):
        feed(indicator, bar(1.0, wrong, wrong, wrong, 1.0, wrong))
    assert memory.remembered(indicator) == before


@pytest.mark.parametrize("part", ["high", "low", "close", "volume"])
def test_one_wrong_number_of_a_bar_is_enough(part: str) -> None:
    numbers = {"high": 2.0, "low": 1.0, "close": 1.5, "volume": 3.0} | {part: float("nan")}
    wrong = bar(1.0, numbers["high"], numbers["low"], numbers["close"], numbers["volume"])
    paid: Any = Vwap(price="traded")
    for indicator in [paid, Vwap()] if part == "volume" else [Atr(), Stochastic(), Vwap()]:
        with pytest.raises(ValueError, match="finite"):
            indicator.update(wrong)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Sma(0), "period must be a whole number from 1 to 100000, not 0"),
        (lambda: Sma(100_001), "period must be a whole number from 1 to 100000, not 100001"),
        (lambda: Macd(50_000_000, 60_000_000), "fast must be a whole number from 1 to 100000"),
        (lambda: Sma(2.0), "not 2.0"),  # type: ignore[arg-type]
        (lambda: Sma("20"), "not '20'"),  # type: ignore[arg-type]
        (lambda: Sma(True), "not True"),
        (lambda: Ema(-1), "period must be"),
        (lambda: Ema(9, seed="last"), "seed must be mean or first, not 'last'"),  # type: ignore[arg-type]
        (lambda: Rsi(0), "period must be"),
        (lambda: Macd(26, 12), "fast must be less than slow, not 26 and 12"),
        (lambda: Macd(12, 12), "fast must be less than slow"),
        (lambda: Macd(12, 26, 0), "signal must be"),
        (lambda: Bollinger(0), "period must be"),
        (lambda: Bollinger(20, 0.0), "width must be a number above 0, not 0.0"),
        (lambda: Bollinger(20, float("nan")), "width must be"),
        (lambda: Bollinger(20, "2"), "width must be"),  # type: ignore[arg-type]
        (lambda: Atr(0), "period must be"),
        (lambda: Atr(14, first_range=1), "first_range must be true or false, not 1"),  # type: ignore[arg-type]
        (lambda: Vwap(0), "period must be"),
        (lambda: Vwap(20, price="close"), "price must be typical or traded, not 'close'"),  # type: ignore[arg-type]
        (lambda: Stochastic(0), "period must be"),
        (lambda: Stochastic(14, 0), "smooth must be"),
        (lambda: Stochastic(14, 3, 0), "signal must be"),
        (lambda: Highest(0), "period must be"),
        (lambda: Lowest(0), "period must be"),
    ],
)
def test_parameter_that_makes_no_sense_is_named(make: Make, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_whole_numbers_are_numbers_too() -> None:
    sma = Sma(2)
    assert [sma.update(x) for x in (1, 2, 4)] == [None, 1.5, 3.0]


def test_indicator_says_what_it_wants_of_a_bar() -> None:
    one = bar(1.0, 4.0, 0.5, 2.0)
    wanted = [read(kind(), one) for kind in (Sma, Highest, Lowest, Atr)]
    assert wanted == [2.0, 4.0, 0.5, one]


def test_value_of_several_lines_has_names() -> None:
    bands = Bollinger(2, 1.0)
    assert parts(bands.update(1.0)) == {}
    assert parts(bands.update(3.0)) == {"lower": 1.0, "middle": 2.0, "upper": 3.0}
