"""Rounding does not accumulate: after hundreds of thousands of nasty numbers a value is as exact as after twenty."""

import random
from collections.abc import Iterator
from decimal import Decimal, localcontext
from math import fsum, sqrt

import pytest

from cryptostream.indicators import Bollinger, Ema, Macd, Rsi, Sma, Vwap
from tests.indicators.market import bar

UPDATES = 300_000
PERIOD = 20


def nasty(seed: int, count: int) -> Iterator[float]:
    """Small steps at a high level, with spikes of twenty orders of magnitude between them."""
    chance = random.Random(seed)
    level = 60_000.0
    for number in range(count):
        level += chance.random() - 0.5
        spike = number % 1009 == 500
        yield chance.choice((1e-9, 1e11)) * chance.random() if spike else level


def looked_at(number: int) -> bool:
    """Some windows: with spikes, right behind them, far from them, and the last."""
    return number >= PERIOD and (number % 1009 in (505, 521, 539, 900) or number > UPDATES - 50)


def test_mean_and_bands_do_not_drift() -> None:
    sma, bollinger = Sma(PERIOD), Bollinger(PERIOD, 1.0)
    numbers = [*nasty(9, UPDATES)]
    for number, x in enumerate(numbers, start=1):
        mean, bands = sma.update(x), bollinger.update(x)
        if not looked_at(number):
            continue
        window = numbers[number - PERIOD : number]
        exact = fsum(window) / PERIOD
        deviation = sqrt(fsum((one - exact) ** 2 for one in window) / PERIOD)
        assert bands is not None
        assert mean == pytest.approx(exact, rel=1e-14)
        assert bands.middle == pytest.approx(exact, rel=1e-14)
        assert bollinger.deviation == pytest.approx(deviation, rel=1e-11)


def test_deviation_is_exact_at_any_level() -> None:
    bollinger = Bollinger(4)
    for number in range(4000):
        bollinger.update(1e12 + number % 2)
        assert number < 3 or bollinger.deviation == 0.5


def test_vwap_does_not_drift() -> None:
    vwap = Vwap(PERIOD)
    sizes = [abs(size) for size in nasty(10, 100_000)]
    for number, size in enumerate(sizes, start=1):
        price = 1.0 + number % 7
        value = vwap.update(bar(price, price, price, price, size))
        if looked_at(number):
            window = range(number - PERIOD, number)
            turnover = fsum((1.0 + (place + 1) % 7) * sizes[place] for place in window)
            assert value == pytest.approx(turnover / fsum(sizes[place] for place in window), rel=1e-13)


def test_averages_forget_their_rounding() -> None:
    ema, macd, rsi = Ema(9), Macd(seed="first"), Rsi(14)
    chance = random.Random(11)
    level = 60_000.0
    with localcontext() as context:
        context.prec = 40
        exact, averages, gain, loss, last = None, [Decimal(0)] * 3, Decimal(0), Decimal(0), Decimal(0)
        for number in range(20_000):
            level += chance.random() - 0.5
            x = Decimal(level)
            exact = _mean_seeded(exact, x, number)
            averages = _three(averages, x, number)
            gain, loss = (
                _wilder(gain, max(x - last, Decimal(0)), number),
                _wilder(loss, max(last - x, Decimal(0)), number),
            )
            last = x
            ema.update(level), macd.update(level), rsi.update(level)
        lines = macd.value
        assert lines is not None
        assert ema.value == pytest.approx(float(exact or 0), rel=1e-15)
        assert lines == pytest.approx(
            [float(averages[0] - averages[1]), float(averages[2]), float(averages[0] - averages[1] - averages[2])],
            abs=1e-10,
        )
        assert rsi.value == pytest.approx(float(100 * gain / (gain + loss)), rel=1e-13)


def _mean_seeded(average: Decimal | None, x: Decimal, number: int) -> Decimal:
    if average is None:
        return x
    weight = Decimal(1) / (number + 1) if number < 9 else Decimal("0.2")  # the mean of the first nine, then 2 / 10
    return average + weight * (x - average)


def _three(averages: list[Decimal], x: Decimal, number: int) -> list[Decimal]:
    if number == 0:
        return [x, x, Decimal(0)]
    fast = averages[0] + 2 * (x - averages[0]) / 13
    slow = averages[1] + 2 * (x - averages[1]) / 27
    return [fast, slow, averages[2] + (fast - slow - averages[2]) / 5]


def _wilder(average: Decimal, change: Decimal, number: int) -> Decimal:
    return average + (change - average) / min(max(number, 1), 14) if number else Decimal(0)
