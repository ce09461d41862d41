"""What was missed is fetched: in order, at the venue's pace, and given up only when it has to be. Time is virtual."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

import httpx2
import pytest

from cryptostream.engine.clock import SystemClock
from cryptostream.engine.stats import FeedStats
from cryptostream.feed.backfill import Backfill
from cryptostream.feed.door import Door
from cryptostream.feed.inbox import Inbox
from cryptostream.feed.rest import Paused, Rest, Unanswered
from cryptostream.model.events import DeadLetter, GapRecord, LedgerRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.sim.exchange import LocalExchange
from cryptostream.testing import ManualClock
from cryptostream.venues.base import Request
from cryptostream.venues.binance import Binance
from cryptostream.venues.continuity import Continuity

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
ETH = Subscription("binance", Channel.TRADES, "ETHUSDT")
LIE = 2**60
Answer = bytes | Exception


@dataclass(frozen=True)
class Settings:
    deadline_s: float = 120.0
    grace_s: float = 0.25
    max_events: int = 100_000


def trades(*ids: int, of: Subscription = BTC) -> list[TradeRecord]:
    return [TradeRecord(of, "1.5", "2", Micros(1_000_000), "buy", one) for one in ids]


def rows(ids: Iterable[int]) -> bytes:
    return json.dumps(
        [
            {"id": one, "price": "1.5", "qty": "2", "quoteQty": "3", "time": 1_600_000_000_000, "isBuyerMaker": False}
            for one in ids
        ]
    ).encode()


class Asked:
    """A venue's REST side: knows every trade up to `newest` but for `holes`; says what is in `answers` first."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.newest = 0
        self.holes: set[int] = set()
        self.answers: list[Answer] = []
        self.only: str | None = None
        """The pair that `answers` are about; None for any."""
        self.latency_s = 0.0
        self.log: list[tuple[float, str, int, int]] = []

    async def __call__(self, request: Request) -> bytes:
        pair, first, limit = request.params["symbol"], int(request.params["fromId"]), int(request.params["limit"])
        self.log.append((self.clock.monotonic(), pair, first, limit))
        if self.latency_s:
            await self.clock.sleep(self.latency_s)
        if self.answers and self.only in (None, pair):
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer
        return self.page(first, limit)

    def page(self, first: int, limit: int) -> bytes:
        known = (one for one in range(first, self.newest + 1) if one not in self.holes)
        return rows(one for one, _ in zip(known, range(limit), strict=False))

    def heals(self, *answers: Answer) -> None:
        """Give these answers, then the truth."""
        self.answers = list(answers)

    @property
    def firsts(self) -> list[int]:
        return [first for _, _, first, _ in self.log]


