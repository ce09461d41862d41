"""Closed klines that never came are fetched, in order, and what cannot be had is said so; in virtual time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import structs
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from cryptostream.engine.clock import SystemClock
from cryptostream.engine.stats import FeedStats
from cryptostream.errors import VenueUnavailable
from cryptostream.feed.candlefill import CandleFill
from cryptostream.feed.door import Door
from cryptostream.feed.inbox import Inbox
from cryptostream.feed.rest import Paused, Rest
from cryptostream.model.events import GapRecord, KlineRecord, LedgerRecord, Micros, Record
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.sim.exchange import LocalExchange
from cryptostream.testing import ManualClock
from cryptostream.venues.base import Request, Rule
from cryptostream.venues.binance import Binance
from cryptostream.venues.candles import Candles
from cryptostream.venues.continuity import Continuity

MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
ETH = Subscription("binance", Channel.KLINES, "ETHUSDT", Interval.M1)
MINUTE_MS = 60_000
T0 = 1_731_605_400_000  # when the manual clock begins: a full minute


@dataclass
class Settings:
    deadline_s: float = 120.0
    grace_s: float = 0.25
    max_events: int = 100_000


def at(window: int) -> int:
    """When a minute opens, counted from the one in which a test begins."""
    return T0 + window * MINUTE_MS


def row(open_ms: int) -> list[Any]:
    price = f"{open_ms // MINUTE_MS % 1000 + 1}.5"
    return [open_ms, *[price] * 4, "1", open_ms + MINUTE_MS - 1, "2", 3, "0.5", "1", "0"]


def kline(window: int, *, closed: bool, wanted: Subscription = MINUTES, second: float = 60.002) -> KlineRecord:
    open_ms, price = at(window), str(row(at(window))[1])
    ts = Micros(open_ms * 1000 + round(second * 1_000_000))
    volumes = ("1", "2", 3, "0.5", "1")
    return KlineRecord(wanted, open_ms, open_ms + MINUTE_MS - 1, price, price, price, price, *volumes, closed, ts)


class RestApi:
    """The venue's REST: knows every minute up to its own clock but the `unknown` ones; goes wrong as it is told.

    Where a database is a `lag_ms` behind, the minute that is open for it is known to it, as one half-finished.
    """

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.skew_ms = self.lag_ms = 0
        self.unknown: Collection[int] = ()
        self.trades: dict[int, int] = {}  # how many the rows of some minutes know of, where not three
        self.trouble: Exception | None = None
        self.hanging = ""
        self.before: Callable[[], None] = lambda: None
        self.asked: list[Request] = []
        self.at_once = self.most_at_once = 0

    @property
    def pages(self) -> list[Request]:
        return [request for request in self.asked if request.url.endswith("klines")]

    @property
    def now_ms(self) -> int:
        return self.clock.now_ns() // 1_000_000 + self.skew_ms

    async def __call__(self, request: Request) -> bytes:
        self.asked.append(request)
        if request.url.endswith("klines"):
            self.before()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.clock.sleep(0.1)
            if self.hanging and request.params.get("symbol") == self.hanging:
                await self.clock.sleep(10**6)
        finally:
            self.at_once -= 1
        if self.trouble:
            raise self.trouble
        if request.url.endswith("time"):
            return json.dumps({"serverTime": self.now_ms}).encode()
        first, limit = int(request.params["startTime"]), int(request.params["limit"])
        opened = range(-(-first // MINUTE_MS) * MINUTE_MS, self.now_ms - self.lag_ms, MINUTE_MS)
        known = [self.row(open_ms) for open_ms in opened if (open_ms - T0) // MINUTE_MS not in self.unknown]
        return json.dumps(known[:limit]).encode()

    def row(self, open_ms: int) -> list[Any]:
        cells = row(open_ms)
        cells[8] = self.trades.get((open_ms - T0) // MINUTE_MS, cells[8])
        return cells


class Scene:
    """A line's whole way in: candles, door, inbox, and the filler at work beside them."""

    def __init__(self, clock: ManualClock, *, inbox_max: int = 10_000, **settings: Any) -> None:
        self.clock = clock
        self.api = RestApi(clock)
        self.candles = Candles()
        self.inbox = Inbox(inbox_max)
        self.room = True
        self.stats = FeedStats()
        self.records: list[Record] = []
        continuity = Continuity(lambda _: Rule.NONE, on_gap=lambda _: None)
        self.door = Door(continuity, self.candles, self.inbox, clock, "binance", "one")
        self.fill = CandleFill(
            *(Binance(raw_json=False), self.api, self.candles, self.door),
            room=lambda: self.room,
            clock=clock,
            settings=Settings(**settings),
            stats=self.stats,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.fill.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()

    async def until_second(self, seconds: float) -> None:
        """Let time pass up to a moment counted from the test's begin, and take what has come."""
        await self.clock.sleep(seconds - self.clock.monotonic())
        await self.take()

    async def take(self) -> None:
        if len(self.inbox):
            self.records += (await self.inbox.take())[0]

    def windows(self, wanted: Subscription = MINUTES) -> list[int]:
        """Which minutes have come closed."""
        return [
            (record.open_time - T0) // MINUTE_MS
            for record in self.records
            if isinstance(record, KlineRecord) and record.closed and record.subscription == wanted
        ]

    @property
    def gaps(self) -> list[tuple[int, int]]:
        found = [record for record in self.records if isinstance(record, GapRecord)]
        return [((gap.gap_from - T0) // MINUTE_MS, (gap.gap_to - T0) // MINUTE_MS) for gap in found]

    @property
    def ledger(self) -> list[tuple[str, int | None]]:
        return [(line.event, line.count) for line in self.records if isinstance(line, LedgerRecord)]


@pytest.fixture
def scene(clock: ManualClock) -> Scene:
    return Scene(clock)


async def test_a_closing_frame_that_does_not_come_is_fetched_two_seconds_later(scene: Scene) -> None:
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(61.5)
        assert scene.windows() == [] and scene.api.pages == []
        await scene.until_second(64)
    assert scene.windows() == [0]
    assert scene.ledger == []


async def test_what_was_fetched_is_what_would_have_been_told(scene: Scene) -> None:
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(64)
    assert scene.records[1] == kline(0, closed=True, second=59.999)


async def test_a_closing_frame_that_is_a_little_late_is_waited_for(scene: Scene) -> None:
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(61.4)
        scene.door.receive([kline(0, closed=True)])
        await scene.until_second(110)
    assert (scene.windows(), scene.api.pages) == ([0], [])


async def test_minutes_without_any_frame_are_fetched_one_after_the_other(scene: Scene) -> None:
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(310)
    assert scene.windows() == [0, 1, 2, 3, 4]
    assert scene.ledger == []


async def test_an_hour_off_is_filled_in_order_and_told(scene: Scene) -> None:
    scene.candles.seed(MINUTES, at(-61))
    scene.door.receive([kline(0, closed=False, second=1)])
    async with scene.running():
        await scene.until_second(5)
    assert scene.windows() == list(range(-60, 0))
    assert scene.records[-2] == kline(0, closed=False, second=1)
    assert scene.ledger == [("gap_opened", 60), ("gap_filled", 60)]
    assert (scene.stats.gaps_opened, scene.stats.gaps_filled, scene.stats.gaps_unfillable) == (1, 1, 0)


async def test_a_long_absence_comes_in_pages_even_if_no_live_kline_shows_it(scene: Scene) -> None:
    scene.candles.seed(MINUTES, at(-2501))
    async with scene.running():
        await scene.until_second(5)
    assert scene.windows() == list(range(-2500, 0))
    assert [int(request.params["startTime"]) for request in scene.api.pages] == [at(-2500), at(-1501), at(-502)]


async def test_a_hole_waits_a_moment_for_itself_to_close(scene: Scene) -> None:
    async with scene.running():
        scene.door.receive([kline(-1, closed=False, second=59), kline(0, closed=False, second=0.01)])
        await scene.clock.sleep(0.2)
        scene.door.receive([kline(-1, closed=True)])
        await scene.until_second(30)
    assert (scene.windows(), scene.api.pages) == ([-1], [])


async def test_the_minute_still_open_is_not_published(scene: Scene) -> None:
    async with scene.running():
        scene.door.receive([kline(-3, closed=True)])
        await scene.until_second(20)
    assert all(
        isinstance(record, KlineRecord) and record.closed for record in scene.records if record.subscription == MINUTES
    )
    assert scene.windows() == [-3, -2, -1]


async def test_a_last_row_that_ended_a_moment_ago_may_not_be_final(scene: Scene) -> None:
    scene.api.unknown = [0]  # nothing follows it yet
    scene.candles.seed(MINUTES, at(-3))
    async with scene.running():
        await scene.until_second(9.9)
        assert scene.windows() == [-2]
        await scene.until_second(12)
    assert scene.windows() == [-2, -1]


async def test_a_row_that_nothing_follows_settles_ten_seconds_after_its_end_and_costs_two_questions(
    scene: Scene,
) -> None:
    scene.api.unknown = [1]
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(69.9)
        assert scene.windows() == []
        await scene.until_second(72)
        assert scene.windows() == [0]
        assert len(scene.api.pages) == 2
    assert scene.ledger == []


async def test_an_unchanged_row_below_a_later_kline_settles_no_sooner(scene: Scene) -> None:
    scene.api.unknown = [1]
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(60.1)
        scene.door.receive([kline(1, closed=False, second=0.1)])
        await scene.until_second(69.9)
        assert len(scene.api.pages) == 3
        assert scene.windows() == []
        await scene.until_second(80)
    assert scene.windows() == [0]


async def test_a_row_that_is_still_changing_has_not_settled(scene: Scene) -> None:
    scene.api.unknown = [1]
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        for second in (66, 72, 76):
            await scene.until_second(second)
            scene.api.trades[0] = second
        await scene.until_second(95)
    (found,) = [one for one in scene.records if isinstance(one, KlineRecord) and one.closed]
    assert found.trades == 76


async def test_two_readings_close_to_each_other_do_not_settle_a_row(scene: Scene) -> None:
    await scene.clock.sleep(30)  # the line is new, and its window long ended
    scene.api.unknown = [0]
    scene.candles.seed(MINUTES, at(-2))
    async with scene.running():
        await scene.until_second(36)
        assert scene.windows() == []
        assert len(scene.api.pages) == 1
        await scene.until_second(38.5)
    assert scene.windows() == [-1]


async def test_a_row_with_fewer_trades_than_were_told_is_not_believed_even_if_another_follows(scene: Scene) -> None:
    scene.api.trades[0] = 2
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(61)
        scene.door.receive([kline(1, closed=False, second=1)])
        await scene.until_second(100)
        assert scene.windows() == []
        scene.api.trades.clear()
        await scene.until_second(110)
    assert scene.windows() == [0]
    assert scene.records[1] == kline(0, closed=True, second=59.999)


async def test_a_row_that_never_has_the_trades_that_were_told_is_given_up_after_the_deadline(scene: Scene) -> None:
    scene.api.trades[0] = 2
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(61)
        scene.door.receive([kline(1, closed=False, second=1)])
        await scene.until_second(200)
    assert scene.gaps == [(0, 0)]
    assert [one.cause for one in scene.records if isinstance(one, GapRecord)] == [
        "the venue's kline has fewer trades than it told live"
    ]
    assert scene.windows() == [1, 2]


async def test_a_closing_frame_that_comes_after_all_wins_at_once(scene: Scene) -> None:
    scene.api.unknown = [1]
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(65)
        scene.door.receive([kline(0, closed=True)])
        await scene.until_second(65.1)
    assert scene.records[-1] == kline(0, closed=True)


async def test_a_database_that_lags_is_asked_again(scene: Scene) -> None:
    scene.api.lag_ms = 7_000
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(61)
        scene.door.receive([kline(1, closed=False, second=1)])
        await scene.until_second(66.9)
        assert scene.windows() == []
        await scene.until_second(75)
    assert scene.windows() == [0]
    assert len(scene.api.pages) > 1


@pytest.mark.parametrize("skew_s", [-300, 300])
async def test_minutes_close_by_the_venues_clock_not_by_ours(scene: Scene, skew_s: int) -> None:
    scene.api.skew_ms = skew_s * 1000
    here = skew_s // 60
    async with scene.running():
        scene.door.receive([kline(here, closed=False, second=1)])
        await scene.until_second(61)
        assert scene.windows() == []
        await scene.until_second(64)
    assert scene.windows() == [here]


async def test_a_venue_whose_time_stands_still_closes_nothing(scene: Scene) -> None:
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(50)
        for _ in range(300):
            scene.api.skew_ms -= 1000
            await scene.clock.sleep(1)
        await scene.take()
        assert scene.windows() == []
        await scene.until_second(368)  # it goes on, where its minute has 10 seconds left
    assert scene.windows() == [0]


async def test_what_cannot_be_had_within_the_deadline_is_a_gap_and_the_line_goes_on(scene: Scene) -> None:
    scene.api.trouble = VenueUnavailable("the venue is away")
    async with scene.running():
        scene.door.receive([kline(-4, closed=True), kline(-1, closed=True)])
        await scene.until_second(119)
        assert scene.gaps == []
        await scene.until_second(125)
        scene.door.receive([kline(0, closed=True)])
        await scene.until_second(126)
    assert scene.gaps == [(-3, -2)]
    assert scene.windows() == [-4, -1, 0]
    assert scene.ledger == [("gap_opened", 2), ("gap_unfillable", 2)]
    (told,) = [
        record for record in scene.records if isinstance(record, LedgerRecord) and record.event == "gap_unfillable"
    ]
    assert (told.channel, told.pair, told.cause) == ("klines:1m", "BTCUSDT", "the venue is away")
    assert (scene.stats.gaps_opened, scene.stats.gaps_filled, scene.stats.gaps_unfillable) == (1, 0, 1)
    assert scene.stats.missing == 2


async def test_a_venue_that_is_back_before_the_deadline_has_cost_nothing(scene: Scene) -> None:
    scene.api.trouble = VenueUnavailable("the venue is away")
    async with scene.running():
        scene.door.receive([kline(-4, closed=True), kline(-1, closed=True)])
        await scene.until_second(60)
        scene.api.trouble = None
        await scene.until_second(110)
    assert (scene.windows(), scene.gaps) == ([-4, -3, -2, -1, 0], [])


async def test_nothing_is_given_up_while_nobody_tells_of_a_later_minute(scene: Scene) -> None:
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(50)
        scene.api.trouble = VenueUnavailable("the venue is away")
        await scene.until_second(3600)
        assert (scene.windows(), scene.gaps) == ([], [])
        asked = len(scene.api.asked)
        assert asked < 150, "ever more seldom"
        scene.api.trouble = None
        await scene.until_second(3650)
    assert scene.windows() == list(range(60))


async def test_patience_begins_when_a_later_kline_shows_the_hole(scene: Scene) -> None:
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(50)
        scene.api.trouble = VenueUnavailable("the venue is away")
        await scene.until_second(1205)
        scene.door.receive([kline(20, closed=False, second=5)])
        await scene.until_second(1300)
        assert scene.gaps == []
        await scene.until_second(1340)
    assert scene.gaps == [(0, 19)]


async def test_what_the_venue_itself_lacks_is_given_up_and_what_comes_behind_it_is_not(scene: Scene) -> None:
    scene.api.unknown = range(-1995, -1990)
    scene.candles.seed(MINUTES, at(-2001))
    scene.door.receive([kline(0, closed=False, second=1)])
    async with scene.running():
        await scene.until_second(3)
        assert scene.gaps == []
        await scene.until_second(15)
    assert scene.gaps == [(-1995, -1991)]
    assert scene.windows() == [*range(-2000, -1995), *range(-1990, 0)]
    assert scene.ledger == [("gap_opened", 2000), ("gap_unfillable", 5), ("gap_filled", 1995)]


async def test_a_venue_that_is_back_has_a_moment_to_find_its_rows(scene: Scene) -> None:
    scene.api.trouble = VenueUnavailable("the venue is away")
    scene.api.unknown = [-3]
    async with scene.running():
        scene.door.receive([kline(-4, closed=True), kline(-1, closed=True)])
        await scene.until_second(50)
        scene.api.trouble = None
        while scene.candles.holding(MINUTES) < 2:
            await scene.clock.sleep(0.1)
        scene.api.unknown = ()
        await scene.until_second(scene.clock.monotonic() + 5)
    assert scene.gaps == []
    assert scene.windows()[:4] == [-4, -3, -2, -1]


async def test_of_too_many_minutes_the_older_ones_are_a_gap_at_once(clock: ManualClock) -> None:
    scene = Scene(clock, max_events=1500)
    scene.candles.seed(MINUTES, at(-5001))
    async with scene.running():
        await scene.until_second(5)
    assert scene.gaps == [(-5000, -1501)]
    assert scene.windows() == list(range(-1500, 0))
    assert scene.ledger == [("gap_opened", 5000), ("gap_unfillable", 3500), ("gap_filled", 1500)]


async def test_too_many_minutes_are_no_gap_before_the_venue_shows_newer_ones(clock: ManualClock) -> None:
    scene = Scene(clock, max_events=1500)
    scene.candles.seed(MINUTES, at(-5001))
    scene.api.unknown = range(-10_000, 10)  # a pair that is traded no longer
    async with scene.running():
        await scene.until_second(300)
    assert scene.gaps == []


async def test_nothing_is_asked_while_there_is_no_room(scene: Scene) -> None:
    scene.candles.seed(MINUTES, at(-61))
    scene.room = False
    async with scene.running():
        await scene.until_second(300)
        assert scene.api.pages == []
        scene.room = True
        await scene.until_second(302)
    assert (scene.windows()[:60], scene.gaps) == (list(range(-60, 0)), [])


async def test_what_found_no_place_is_fetched_again(clock: ManualClock) -> None:
    scene = Scene(clock, inbox_max=70)
    scene.candles.seed(MINUTES, at(-61))
    for _ in range(20):
        scene.door.tell("connected")
    async with scene.running():
        await scene.clock.sleep(10)
        assert (len(scene.inbox), scene.stats.gaps_filled) == (21, 0)
        await scene.take()
        await scene.until_second(30)
    assert scene.door.dropped % 60 == 0
    assert (scene.windows(), scene.gaps) == (list(range(-60, 0)), [])


async def test_a_line_stops_between_two_pages_when_there_is_no_room(scene: Scene) -> None:
    scene.candles.seed(MINUTES, at(-2501))

    def full() -> None:
        scene.room = len(scene.api.pages) < 2

    scene.api.before = full
    async with scene.running():
        await scene.until_second(30)
    assert scene.windows() == list(range(-2500, -502))


async def test_time_without_room_is_no_failure_of_the_venue(clock: ManualClock) -> None:
    scene = Scene(clock, inbox_max=70, deadline_s=20)

    def full() -> None:
        scene.room = False
        for _ in range(20):
            scene.door.tell("connected")

    scene.candles.seed(MINUTES, at(-61))
    scene.door.receive([kline(0, closed=False, second=1)])
    scene.api.before = full
    async with scene.running():
        for second in (30, 60):  # twice a page finds the inbox full, with more than the deadline between
            await scene.until_second(second)
            scene.room = True
        scene.api.before = lambda: None
        await scene.until_second(90)
    assert scene.gaps == []
    assert scene.windows() == list(range(-60, 1))


async def test_a_machine_that_slept_does_not_believe_its_old_idea_of_the_time(scene: Scene) -> None:
    two_days = 2 * 24 * 60
    async with scene.running():
        scene.door.receive([kline(0, closed=False, second=1)])
        await scene.until_second(5)
        scene.api.skew_ms = two_days * MINUTE_MS  # for our monotonic clock no time has passed
        scene.door.receive([kline(two_days, closed=False, second=6)])
        await scene.until_second(15)
    assert (scene.windows(), scene.gaps) == (list(range(two_days)), [])


async def test_a_venue_that_wants_silence_has_it(scene: Scene) -> None:
    async with scene.running():
        scene.door.receive([kline(-4, closed=True), kline(-1, closed=True)])
        scene.api.trouble = Paused("silence", delay_s=60.0)
        await scene.until_second(50)
        asked = [request for request in scene.api.asked if request.url.endswith("time")]
        assert len(scene.api.pages) + len(asked) < 15  # the routine look at the clock, every five seconds
        scene.api.trouble = None
        await scene.until_second(64)
    assert scene.windows() == [-4, -3, -2, -1, 0]


async def test_a_line_whose_answer_hangs_keeps_nobody_else_waiting(scene: Scene) -> None:
    scene.api.hanging = "ETHUSDT"
    async with scene.running():
        scene.door.receive([kline(-4, closed=True), kline(-4, closed=True, wanted=ETH)])
        await scene.until_second(5)
        assert (scene.windows(), scene.windows(ETH)) == ([-4, -3, -2, -1], [-4])


async def test_many_lines_are_filled_a_few_at_a_time(scene: Scene) -> None:
    lines = [Subscription("binance", Channel.KLINES, f"P{number}USDT", Interval.M1) for number in range(30)]
    async with scene.running():
        scene.door.receive([kline(-4, closed=True, wanted=wanted) for wanted in lines])
        await scene.until_second(15)
    assert all(scene.windows(wanted) == [-4, -3, -2, -1] for wanted in lines)
    assert scene.api.most_at_once <= 9  # eight lines, and the look at the clock
    assert len(scene.api.pages) == 30


async def test_a_pair_that_is_followed_no_longer_gets_nothing_more(scene: Scene) -> None:
    async with scene.running():
        scene.door.receive([kline(-4, closed=True)])
        while not scene.api.pages:
            await scene.clock.sleep(0.01)
        scene.candles.forget(MINUTES)
        await scene.until_second(300)
    assert scene.windows() == [-4]
    assert len(scene.candles) == 0


async def test_a_kline_that_pretends_to_come_from_tomorrow_makes_no_gap(scene: Scene) -> None:
    lie = kline(600, closed=True)
    async with scene.running():
        scene.door.receive([kline(-1, closed=True), lie])
        await scene.until_second(600)
    assert scene.gaps == []
    assert scene.windows() == list(range(-1, 9))


async def test_below_such_a_kline_only_what_has_ended_is_given_up(scene: Scene) -> None:
    async with scene.running():
        scene.door.receive([kline(-1, closed=True), kline(600, closed=True)])
        await scene.until_second(5)
        scene.api.trouble = VenueUnavailable("the venue is away")
        await scene.until_second(300)
    assert [last for _, last in scene.gaps][-1] < 5


# Against the local exchange, its time and ours ten times as fast as the machine's.


class TenTimes(SystemClock):
    def monotonic(self) -> float:
        return super().monotonic() * 10

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(delay_s / 10)


SECONDS = [Subscription("binance", Channel.KLINES, pair, Interval.S1) for pair in ("BTCUSDT", "ETHUSDT")]


async def listen(exchange: LocalExchange, door: Door, *, closing: bool = True) -> None:
    """Hear the seconds of two pairs, or all but their closing frames, and connect again for ever, without patience."""
    session = Binance(ws_url=exchange.ws_url).session(SECONDS)
    while True:
        with suppress(OSError, ConnectionClosed):
            async with connect(session.url) as socket:
                for message in session.hello():
                    await socket.send(message)
                async for frame in socket:
                    heard = session.receive(str(frame).encode(), exchange.time.now_us() * 1000)
                    door.receive([one for one in heard if closing or not (isinstance(one, KlineRecord) and one.closed)])
        await SystemClock().sleep(0.01)


async def truth(exchange: LocalExchange, rest: Rest, wanted: Subscription, since: int) -> list[KlineRecord]:
    venue = Binance(rest_url=exchange.rest_url, raw_json=False)
    answer = await rest.get(venue.klines_request(wanted, since, 1000))
    return [row for row in venue.klines(wanted, answer, SystemClock().now_ns()) if row.closed]


@pytest.mark.parametrize(
    "faults",
    [["skip:40%", "duplicate:20%", "swap:10%"], ["drop,every=300ms", "late:30%,by=500ms"], ["silent,for=1s"]],
    ids=["frames lost", "sockets cut", "silence"],
)
async def test_every_second_of_the_market_closes_once_and_in_order(faults: list[str]) -> None:
    clock = TenTimes()
    async with LocalExchange(pairs=("BTCUSDT", "ETHUSDT"), rate=3.0, speed=10.0) as exchange, Rest(clock) as rest:
        venue = Binance(rest_url=exchange.rest_url, raw_json=False)
        candles, inbox = Candles(), Inbox(100_000)
        door = Door(Continuity(lambda _: Rule.NONE, on_gap=lambda _: None), candles, inbox, clock, "binance", "one")
        fill = CandleFill(
            *(venue, rest.get, candles, door), room=lambda: True, clock=clock, settings=Settings(), stats=FeedStats()
        )
        tasks = [asyncio.ensure_future(fill.run()), asyncio.ensure_future(listen(exchange, door))]
        records: list[Record] = []
        try:
            await clock.sleep(2)
            for spec in faults:
                exchange.faults.inject(spec)
            begun = exchange.time.now_us() // 1000
            async with asyncio.timeout(10):
                while any((candles.expected(wanted) or 0) < begun + 15_000 for wanted in SECONDS):
                    records += (await inbox.take())[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for wanted in SECONDS:
            found = [
                one for one in records if isinstance(one, KlineRecord) and one.closed and one.subscription == wanted
            ]
            expected = await truth(exchange, rest, wanted, found[0].open_time)
            assert [facts(one) for one in found] == [facts(one) for one in expected[: len(found)]]
        assert not any(isinstance(one, GapRecord) for one in records)


async def test_no_half_finished_row_of_a_database_that_lags_is_taken_for_the_close() -> None:
    clock = TenTimes()
    async with LocalExchange(pairs=("BTCUSDT", "ETHUSDT"), rate=8.0, speed=10.0) as exchange, Rest(clock) as rest:
        venue = Binance(rest_url=exchange.rest_url, raw_json=False)
        candles, inbox = Candles(), Inbox(100_000)
        door = Door(Continuity(lambda _: Rule.NONE, on_gap=lambda _: None), candles, inbox, clock, "binance", "one")
        fill = CandleFill(
            *(venue, rest.get, candles, door), room=lambda: True, clock=clock, settings=Settings(), stats=FeedStats()
        )
        exchange.faults.inject("lag,by=3500ms")
        for wanted in SECONDS:
            candles.seed(wanted, exchange.time.now_us() // 1000)
        tasks = [asyncio.ensure_future(fill.run()), asyncio.ensure_future(listen(exchange, door, closing=False))]
        records: list[Record] = []
        try:
            async with asyncio.timeout(15):
                until = max(candles.expected(wanted) or 0 for wanted in SECONDS) + 15_000
                while any((candles.expected(wanted) or 0) < until for wanted in SECONDS):
                    records += (await inbox.take())[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        while len(inbox):
            records += (await inbox.take())[0]
        await clock.sleep(8)  # the database has caught up with all that was taken
        for wanted in SECONDS:
            found = [
                one for one in records if isinstance(one, KlineRecord) and one.closed and one.subscription == wanted
            ]
            expected = await truth(exchange, rest, wanted, found[0].open_time)
            assert len(found) >= 15
            assert [facts(one) for one in found] == [facts(one) for one in expected[: len(found)]]
        assert not any(isinstance(one, GapRecord) for one in records)


def facts(kline: KlineRecord) -> dict[str, Any]:
    """All that is the same whether it was told or asked for."""
    told = structs.asdict(kline)
    return {name: value for name, value in told.items() if name not in ("ts", "raw_json")}
