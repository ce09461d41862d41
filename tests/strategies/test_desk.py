"""A desk calls strategies, and nobody else does: what they are given, and what becomes of their opinions and errors."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.errors import StrategyFailed
from cryptostream.model import memory
from cryptostream.model.codec import signal_fields
from cryptostream.model.events import Bar, Entry, Event, Gap, Kline, Micros, Signal, Trade
from cryptostream.model.instrument import Interval
from cryptostream.strategies.desk import Desk
from cryptostream.strategies.loading import make
from cryptostream.transforms.bars import Bars, parse_bars
from tests.strategies.market import QUICK, SIX


class Quiet:
    """Notes what it is given."""

    warm_up = 0

    def __init__(self) -> None:
        self.bars: list[str] = []
        self.trades: list[str] = []

    @property
    def values(self) -> dict[str, float | None]:
        return {"bars": float(len(self.bars)), "mean": None}


class OnBars(Quiet):
    def on_bar(self, bar: Bar) -> Iterable[Signal]:
        self.bars.append(bar.entry_id)
        return [Signal("buy", 0.5, "a bar", {"close": bar.close})]


class OnTrades(Quiet):
    def on_trade(self, trade: Trade) -> Iterator[Signal]:
        self.trades.append(trade.entry_id)
        yield Signal("sell", 0.25, "a trade")


class OnBoth(OnBars, OnTrades):
    pass


class Gives(Quiet):
    """Gives what it was made with."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given = given

    def on_bar(self, bar: Bar) -> Any:
        return self.given


class Fails(Quiet):
    def on_trade(self, trade: Trade) -> Iterator[Signal]:
        self.trades.append(trade.entry_id)
        yield Signal("buy")
        raise KeyError("mean")


def trade(number: int, price: float = 10.0, ms: int | None = None) -> Trade:
    at = number * 1_000 if ms is None else ms
    return Trade(f"{at}-{number}", "binance", "BTCUSDT", price, 1.0, Micros(at * 1_000), "buy", number)


def kline(number: int, *, closed: bool = True) -> Kline:
    prices = {"open": 9.0, "high": 11.0, "low": 8.0, "close": 10.0}
    volumes = {"volume": 1.0, "quote_volume": 10.0, "taker_buy_volume": 0.5, "taker_buy_quote_volume": 5.0}
    ends = 60_000 * (number + 1) - 1
    return Kline(
        entry_id=f"{ends}-1",
        exchange="binance",
        pair="BTCUSDT",
        interval=Interval("1m"),
        open_time=60_000 * number,
        close_time=ends,
        trades=3,
        closed=closed,
        ts=Micros(ends * 1_000),
        **prices,
        **volumes,
    )


def desk(bars: str | None = "tick:2", **strategies: Any) -> Desk:
    return Desk("BTCUSDT", strategies, Bars(parse_bars(bars)) if bars else None)


def test_a_bar_is_made_of_trades_and_its_signals_are_those_of_the_entry_that_closed_it() -> None:
    told = desk("1m", mine=OnBars())
    assert told.on(trade(1, 10.0, ms=1_000)) == told.on(trade(2, 12.0, ms=59_999)) == []
    assert told.on(trade(3, 99.0, ms=60_000)) == [
        Signal("buy", 0.5, "a bar", {"close": 12.0}, "mine", "BTCUSDT", 12.0, Micros(60_000_000), "60000-3")
    ]
    assert told.bar is not None
    assert (told.bar.close, told.bar.trades) == (12.0, 2)


def test_a_signal_of_a_trade_has_its_price_and_its_entry() -> None:
    assert desk(None, mine=OnTrades()).on(trade(7, 11.5)) == [
        Signal("sell", 0.25, "a trade", {}, "mine", "BTCUSDT", 11.5, Micros(7_000_000), "7000-7")
    ]


