"""The order of trades: plain sentences first, then every interleaving of what can go wrong against a simple model."""

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cryptostream.model.events import GapRecord, KlineRecord, Ledger, LedgerRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.venues.base import Rule
from cryptostream.venues.continuity import Continuity

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
ETH = Subscription("binance", Channel.TRADES, "ETHUSDT")
CANDLES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
LIE = 2**60


def trade(trade_id: int, of: Subscription = BTC, *, filled: bool = False, raw: str = "") -> TradeRecord:
    return TradeRecord(of, "1.5", "2", Micros(1_000_000 + trade_id), "buy", trade_id, raw, filled)


def trades(*ids: int, of: Subscription = BTC, filled: bool = False) -> list[TradeRecord]:
    return [trade(one, of, filled=filled) for one in ids]


def told(records: Iterable[Record]) -> list[int | tuple[int, int]]:
    """Ids of trades, and the ends of gaps."""
    return [one.trade_id if isinstance(one, TradeRecord) else (one.gap_from, one.gap_to) for one in records]  # type: ignore[union-attr]


class Gaps(list[Subscription]):
    """Who was said to have a gap."""


@pytest.fixture
def gaps() -> Gaps:
    return Gaps()


def of_rule(kind: Rule, gaps: Gaps, **bounds: int) -> Continuity:
    return Continuity(lambda channel: Rule.NONE if channel is Channel.KLINES else kind, on_gap=gaps.append, **bounds)


@pytest.fixture
def continuity(gaps: Gaps) -> Continuity:
    return of_rule(Rule.CONTIGUOUS, gaps)


def test_trades_in_order_go_on_as_they_are(continuity: Continuity, gaps: Gaps) -> None:
    batch = trades(1, 2, 3)
    continuity.receive(trades(0))
    assert continuity.receive(batch) is batch
    assert continuity.newest(BTC) == (3, batch[-1].ts)
    assert gaps == []


def test_a_trade_that_comes_twice_goes_on_once(continuity: Continuity) -> None:
    assert told(continuity.receive(trades(1, 2, 2, 1, 3))) == [1, 2, 3]
    assert continuity.duplicates == 2


def test_a_trade_that_waits_and_comes_again_is_a_duplicate(continuity: Continuity) -> None:
    continuity.receive(trades(1, 3, 3))
    assert (continuity.duplicates, continuity.held) == (1, 1)


def test_trades_after_a_missing_one_wait_for_it(continuity: Continuity, gaps: Gaps) -> None:
    assert told(continuity.receive(trades(1, 3, 4))) == [1]
    assert gaps == [BTC]
    assert told(continuity.receive(trades(2, filled=True))) == [2, 3, 4]
    assert continuity.gap(BTC) is None
    assert continuity.held == continuity.held_bytes == 0


def test_a_gap_knows_what_is_missing(continuity: Continuity) -> None:
    continuity.receive(trades(1, 4, 5, 9))
    gap = continuity.gap(BTC)
    assert gap is not None
    assert (gap.hole, gap.top, gap.missing) == ((2, 3), 9, 5)
    assert [gap.missing_from(one) for one in (0, 3, 4, 6, 9)] == [2, 3, 6, 6, 10]


def test_swapped_neighbours_heal_by_themselves(continuity: Continuity) -> None:
    assert told(continuity.receive(trades(1, 3, 2, 4))) == [1, 2, 3, 4]
    assert continuity.duplicates == 0


def test_one_line_waits_alone(continuity: Continuity, gaps: Gaps) -> None:
    continuity.receive([*trades(1), *trades(70, of=ETH)])
    assert told(continuity.receive([*trades(3), *trades(71, of=ETH)])) == [71]
    assert gaps == [BTC]


def test_what_is_fetched_and_came_meanwhile_is_no_duplicate(continuity: Continuity) -> None:
    continuity.receive(trades(1, 4))
    assert told(continuity.receive(trades(2, 3, 4, filled=True))) == [2, 3, 4]
    assert told(continuity.receive(trades(2, 3, filled=True))) == []
    assert continuity.duplicates == 0


def test_what_is_no_trade_passes_wherever_it_stands(continuity: Continuity) -> None:
    candle = KlineRecord(CANDLES, 0, 1, "1", "1", "1", "1", "1", "1", 1, "1", "1", True, Micros(1))
    line = LedgerRecord(Ledger("binance"), "connected", Micros(1))
    gap = GapRecord(BTC, 2, 3, "told by somebody else", Micros(1))
    for batch in ([*trades(1), candle, gap, line, *trades(2)], [gap, *trades(3)], [*trades(4), gap]):
        assert list(continuity.receive(batch)) == batch


