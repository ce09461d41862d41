"""What knows the future is found out, in a strategy and in the building of bars; and true warm-ups are told."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from typing import Any

import pytest

from cryptostream.backtest import lookahead
from cryptostream.backtest.block import Block
from cryptostream.backtest.columns import BarColumns, Closed
from cryptostream.backtest.lookahead import Feed, prefixes, warm_ups
from cryptostream.model.events import Bar, Gap, Micros, Signal, Trade
from cryptostream.strategies.desk import Desk
from cryptostream.transforms.bars import Bars, parse_bars
from tests.backtest.traded import Klines, Says, Shouts, Trades, desk_of, prices, trade

TICKS = parse_bars("tick:2")
WAVES = [100.0 + number % 7 + number / 10 for number in range(200)]


class Ema:
    """Halves what it knows of the past; `last` forgets it at once, `count` never, `late` comes with bar five."""

    warm_up = 5

    def __init__(self) -> None:
        self.mean: float | None = None
        self.count = 0
        self.last = 0.0

    @property
    def values(self) -> dict[str, float | None]:
        late = None if self.count < 5 else self.last
        return {"mean": self.mean, "last": self.last, "count": float(self.count), "late": late}

    def on_bar(self, bar: Bar) -> list[Signal]:
        self.mean = bar.close if self.mean is None else (self.mean + bar.close) / 2
        self.last, self.count = bar.close, self.count + 1
        return []


class EveryTrade(Ema):
    def on_trade(self, trade: Trade) -> list[Signal]:
        self.mean = trade.price
        return [Signal("buy")] if trade.trade_id % 10 == 0 else []


@dataclass
class Knows:
    """What it knows outlives it, so that of all runs but the first it has seen what comes."""

    known: dict[str, float]
    says: bool = False
    shows: bool = False
    warm_up: int = 0
    newest: str = ""
    value: float | None = None

    @property
    def values(self) -> dict[str, float | None]:
        return {"steady": 1.0, "next": self.value} if self.shows else {}

    def on_bar(self, bar: Bar) -> list[Signal]:
        if self.newest:
            self.known[self.newest] = bar.close
        self.newest = bar.entry_id
        self.value = self.known.get(bar.entry_id)
        return [Signal("buy")] if self.says and self.value is not None else []


@dataclass
class Forgets(Knows):
    """The other way round: it says what it no longer says once it has seen what comes."""

    def on_bar(self, bar: Bar) -> list[Signal]:
        super().on_bar(bar)
        return [] if self.value is not None else [Signal("sell")]


def one(make: Callable[[], Any], bars: str = "tick:2") -> Callable[[], Desk]:
    return lambda: Desk("BTCUSDT", {"it": make()}, Bars(parse_bars(bars)))


def feed(*, block: int = 33, bars: str = "tick:2", wants_trades: bool = False, each: Sequence[float] = WAVES) -> Feed:
    return Feed(Trades(prices(*each), block=block), parse_bars(bars), wants_trades)


def gap(ms: int, number: int) -> Gap:
    return Gap(f"{ms}-{number}", "binance", "BTCUSDT", gap_from=1, gap_to=2, ts=Micros(ms * 1000), cause="x")


@pytest.mark.parametrize("bars", ["tick:2", "7s", "volume:3", "dollar:1000"])
def test_what_looks_at_the_past_alone_has_no_foresight(bars: str) -> None:
    says = desk_of(bars, says=lambda: Says({3: "buy", 20: "sell"}), ema=Ema)  # type: ignore[arg-type]
    shown = prefixes(says, feed(bars=bars))
    assert shown.foresight is None
    assert shown.signals == 2
    assert shown.cuts == [10 * number for number in range(1, 21)]
    assert shown.items == len(list(feed(bars=bars).items()))


def test_strategies_that_want_trades_are_given_prefixes_of_these() -> None:
    shown = prefixes(one(EveryTrade), feed(wants_trades=True))
    assert (shown.foresight, shown.items, shown.signals) == (None, 200, 20)


def test_klines_are_cut_as_they_are() -> None:
    series = Klines([(100.0 + number, 101.0 + number % 5) for number in range(40)])
    shown = prefixes(one(lambda: Says({5: "buy"})), Feed(series, parse_bars("1m")))
    assert (shown.foresight, shown.items, shown.signals, shown.cuts[-1]) == (None, 40, 1, 40)
    known: dict[str, float] = {}
    found = prefixes(one(lambda: Knows(known, says=True)), Feed(series, parse_bars("1m"))).foresight
    assert found is not None
    assert found.cut == 2


def test_a_signal_that_comes_with_the_future_is_found() -> None:
    known: dict[str, float] = {}
    found = prefixes(one(lambda: Knows(known, says=True)), feed()).foresight
    assert found is not None
    assert (found.strategy, found.entry_id, found.cut) == ("it", "1000-2", 10)
    assert (found.then, found.later) == ("it said nothing", "it said buy")
    assert str(found).startswith("it at 1000-2: it said nothing while the data ended there (after 10), it said buy")


def test_a_signal_that_goes_away_with_the_future_is_found() -> None:
    known: dict[str, float] = {}
    found = prefixes(one(lambda: Forgets(known)), feed()).foresight
    assert found is not None
    assert (found.entry_id, found.then, found.later) == ("1000-2", "it said sell", "it said nothing")


def test_an_indicator_that_moves_with_the_future_is_found() -> None:
    known: dict[str, float] = {}
    found = prefixes(one(lambda: Knows(known, shows=True)), feed()).foresight
    assert found is not None
    assert (found.strategy, found.entry_id, found.cut, found.then) == ("it", "9000-10", 10, "next was None")
    assert found.later == str(WAVES[11])


def test_foresight_in_the_whole_run_alone_is_found() -> None:
    """What only the last run knows, all prefixes agree about."""
    runs: list[int] = []

    @dataclass
    class Last(Says):
        number: int = field(default_factory=lambda: runs.append(1) or len(runs))  # type: ignore[func-returns-value]

        def on_bar(self, bar: Bar) -> list[Signal]:
            return [Signal("exit")] if self.number == 20 and bar.entry_id == "99000-100" else []

    found = prefixes(one(Last), feed()).foresight
    assert found is not None
    assert (found.entry_id, found.cut, found.later) == ("99000-100", 190, "it said exit")


class OfTheBlock(BarColumns):
    """Knows the last price of its block before it was there."""

    def add(self, block: Block) -> Closed:
        closed = super().add(block)
        return replace(closed, high=closed.high * 0 + block.price[-1])


class OneMore(BarColumns):
    """Closes a bar because the data end."""

    def add(self, block: Block) -> Closed:
        closed = super().add(block)
        last = [len(closed) - 1]
        columns = {
            name: getattr(closed, name)[[*range(len(closed)), *last]]
            for name in Closed.__dataclass_fields__
            if name not in ("block", "interval")
        }
        return replace(closed, **columns) if len(closed) else closed


@pytest.mark.parametrize("builder", [OfTheBlock, OneMore])
def test_bars_that_know_what_comes_are_found_though_no_strategy_tells(
    builder: type[BarColumns], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookahead, "BarColumns", builder)
    silent = one(Says)
    found = prefixes(silent, feed()).foresight
    assert found is not None
    assert found.strategy == "the building of bars"
    assert found.then != found.later


def test_bars_of_a_prefix_are_compared_with_those_of_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all trades they are right, so that only a prefix shows it."""

    class AtTheEnd(BarColumns):
        def add(self, block: Block) -> Closed:
            closed = super().add(block)
            return closed if len(block) == 200 else replace(closed, high=closed.high + 1)

    monkeypatch.setattr(lookahead, "BarColumns", AtTheEnd)
    assert feed(block=200).otherwise_live() is None
    found = prefixes(one(lambda: Shouts()), feed(block=200)).foresight
    assert found is not None
    assert (found.strategy, found.entry_id, found.cut) == ("the building of bars", "9000-10", 10)