def test_who_wants_bars_is_not_given_trades() -> None:
    bars, trades, both = OnBars(), OnTrades(), OnBoth()
    told = desk("tick:2", one=bars, two=trades, three=both)
    for number in (1, 2, 3):
        told.on(trade(number))
    assert (bars.bars, bars.trades) == (["2000-2"], [])
    assert (trades.bars, trades.trades) == ([], ["1000-1", "2000-2", "3000-3"])
    assert (both.bars, both.trades) == (["2000-2"], ["1000-1", "2000-2", "3000-3"])
    assert told.wants_trades
    assert not desk(one=OnBars()).wants_trades


def test_what_a_strategy_says_of_the_trade_stands_for_what_it_said_of_the_bar() -> None:
    told = desk(both=OnBoth(), bars_alone=OnBars())
    assert [each.strategy for each in told.on(trade(1))] == ["both"]
    assert [(each.strategy, each.side) for each in told.on(trade(2))] == [("bars_alone", "buy"), ("both", "sell")]


def test_a_closed_kline_is_a_bar_and_an_open_one_is_nothing() -> None:
    told = desk(None, mine=OnBars())
    assert told.on(kline(0, closed=False)) == []
    (signal,) = told.on(kline(0))
    assert (signal.entry_id, signal.price, signal.ts) == ("59999-1", 10.0, 59_999_000)


def test_a_gap_marks_the_bar_it_falls_into_and_is_no_opinion() -> None:
    seen: list[bool] = []

    class Looks(Quiet):
        def on_bar(self, bar: Bar) -> None:
            seen.append(bar.gap)

    told = desk(mine=Looks())
    gap = Gap("1000-2", "binance", "BTCUSDT", 2, 3, "drop", Micros(1_000_000))
    for event in (trade(1), gap, trade(4), trade(5), trade(6)):
        assert told.on(event) == []
    assert seen == [True, False]
    assert desk(None, mine=OnBars()).on(gap) == []


@pytest.mark.parametrize("event", [Signal("buy"), Entry("events:binance", "1-0", {}), kline(0, closed=False)])
def test_what_is_no_market_is_passed_over(event: Event | Entry) -> None:
    assert desk(bars="tick:1", mine=OnBoth()).on(event) == []


@pytest.mark.parametrize("nothing", [None, [], (), {}])
def test_nothing_may_be_given_in_any_way(nothing: Any) -> None:
    assert desk("tick:1", mine=Gives(nothing)).on(trade(1)) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([Signal("buy"), Signal("sell")], "ValueError: it gave 2 signals for one event"),
        ([Signal("buy", 1.5)], "ValueError: the strength 1.5 is not from 0 to 1"),
        ([Signal("buy", -0.1)], "ValueError: the strength -0.1"),
        ([Signal("buy", float("nan"))], "ValueError: the strength nan"),
        ([Signal("hold")], "ValueError: 'hold' is no side: one of buy, sell, exit"),  # type: ignore[arg-type]
        ([Signal("buy", values={"rsi": float("nan")})], "ValueError: rsi is nan"),
        ([Signal("buy", values={"rsi": float("inf")})], "ValueError: rsi is inf"),
        ([Signal("buy", values={"rsi": None})], "TypeError: "),  # type: ignore[dict-item]
        (["buy"], "TypeError: it gave a str, and not a Signal"),
        (Signal("buy"), "TypeError: "),
        (7, "TypeError: "),
    ],
)
def test_what_is_no_opinion_fails_and_names_the_strategy_and_the_entry(given: Any, words: str) -> None:
    with pytest.raises(StrategyFailed) as caught:
        desk("tick:1", mine=Gives(given)).on(trade(4))
    assert str(caught.value).startswith(f"strategy mine of BTCUSDT failed at entry 4000-4: {words}")
    assert (caught.value.strategy, caught.value.entry_id, caught.value.exit_code) == ("mine", "4000-4", 6)


