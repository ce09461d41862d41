"""One pair through a desk: where orders are filled, and that bars mode and event mode are one and the same."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.backtest.block import Block
from cryptostream.backtest.result import Book, PairResult
from cryptostream.backtest.run import BENCHMARK, Mode, run
from cryptostream.backtest.terms import Size, Terms
from cryptostream.errors import StrategyFailed, UsageError
from cryptostream.model.events import Bar, Gap, Micros, Opinion, Signal, Trade
from cryptostream.strategies.desk import Desk
from cryptostream.transforms.bars import Bars, parse_bars
from tests.backtest.traded import Klines, S, Says, Shouts, Trades, desk_of, prices, trade

BOTH: tuple[Mode, ...] = ("bars", "events")
FREE = Terms(cash=1000.0, fee_bps=0.0, size=Size(1.0, "base"))


def ran(
    events: list[Any],
    says: Mapping[int, Opinion],
    terms: Terms = FREE,
    bars: str = "2s",
    mode: Mode = "auto",
    block: int = 500,
) -> PairResult:
    spec = parse_bars(bars)
    return run(Trades(events, block), desk_of(spec, one=lambda: Says(says)), spec, terms, mode=mode)


def filled(result: PairResult) -> list[tuple[str, str, str, float, int]]:
    return [(each.signal_id, each.entry_id, each.side, each.price, each.ts) for each in result.books["one"].fills]


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("block", [1, 2, 500])
def test_order_is_filled_by_the_trade_after_the_one_that_closed_the_bar(mode: Mode, block: int) -> None:
    result = ran(prices(10, 11, 12, 13, 14), {0: "buy"}, mode=mode, block=block)
    assert filled(result) == [("2000-3", "3000-4", "buy", 13.0, 3 * S)]


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("block", [1, 2, 500])
@pytest.mark.parametrize(("bars", "fill"), [("2s", ("2000-3", "2000-3", 12.0)), ("tick:3", ("2000-3", "3000-4", 13.0))])
def test_at_bar_open_means_the_first_trade_of_the_next_bar(
    mode: Mode, block: int, bars: str, fill: tuple[str, str, float]
) -> None:
    result = ran(prices(10, 11, 12, 13, 14), {0: "buy"}, replace(FREE, fill="bar-open"), bars, mode, block)
    assert [(each[0], each[1], each[3]) for each in filled(result)] == [fill]


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("block", [1, 2, 3, 500])
def test_latency_is_over_when_a_trade_says_so(mode: Mode, block: int) -> None:
    result = ran(prices(*range(10, 20)), {0: "buy"}, replace(FREE, latency_ms=3000.5), mode=mode, block=block)
    assert filled(result) == [("2000-3", "6000-7", "buy", 16.0, 6 * S)]


@pytest.mark.parametrize("mode", BOTH)
def test_trade_that_comes_after_the_signal_and_is_older_fills_nothing(mode: Mode) -> None:
    late = Trade("2000-4", "binance", "BTCUSDT", 99.0, 1.0, Micros(S), "buy", 4)
    events = [*prices(10, 11, 12), late, trade(5, 2 * S, 12.5)]
    assert [each[1] for each in filled(ran(events, {0: "buy"}, mode=mode))] == ["2000-5"]


@pytest.mark.parametrize("mode", BOTH)
def test_order_waits_for_a_trade_that_is_far_behind_many_blocks(mode: Mode) -> None:
    events = [*prices(*[10.0] * 900, every_us=1_000), trade(901, 9 * S, 50.0), trade(902, 10 * S, 51.0)]
    result = ran(events, {0: "buy"}, replace(FREE, latency_ms=5_000), "100ms", mode, block=7)
    assert filled(result) == [("100-101", "9000-901", "buy", 50.0, 9 * S)]


@pytest.mark.parametrize("mode", BOTH)
def test_order_that_no_trade_fills_is_counted(mode: Mode) -> None:
    result = ran(prices(10, 11, 12, 13, 14), {1: "buy"}, mode=mode)
    assert (filled(result), result.books["one"].unfilled) == ([], 1)


@pytest.mark.parametrize("mode", BOTH)
def test_equity_has_a_mark_for_each_bar_and_one_for_the_end(mode: Mode) -> None:
    result = ran(prices(10, 11, 12, 13, 14, 15), {0: "buy"}, mode=mode)
    book = result.books["one"]
    assert book.ts.tolist() == [2 * S, 4 * S, 5 * S]
    assert book.equity.tolist() == [1000.0, 1000.0, 1002.0]
    assert book.position.tolist() == [0.0, 1.0, 1.0]
    assert result.candles.close.tolist() == [11.0, 13.0]
    assert result.candles.open_time.tolist() == [0, 2000]
    assert result.values["one"]["seen"].tolist() == pytest.approx([np.nan, 2.0], nan_ok=True)
    assert (result.trades, result.gaps) == (6, 0)


@pytest.mark.parametrize("mode", BOTH)
def test_benchmark_buys_because_of_the_first_bar_with_all_of_its_cash_and_holds(mode: Mode) -> None:
    terms = replace(FREE, fee_bps=100.0, size=Size(1.0, "base"), long_only=True)
    held = ran(prices(10, 11, 12, 13, 14, 15), {}, terms, mode=mode).benchmark
    assert held is not None
    (fill,) = held.fills
    assert (held.strategy, fill.entry_id, fill.price) == (BENCHMARK, "3000-4", 13.0)
    assert fill.qty == pytest.approx(1000 / (13 * 1.01))
    assert held.equity[-1] == pytest.approx(fill.qty * 15)


def test_klines_fill_at_the_open_of_the_next() -> None:
    klines, desk = Klines([(10, 11), (12, 13), (14, 15)]), desk_of("1m", one=lambda: Says({0: "buy"}))
    result = run(klines, desk, parse_bars("1m"), FREE)
    assert filled(result) == [("59999-1", "119999-1", "buy", 12.0, 60_049_000)]
    assert result.books["one"].equity.tolist() == [1000.0, 1001.0, 1003.0, 1003.0]
    assert result.benchmark is not None
    assert result.benchmark.fills[0].price == 12.0


@pytest.mark.parametrize(
    ("terms", "desk", "mode", "series"),
    [
        pytest.param(FREE, Shouts, "bars", Trades(prices(1, 2)), id="trades wanted, bars mode"),
        pytest.param(FREE, Shouts, "auto", Klines([(1, 2)]), id="trades wanted of klines"),
        pytest.param(replace(FREE, fill="bar-open"), Shouts, "auto", Trades(prices(1, 2)), id="trades, at bar open"),
        pytest.param(replace(FREE, latency_ms=1), Says, "auto", Klines([(1, 2)]), id="latency among klines"),
    ],
)
def test_what_does_not_go_together_is_refused(terms: Terms, desk: Any, mode: Mode, series: Any) -> None:
    with pytest.raises(UsageError):
        run(series, desk_of("1s", one=desk), parse_bars("1s"), terms, mode=mode)


def test_strategy_of_trades_is_filled_by_the_next_trade_whatever_bar_it_is_in() -> None:
    desk = desk_of("1m", one=lambda: Shouts({2: "buy", 4: "exit"}), other=lambda: Says({}))
    result = run(Trades(prices(10, 11, 12, 13, 14)), desk, parse_bars("1m"), FREE)
    assert [each[1:4] for each in filled(result)] == [("2000-3", "buy", 12.0), ("4000-5", "sell", 14.0)]
    assert result.books["other"].fills == []


@pytest.mark.parametrize("mode", BOTH)
def test_strategy_that_fails_is_heard_of_as_it_was_said(mode: Mode) -> None:
    class Fails(Says):
        def on_bar(self, bar: Bar) -> list[Signal]:
            raise ZeroDivisionError("by nothing")

    with pytest.raises(StrategyFailed, match="by nothing") as raised:
        run(Trades(prices(*range(1, 9))), desk_of("2s", one=Fails), parse_bars("2s"), FREE, mode=mode)
    assert (raised.value.strategy, raised.value.entry_id) == ("one", "2000-3")


@pytest.mark.parametrize("mode", BOTH)
def test_no_trades_at_all_are_no_result_to_fear(mode: Mode) -> None:
    result = ran([], {0: "buy"}, mode=mode)
    assert (result.trades, len(result.candles.ts), len(result.books["one"].ts)) == (0, 0, 0)


@pytest.mark.parametrize("mode", BOTH)
def test_without_charts_only_the_books_are_kept(mode: Mode) -> None:
    desk, spec = desk_of("2s", one=lambda: Says({0: "buy"})), parse_bars("2s")
    with_charts = run(Trades(prices(*range(1, 9))), desk, spec, FREE, mode=mode)
    without = run(Trades(prices(*range(1, 9))), desk, spec, FREE, mode=mode, charts=False)
    assert (len(without.candles.ts), without.values, without.benchmark) == (0, {}, None)
    assert_same_books(without.books["one"], with_charts.books["one"])


@pytest.mark.parametrize("mode", BOTH)
def test_progress_is_told_of_every_trade_once(mode: Mode) -> None:
    told: list[int] = []
    desk, spec = desk_of("2s", one=Says), parse_bars("2s")
    run(Trades(prices(*range(1, 9)), block=3), desk, spec, FREE, mode=mode, progress=told.append)
    assert told == [3, 3, 2]


class Swings:
    """Trades back and forth by what it sees, so that whatever it sees differently shows."""

    warm_up = 1

    def __init__(self) -> None:
        self.mean = 0.0
        self.bars = 0

    @property
    def values(self) -> dict[str, float | None]:
        return {"mean": self.mean if self.bars > 2 else None}

    def on_bar(self, bar: Bar) -> list[Signal]:
        self.bars += 1
        self.mean += (bar.close - self.mean) / 3 + (0.01 if bar.gap else 0) + bar.taker_buy_volume * 1e-6
        side: Literal["buy", "sell", "exit"] = (
            "exit" if self.bars % 7 == 0 else "buy" if bar.close > self.mean else "sell"
        )
        return [Signal(side, reason=f"{self.mean!r}")] if self.bars % 2 else []


def swinging(bars: str) -> Callable[[], Desk]:
    spec = parse_bars(bars)
    return lambda: Desk("BTCUSDT", {"swings": Swings(), "says": Says({0: "sell", 3: "buy"})}, Bars(spec))


steps = st.tuples(
    st.integers(-300_000, 2_000_000),  # the time to the next trade: now and then it is older
    st.sampled_from([-7, -1, 0, 1, 7, 40]),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.sampled_from(["buy", "sell", "gap"]),
)
walks = st.lists(steps, min_size=1, max_size=80)
all_terms = st.builds(
    Terms,
    cash=st.sampled_from([50.0, 10_000.0]),
    fee_bps=st.sampled_from([0.0, 10.0]),
    slippage_bps=st.sampled_from([0.0, 3.0]),
    latency_ms=st.sampled_from([0.0, 0.0, 150.0, 4000.0]),
    size=st.sampled_from(["100%", "30%", "1 base"]).map(Size.parse),
    long_only=st.booleans(),
) | st.builds(Terms, fill=st.just("bar-open"))


def walked(walk: list[tuple[int, int, float, str]]) -> list[Trade | Gap]:
    events: list[Trade | Gap] = []
    ts, ms, price = 10 * S, 0, 1000.0
    for number, (wait, step, qty, kind) in enumerate(walk, 1):
        ts, price = max(0, ts + wait), max(1.0, price + step)
        ms = max(ms, ts // 1_000)
        if kind == "gap":
            events.append(Gap(f"{ms}-{number}", "binance", "BTCUSDT", number, number, "test", Micros(ts)))
        else:
            side: Literal["buy", "sell"] = "buy" if kind == "buy" else "sell"
            events.append(Trade(f"{ms}-{number}", "binance", "BTCUSDT", price, qty, Micros(ts), side, number))
    return events


@given(
    walks.filter(lambda walk: any(kind != "gap" for *_, kind in walk)),
    st.sampled_from(["1s", "5s", "1m", "tick:1", "tick:4", "volume:3", "dollar:2500"]),
    all_terms,
    st.sampled_from([1, 7, 500]),
)
def test_bars_mode_and_event_mode_are_the_same_to_the_last_bit(
    walk: list[tuple[int, int, float, str]], bars: str, terms: Terms, block: int
) -> None:
    series, spec = Trades(walked(walk), block), parse_bars(bars)
    by_event = run(replace(series, block=500), swinging(bars), spec, terms, mode="events")
    by_bars = run(series, swinging(bars), spec, terms, mode="bars")
    assert_same(by_bars, by_event)
    for fill in by_bars.books["swings"].fills:
        later = _parsed(fill.entry_id) > _parsed(fill.signal_id)
        assert later or (terms.fill == "bar-open" and fill.entry_id == fill.signal_id)


def _parsed(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))


def assert_same(one: PairResult, other: PairResult) -> None:
    assert (one.trades, one.gaps, one.stream) == (other.trades, other.gaps, other.stream)
    for column in fields(one.candles):
        assert getattr(one.candles, column.name).tobytes() == getattr(other.candles, column.name).tobytes()
    for name in one.values:
        for indicator, values in one.values[name].items():
            assert values.tobytes() == other.values[name][indicator].tobytes()
    assert one.benchmark is not None
    assert other.benchmark is not None
    assert_same_books(one.benchmark, other.benchmark)
    assert one.books.keys() == other.books.keys()
    for name, book in one.books.items():
        assert_same_books(book, other.books[name])


def assert_same_books(one: Book, other: Book) -> None:
    for column in fields(one):
        mine, theirs = getattr(one, column.name), getattr(other, column.name)
        assert (mine.tobytes(), theirs.dtype) == (theirs.tobytes(), mine.dtype) if _is_array(mine) else mine == theirs


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray)


def test_blocks_of_the_tests_hold_what_they_were_made_of() -> None:
    events = walked([(1, 1, 1.0, "buy"), (1, 1, 1.0, "gap"), (1, 1, 1.0, "sell"), (1, 1, 1.0, "gap")])
    assert [event for block in Trades(events, 1).blocks() for event in block.events()] == events
    assert isinstance(next(Trades(events).blocks()), Block)
