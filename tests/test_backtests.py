"""Backtests as tasks: a stretch of time, and a desk that nobody hears before its time."""

from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.backtest.block import BarSeries, TradeSeries
from cryptostream.backtest.result import Book, PairResult
from cryptostream.backtest.run import Mode
from cryptostream.backtest.terms import Terms
from cryptostream.config.strategies import Wish
from cryptostream.model.events import Gap, Micros, Signal, Trade
from cryptostream.wiring import roster
from cryptostream.wiring.backtests import Quiet, Task, cut, work
from tests.backtest.traded import Klines, S, Says, Shouts, Trades, desk_of, prices, trade

MS = 1_000
BARS = "def on_bar(self, bar):\n        return self.said()"
BOTH = f"{BARS}\n\n    def on_trade(self, trade):\n        return self.said()"
SOURCE = """
from cryptostream.model.events import Signal


class Turns:
    warm_up = 1
    values = {{}}

    def __init__(self):
        self.count = 0

    def said(self):
        self.count += 1
        yield Signal("buy" if self.count % 2 else "sell", values={{"count": self.count}})

    {takes}
"""


def quiet(until_us: int) -> Quiet:
    says = {number: "buy" if number % 2 else "sell" for number in range(0, 20, 3)}
    shouts = dict.fromkeys(range(1, 60, 7), "exit")
    return Quiet(desk_of("tick:3", says=lambda: Says(says), shouts=lambda: Shouts(shouts))(), until_us)  # type: ignore[arg-type]


@given(st.integers(0, 40), st.integers(0, 45), st.integers(0, 40))
def test_a_quiet_desk_says_the_same_however_it_is_given_its_events(count: int, until: int, gap: int) -> None:
    events: list[Trade | Gap] = [*prices(*range(100, 100 + count))]
    events.insert(gap, Gap("0-0", "binance", "BTCUSDT", 1, 2, "test", Micros(0)))
    by_one, by_many, left = quiet(until * S), quiet(until * S), iter(events)
    said = []
    while (found := by_many.until(left)) is not None:
        said += found[1]
    assert said == [signal for event in events for signal in by_one.on(event)]
    assert all(signal.ts >= until * S for signal in said)
    assert by_many.bar == by_one.bar
    assert by_many.values == by_one.values


def test_a_quiet_desk_tells_of_the_bars_that_close_while_nobody_hears() -> None:
    events = iter(prices(1, 2, 3, 4, 5))
    desk = Quiet(desk_of("tick:2", says=lambda: Says({0: "buy", 1: "sell"}))(), 3 * S)
    told = []
    while (found := desk.until(events)) is not None:
        told.append((found[0].entry_id, [signal.side for signal in found[1]]))
    assert told == [("1000-2", []), ("3000-4", ["sell"])]