def test_a_strategy_that_raises_is_named_with_the_entry_and_the_cause() -> None:
    with pytest.raises(
        StrategyFailed, match="strategy mine of BTCUSDT failed at entry 1000-1: KeyError: 'mean'"
    ) as caught:
        desk(None, mine=Fails()).on(trade(1))
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_strategy_leaves_out_the_entry_it_failed_at_and_the_others_do_not() -> None:
    failing, other = Fails(), OnTrades()
    told = desk(None, mine=failing, other=other)
    told.skipping = {"mine": "2000-2"}
    assert [each.strategy for each in told.on(trade(2))] == ["other"]
    assert failing.trades == []
    with pytest.raises(StrategyFailed):
        told.on(trade(3))


def test_a_bar_is_left_out_by_the_entry_that_closed_it() -> None:
    mine = OnBars()
    told = desk("tick:2", mine=mine)
    told.skipping = {"mine": "2000-2"}
    assert [signal.entry_id for number in (1, 2, 3, 4) for signal in told.on(trade(number))] == ["4000-4"]
    assert mine.bars == ["4000-4"]


def test_the_values_of_each_strategy_are_told() -> None:
    told = desk("tick:1", one=OnBars(), two=OnTrades())
    told.on(trade(1))
    assert told.values == {"one": {"bars": 1.0, "mean": None}, "two": {"bars": 0.0, "mean": None}}


def all_six() -> Desk:
    strategies = {name: make(SIX[name], QUICK[name]) for name in SIX}
    return Desk("BTCUSDT", {**strategies, "trades": OnTrades()}, Bars(parse_bars("tick:3")))


