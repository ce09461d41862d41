"""Bars by columns are those that come of one trade at a time, to the last bit, wherever blocks end."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptostream.backtest import columns
from cryptostream.backtest.block import Block
from cryptostream.backtest.columns import BarColumns
from cryptostream.model.events import Bar, Gap, Micros, Trade
from cryptostream.transforms.bars import Bars, parse_bars

SPECS = (
    "1s",
    "90s",
    "1m",
    "1w",
    "1M",
    "tick:1",
    "tick:3",
    "tick:7",
    "volume:0.00001",
    "volume:2.5",
    "volume:11",
    "dollar:1e2",
)
WEEK_MS = 604_800_000
STEPS_MS = st.one_of(st.just(0), st.integers(0, 1_500), st.integers(-90_000, 90_000), st.integers(0, 5 * WEEK_MS))


@st.composite
def streams(draw: st.DrawFn) -> list[Trade | Gap]:
    """Events whose ids rise and whose times need not."""
    events: list[Trade | Gap] = []
    ts = 1_700_000_000_000_000 + draw(st.integers(0, 999))
    ms = ts // 1_000
    for number in range(1, draw(st.integers(1, 60)) + 1):
        ts += 1_000 * draw(STEPS_MS)
        ms = max(ms, ts // 1_000)
        kind = draw(st.sampled_from(["buy", "buy", "sell", "sell", "gap"]))
        if kind == "gap":
            events.append(Gap(f"{ms}-{number}", "binance", "BTCUSDT", number, number, "unfillable", Micros(ts)))
            continue
        price, qty = draw(st.sampled_from([0.1, 9.7, 10.0, 1e5 / 3])), draw(st.floats(1e-8, 3.0))
        side = "buy" if kind == "buy" else "sell"
        events.append(Trade(f"{ms}-{number}", "binance", "BTCUSDT", price, qty, Micros(ts), side, number))
    return events


def one_by_one(spec: str, events: list[Trade | Gap]) -> list[Bar]:
    bars = Bars(parse_bars(spec))
    return [bar for event in events if (bar := bars.update(event)) is not None]


def by_columns(spec: str, blocks: list[Block]) -> list[Bar]:
    bars = BarColumns(parse_bars(spec))
    return [bar for block in blocks for bar in bars.add(block).bars()]


def cut(events: list[Trade | Gap], places: set[int]) -> list[Block]:
    """Blocks that end at these places; where there would be no trade, with the next one."""
    blocks, held = list[Block](), list[Trade | Gap]()
    for start, stop in pairwise([0, *sorted(place for place in places if 0 < place < len(events)), len(events)]):
        held += events[start:stop]
        if any(type(event) is Trade for event in held):
            blocks.append(Block.of(held))
            held = []
    return blocks


@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=50)
@given(events=streams(), places=st.sets(st.integers(1, 60)))
def test_columns_are_what_one_trade_at_a_time_makes(spec: str, events: list[Trade | Gap], places: set[int]) -> None:
    made = by_columns(spec, cut(events, places))
    assert msgspec.msgpack.encode(made) == msgspec.msgpack.encode(one_by_one(spec, events))


def market(trades: int, *, every_us: int) -> list[Trade | Gap]:
    """A random walk with gaps and steps back in time, the same each time."""
    rng = np.random.default_rng(5)
    ts = 1_700_000_000_000_000 + np.cumsum(rng.integers(0, 2 * every_us, trades))
    ts[rng.integers(0, trades, trades // 100)] -= 10 * every_us
    price, qty = 100 + rng.integers(-1, 2, trades).cumsum() * 0.01, rng.exponential(1, trades) + 1e-8
    ms = np.maximum.accumulate(ts // 1_000)
    block = Block("binance", "BTCUSDT", ms, np.arange(1, trades + 1), price, qty, ts, rng.random(trades) < 0.5)
    events = list(block.events())
    for row in (0, trades // 3, trades // 2, trades - 1):
        events.insert(row, Gap("0-0", "binance", "BTCUSDT", 0, 0, "unfillable", Micros(0)))
    return events


MARKET = market(30_000, every_us=100_000)


@pytest.mark.parametrize(
    "spec",
    ["1s", "1m", "4h", "tick:100", "tick:40000", "volume:5", "volume:90", "volume:300", "volume:9000", "dollar:25000"],
)
@pytest.mark.parametrize("size", [997, 30_004])
def test_bars_of_a_market_are_the_same_by_columns(spec: str, size: int) -> None:
    assert by_columns(spec, cut(MARKET, set(range(size, len(MARKET), size)))) == one_by_one(spec, MARKET)


def test_volumes_that_change_a_hundredfold_are_cut_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two ways of filling a bar take turns."""
    monkeypatch.setattr(columns, "_STRETCH", 64)
    quiet = [1e-3 + 1e-6 * (number % 97) for number in range(1_500)]
    sizes = [*quiet, *(0.2 * number for number in range(1, 300)), *quiet]
    events: list[Trade | Gap] = [
        Trade(f"0-{number}", "binance", "BTCUSDT", 10.0, qty, Micros(0), "buy", number)
        for number, qty in enumerate(sizes, 1)
    ]
    assert by_columns("volume:1", cut(events, {700, 1_600})) == one_by_one("volume:1", events)


def test_row_is_that_of_the_trade_which_closed_the_bar() -> None:
    times_ms = [1_000, 1_500, 2_000, 1_999, 3_000]
    events: list[Trade | Gap] = [
        Trade(f"{max(times_ms[:number])}-{number}", "binance", "BTCUSDT", 10.0, 1.0, Micros(ms * 1_000), "buy", number)
        for number, ms in enumerate(times_ms, 1)
    ]
    timed, filled = BarColumns(parse_bars("1s")), BarColumns(parse_bars("tick:2"))
    assert timed.add(Block.of(events)).row.tolist() == [2, 4]
    closed = filled.add(Block.of(events))
    assert (closed.row.tolist(), len(closed), closed.trades.tolist()) == ([1, 3], 2, [2, 2])


def test_block_that_closes_nothing_gives_empty_columns() -> None:
    bars = BarColumns(parse_bars("1m"))
    only = Block.of([Trade("0-1", "binance", "BTCUSDT", 10.0, 1.0, Micros(0), "buy", 1)])
    closed = bars.add(only)
    assert (len(closed), closed.open.tolist(), list(closed.bars())) == (0, [], [])