@pytest.mark.parametrize("block", [1, 7, 10, 50, 1000])
def test_where_blocks_end_makes_no_difference(block: int) -> None:
    events: list[Trade | Gap] = [*prices(*WAVES)]
    for number in (150, 100, 50, 10):
        events.insert(number, gap((number - 1) * 1000, number + 1))
    for wants_trades in (False, True):
        one_feed = Feed(Trades(events, block=block), parse_bars("4s"), wants_trades)
        make = one(EveryTrade if wants_trades else Ema, "4s")
        assert prefixes(make, one_feed).foresight is None
        for rows in (9, 10, 50, 51, 200):
            places = [place for place, _ in one_feed.items(rows)]
            assert max(places) <= rows
            assert list(one_feed.items(rows)) == [(at, item) for at, item in one_feed.items() if at <= rows]


def test_a_gap_behind_the_last_trade_of_a_block_is_no_part_of_a_prefix_that_ends_there() -> None:
    class Parts(Trades):
        def blocks(self) -> Iterator[Block]:
            yield Block.of(self.events[:11])
            yield Block.of(self.events[11:])

    events: list[Trade | Gap] = [*prices(*WAVES)]
    events.insert(10, gap(9000, 11))
    behind = Feed(Parts(events), TICKS, wants_trades=True)
    assert [item for _, item in behind.items(10)] == events[:10]
    assert prefixes(one(EveryTrade), behind).foresight is None