class World:
    """A feed without sockets: what is said to come live comes, what goes on is kept."""

    def __init__(
        self,
        clock: ManualClock,
        *,
        venue: Binance | None = None,
        inbox_max: int = 1_000_000,
        hold_events: int = 100_000,
        **settings: float,
    ) -> None:
        self.clock = clock
        self.ask = Asked(clock)
        self.roomy = True
        self.stats = FeedStats()
        self.inbox = Inbox(inbox_max)
        self.continuity = Continuity(
            Binance().rule, on_gap=lambda wanted: self.backfill.wanted(wanted), hold_events=hold_events
        )
        self.door = Door(self.continuity, None, self.inbox, clock, "binance", "")
        self.seen: list[Record] = []
        self.backfill = Backfill(
            venue or Binance(),
            self.ask,
            self.continuity,
            self.door,
            room=lambda: self.roomy,
            clock=clock,
            settings=Settings(**settings),  # type: ignore[arg-type]
            stats=self.stats,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["World"]:
        tasks = [asyncio.create_task(self.backfill.run()), asyncio.create_task(self._pace())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)

    async def _pace(self) -> None:
        """Time in small steps, so that whoever has something to do before a sleeper wakes gets to it."""
        while True:
            await self.clock.sleep(0.02)

    def live(self, *ids: int, of: Subscription = BTC) -> None:
        self.ask.newest = max([self.ask.newest, *(one for one in ids if one < LIE)])
        self.door.receive(trades(*ids, of=of))

    async def until(self, done: Callable[[], bool], limit_s: float = 600.0) -> float:
        """Let time pass; returns how much did."""
        began_s = self.clock.monotonic()
        while not done():
            assert self.clock.monotonic() - began_s < limit_s, "it never happened"
            await self.clock.sleep(0.01)
        return self.clock.monotonic() - began_s

    async def until_filled(self, of: Subscription = BTC, limit_s: float = 600.0) -> float:
        passed_s = await self.until(lambda: self.continuity.gap(of) is None, limit_s)
        await self.clock.sleep(0.01)
        return passed_s

    async def went_on(self) -> list[Record]:
        if len(self.inbox):
            self.seen += (await self.inbox.take())[0]
        return self.seen

    async def told(self, of: Subscription = BTC) -> list[int | tuple[int, int]]:
        """What went on of a line: ids, and the ends of gaps."""
        records = [one for one in await self.went_on() if one.subscription == of]
        return [one.trade_id if isinstance(one, TradeRecord) else (one.gap_from, one.gap_to) for one in records]  # type: ignore[union-attr]

    async def ledger(self) -> list[LedgerRecord]:
        return [one for one in await self.went_on() if isinstance(one, LedgerRecord)]

    async def letters(self) -> list[DeadLetter]:
        return [one for one in await self.went_on() if isinstance(one, DeadLetter)]

    async def gaps(self) -> list[GapRecord]:
        return [one for one in await self.went_on() if isinstance(one, GapRecord)]


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(clock)


async def test_swapped_neighbours_heal_unasked_and_unsaid(world: World) -> None:
    async with world.running():
        world.live(1, 3)
        await world.clock.sleep(0.2)
        world.live(2)
        await world.clock.sleep(5.0)
    assert await world.told() == [1, 2, 3]
    assert world.ask.log == []
    assert await world.ledger() == []
    assert world.stats.gaps_opened == 0


async def test_what_is_missing_is_fetched_before_anything_newer_goes_on(world: World) -> None:
    async with world.running():
        world.live(1, 50)
        await world.until_filled()
    assert await world.told() == list(range(1, 51))
    assert [one.filled for one in world.seen if isinstance(one, TradeRecord)] == [False, *[True] * 48, False]


async def test_the_ledger_tells_what_was_missing_and_how_long(world: World) -> None:
    async with world.running():
        world.live(1, 50)
        await world.until_filled()
    opened, filled = await world.ledger()
    assert (opened.event, opened.pair, opened.gap_from, opened.gap_to, opened.count) == (
        *("gap_opened", "BTCUSDT", 2, 49, 48),
    )
    assert (filled.event, filled.gap_from, filled.gap_to, filled.count) == ("gap_filled", 2, 49, 48)
    assert filled.seconds is not None
    assert 0.2 < filled.seconds < 1.0
    stats = world.stats
    assert (stats.gaps_opened, stats.gaps_filled, stats.gaps_unfillable, stats.filled) == (1, 1, 0, 48)


async def test_a_gap_is_told_within_a_second(world: World) -> None:
    world.ask.answers = [b"[]"]
    async with world.running():
        world.live(1, 50)
        await world.clock.sleep(1.0)
        assert [one.event for one in await world.ledger()] == ["gap_opened"]


async def test_a_long_fill_goes_page_by_page_and_asks_ahead(world: World) -> None:
    world.ask.latency_s = 1.0
    async with world.running():
        world.live(1, 10_002)
        passed_s = await world.until_filled()
    assert await world.told() == list(range(1, 10_003))
    assert sorted(world.ask.firsts) == list(range(2, 10_002, 1000))
    assert passed_s < 4


async def test_several_small_gaps_cost_one_page(world: World) -> None:
    async with world.running():
        world.live(1, 3, 5, 7, 100)
        await world.until_filled()
    assert await world.told() == list(range(1, 101))
    assert len(world.ask.log) == 1


async def test_a_database_that_lags_is_asked_again(world: World) -> None:
    world.live(1, 50)
    world.ask.newest = 10
    async with world.running():
        await world.until(lambda: world.continuity.newest(BTC)[0] == 10)
        world.ask.newest = 20
        await world.until(lambda: world.continuity.newest(BTC)[0] == 20)
        world.ask.newest = 50
        await world.until_filled()
    assert await world.told() == list(range(1, 51))
    times = [at for at, *_ in world.ask.log]
    assert all(later - earlier >= 0.99 for earlier, later in pairwise(times))
    assert world.stats.gaps_unfillable == 0


async def test_ids_that_do_not_exist_are_given_up_after_a_second_look(world: World) -> None:
    world.ask.holes = {5, 6, 30}
    async with world.running():
        world.live(1, 50)
        passed_s = await world.until_filled()
    assert await world.told() == [1, 2, 3, 4, (5, 6), *range(7, 30), (30, 30), *range(31, 51)]
    assert [one.cause for one in await world.gaps()] == ["hole at the venue"] * 2
    assert 3 <= passed_s < 5
    assert len(world.ask.log) == 2
    events = [(one.event, one.gap_from, one.gap_to, one.count) for one in await world.ledger()]
    assert events == [
        ("gap_opened", 2, 49, 48),
        ("gap_unfillable", 5, 6, 2),
        ("gap_unfillable", 30, 30, 1),
        ("gap_filled", 2, 49, 45),
    ]
    assert (world.stats.gaps_unfillable, world.stats.missing, world.stats.filled) == (2, 3, 45)


async def test_what_the_venue_knows_beyond_a_gap_comes_live(world: World) -> None:
    world.ask.holes = {5}
    async with world.running():
        world.live(1, 10)
        world.ask.newest = 15
        await world.until_filled()
        world.live(11)
    assert await world.told() == [1, 2, 3, 4, (5, 5), *range(6, 12)]
    assert world.continuity.duplicates == 0


async def test_a_hole_is_no_larger_than_pages_say_though_nothing_could_be_held(clock: ManualClock) -> None:
    world = World(clock, hold_events=0)
    world.ask.holes = {5, 6}
    async with world.running():
        world.live(1, 50)
        await world.until_filled()
    assert await world.told() == [1, 2, 3, 4, (5, 6), *range(7, 51)]


async def test_a_page_that_leaves_ids_out_once_is_not_believed(world: World) -> None:
    world.ask.heals(rows([2, 3, 6, 7, 8, 9]), rows([4, 5, 6, 7, 8, 9]))
    async with world.running():
        world.live(1, 10)
        await world.until_filled()
    assert await world.told() == list(range(1, 11))
    assert await world.gaps() == []


async def test_only_the_newest_of_too_many_are_fetched(clock: ManualClock) -> None:
    world = World(clock, max_events=100)
    async with world.running():
        world.live(1, 5_000)
        await world.until_filled()
    assert await world.told() == [1, (2, 4_899), *range(4_900, 5_001)]
    assert world.ask.firsts == [4_900]
    assert (world.stats.missing, world.stats.filled) == (4_898, 100)


async def test_nothing_is_skipped_before_the_venue_has_confirmed_what_is_up_there(clock: ManualClock) -> None:
    world = World(clock, max_events=100)
    world.live(1, 5_000)
    world.ask.newest = 1
    async with world.running():
        await world.clock.sleep(30.0)
        assert await world.told() == [1]
        world.ask.newest = 5_000
        await world.until_filled()
    assert await world.told() == [1, (2, 4_899), *range(4_900, 5_001)]


async def test_a_lie_far_ahead_neither_stops_the_line_nor_costs_a_trade(world: World) -> None:
    async with world.running():
        world.live(1, LIE)
        for trade_id in range(2, 12):
            await world.clock.sleep(0.5)
            world.live(trade_id)
        await world.until_filled()
        world.live(12)
    assert await world.told() == list(range(1, 13))
    [letter] = await world.letters()
    assert str(LIE) in letter.frame
    assert await world.gaps() == []
    assert [one.event for one in await world.ledger()] == ["gap_opened", "gap_filled"]
    assert len(world.ask.log) < 30


async def test_a_true_gap_below_a_lie_is_filled(world: World) -> None:
    async with world.running():
        world.live(1, LIE, 2, 3, 8)
        await world.clock.sleep(3.0)
        for trade_id in range(9, 20):
            world.live(trade_id)
            await world.clock.sleep(1.0)
        await world.until_filled()
    assert await world.told() == list(range(1, 20))
    assert len(await world.letters()) == 1


async def test_a_lone_lie_on_a_quiet_pair_is_set_aside_at_the_deadline(world: World) -> None:
    async with world.running():
        world.live(1, LIE)
        passed_s = await world.until_filled()
        world.live(2)
    assert await world.told() == [1, 2]
    assert len(await world.letters()) == 1
    assert 110 < passed_s < 125


async def test_a_lie_is_set_aside_though_nobody_can_be_asked_once_the_line_has_traded_on(world: World) -> None:
    world.ask.answers = [Unanswered("venue did not answer in time")]
    async with world.running():
        world.live(1, LIE)
        for trade_id in range(2, 40):
            world.live(trade_id)
            await world.clock.sleep(1.0)
        assert world.continuity.gap(BTC) is None
    assert await world.told() == list(range(1, 40))
    assert len(await world.letters()) == 1


async def test_what_successors_vouch_for_is_no_lie_even_where_nobody_answers(clock: ManualClock) -> None:
    world = World(clock, max_events=10)
    world.ask.answers = [Unanswered("venue did not answer in time")]
    async with world.running():
        world.live(1, 5_000, 5_001, 5_002)
        await world.until_filled()
    assert await world.told() == [1, (2, 4_999), 5_000, 5_001, 5_002]
    assert await world.letters() == []


async def test_after_the_deadline_the_line_goes_on_and_says_what_is_missing_and_why(world: World) -> None:
    world.ask.answers = [Unanswered("venue did not answer in time")]
    async with world.running():
        world.live(1, 5, 9)
        passed_s = await world.until_filled()
        world.live(10)
    assert await world.told() == [1, (2, 4), 5, (6, 8), 9, 10]
    assert {one.cause for one in await world.gaps()} == {"venue did not answer in time"}
    assert 119 < passed_s < 125
    assert [one.event for one in await world.ledger()] == ["gap_opened", "gap_unfillable", "gap_unfillable"]
    assert (world.stats.gaps_opened, world.stats.gaps_filled, world.stats.gaps_unfillable) == (1, 0, 2)


async def test_a_line_that_comes_on_slowly_is_not_given_up(clock: ManualClock) -> None:
    world = World(clock, deadline_s=10.0)
    world.live(1, 20)
    async with world.running():
        for newest in range(1, 21):
            world.ask.newest = newest
            await clock.sleep(6.0)
        await world.until_filled()
    assert await world.told() == list(range(1, 21))


async def test_a_gap_that_opens_while_the_last_one_is_being_told_is_filled_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell, events = world.door.tell, list[str]()

    def lose_then_tell(event: str, **facts: object) -> None:
        events.append(event)
        if events.count("gap_filled") == 1 and event == "gap_filled":
            world.continuity.rewind(BTC, 40)
        tell(event, **facts)  # type: ignore[arg-type]

    monkeypatch.setattr(world.door, "tell", lose_then_tell)
    async with world.running():
        world.live(1, 50)
        await world.until(lambda: events.count("gap_filled") == 2, 5.0)
    assert (await world.told())[50:] == list(range(41, 51))


async def test_a_gap_after_one_given_up_is_asked_for_again(world: World) -> None:
    world.ask.answers = [Unanswered("venue did not answer in time")]
    async with world.running():
        world.live(1, 5)
        await world.until_filled()
        world.ask.answers = []
        world.live(9)
        await world.until_filled()
    assert await world.told() == [1, (2, 4), 5, 6, 7, 8, 9]


async def test_waiting_for_the_budget_is_no_reason_to_give_up(world: World) -> None:
    world.ask.latency_s = 130.0
    world.ask.answers = [b"[]", b"[]", rows(range(2, 50))]
    async with world.running():
        world.live(1, 50)
        await world.until_filled(limit_s=5000)
    assert await world.told() == list(range(1, 51))


async def test_time_in_which_the_venue_did_not_answer_counts(world: World) -> None:
    slow = Unanswered("venue did not answer in time")
    slow.tried_s = 59.0
    world.ask.answers = [slow]
    async with world.running():
        world.live(1, 50)
        await world.until_filled()
    assert len(world.ask.log) == 2


async def test_a_pause_is_waited_out_to_its_end_and_then_asked_again(world: World) -> None:
    world.live(1, 50)
    world.ask.answers = [Paused("silence", delay_s=30.0, status=429), rows(range(2, 50))]
    async with world.running():
        await world.until_filled()
    (first, *_), (second, *_) = world.ask.log
    assert 30.0 <= second - first < 30.1
    assert await world.told() == list(range(1, 51))


async def test_a_line_in_trouble_keeps_no_other_waiting(world: World) -> None:
    world.ask.only = "BTCUSDT"
    world.ask.answers = [Paused("silence", delay_s=90.0)]
    async with world.running():
        world.live(1, 50)
        world.live(1, 50, of=ETH)
        assert await world.until_filled(ETH) < 1
    assert await world.told(ETH) == list(range(1, 51))
    assert await world.told(BTC) == [1]


async def test_many_lines_are_filled_side_by_side(world: World) -> None:
    lines = [Subscription("binance", Channel.TRADES, f"P{number}USDT") for number in range(24)]
    world.ask.latency_s = 1.0
    async with world.running():
        for line in lines:
            world.live(1, 9, of=line)
        passed_s = await world.until(lambda: not any(map(world.continuity.gap, lines)))
    assert passed_s < 3


@pytest.mark.parametrize("page", [b"<html>502</html>", rows([3, 2]), rows([2]).replace(b"1.5", b"-1")])
async def test_a_bad_page_is_asked_for_again(page: bytes, world: World) -> None:
    world.ask.answers = [page, rows(range(2, 50))]
    async with world.running():
        world.live(1, 50)
        await world.until_filled()
    assert await world.told() == list(range(1, 51))


async def test_a_mirror_of_public_data_is_named_as_the_cause(
    clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(clock, venue=Binance(rest_url="https://data-api.binance.vision"))
    async with world.running():
        world.live(1, 5)
        passed_s = await world.until_filled()
        world.live(9)
        await world.until_filled()
    assert await world.told() == [1, (2, 4), 5, (6, 8), 9]
    assert {one.cause for one in await world.gaps()} == {"data-api.binance.vision serves no trades by id"}
    assert world.ask.log == []
    assert 1 < passed_s < 4
    said = capsys.readouterr()
    assert (said.out + said.err).count("feed.gaps_stay") == 1


async def test_nothing_is_asked_while_there_is_no_room(world: World) -> None:
    world.roomy = False
    async with world.running():
        world.live(1, 50)
        await world.clock.sleep(500.0)
        assert world.ask.log == []
        world.roomy = True
        await world.until_filled()
    assert await world.told() == list(range(1, 51))


async def test_what_was_lost_further_on_is_fetched_again(world: World) -> None:
    async with world.running():
        world.live(*range(1, 21))
        await world.told()
        world.continuity.rewind(BTC, 10)
        world.live(21)
        await world.until_filled()
    assert (await world.told())[20:] == list(range(11, 22))


async def test_a_line_may_go_back_while_it_is_filled(world: World) -> None:
    world.ask.latency_s = 2.0
    async with world.running():
        world.live(*range(1, 21))
        world.live(30)
        await world.clock.sleep(1.0)
        world.continuity.rewind(BTC, 10)
        await world.until_filled()
    assert (await world.told())[20:] == list(range(11, 31))


async def test_what_the_inbox_has_no_room_for_is_fetched_until_it_gets_through(clock: ManualClock) -> None:
    world = World(clock, inbox_max=300)
    world.ask.newest = 1_000
    stored: list[int | tuple[int, int]] = []

    async def read() -> None:
        while True:
            stored[:] = await world.told()
            await clock.sleep(0.7)

    async with world.running():
        reading = asyncio.create_task(read())
        world.live(1)
        for trade_id in range(101, 1_001, 100):
            world.live(trade_id)
            await clock.sleep(0.05)
        await world.until(lambda: len(stored) >= 901)
        reading.cancel()
    assert stored == list(range(1, 902))
    asked_for = Counter(world.ask.firsts)
    assert max(asked_for.values()) <= 3


async def test_what_waits_behind_a_hole_goes_on_when_there_is_room_for_it(clock: ManualClock) -> None:
    world = World(clock, inbox_max=10)
    world.ask.holes = {2, 3, 4}
    async with world.running():
        world.live(1)
        world.live(*range(5, 30))
        await clock.sleep(20.0)
        assert world.continuity.gap(BTC) is not None
        await world.told()
        await world.until_filled(limit_s=10.0)
    assert await world.told() == [1, (2, 4), *range(5, 30)]
    assert (world.stats.gaps_unfillable, world.stats.missing) == (1, 3)


async def test_a_line_followed_no_longer_is_left_in_peace(world: World) -> None:
    world.ask.answers = [b"[]"]
    async with world.running():
        world.live(1, 50)
        await world.clock.sleep(3.0)
        world.continuity.forget(BTC)
        await world.clock.sleep(20.0)
        asked = len(world.ask.log)
        await world.clock.sleep(200.0)
    assert len(world.ask.log) == asked
    assert [one.event for one in await world.ledger()] == ["gap_opened"]


async def test_a_line_that_comes_back_while_its_page_is_on_the_way_does_not_take_it_in(world: World) -> None:
    world.ask.latency_s = 5.0
    async with world.running():
        world.live(1, 50)
        await world.clock.sleep(1.0)
        world.continuity.forget(BTC)
        world.live(60)
        await world.clock.sleep(20.0)
    assert await world.told() == [1, 60]


async def test_a_long_fill_says_how_far_it_is(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.ask.latency_s = 4.0
    async with world.running():
        world.live(1, 30_002)
        await world.until_filled()
    said = capsys.readouterr()
    assert 2 <= (said.out + said.err).count("feed.gap_filling") <= 4


async def test_a_fill_runs_at_the_weight_budget(clock: ManualClock) -> None:
    """Sixty pages at twenty a minute, each five seconds on its way: one after the other would take five minutes."""
    world = World(clock, deadline_s=10.0)
    world.ask.newest = 60_002

    async def answer(request: httpx2.Request) -> httpx2.Response:
        await clock.sleep(5.0)
        params = request.url.params
        return httpx2.Response(200, content=world.ask.page(int(params["fromId"]), int(params["limit"])))

    async with Rest(clock, weight_per_minute=505, transport=httpx2.MockTransport(answer)) as rest:
        world.backfill = Backfill(
            Binance(), rest.get, world.continuity, world.door, room=lambda: True, clock=clock,
            settings=Settings(deadline_s=10.0), stats=world.stats,
        )  # fmt: skip
        async with world.running():
            world.live(1, 60_002)
            passed_s = await world.until_filled()
    assert await world.told() == list(range(1, 60_003))
    assert passed_s < 2 * 60 + 40


async def test_a_real_exchange_fills_what_was_missed_digit_by_digit() -> None:
    """Real HTTP, real time."""
    async with LocalExchange(seed=4, pairs=["BTCUSDT"], rate=200.0, history_s=60.0) as exchange:
        clock = SystemClock()
        last = exchange.sent("BTCUSDT")[-1]
        first = last - 7_000
        truth = {one.id: (one.price, one.qty) for one in exchange.trades("BTCUSDT", first, last)}
        exchange.faults.inject("rest,answer=503,count=1")
        async with Rest(clock, weight_header=Binance.weight_header) as rest:
            world = World(ManualClock())
            world.clock = clock  # type: ignore[assignment]
            world.door = Door(world.continuity, None, world.inbox, clock, "binance", "")
            world.backfill = Backfill(
                Binance(rest_url=exchange.rest_url), rest.get, world.continuity, world.door, room=lambda: True,
                clock=clock, settings=Settings(), stats=world.stats,
            )  # fmt: skip
            async with world.running():
                world.continuity.seed(BTC, first - 1, Micros(1))
                world.continuity.exists(BTC, last)
                await world.until_filled(limit_s=20)
    records = [one for one in await world.went_on() if isinstance(one, TradeRecord)]
    assert {one.trade_id: (one.price, one.qty) for one in records} == truth
    assert [one.trade_id for one in records] == sorted(truth)