def test_a_kline_is_never_taken_for_a_line_of_trades(continuity: Continuity, gaps: Gaps) -> None:
    candle = KlineRecord(CANDLES, 0, 1, "1", "1", "1", "1", "1", "1", 1, "1", "1", True, Micros(1))
    continuity.seed(CANDLES, 5, Micros(1))
    continuity.exists(CANDLES, 9)
    continuity.rewind(CANDLES, 2)
    assert list(continuity.receive([candle])) == [candle]
    assert gaps == []


def test_a_seeded_line_waits_for_what_was_traded_since(continuity: Continuity, gaps: Gaps) -> None:
    continuity.seed(BTC, 10, Micros(7))
    assert continuity.newest(BTC) == (10, 7)
    assert told(continuity.receive(trades(13))) == []
    assert told(continuity.receive(trades(11, 12, filled=True))) == [11, 12, 13]


def test_a_seed_forgets_what_a_line_waited_for(continuity: Continuity) -> None:
    continuity.receive(trades(1, 5))
    continuity.seed(BTC, 20, Micros(7))
    assert continuity.gap(BTC) is None
    assert continuity.held == continuity.held_bytes == 0
    assert told(continuity.receive(trades(21))) == [21]


def test_a_trade_the_venue_knows_and_nobody_saw_is_missing(continuity: Continuity, gaps: Gaps) -> None:
    continuity.receive(trades(1))
    continuity.exists(BTC, 3)
    assert gaps == [BTC]
    assert told(continuity.receive(trades(2, 3, filled=True))) == [2, 3]
    assert continuity.gap(BTC) is None


@pytest.mark.parametrize("newest_id", [0, 1])
def test_a_venue_that_knows_no_more_than_we_opens_nothing(newest_id: int, continuity: Continuity, gaps: Gaps) -> None:
    continuity.receive(trades(1))
    continuity.exists(BTC, newest_id)
    assert gaps == []


def test_a_line_that_saw_nothing_goes_on_after_the_venues_newest(continuity: Continuity, gaps: Gaps) -> None:
    continuity.exists(BTC, 7)
    assert continuity.newest(BTC) == (7, 0)
    assert told(continuity.receive(trades(8))) == [8]


def test_the_venues_newest_widens_a_gap_behind_what_is_held(continuity: Continuity) -> None:
    continuity.receive(trades(1, 3))
    continuity.exists(BTC, 5)
    assert told(continuity.receive(trades(2, filled=True))) == [2, 3]
    gap = continuity.gap(BTC)
    assert gap is not None
    assert gap.hole == (4, 5)


def test_a_gap_given_up_is_told_and_what_waited_goes_on(continuity: Continuity) -> None:
    continuity.receive(trades(1, 4, 5, 8))
    given_up = continuity.give_up(BTC, "nobody has it")
    assert told(given_up) == [(2, 3), 4, 5, (6, 7), 8]
    assert given_up[0] == GapRecord(BTC, 2, 3, "nobody has it", trade(1).ts)
    assert given_up[3] == GapRecord(BTC, 6, 7, "nobody has it", trade(5).ts)
    assert told(continuity.receive(trades(9))) == [9]
    assert continuity.held == 0


def test_only_the_oldest_part_of_a_hole_is_skipped(continuity: Continuity) -> None:
    continuity.receive(trades(1, 100))
    assert told(continuity.skip(BTC, "too many", keep=3)) == [(2, 96)]
    assert continuity.skip(BTC, "too many", keep=3) == []
    assert told(continuity.receive(trades(97, 98, 99, filled=True))) == [97, 98, 99, 100]


def test_a_hole_is_skipped_and_the_next_one_stays(continuity: Continuity) -> None:
    continuity.receive(trades(1, 3, 5))
    assert told(continuity.skip(BTC, "a hole")) == [(2, 2), 3]
    gap = continuity.gap(BTC)
    assert gap is not None
    assert gap.hole == (4, 4)


def test_nothing_is_skipped_where_nothing_is_missing(continuity: Continuity) -> None:
    assert continuity.skip(BTC, "") == continuity.give_up(BTC, "") == continuity.disbelieve(BTC, "", "") == []