def test_no_number_stands_where_no_number_stood() -> None:
    class Nothing(Says):
        @property
        def values(self) -> dict[str, float | None]:
            return {"nothing": nan}

    assert prefixes(one(Nothing), feed()).foresight is None
    [need] = warm_ups(one(Nothing), feed(), 100, {"it": 1})
    assert set(need.settled.values()) == {1}


def test_the_warm_up_of_each_indicator_is_told_by_how_near_it_comes() -> None:
    found = {need.name: need for need in warm_ups(one(Ema), feed(), 100, {"it": 5})}
    assert {need.declared for need in found.values()} == {5}
    assert {name: need.first for name, need in found.items()} == {"mean": 1, "last": 1, "count": 1, "late": 5}
    assert set(found["last"].settled.values()) == {1}
    assert set(found["late"].settled.values()) == {5}
    assert set(found["count"].settled.values()) == {None}, "it never comes to stand where it should"
    needs = [found["mean"].settled[tolerance] for tolerance in (1e-3, 1e-6, 1e-9)]
    assert needs == by_hand(), "the most of four starts"
    assert needs == sorted(needs, key=lambda need: need or 0)


def by_hand() -> list[int | None]:
    closes = WAVES[1::2]
    means = [list(means_of(closes[start:])) for start in (0, 12, 25, 38, 50)]
    found: list[int | None] = []
    for tolerance in (1e-3, 1e-6, 1e-9):
        needs = []
        for start, late in zip((12, 25, 38, 50), means[1:], strict=True):
            pairs = list(zip(means[0][start:], late, strict=True))
            apart = [number for number, (a, b) in enumerate(pairs, 1) if abs(a - b) > tolerance * max(abs(a), abs(b))]
            needs.append(max(apart, default=0) + 1)
        assert len(set(needs)) > 1
        found.append(max(needs))
    return found


def means_of(closes: Sequence[float]) -> Iterator[float]:
    mean: float | None = None
    for close in closes:
        mean = close if mean is None else (mean + close) / 2
        yield mean


def test_late_starts_of_strategies_that_want_trades_are_counted_in_trades() -> None:
    pairwise = feed(wants_trades=True, each=[*WAVES, *WAVES[:8]])
    found = {need.name: need for need in warm_ups(one(EveryTrade), pairwise, 208, {"it": 5})}
    assert found["mean"].first == 1
    assert set(found["mean"].settled.values()) == {1}
    assert found["last"].first == 1
    assert set(found["last"].settled.values()) == {2}, "of the first trade no bar is closed yet"


def test_a_late_start_keeps_nothing_of_what_it_has_seen() -> None:
    """Its memory must not grow with the data: what it keeps is as large after a thousand trades as after ten."""

    def sizes(count: int) -> int:
        late = lookahead._Late(one(EveryTrade)(), 0)
        whole: dict[str, dict[str, float | None]] = {"it": {"mean": -1.0, "last": -1.0, "count": -1.0, "late": -1.0}}
        for number in range(1, count):
            late.see(trade(number, number * 1_000_000, 100.0), whole)
        return sum(map(len, late._apart.values()))

    assert sizes(10) == sizes(1000)
