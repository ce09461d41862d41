"""Indicators in a process of their own: `python -m benchmarks.indicating --who ours`, told how many updates to make.

`together` is what an update of all five costs, in microseconds of CPU, the five others what one of each does. With
`--who drift` it answers how far sums are off after so many updates.
"""

import argparse
import importlib
import random
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from math import fsum, sqrt
from typing import Any

from benchmarks.meter import tell

Update = Callable[[float], Any]

PERIOD = 20
HISTORY = 100
FORGET = 1000
"""talipp keeps all it saw; its users purge it now and then."""


def ours() -> dict[str, Update]:
    """The five of this package."""
    from cryptostream.indicators import Bollinger, Ema, Macd, Rsi, Sma

    made: dict[str, Any] = {
        "SMA": Sma(20),
        "EMA": Ema(20),
        "RSI": Rsi(14),
        "MACD": Macd(12, 26, 9),
        "Bollinger": Bollinger(20, 2.0),
    }
    return {name: indicator.update for name, indicator in made.items()}


def talipp() -> dict[str, Update]:
    """The same of talipp."""
    kinds = importlib.import_module("talipp.indicators")
    made: dict[str, Any] = {"SMA": kinds.SMA(20), "EMA": kinds.EMA(20), "RSI": kinds.RSI(14)}
    made |= {"MACD": kinds.MACD(12, 26, 9), "Bollinger": kinds.BB(20, 2.0)}
    return {name: _purged(indicator) for name, indicator in made.items()}


def talib() -> dict[str, Update]:
    """The same of TA-Lib's streams, which are C and opened with some history."""
    stream = importlib.import_module("talib.stream")
    history = importlib.import_module("numpy").array([*walk(0, HISTORY)])
    made: dict[str, Any] = {
        "SMA": stream.SMA(history, 20),
        "EMA": stream.EMA(history, 20),
        "RSI": stream.RSI(history, 14),
    }
    made |= {"MACD": stream.MACD(history, 12, 26, 9), "Bollinger": stream.BBANDS(history, 20, 2.0, 2.0)}
    return {name: indicator.update for name, indicator in made.items()}


_WHO: Mapping[str, Callable[[], dict[str, Update]]] = {"ours": ours, "talipp": talipp, "talib": talib}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--who", required=True, choices=(*_WHO, "drift"))
    chosen = parser.parse_args()
    answer = drift if chosen.who == "drift" else _timer(_WHO[chosen.who])
    for line in sys.stdin:
        tell(answer(int(line)))


def _timer(make: Callable[[], dict[str, Update]]) -> Callable[[int], dict[str, Any]]:
    try:
        make()
    except ImportError as error:
        told = str(error)
        return lambda _: {"missing": told}

    def timed(updates: int) -> dict[str, Any]:
        closes = [*walk(1, updates)]
        alone = {name: _one(update, closes) for name, update in make().items()}
        return alone | {"together": _five(*make().values(), closes)}

    return timed


def _one(update: Update, closes: list[float]) -> float:
    began = time.process_time()
    for close in closes:
        update(close)
    return (time.process_time() - began) / len(closes) * 1e6


def _five(*made: Any) -> float:
    one, two, three, four, five, closes = made
    began = time.process_time()
    for close in closes:
        one(close)
        two(close)
        three(close)
        four(close)
        five(close)
    return (time.process_time() - began) / len(closes) * 1e6


def _purged(indicator: Any) -> Update:
    add, seen = indicator.add, 0

    def update(close: float) -> Any:
        nonlocal seen
        add(close)
        seen += 1
        if seen == FORGET:
            indicator.purge_oldest(FORGET - HISTORY)
            seen = HISTORY
        return indicator[-1]

    return update


def drift(updates: int) -> dict[str, Any]:
    """How far mean and deviation of the last window are off, relatively; and a sum that is only ever corrected."""
    from cryptostream.indicators import Bollinger, Sma

    sma, bollinger = Sma(PERIOD), Bollinger(PERIOD)
    window, place, running = array("d", [0.0] * PERIOD), 0, 0.0
    for close in walk(2, updates, spikes=True):
        sma.update(close)
        bollinger.update(close)
        running += close - window[place]
        window[place] = close
        place = (place + 1) % PERIOD
    mean = fsum(window) / PERIOD
    deviation = sqrt(fsum((close - mean) ** 2 for close in window) / PERIOD)
    assert sma.value is not None
    assert bollinger.deviation is not None
    return {
        "SMA": abs(sma.value / mean - 1),
        "Bollinger": abs(bollinger.deviation / deviation - 1),
        "running": abs(running / PERIOD / mean - 1),
    }


def walk(seed: int, count: int, *, spikes: bool = False) -> Iterator[float]:
    """Closes of a market; with spikes, some that are off by orders of magnitude, though none of the last windows."""
    chance = random.Random(seed)
    close = 60_000.0
    for number in range(count):
        close *= 1 + chance.uniform(-0.0005, 0.0005)
        yield close * 1e6 if spikes and number % 10_007 == 0 and number < count - 1000 else close


if __name__ == "__main__":
    main()