def test_what_was_lost_further_on_is_missing_again(continuity: Continuity, gaps: Gaps) -> None:
    continuity.receive(trades(1, 2, 3))
    continuity.rewind(BTC, 1)
    assert gaps == [BTC]
    assert continuity.newest(BTC)[0] == 1
    assert told(continuity.receive(trades(4))) == []
    assert told(continuity.receive(trades(2, 3, filled=True))) == [2, 3, 4]


def test_a_line_that_waits_goes_back_further(continuity: Continuity, gaps: Gaps) -> None:
    continuity.receive(trades(1, 2, 5))
    continuity.rewind(BTC, 0)
    continuity.rewind(BTC, 1)
    assert told(continuity.receive(trades(1, 2, 3, 4, filled=True))) == [1, 2, 3, 4, 5]
    assert gaps == [BTC]


def test_a_line_goes_back_to_nothing_that_it_did_not_release(continuity: Continuity, gaps: Gaps) -> None:
    continuity.rewind(BTC, 5)
    continuity.receive(trades(1, 2))
    continuity.rewind(BTC, 2)
    assert gaps == []


def test_without_room_a_trade_is_let_go_and_becomes_one_more_missing(gaps: Gaps) -> None:
    continuity = of_rule(Rule.CONTIGUOUS, gaps, hold_events=1)
    assert told(continuity.receive(trades(1, 3, 4, 5))) == [1]
    assert (continuity.held, continuity.let_go) == (1, 2)
    assert told(continuity.receive(trades(2, filled=True))) == [2, 3]
    gap = continuity.gap(BTC)
    assert gap is not None
    assert gap.hole == (4, 5)
    assert told(continuity.receive(trades(4, 5, filled=True))) == [4, 5]


def test_room_is_counted_in_bytes_too(gaps: Gaps) -> None:
    continuity = of_rule(Rule.CONTIGUOUS, gaps, hold_bytes=1000)
    continuity.receive([trade(1), trade(3, raw="x" * 500), trade(4, raw="x" * 500)])
    assert (continuity.held, continuity.let_go) == (1, 1)
    assert 500 < continuity.held_bytes <= 1000


def test_a_lie_far_ahead_is_set_aside_and_the_line_goes_on(continuity: Continuity) -> None:
    assert told(continuity.receive(trades(1, LIE, 2, 3, 4))) == [1, 2, 3, 4]
    gap = continuity.gap(BTC)
    assert gap is not None
    assert (gap.in_step, gap.vouched) == (3, False)
    (letter,) = continuity.disbelieve(BTC, "never traded", "binance")
    assert (letter.reason, letter.source, str(LIE) in letter.frame) == ("never traded", "binance", True)
    assert told(continuity.receive(trades(5))) == [5]
    assert continuity.held == continuity.held_bytes == 0


def test_a_trade_disbelieved_in_error_is_missed_by_the_next(continuity: Continuity) -> None:
    continuity.receive(trades(1, 3))
    continuity.disbelieve(BTC, "never traded", "binance")
    assert told(continuity.receive(trades(4))) == []
    assert told(continuity.receive(trades(2, 3, filled=True))) == [2, 3, 4]


def test_a_trade_held_anew_takes_back_the_doubt(continuity: Continuity) -> None:
    continuity.receive(trades(1, 50, 2, 3, 4))
    continuity.receive(trades(6))
    gap = continuity.gap(BTC)
    assert gap is not None
    assert gap.in_step == 0


def test_fetched_trades_are_no_evidence_against_what_is_held(continuity: Continuity) -> None:
    continuity.receive(trades(1, 50))
    continuity.receive(trades(2, 3, 4, filled=True))
    gap = continuity.gap(BTC)
    assert gap is not None
    assert gap.in_step == 0


def test_successors_vouch_for_what_is_held(continuity: Continuity) -> None:
    continuity.receive(trades(1, LIE, LIE + 1, LIE + 2))
    gap = continuity.gap(BTC)
    assert gap is not None
    assert gap.vouched


@pytest.mark.parametrize("behind", [(), (LIE + 1,), (LIE + 2,), (LIE + 1, LIE + 3)], ids=str)
def test_less_than_two_successors_in_a_row_vouch_for_nothing(continuity: Continuity, behind: tuple[int, ...]) -> None:
    continuity.receive(trades(1, LIE, *behind))
    gap = continuity.gap(BTC)
    assert gap is not None
    assert not gap.vouched