def tape(length: int = 240) -> list[Trade | Gap]:
    """A market that goes up and down in growing steps, with a gap now and then."""
    events: list[Trade | Gap] = []
    for number in range(1, length):
        if number % 50 == 0:
            events.append(Gap(f"{number * 1_000}-0", "binance", "BTCUSDT", number, number, "drop", Micros(number)))
        events.append(trade(number, 100.0 + (number * number * 7 % 23) / 2 - (number // 40 % 2) * number / 10))
    return events


def test_a_desk_goes_on_as_it_was_after_any_cut() -> None:
    events, running = tape(), all_six()
    whole = [all_six_said for event in events for all_six_said in running.on(event)]
    assert len({signal.strategy for signal in whole}) == 7
    running, said = all_six(), 0
    for cut, event in enumerate(events):
        if cut % 11 == 0:
            restored = all_six()
            memory.recall(restored, json.loads(json.dumps(memory.remembered(running))))
            assert [signal for after in events[cut:] for signal in restored.on(after)] == whole[said:]
        said += len(running.on(event))


class Every(OnBars):
    """Speaks of every other bar."""

    def on_bar(self, bar: Bar) -> Iterable[Signal]:
        said = super().on_bar(bar)
        return said if len(self.bars) % 2 else []


class Odd(OnTrades):
    """Speaks of every third trade."""

    def on_trade(self, trade: Trade) -> Iterator[Signal]:
        said = super().on_trade(trade)
        return said if trade.trade_id % 3 == 0 else iter(())


EVERYBODY = {"nobody": (), "bars": (Every,), "trades": (Odd,), "both": (Every, Odd, OnBoth)}


@given(
    st.lists(st.tuples(st.sampled_from(["trade", "trade", "trade", "gap"]), st.integers(0, 900)), max_size=40),
    st.sampled_from(["1s", "tick:1", "tick:3", "volume:2", None]),
    st.sampled_from(sorted(EVERYBODY)),
)
def test_events_up_to_the_next_that_matters_are_the_events_one_by_one(
    steps: list[tuple[str, int]], bars: str | None, who: str
) -> None:
    by_one, by_many = [desk(bars, **{each.__name__: each() for each in EVERYBODY[who]}) for _ in range(2)]
    events: list[Trade | Gap] = []
    ms = 0
    for number, (kind, wait) in enumerate(steps, 1):
        ms += wait
        gap = Gap(f"{ms}-{number}", "binance", "BTCUSDT", number, number, "drop", Micros(ms * 1_000))
        events.append(gap if kind == "gap" else trade(number, 10.0 + wait % 7, ms))

    left = iter(events)
    rest = iter(events)
    while (found := by_many.until(left)) is not None:
        event, signals = found
        for one in rest:
            bar, said = by_one.bar, by_one.on(one)
            if one is event:
                assert signals == said
                assert signals or by_one.bar is not bar
                break
            assert said == []
            assert by_one.bar is bar
        assert (by_many.bar, memory.remembered(by_many)) == (by_one.bar, memory.remembered(by_one))
    assert [signal for one in rest for signal in by_one.on(one)] == []
    assert (by_many.bar, memory.remembered(by_many)) == (by_one.bar, memory.remembered(by_one))


def test_a_strategy_that_fails_on_the_way_to_what_matters_is_named() -> None:
    with pytest.raises(StrategyFailed, match="strategy mine of BTCUSDT failed at entry 1000-1"):
        desk(None, mine=Fails()).until(iter([trade(1), trade(2)]))
    with pytest.raises(StrategyFailed, match="strategy mine of BTCUSDT failed at entry 2000-2"):
        desk("tick:2", mine=Gives(7)).until(iter([trade(1), trade(2)]))


def test_a_desk_without_bars_is_remembered_too() -> None:
    one, other = desk(None, mine=OnBars()), desk(None, mine=OnBars())
    one.on(kline(0))
    memory.recall(other, memory.remembered(one))
    assert (
        memory.remembered(other)
        == memory.remembered(one)
        == {"bars": None, "strategies": {"mine": {"bars": ["59999-1"], "trades": []}}}
    )


def test_numbers_of_numpy_become_plain_ones() -> None:
    opinion = Signal("buy", np.float64(0.5), values={"rsi": np.float64(28.5), "count": 3})
    (signal,) = desk("tick:1", mine=Gives([opinion])).on(trade(1))
    fields = signal_fields(signal)
    assert (fields["strength"], fields["rsi"], fields["count"]) == ("0.5", "28.5", "3.0")


def test_the_memory_of_other_bars_or_another_strategy_is_refused() -> None:
    saved = memory.remembered(desk("tick:2", mine=OnBars()))
    with pytest.raises(ValueError, match="bars"):
        memory.recall(desk("tick:3", mine=OnBars()), saved)
    with pytest.raises(ValueError, match="memory"):
        memory.recall(desk("tick:2", mine=Gives(None)), saved)
    with pytest.raises(ValueError, match="memory is not that of yours"):
        memory.recall(desk("tick:2", yours=OnBars()), saved)
    with pytest.raises(ValueError, match="memory is not that of mine"):
        memory.recall(desk(None, mine=OnBars()), saved)


def test_what_cannot_be_saved_names_the_strategy_and_what_it_is() -> None:
    strategy = OnBars()
    strategy.bars = {"1-0"}  # type: ignore[assignment]
    with pytest.raises(StrategyFailed, match="bars is a set"):
        memory.remembered(desk(mine=strategy))


class Leaves(OnBars):
    """Ends the program, as it thinks."""

    def on_bar(self, bar: Bar) -> Any:
        raise SystemExit(0)


class Odd(OnBars):
    """Tells of things that are no numbers."""

    @property
    def values(self) -> Any:
        return {"a": float("nan"), "b": "x", "c": float("inf"), "d": 2, "e": None}


def test_a_strategy_that_ends_the_program_has_failed() -> None:
    with pytest.raises(StrategyFailed, match="SystemExit"):
        desk("tick:1", leaves=Leaves()).on(trade(1))


def test_a_value_that_is_no_number_counts_as_not_yet() -> None:
    assert desk(None, odd=Odd()).values == {"odd": {"a": None, "b": None, "c": None, "d": 2.0, "e": None}}
