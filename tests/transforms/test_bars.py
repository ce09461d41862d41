"""Bars from trades: where they begin and end, what is in them, and that a restart does not show."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.errors import UsageError
from cryptostream.model import intervals, memory
from cryptostream.model.events import Bar, Gap, Kline, Micros, Side, Trade
from cryptostream.model.instrument import Interval
from cryptostream.transforms.bars import Bars, BarSpec, of_kline, parse_bars

SPECS = ("1s", "90s", "1m", "1w", "1M", "tick:1", "tick:3", "volume:2.5", "dollar:1e2")
DAY_MS = 86_400_000


def trade(number: int, ts_ms: float, price: float = 10.0, qty: float = 1.0, side: Side = "buy") -> Trade:
    ts = Micros(round(ts_ms * 1_000))
    return Trade(f"{ts // 1_000}-{number}", "binance", "BTCUSDT", price, qty, ts, side, number)


def gap(number: int, ts_ms: int) -> Gap:
    return Gap(f"{ts_ms}-{number}", "binance", "BTCUSDT", number, number, "unfillable", Micros(ts_ms * 1_000))


def bars(spec: str, *events: Trade | Gap) -> list[Bar]:
    made = Bars(parse_bars(spec))
    return [bar for event in events if (bar := made.update(event)) is not None]


def test_time_bar_is_closed_by_the_first_trade_past_its_window_which_belongs_to_the_next() -> None:
    closed = bars(
        "1m",
        trade(1, 60_500, 10.0, 0.5, "sell"),
        trade(2, 61_000, 12.0, 0.25),
        trade(3, 61_000, 9.0, 2.0),
        trade(4, 119_999.999, 11.0, 1.0, "sell"),
        trade(5, 120_000.5, 99.0, 7.0),
    )
    volume, quote_volume = 0.5 + 0.25 + 2.0 + 1.0, 5.0 + 3.0 + 18.0 + 11.0
    ohlc = (10.0, 12.0, 9.0, 11.0)
    assert closed == [
        Bar(
            "120000-5",
            "binance",
            "BTCUSDT",
            "1m",
            60_000,
            119_999,
            *ohlc,
            volume,
            quote_volume,
            trades=4,
            taker_buy_volume=2.25,
            gap=False,
            ts=Micros(120_000_500),
        )
    ]


def test_windows_without_trades_make_no_bar() -> None:
    closed = bars("1s", trade(1, 1_000), trade(2, 7_000), trade(3, 9_500))
    assert [(bar.open_time, bar.close_time, bar.entry_id) for bar in closed] == [
        (1_000, 1_999, "7000-2"),
        (7_000, 7_999, "9500-3"),
    ]


def test_late_trade_does_not_reopen_a_bar() -> None:
    closed = bars("1s", trade(1, 1_000, 10.0), trade(2, 2_000, 11.0), trade(3, 1_999, 5.0), trade(4, 3_000, 12.0))
    assert [(bar.open_time, bar.open, bar.low, bar.trades) for bar in closed] == [
        (1_000, 10.0, 10.0, 1),
        (2_000, 11.0, 5.0, 2),
    ]


@pytest.mark.parametrize("interval", Interval)
@given(at_ms=st.integers(0, 4_102_444_800_000))
def test_windows_are_those_of_the_venues_klines(interval: Interval, at_ms: int) -> None:
    opened, following = parse_bars(interval).window(at_ms)
    assert opened == intervals.opens(interval, at_ms)
    assert following == intervals.following(interval, opened)


@pytest.mark.parametrize(
    ("text", "at_ms", "window"),
    [
        ("90s", 100_000, (90_000, 180_000)),
        ("1h30m", 5_400_000, (5_400_000, 10_800_000)),
        ("250ms", 1_260, (1_250, 1_500)),
        ("2w", 4 * DAY_MS, (4 * DAY_MS, 18 * DAY_MS)),
        ("7d", 4 * DAY_MS, (0, 7 * DAY_MS)),
    ],
)
def test_windows_of_any_length_are_counted_from_the_epoch_and_weeks_from_monday(
    text: str, at_ms: int, window: tuple[int, int]
) -> None:
    assert parse_bars(text).window(at_ms) == window


def test_tick_bar_ends_with_the_trade_that_fills_it() -> None:
    closed = bars("tick:2", *(trade(number, 1_000 * number, 10.0 + number) for number in range(1, 6)))
    assert [(bar.entry_id, bar.open_time, bar.close_time, bar.open, bar.close, bar.ts) for bar in closed] == [
        ("2000-2", 1_000, 2_000, 11.0, 12.0, 2_000_000),
        ("4000-4", 3_000, 4_000, 13.0, 14.0, 4_000_000),
    ]


def test_volume_bar_takes_all_of_the_trade_that_fills_it_and_each_trade_closes_one_at_most() -> None:
    closed = bars("volume:1.5", trade(1, 1, qty=1.0), trade(2, 2, qty=0.5), trade(3, 3, qty=100.0), trade(4, 4))
    assert [(bar.entry_id, bar.volume, bar.trades) for bar in closed] == [("2-2", 1.5, 2), ("3-3", 100.0, 1)]


def test_dollar_bar_is_filled_by_price_times_quantity() -> None:
    closed = bars("dollar:50", trade(1, 1, 10.0, 4.9), trade(2, 2, 10.0, 0.1), trade(3, 3, 10.0, 4.9))
    assert [(bar.entry_id, bar.quote_volume) for bar in closed] == [("2-2", 50.0)]


def test_sums_are_taken_in_the_order_of_the_stream() -> None:
    closed = bars("tick:4", *(trade(number, number, 1.0, qty) for number, qty in enumerate((1e16, 1.0, 1.0, 1.0), 1)))
    assert closed[0].volume == ((1e16 + 1.0) + 1.0) + 1.0 != 1e16 + (1.0 + (1.0 + 1.0))


@pytest.mark.parametrize(
    ("spec", "before", "flags"),
    [
        ("1s", 1, [True, False, False]),
        ("1s", 2, [True, False, False]),
        ("1s", 3, [True, True, False]),
        ("1s", 4, [False, True, False]),
        ("1s", 5, [False, True, True]),
        ("1s", 7, [False, False, True]),
        ("tick:2", 1, [True, False, False]),
        ("tick:2", 2, [True, False, False]),
        ("tick:2", 3, [False, True, False]),
        ("tick:2", 4, [False, True, False]),
        ("volume:2", 5, [False, False, True]),
    ],
)
def test_gap_marks_the_open_bar_and_that_of_the_next_trade(spec: str, before: int, flags: list[bool]) -> None:
    events: list[Trade | Gap] = [trade(number, 500 * (number + 1)) for number in range(1, 8)]
    events.insert(before - 1, gap(0, 500 * before))
    assert [bar.gap for bar in bars(spec, *events)] == flags


def test_gap_between_two_windows_is_told_once_only() -> None:
    events = [trade(1, 1_000), gap(2, 1_000), trade(3, 2_000), trade(4, 2_500), trade(5, 3_000), trade(6, 4_000)]
    assert [bar.gap for bar in bars("1s", *events)] == [True, True, False]


TRADES = st.lists(
    st.tuples(
        st.integers(-3_000, 40_000),
        st.sampled_from([0.1, 9.7, 10.0, 1e5 / 3]),
        st.floats(1e-8, 3.0),
        st.sampled_from(["buy", "sell", "gap"]),
    ),
    max_size=40,
)


def stream(steps: list[tuple[int, float, float, Side]]) -> list[Trade | Gap]:
    events: list[Trade | Gap] = []
    now_ms = 1_700_000_000_000
    for number, (step_ms, price, qty, side) in enumerate(steps, 1):
        now_ms += step_ms
        events.append(gap(number, now_ms) if side == "gap" else trade(number, now_ms, price, qty, side))
    return events


@given(st.sampled_from(SPECS), TRADES)
def test_restarts_do_not_show(spec: str, steps: list[tuple[int, float, float, Side]]) -> None:
    """The second of two runs starts anew, from what it remembers, before every event."""
    events = stream(steps)
    through, anew = Bars(parse_bars(spec)), Bars(parse_bars(spec))
    for event in events:
        saved = msgspec.msgpack.encode(memory.remembered(anew))
        anew = Bars(parse_bars(spec))
        memory.recall(anew, msgspec.msgpack.decode(saved))
        assert anew.update(event) == through.update(event)
    assert memory.remembered(anew) == memory.remembered(through)


@given(st.sampled_from(("1s", "90s", "1m", "1M")), TRADES)
def test_every_trade_is_in_one_bar_and_windows_rise(spec: str, steps: list[tuple[int, float, float, Side]]) -> None:
    events = stream(steps)
    closed = bars(spec, *events, trade(99, 4_102_444_800_000))
    assert sum(bar.trades for bar in closed) == sum(type(event) is Trade for event in events)
    assert all(bar.close_time < later.open_time for bar, later in pairwise(closed))


def test_memory_of_other_bars_is_refused() -> None:
    state = memory.remembered(Bars(parse_bars("1m")))
    with pytest.raises(ValueError, match="not that of 5m bars, but of 1m"):
        memory.recall(Bars(parse_bars("5m")), state)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("1s", BarSpec("1s", "time", 1_000)),
        (" 4h ", BarSpec("4h", "time", 14_400_000)),
        ("1.001s", BarSpec("1.001s", "time", 1_001)),
        ("1w", BarSpec("1w", "time", 604_800_000, 4 * DAY_MS)),
        ("1M", BarSpec("1M", "time", 0)),
        ("tick:100", BarSpec("tick:100", "tick", 100)),
        ("volume:10.5", BarSpec("volume:10.5", "volume", 10.5)),
        ("dollar:1e6", BarSpec("dollar:1e6", "dollar", 1e6)),
    ],
)
def test_bars_are_read_as_people_write_them(text: str, spec: BarSpec) -> None:
    assert parse_bars(text) == spec


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("", "not a kind of bar: ''", "1s, 90s"),
        ("1x", "not a kind of bar: '1x'", "1s, 90s"),
        ("0s", "no bars of 0s", "1ms"),
        ("0.5ms", "no bars of 0.5ms", "whole milliseconds"),
        ("99999d", "no bars of 99999d", "ten years"),
        ("2M", "not a kind of bar: '2M'", "1M"),
        ("tick", "not a kind of bar: 'tick'", "tick"),
        ("ticks:100", "not a kind of bar: 'ticks:100'", 'did you mean "tick"?'),
        ("tick:1.5", "no tick bars of 1.5", "tick:100"),
        ("tick:", "'' is no size of tick bars", "tick:100"),
        ("volume:-1", "no volume bars of -1", "volume:10.5"),
        ("volume:nan", "no volume bars of nan", "volume:10.5"),
        ("dollar:1e99", "no dollar bars of 1e99", "dollar:1e6"),
        ("dollar:lots", "'lots' is no size of dollar bars", "dollar:1e6"),
    ],
)
def test_what_are_no_bars_is_refused(text: str, says: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_bars(text)
    assert str(refused.value) == says
    assert hint in refused.value.hint


def test_closed_kline_is_a_bar_as_it_is() -> None:
    ohlc, volumes = (10.0, 12.0, 9.0, 11.0), (3.75, 37.0)
    times = {"open_time": 60_000, "close_time": 119_999}
    kline = Kline(
        "119999-1",
        "binance",
        "BTCUSDT",
        Interval.M1,
        *times.values(),
        *ohlc,
        *volumes,
        trades=4,
        taker_buy_volume=2.25,
        taker_buy_quote_volume=22.0,
        closed=True,
        ts=Micros(120_000_017),
    )
    bar = of_kline(kline)
    assert bar == Bar(
        "119999-1",
        "binance",
        "BTCUSDT",
        "1m",
        *times.values(),
        *ohlc,
        *volumes,
        trades=4,
        taker_buy_volume=2.25,
        gap=False,
        ts=Micros(120_000_017),
    )
    assert type(bar.interval) is str
