"""Closed klines leave once each, in the order of their windows, whatever comes twice, late, never or out of order."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cryptostream.bus.pack import Entries
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import DeadLetter, GapRecord, KlineRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.model.intervals import closes, following, opens, shifted
from cryptostream.venues.candles import Candles

MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
ETH = Subscription("binance", Channel.KLINES, "ETHUSDT", Interval.M1)
MINUTE_MS = 60_000
T0 = 1_731_605_400_000  # a full minute


def at(window: int) -> int:
    """When a window opens, counted from the first of a test."""
    return T0 + window * MINUTE_MS


def kline(
    window_ms: int, *, closed: bool, event_ms: int | None = None, wanted: Subscription = MINUTES, price: str = "1.5"
) -> KlineRecord:
    assert wanted.interval is not None
    close_time = closes(wanted.interval, window_ms)
    ts = Micros((close_time + 2 if event_ms is None else event_ms) * 1000)
    volumes = ("10", "15", 3, "4", "6")
    return KlineRecord(wanted, window_ms, close_time, price, price, price, price, *volumes, closed, ts, '{"k":1}')


def closed(window: int, wanted: Subscription = MINUTES) -> KlineRecord:
    return kline(at(window), closed=True, wanted=wanted)


def update(window: int, second: float = 1.0) -> KlineRecord:
    return kline(at(window), closed=False, event_ms=at(window) + round(second * 1000))


@pytest.fixture
def candles() -> Candles:
    return Candles()


def test_what_is_no_kline_passes_as_the_same_sequence(candles: Candles) -> None:
    trades = [TradeRecord(MINUTES, "1", "1", Micros(1), "buy", 7)]
    assert candles.receive(trades) is trades


def test_others_keep_their_place_beside_klines(candles: Candles) -> None:
    trade = TradeRecord(MINUTES, "1", "1", Micros(1), "buy", 7)
    mixed: list[Record] = [trade, closed(0), trade, closed(0), trade]
    assert candles.receive(mixed) == [trade, closed(0), trade, trade]


def test_updates_of_the_current_window_and_its_close_pass(candles: Candles) -> None:
    told = [update(0, 1), update(0, 3), closed(0), update(1, 1), closed(1)]
    assert candles.receive(told) == told
    assert candles.holes() == []


def test_a_closed_kline_and_updates_of_a_window_already_closed_are_duplicates(candles: Candles) -> None:
    candles.receive([closed(0)])
    assert candles.receive([closed(0), update(0)]) == []
    assert candles.duplicates == 2


def test_a_later_kline_waits_until_the_missing_one_has_come(candles: Candles) -> None:
    candles.receive([update(0)])
    assert candles.receive([closed(1), update(2)]) == []
    assert candles.holes() == [MINUTES]
    assert candles.waiting(MINUTES) == (at(0), at(0))
    assert candles.receive([closed(0)]) == [closed(0), closed(1), update(2)]
    assert (candles.holes(), candles.waiting(MINUTES), candles.held) == ([], None, 0)


def test_an_update_behind_the_close_of_its_window_is_not_let_through(candles: Candles) -> None:
    candles.receive([update(0)])
    candles.receive([update(1), closed(1)])
    assert candles.receive([closed(0)]) == [closed(0), closed(1)]


def test_of_the_updates_behind_a_hole_only_the_newest_is_kept(candles: Candles) -> None:
    candles.receive([update(0)])
    candles.receive([update(2, 5), update(1, 1), update(2, 3)])
    assert candles.receive([closed(0), closed(1)]) == [closed(0), closed(1), update(2, 5)]
    assert candles.outdated == 2


@pytest.mark.parametrize("second", [3.0, 2.0])
def test_an_update_no_newer_than_the_one_before_is_outdated(candles: Candles, second: float) -> None:
    candles.receive([update(0, 3)])
    assert candles.receive([update(0, second)]) == []
    assert candles.outdated == 1


def test_an_update_told_after_its_window_ended_counts_as_of_its_last_millisecond(candles: Candles) -> None:
    late = [update(0, 61), update(0, 62)]
    assert candles.receive(late) == late[:1]


def test_a_line_that_was_seeded_goes_on_after_what_the_stream_held(candles: Candles) -> None:
    candles.seed(MINUTES, at(0))
    assert candles.receive([closed(0), closed(2)]) == []
    assert candles.waiting(MINUTES) == (at(1), at(1))
    assert candles.receive([closed(1)]) == [closed(1), closed(2)]


def test_a_line_that_is_seeded_anew_forgets_what_it_held(candles: Candles) -> None:
    candles.receive([closed(0), closed(3)])
    candles.seed(MINUTES, at(2))
    assert (candles.held, candles.holes()) == (0, [])
    assert candles.receive([closed(3)]) == [closed(3)]


def test_a_seed_between_two_windows_wants_the_one_that_opens_after_it(candles: Candles) -> None:
    candles.seed(MINUTES, at(1) - 1)  # the stream's newest entry is an update of window 1
    assert candles.expected(MINUTES) == at(1)


def test_what_is_given_up_leaves_as_gaps_between_the_klines_that_came(candles: Candles) -> None:
    candles.receive([closed(0)])
    candles.receive([closed(2), closed(5), update(6)])
    gaps = [
        GapRecord(MINUTES, at(1), at(1), "deadline", Micros((at(1) - 1) * 1000)),
        GapRecord(MINUTES, at(3), at(4), "deadline", Micros((at(3) - 1) * 1000)),
    ]
    assert candles.give_up(MINUTES, "deadline") == [gaps[0], closed(2), gaps[1], closed(5), update(6)]
    assert candles.holes() == []


def test_what_comes_after_all_of_a_window_given_up_is_a_duplicate(candles: Candles) -> None:
    candles.receive([closed(0), update(2)])
    candles.give_up(MINUTES, "deadline")
    assert candles.receive([closed(1), update(1)]) == []


def test_skipping_gives_up_the_windows_before_one_and_waits_for_it(candles: Candles) -> None:
    candles.receive([closed(0), closed(9)])
    assert candles.skip(MINUTES, "too many", at(6)) == [
        GapRecord(MINUTES, at(1), at(5), "too many", Micros((at(1) - 1) * 1000))
    ]
    assert candles.waiting(MINUTES) == (at(6), at(8))


def test_what_is_missing_is_counted_without_what_is_held(candles: Candles) -> None:
    assert candles.missing(MINUTES, at(9)) == 0
    candles.receive([closed(0), closed(2), closed(5)])
    assert [candles.missing(MINUTES, at(until)) for until in (1, 2, 3, 6, 9)] == [0, 1, 1, 3, 6]


def test_nothing_is_given_up_where_nothing_is_known_to_be_missing(candles: Candles) -> None:
    candles.receive([closed(0), update(1)])
    assert candles.give_up(MINUTES, "deadline") == []
    assert candles.give_up(ETH, "deadline") == []


def test_a_window_that_was_lost_further_on_is_missing_again(candles: Candles) -> None:
    candles.receive([closed(0), closed(1), closed(2), update(3)])
    candles.rewind(MINUTES, at(1) - 1)
    assert candles.waiting(MINUTES) == (at(1), at(2))
    assert candles.receive([closed(3)]) == []
    assert candles.receive([closed(1), closed(2)]) == [closed(1), closed(2), closed(3)]


def test_rewinding_to_where_a_line_stands_changes_nothing(candles: Candles) -> None:
    candles.receive([closed(0), update(1)])
    candles.rewind(MINUTES, at(1) - 1)
    candles.rewind(ETH, at(1))
    assert (candles.holes(), len(candles)) == ([], 1)
    assert candles.receive([update(1, 2)]) == [update(1, 2)]


def test_a_full_hold_lets_closed_klines_go_and_misses_them(candles: Candles) -> None:
    candles = Candles(hold_max=1)
    candles.receive([closed(0)])
    candles.receive([closed(2), closed(3)])
    assert (candles.held, candles.let_go) == (1, 1)
    assert candles.receive([closed(1)]) == [closed(1), closed(2)]
    assert candles.waiting(MINUTES) == (at(3), at(3))
    assert candles.receive([closed(3)]) == [closed(3)]


def test_a_line_that_is_forgotten_makes_room(candles: Candles) -> None:
    candles.receive([closed(0), closed(2)])
    candles.forget(MINUTES)
    assert (candles.held, len(candles), candles.expected(MINUTES)) == (0, 0, None)


def test_a_window_that_ended_is_due_after_a_grace(candles: Candles) -> None:
    candles.receive([closed(0), closed(0, ETH), kline(at(1), closed=True, wanted=ETH)])
    assert candles.due(at(2) + 2_000 - 1, 2_000) == []
    assert candles.due(at(2) + 2_000, 2_000) == [MINUTES]
    assert candles.due(at(3) + 2_000, 2_000) == [MINUTES, ETH]


def test_lines_do_not_wait_for_each_other(candles: Candles) -> None:
    candles.receive([closed(0), closed(0, ETH), closed(2)])
    assert candles.receive([closed(1, ETH)]) == [closed(1, ETH)]
    assert candles.newest(ETH) == (at(1), closed(1, ETH).ts)


def told(trades: int, volume: str, window: int = 0, second: float = 1.0, *, shut: bool = False) -> KlineRecord:
    """An update, or a row as one closed, of a window with so many trades."""
    record = closed(window) if shut else update(window, second)
    return replace(record, trades=trades, volume=volume)


@pytest.mark.parametrize(
    ("trades", "volume", "stale"),
    [(3, "10", False), (4, "10.00", False), (2, "10", True), (3, "9.9", True), (4, "9.9", True)],
)
def test_a_row_with_less_than_was_told_of_its_window_is_stale(
    candles: Candles, trades: int, volume: str, stale: bool
) -> None:
    candles.receive([told(3, "10.0")])
    assert candles.is_stale(told(trades, volume, shut=True)) is stale


def test_the_most_that_was_told_counts_whatever_came_last(candles: Candles) -> None:
    candles.receive([told(5, "10", second=3), told(3, "7", second=2)])
    assert candles.is_stale(told(4, "9", shut=True))


def test_what_was_told_of_windows_behind_a_hole_is_remembered_for_each(candles: Candles) -> None:
    candles.receive([told(5, "10"), told(6, "10", 1), told(7, "10", 2)])
    assert [candles.is_stale(told(6, "10", window, shut=True)) for window in range(4)] == [False, False, True, False]
    candles.receive([closed(0), closed(1), closed(2)])
    assert not candles.is_stale(told(6, "10", 2, shut=True)), "done with, and forgotten"


def test_a_row_of_a_line_that_nobody_follows_is_not_stale(candles: Candles) -> None:
    assert not candles.is_stale(closed(0))


def test_only_so_many_windows_are_remembered_and_the_oldest_is_forgotten_first(candles: Candles) -> None:
    candles.receive([told(5, "10", window) for window in range(300)])
    stale = [window for window in range(300) if candles.is_stale(told(4, "10", window, shut=True))]
    assert stale == list(range(300 - 256, 300))


@pytest.mark.parametrize(
    "wrong",
    [
        kline(at(5), closed=False, event_ms=at(4)),
        replace(closed(1), open_time=at(1) + 1, close_time=at(2), ts=at(3) * 1000),
        replace(closed(1), close_time=at(3) - 1, ts=at(3) * 1000),
    ],
    ids=["told before it opened", "opens between two windows", "twice as long"],
)
def test_a_kline_of_a_window_that_cannot_be_is_set_aside(candles: Candles, wrong: KlineRecord) -> None:
    candles.receive([closed(0)])
    (letter,) = candles.receive([wrong])
    assert isinstance(letter, DeadLetter)
    assert (candles.misfits, candles.holes()) == (1, [])


# Any interleaving of everything that can happen.

WINDOWS = 8
UPDATES = 3


def lived(wanted: Subscription) -> list[KlineRecord]:
    """What the venue tells of some windows, in its order: updates, two in one millisecond, one late, then the close."""
    assert wanted.interval is not None
    first, told = opens(wanted.interval, T0), list[KlineRecord]()
    for number in range(WINDOWS):
        window = shifted(wanted.interval, first, number)
        ends = following(wanted.interval, window)
        times = (window, window + 500, window + 500, ends + 5)
        told += (kline(window, closed=False, event_ms=ms, wanted=wanted) for ms in times)
        told.append(kline(window, closed=True, wanted=wanted))
    return told


EVENTS = WINDOWS * 5
NUMBERS = st.integers(0, EVENTS - 1)
ACTIONS = st.one_of(
    st.tuples(st.just("run"), NUMBERS, st.integers(1, 12)),
    st.tuples(st.just("live"), NUMBERS, st.just(0)),
    st.tuples(st.just("page"), st.integers(1, WINDOWS), st.sets(st.integers(0, WINDOWS - 1), max_size=3)),
    st.tuples(st.just("give up"), st.just(0), st.just(0)),
    st.tuples(st.just("skip"), st.integers(0, WINDOWS - 1), st.just(0)),
    st.tuples(st.just("lose"), st.integers(0, 10), st.just(0)),
)


class Play:
    """One line through any sequence of actions: `stored` is what a stream would hold."""

    def __init__(self, interval: Interval, hold_max: int, seeded: bool) -> None:
        self.wanted = Subscription("binance", Channel.KLINES, "BTCUSDT", interval)
        self.candles = Candles(hold_max=hold_max)
        self.hold_max = hold_max
        self.told = lived(self.wanted)
        self.closed = [record for record in self.told if record.closed]
        self.windows = [record.open_time for record in self.closed]
        self.stored: list[Record] = []
        self.began = self.windows[0]
        if seeded:
            self.candles.seed(self.wanted, self.began - 1)

    def receive(self, records: Sequence[Record]) -> None:
        if self.candles.expected(self.wanted) is None and records:
            assert isinstance(records[0], KlineRecord)
            self.began = records[0].open_time
        self.stored += self.candles.receive(records)

    def run(self, first: int, count: int) -> None:
        self.receive(self.told[first : first + count])

    def live(self, number: int, _: int) -> None:
        self.receive([self.told[number]])

    def page(self, limit: int, unknown: set[int]) -> None:
        """What REST has from the first missing window on, without windows that it does not know."""
        expected = self.candles.expected(self.wanted)
        if expected is not None:
            rows = [row for number, row in enumerate(self.closed) if number not in unknown]
            self.receive([row for row in rows if row.open_time >= expected][:limit])

    def give_up(self, *_: int) -> None:
        self.stored += self.candles.give_up(self.wanted, "deadline")

    def skip(self, number: int, _: int) -> None:
        self.stored += self.candles.skip(self.wanted, "too many", self.windows[number])

    def lose(self, count: int, _: int) -> None:
        """The newest records never reached the stream, and whoever lost them says so."""
        lost = self.stored[len(self.stored) - count :] if count else []
        if lost and len(lost) == count:
            del self.stored[len(self.stored) - count :]
            self.candles.rewind(self.wanted, min(map(window_of, lost)) - 1)

    def check(self) -> None:
        assert self.candles.held == self.candles.holding(self.wanted) <= self.hold_max
        ids = [parse_id(entry(record).entry_id) for entry in [Entries()] for record in self.stored]
        assert all(one < next_one for one, next_one in pairwise(ids)), "Redis refuses what is not above its top"
        covered = [window for record in self.stored for window in self.covers(record)]
        expected = self.candles.expected(self.wanted)
        done = [window for window in self.windows if expected is not None and self.began <= window < expected]
        assert covered == done

    def covers(self, record: Record) -> list[int]:
        """The windows a record is the last word about."""
        if isinstance(record, GapRecord):
            return [window for window in self.windows if record.gap_from <= window <= record.gap_to]
        assert isinstance(record, KlineRecord)
        return [record.open_time] if record.closed else []


def window_of(record: Record) -> int:
    return record.gap_from if isinstance(record, GapRecord) else record.open_time  # type: ignore[union-attr]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([Interval.S1, Interval.M1, Interval.W1, Interval.MO1]),
    st.integers(0, 4),
    st.booleans(),
    st.lists(ACTIONS, max_size=40),
)
def test_each_window_is_closed_once_or_in_a_gap_whatever_happens(
    interval: Interval, hold_max: int, seeded: bool, actions: list[tuple[str, int, int]]
) -> None:
    play = Play(interval, hold_max, seeded)
    for name, *numbers in actions:
        getattr(play, name.replace(" ", "_"))(*numbers)
        play.check()
    play.page(WINDOWS, set())
    play.check()
    assert play.candles.held == 0 and play.candles.holes() == []