def test_a_lie_at_the_very_start_refuses_what_is_traded_only_for_a_moment(continuity: Continuity, gaps: Gaps) -> None:
    continuity.receive(trades(LIE))
    assert told(continuity.receive(trades(*range(100, 120)))) == []
    assert gaps == [BTC]
    assert told(continuity.receive(trades(*range(100, 119), filled=True))) == list(range(100, 120))
    assert told(continuity.receive(trades(120))) == [120]
    assert continuity.duplicates == 0


def test_a_socket_that_lags_far_behind_another_brings_duplicates_only(continuity: Continuity, gaps: Gaps) -> None:
    for step in range(100):
        continuity.receive([*trades(50_000 + step), *trades(100 + step)])
    assert continuity.duplicates == 100
    assert gaps == []


def test_a_stretch_sent_again_is_not_taken_for_a_new_count(continuity: Continuity, gaps: Gaps) -> None:
    continuity.receive(trades(*range(1000)))
    continuity.receive(trades(*range(1000)))
    assert continuity.duplicates == 1000
    assert gaps == []


def test_a_line_forgotten_begins_anew(continuity: Continuity) -> None:
    continuity.receive(trades(1, 9))
    continuity.forget(BTC)
    assert continuity.held == continuity.held_bytes == 0
    assert continuity.newest(BTC) == (None, 0)
    assert told(continuity.receive(trades(4))) == [4]


def test_where_ids_only_rise_a_jump_is_no_gap(gaps: Gaps) -> None:
    continuity = of_rule(Rule.MONOTONIC, gaps)
    assert told(continuity.receive(trades(1, 5, 5, 3, 9))) == [1, 5, 9]
    assert continuity.duplicates == 2
    continuity.exists(BTC, 20)
    assert gaps == []


def test_where_ids_only_rise_what_was_lost_further_on_is_told_as_a_gap(gaps: Gaps) -> None:
    continuity = of_rule(Rule.MONOTONIC, gaps)
    continuity.receive(trades(1, 5, 9))
    continuity.rewind(BTC, 6)
    continuity.rewind(BTC, 4)
    assert continuity.newest(BTC)[0] == 4
    assert told(continuity.receive(trades(5, 9, 10, 11))) == [(5, 9), 10, 11]
    assert continuity.duplicates == 2


def test_where_there_are_no_ids_everything_passes(gaps: Gaps) -> None:
    continuity = of_rule(Rule.NONE, gaps)
    continuity.seed(BTC, 3, Micros(1))
    assert told(continuity.receive(trades(5, 5, 1))) == [5, 5, 1]
    continuity.rewind(BTC, 1)
    assert continuity.newest(BTC) == (None, 0)


START = 1_000


