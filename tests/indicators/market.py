"""Markets to feed indicators with: a month of real minutes, and made-up ones."""

import csv
import gzip
import random
from itertools import islice
from pathlib import Path

import pytest

from cryptostream.model.events import Bar, Micros

SHARED = Path(__file__).parents[3] / "shared" / "data" / "indicators"
MINUTES = 6000


def bar(open_: float, high: float, low: float, close: float, volume: float = 1.0, quote_volume: float = 0.0) -> Bar:
    """A bar of which only the numbers matter."""
    prices = (open_, high, low, close)
    return Bar("1-0", "binance", "BTCUSDT", "1m", 0, 59999, *prices, volume, quote_volume, 1, 0.0, False, Micros(0))


def walk(seed: int, count: int, *, start: float = 100.0, step: float = 0.003, still: float = 0.02) -> list[Bar]:
    """A random walk of bars; some do not move at all."""
    chance = random.Random(seed)
    bars, price = [], start
    for _ in range(count):
        opened, price = price, price * (1 + chance.gauss(0.0, step))
        high = max(opened, price) * (1 + abs(chance.gauss(0.0, step / 2)))
        low = min(opened, price) * (1 - abs(chance.gauss(0.0, step / 2)))
        if chance.random() < still:
            opened = high = low = price
        volume = round(chance.random() * 10, 3)
        bars.append(bar(opened, high, low, price, volume, volume * (high + low) / 2))
    return bars


def minutes() -> list[Bar]:
    """Real bars of one minute. Skips the test where they are not."""
    path = SHARED / "btc_perp_1m_20211231_20220201.csv.gz"
    if not path.exists():
        pytest.skip("no reference data at ../shared/data/indicators")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = islice(csv.DictReader(lines), MINUTES)
        return [bar(*(float(row[name]) for name in ("open", "high", "low", "close", "volume"))) for row in rows]


def sheet(name: str) -> list[dict[str, str]]:
    """The rows of one of StockCharts' sheets. Skips the test where it is not."""
    path = SHARED / name
    if not path.exists():
        pytest.skip("no reference data at ../shared/data/indicators")
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))