def done(
    folder: Path,
    *,
    quiet_until: int | None,
    mode: Mode = "auto",
    takes: str = BARS,
    series: Trades | Klines | None = None,
) -> PairResult:
    """A backtest of a strategy that speaks of everything it takes in, of 20 trades, one each half second."""
    (folder / "turns.py").write_text(SOURCE.format(takes=takes))
    desks = roster.of([Wish("turns.py", {}, "turns")], "2s", [folder])
    series = series or Trades(prices(*range(100, 120), every_us=S // 2), block=7)
    return work(Task(series, desks, Terms(), mode, charts=False, quiet_until=quiet_until))


def book(*given: object, **told: object) -> Book:
    return done(*given, **told).books["turns"]  # type: ignore[arg-type]


@pytest.mark.parametrize(("mode", "takes"), [("bars", BARS), ("events", BARS), ("events", BOTH)])
@pytest.mark.parametrize("beside_us", [-1, 0, 1])
def test_nobody_is_heard_before_the_time_and_everybody_from_it_on(
    tmp_path: Path, mode: Mode, takes: str, beside_us: int
) -> None:
    loud = book(tmp_path, quiet_until=None, mode=mode, takes=takes)
    assert len(loud.signals) == (4 if takes is BARS else 20)
    for signal in loud.signals:
        until = signal.ts + beside_us
        heard = book(tmp_path, quiet_until=until, mode=mode, takes=takes)
        assert heard.signals == [each for each in loud.signals if each.ts >= until]
        assert (signal in heard.signals) == (beside_us <= 0)
        assert all(fill.ts > until - beside_us for fill in heard.fills)


def test_nobody_is_heard_of_klines_before_the_time_either(tmp_path: Path) -> None:
    series = Klines([(1.0, 2.0)] * 6)
    loud = book(tmp_path, quiet_until=None, series=series)
    assert len(loud.signals) == 6
    for beside_us in (-1, 0, 1):
        until = loud.signals[3].ts + beside_us
        heard = book(tmp_path, quiet_until=until, series=series)
        assert heard.signals == loud.signals[4 if beside_us > 0 else 3 :]


@pytest.mark.parametrize("mode", ["bars", "events"])
def test_who_is_not_heard_has_no_orders_and_goes_on_as_if_he_were(tmp_path: Path, mode: Mode) -> None:
    heard = book(tmp_path, quiet_until=6 * S, mode=mode)
    assert [(signal.ts, signal.values["count"]) for signal in heard.signals] == [(6 * S, 3.0), (8 * S, 4.0)]
    assert [fill.ts for fill in heard.fills] == [6 * S + S // 2, 8 * S + S // 2]
    assert heard.position.tolist()[:3] == [0.0, 0.0, 0.0]
    assert set(heard.equity.tolist()[:3]) == {Terms().cash}


def test_a_quiet_desk_is_the_desk_itself_but_for_what_it_says() -> None:
    desk = desk_of("tick:2", says=lambda: Says({0: "buy", 1: "sell"}))()
    mute = Quiet(desk, 10**18)
    for event in prices(1, 2, 3, 4):
        assert mute.on(event) == []
    bar = desk.bar
    assert bar is not None
    assert mute.bar is bar
    assert mute.values == desk.values == {"says": {"seen": 2.0}}
    assert not mute.wants_trades
    assert Quiet(desk_of("tick:2", shouts=Shouts)(), 0).wants_trades
    always, never = (desk_of("tick:2", says=lambda: Says({0: "buy"}))() for _ in range(2))
    assert [signal.side for signal in Quiet(always, bar.ts).on_bar(bar)] == ["buy"]
    assert Quiet(never, bar.ts + 1).on_bar(bar) == cast(list[Signal], [])


def times(series: TradeSeries | BarSeries, start: int | None, end: int | None) -> list[int]:
    """When what is left of a series was traded, or closed, in microseconds."""
    left = cut(series, start, end)
    if hasattr(left, "blocks"):
        return [int(ts) for block in left.blocks() for ts in block.ts]
    return [bar.close_time * MS for bar in left.bars()]


_ENDS = st.none() | st.integers(-2, 12).flatmap(lambda ms: st.sampled_from([ms * MS - 1, ms * MS, ms * MS + 1]))


@given(st.lists(st.integers(0, 10), min_size=1, max_size=12).map(sorted), st.integers(1, 4), _ENDS, _ENDS)
def test_trades_are_cut_at_the_start_which_stays_and_at_the_end_which_does_not(
    ms: list[int], block: int, start: int | None, end: int | None
) -> None:
    series = Trades([trade(number, each * MS, 1.0) for number, each in enumerate(ms, 1)], block=block)
    expected = [each * MS for each in ms if (start is None or start <= each * MS) and (end is None or each * MS < end)]
    assert times(series, start, end) == expected


@pytest.mark.parametrize("beside_us", [-1, 0, 1])
def test_klines_are_cut_by_their_close_at_the_start_which_stays_and_at_the_end_which_does_not(beside_us: int) -> None:
    series = Klines([(1.0, 2.0)] * 5)
    closes = [(minute * 60_000 - 1) * MS for minute in range(1, 6)]
    assert times(series, closes[1] + beside_us, None) == closes[2 if beside_us > 0 else 1 :]
    assert times(series, None, closes[3] + beside_us) == closes[: 4 if beside_us > 0 else 3]
    assert times(series, closes[1], closes[3]) == closes[1:3]


def test_two_stretches_that_meet_share_nothing_and_leave_out_nothing() -> None:
    trades, klines = Trades(prices(*range(1, 41), every_us=250 * MS), block=3), Klines([(1.0, 2.0)] * 20)
    for series, middle in ((trades, 5 * S), (klines, 600 * S), (klines, 600 * S - MS)):
        assert times(series, 0, middle) + times(series, middle, None) == times(series, None, None)


def test_a_gap_stays_on_its_side_of_a_cut() -> None:
    gaps = [Gap(f"{ms}-1", "binance", "BTCUSDT", 1, 1, "test", Micros(ms * MS)) for ms in (1500, 2500)]
    one, two, three = prices(1, 2, 3, every_us=1000 * MS)
    series = Trades([one, two, gaps[0], three, gaps[1]])
    for start, end, expected in ((0, 1_800 * MS, [one, two, gaps[0]]), (1_800 * MS, None, [three, gaps[1]])):
        left = cast(TradeSeries, cut(series, start, end))
        assert [event for block in left.blocks() for event in block.events()] == expected


def test_what_is_not_cut_is_the_series_itself_and_what_is_has_its_name() -> None:
    trades, klines = Trades(prices(1, 2)), Klines([(1.0, 2.0)])
    assert cut(trades, None, None) is trades
    for series in (trades, klines):
        left = cut(series, 0, None)
        assert (left.exchange, left.pair, left.stream) == (series.exchange, series.pair, series.stream)
    assert cast(Klines, cut(klines, 0, None)).interval == "1m"