class Lines(RuleBasedStateMachine):
    """Two lines of one feed, their market, their wire, and whoever stands behind the door.

    The model is one number a line: `cover`, the id up to which everything went on, as a trade or within a gap. All that
    goes on has to begin right behind it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gaps: list[Subscription] = []
        self.cover = {BTC: START, ETH: START}
        self.market = {BTC: START, ETH: START}
        self.wire: dict[Subscription, list[int]] = {BTC: [], ETH: []}
        self.lied = {BTC: False, ETH: False}

    @initialize(events=st.integers(0, 6), size=st.sampled_from([0, 450, 10_000]))
    def begin(self, events: int, size: int) -> None:
        self.bounds = events, size
        self.continuity = Continuity(
            lambda _: Rule.CONTIGUOUS, on_gap=self.gaps.append, hold_events=events, hold_bytes=size
        )
        for line in (BTC, ETH):
            self.continuity.seed(line, START, Micros(0))

    def goes_on(self, records: Iterable[Record]) -> None:
        for record in records:
            if isinstance(record, TradeRecord):
                assert record.trade_id == self.cover[record.subscription] + 1
                self.cover[record.subscription] = record.trade_id
            elif isinstance(record, GapRecord):
                assert record.gap_from == self.cover[record.subscription] + 1 <= record.gap_to + 1
                self.cover[record.subscription] = record.gap_to

    lines = st.sampled_from([BTC, ETH])

    @rule(line=lines, count=st.integers(1, 8))
    def trade(self, line: Subscription, count: int) -> None:
        ids = range(self.market[line] + 1, self.market[line] + count + 1)
        self.market[line] = ids[-1]
        self.wire[line].extend(ids)

    @rule(btc=st.integers(0, 6), eth=st.integers(0, 6))
    def deliver(self, btc: int, eth: int) -> None:
        """One read of a socket: some of each line, BTC's before ETH's."""
        batch = [*trades(*self.wire[BTC][:btc]), *trades(*self.wire[ETH][:eth], of=ETH)]
        del self.wire[BTC][:btc], self.wire[ETH][:eth]
        self.goes_on(self.continuity.receive(batch))

    @rule(line=lines, back=st.integers(0, 10))
    def send_again(self, line: Subscription, back: int) -> None:
        again = max(START + 1, self.market[line] - back)
        if again <= self.market[line] and again not in self.wire[line]:
            self.goes_on(self.continuity.receive(trades(again, of=line)))

    @rule(line=lines)
    def swap(self, line: Subscription) -> None:
        self.wire[line][:2] = reversed(self.wire[line][:2])

    @rule(line=lines, random=st.randoms(use_true_random=False))
    def shuffle(self, line: Subscription, random: object) -> None:
        random.shuffle(self.wire[line])  # type: ignore[attr-defined]

    @rule(line=lines, count=st.integers(1, 6))
    def lose_on_the_way(self, line: Subscription, count: int) -> None:
        del self.wire[line][:count]

    @rule(line=lines, ahead=st.integers(0, 5), rows=st.integers(1, 8))
    def page(self, line: Subscription, ahead: int, rows: int) -> None:
        """A page of the venue's, in time or late, at what is missing or beside it."""
        gap = self.continuity.gap(line)
        first = (gap.first if gap else max(START + 1, self.cover[line] - 3)) + ahead
        ids = range(first, min(first + rows, self.market[line] + 1))
        self.goes_on(self.continuity.receive(trades(*ids, of=line, filled=True)))

    @rule(line=lines)
    def newest(self, line: Subscription) -> None:
        self.continuity.exists(line, self.market[line])

    @rule(line=lines, back=st.integers(0, 12))
    def lose_further_on(self, line: Subscription, back: int) -> None:
        last = max(START, self.cover[line] - back)
        self.continuity.rewind(line, last)
        self.cover[line] = last

    @precondition(lambda self: not self.lied[BTC])
    @rule()
    def give_up(self) -> None:
        self.goes_on(self.continuity.give_up(BTC, "deadline"))
        assert self.continuity.gap(BTC) is None

    @precondition(lambda self: not self.lied[BTC])
    @rule(keep=st.integers(0, 4))
    def skip(self, keep: int) -> None:
        self.goes_on(self.continuity.skip(BTC, "too large", keep=keep))

    @rule(line=lines)
    def lie(self, line: Subscription) -> None:
        self.lied[line] = True
        self.goes_on(self.continuity.receive(trades(LIE, of=line)))

    @rule(line=lines)
    def disbelieve(self, line: Subscription) -> None:
        self.continuity.disbelieve(line, "never traded", "test")
        assert self.continuity.gap(line) is None
        self.lied[line] = False

    @invariant()
    def what_is_held_is_counted_and_bounded(self) -> None:
        if not hasattr(self, "continuity"):
            return
        held = [one for line in (BTC, ETH) if (gap := self.continuity.gap(line)) for one in gap.held.values()]
        assert self.continuity.held == len(held) <= self.bounds[0]
        assert self.continuity.held_bytes == 200 * len(held) <= self.bounds[1]

    @invariant()
    def a_gap_is_what_it_says(self) -> None:
        for line in (BTC, ETH) if hasattr(self, "continuity") else ():
            gap = self.continuity.gap(line)
            assert self.continuity.newest(line)[0] == self.cover[line]
            if gap is None:
                continue
            assert line in self.gaps
            assert gap.first == self.cover[line] + 1 < gap.end == min(gap.held, default=gap.top + 1)
            assert gap.end <= gap.top + 1
            assert gap.missing >= gap.end - gap.first > 0

    def teardown(self) -> None:
        """In the end the venue tells all: then everything went on, as a trade or within a gap."""
        if not hasattr(self, "continuity"):
            return
        for line in (BTC, ETH):
            if self.lied[line]:
                self.disbelieve(line)
            self.newest(line)
            while self.continuity.gap(line) is not None:
                self.page(line, 0, 5)
            assert self.cover[line] == self.market[line]
        assert self.continuity.held == self.continuity.held_bytes == 0


TestLines = Lines.TestCase
TestLines.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
