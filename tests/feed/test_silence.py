"""Streams that say nothing are asked about, at a price that is bounded. Time is virtual unless said."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from cryptostream.engine.clock import SystemClock
from cryptostream.engine.stats import FeedStats
from cryptostream.feed.door import Door
from cryptostream.feed.inbox import Inbox
from cryptostream.feed.rest import Paused, Refused, Rest, Unanswered
from cryptostream.feed.silence import Silence
from cryptostream.model.events import LedgerRecord, Micros, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.model.ports import Clock
from cryptostream.sim.exchange import LocalExchange
from cryptostream.testing import ManualClock
from cryptostream.venues.base import Request
from cryptostream.venues.binance import Binance
from cryptostream.venues.continuity import Continuity

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
ETH = Subscription("binance", Channel.TRADES, "ETHUSDT")
AGG = Subscription("binance", Channel.AGG_TRADES, "BTCUSDT")
CANDLES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)


class Asked:
    """The venue's word about the newest trade of each pair; `trouble` first, if there is any."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.newest: dict[str, int] = {}
        self.trouble: Exception | None = None
        self.delisted: set[str] = set()
        self.latency_s = 0.0
        self.log: list[tuple[float, list[str]]] = []

    async def __call__(self, request: Request) -> bytes:
        params = request.params
        pairs = json.loads(params["symbols"]) if "symbols" in params else [params["symbol"]]
        self.log.append((self.clock.monotonic(), pairs))
        if self.latency_s:
            await self.clock.sleep(self.latency_s)
        if self.trouble is not None:
            raise self.trouble
        if self.delisted & set(pairs):
            raise Refused("refused the call (HTTP 400)", status=400, body=b'{"code":-1121,"msg":"Invalid symbol."}')
        if "symbol" in params:
            row = {"a": self.newest[pairs[0]], "p": "1", "q": "1", "f": 1, "l": 1, "T": 1_600_000_000_000, "m": True}
            return json.dumps([row]).encode()
        rows = [{"symbol": pair, "lastId": self.newest.get(pair, -1)} for pair in pairs]
        return json.dumps(rows).encode()

    def asked_about(self, pair: str) -> list[float]:
        return [at_s for at_s, pairs in self.log if pair in pairs]


class World:
    """A feed without sockets, in which gaps that are found are filled at once unless told otherwise."""

    def __init__(self, clock: ManualClock, silent_after_s: float = 60.0) -> None:
        self.clock = clock
        self.ask = Asked(clock)
        self.stats = FeedStats()
        self.inbox = Inbox(100_000)
        self.gaps: list[Subscription] = []
        self.resubscribed: list[tuple[float, Subscription]] = []
        self.continuity = Continuity(Binance().rule, on_gap=self.gaps.append)
        self.door = Door(self.continuity, None, self.inbox, clock, "binance", "")
        self.silence = Silence(
            Binance(),
            self.ask,
            self.continuity,
            self.door,
            resubscribe=lambda wanted: self.resubscribed.append((clock.monotonic(), wanted)),
            clock=clock,
            silent_after_s=silent_after_s,
            stats=self.stats,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.silence.run()), asyncio.create_task(self._pace())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)

    async def _pace(self) -> None:
        while True:
            await self.clock.sleep(0.1)

    def live(self, *ids: int, of: Subscription = BTC) -> None:
        self.ask.newest[of.pair] = max(self.ask.newest.get(of.pair, 0), *ids)
        self.door.receive([_trade(one, of) for one in ids])

    async def trades(self, first: int, last: int, every_s: float, of: Subscription = BTC) -> None:
        for one in range(first, last + 1):
            self.live(one, of=of)
            await self.clock.sleep(every_s)

    def fill(self, of: Subscription = BTC) -> None:
        """What Backfill does."""
        gap = self.continuity.gap(of)
        if gap is not None:
            self.door.receive([_trade(one, of, filled=True) for one in range(gap.first, gap.top + 1)])

    async def ledger(self) -> list[tuple[str, str]]:
        records = (await self.inbox.take())[0] if len(self.inbox) else []
        return [(one.event, one.pair) for one in records if isinstance(one, LedgerRecord)]


def _trade(trade_id: int, of: Subscription, *, filled: bool = False) -> TradeRecord:
    return TradeRecord(of, "1.5", "2", Micros(1_000_000), "buy", trade_id, "", filled)


def apart(times: Iterable[float]) -> list[float]:
    known = list(times)
    return [round(later - earlier, 1) for earlier, later in pairwise(known)]


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(clock)


async def test_a_stream_that_speaks_is_not_asked_about(world: World) -> None:
    world.silence.expect([BTC])
    async with world.running():
        await world.trades(1, 600, 1.0)
    assert world.ask.log == []


async def test_the_first_trade_on_a_new_socket_has_a_deadline(world: World) -> None:
    world.continuity.seed(BTC, 10, Micros(1))
    world.ask.newest["BTCUSDT"] = 10
    world.silence.expect([BTC])
    async with world.running():
        await world.clock.sleep(10.0)
    [at_s] = world.ask.asked_about("BTCUSDT")
    assert 5 <= at_s <= 8
    assert world.gaps == []


async def test_what_was_missed_before_a_socket_is_found_though_the_pair_stays_quiet(world: World) -> None:
    world.live(1, 2)
    world.ask.newest["BTCUSDT"] = 5
    world.silence.expect([BTC])
    async with world.running():
        await world.clock.sleep(10.0)
    gap = world.continuity.gap(BTC)
    assert gap is not None
    assert gap.hole == (3, 5)


async def test_a_line_that_never_spoke_goes_on_from_the_venues_newest(world: World) -> None:
    world.ask.newest["BTCUSDT"] = 41
    world.silence.expect([BTC])
    async with world.running():
        await world.clock.sleep(10.0)
        world.ask.newest["BTCUSDT"] = 43
        world.door.receive([_trade(43, BTC)])
    gap = world.continuity.gap(BTC)
    assert gap is not None
    assert gap.hole == (42, 42)


async def test_silence_far_beyond_the_usual_is_asked_about(world: World) -> None:
    world.silence.expect([BTC])
    async with world.running():
        await world.trades(1, 100, 1.0)
        stopped_s = world.clock.monotonic()
        await world.clock.sleep(70.0)
    [at_s] = world.ask.log[0][:1]
    assert 55 <= at_s - stopped_s <= 70


async def test_a_pair_that_trades_seldom_may_be_silent_longer(world: World) -> None:
    world.silence.expect([BTC])
    async with world.running():
        await world.trades(1, 30, 20.0)
        await world.clock.sleep(300.0)
    assert world.ask.log == []


async def test_a_quiet_pair_is_asked_about_ever_more_seldom(world: World) -> None:
    world.live(1)
    world.silence.expect([BTC])
    async with world.running():
        await world.clock.sleep(1800.0)
    waits = apart(world.ask.asked_about("BTCUSDT"))
    assert waits == sorted(waits)
    assert 60 <= waits[0] <= 62
    assert 300 <= waits[-1] <= 302
    assert world.resubscribed == []
    assert world.stats.stale == 0


async def test_a_stream_that_is_silent_while_its_pair_trades_is_told_and_subscribed_again(world: World) -> None:
    world.live(1)
    world.silence.expect([BTC])
    async with world.running():
        for newest in range(2, 8):
            world.ask.newest["BTCUSDT"] = newest
            await world.clock.sleep(3.0)
            world.fill()
    assert world.resubscribed[0][1] == BTC
    assert world.stats.stale == 1
    assert await world.ledger() == [("stale", "BTCUSDT")]


async def test_a_trade_on_its_way_does_not_make_a_stream_stale(world: World) -> None:
    world.live(1)
    world.silence.expect([BTC])
    async with world.running():
        world.ask.newest["BTCUSDT"] = 2
        await world.clock.sleep(8.0)
        await world.trades(2, 60, 1.0)
    assert world.stats.stale == 0
    assert world.resubscribed == []


async def test_what_is_fetched_is_not_taken_for_speech(world: World) -> None:
    world.live(1)
    world.silence.expect([BTC])
    async with world.running():
        for newest in range(2, 200):
            world.ask.newest["BTCUSDT"] = newest
            await world.clock.sleep(1.0)
            world.fill()
    assert world.stats.stale == 1
    assert world.continuity.newest(BTC)[0] is not None
    assert world.continuity.newest(BTC)[0] > 100  # type: ignore[operator]


async def test_a_stream_that_speaks_between_two_moves_of_its_pair_is_not_stale(world: World) -> None:
    world.live(1)
    world.silence.expect([BTC])
    async with world.running():
        for newest in range(2, 12, 2):
            world.ask.newest["BTCUSDT"] = newest
            await world.clock.sleep(8.0)
            world.fill()
            world.live(newest + 1)
            world.silence.expect([BTC])
            await world.clock.sleep(3.0)
            world.silence.expect([BTC])
    assert world.stats.stale == 0


async def test_where_nothing_was_ever_heard_the_first_word_of_the_venue_is_no_move(world: World) -> None:
    world.silence.expect([BTC])
    async with world.running():
        world.ask.newest["BTCUSDT"] = 41
        await world.clock.sleep(8.0)
        world.ask.newest["BTCUSDT"] = 42
        await world.clock.sleep(5.0)
        assert len(world.ask.log) == 2
        assert world.stats.stale == 0
        world.ask.newest["BTCUSDT"] = 43
        await world.clock.sleep(8.0)
    assert world.stats.stale == 1


async def test_a_stream_that_spoke_while_the_venue_was_asked_is_not_judged(world: World) -> None:
    world.live(1)
    world.ask.latency_s = 3.0
    world.silence.expect([BTC])
    async with world.running():
        await world.clock.sleep(7.0)
        assert len(world.ask.log) == 1
        world.live(2)
        world.ask.newest["BTCUSDT"] = 3
        await world.clock.sleep(5.0)
    assert world.gaps == []


async def test_a_stale_stream_is_subscribed_to_again_ever_more_seldom(world: World) -> None:
    subscribe = world.resubscribed.append

    def resubscribe(wanted: Subscription) -> None:
        subscribe((world.clock.monotonic(), wanted))
        world.silence.expect([wanted])

    world.silence._resubscribe = resubscribe
    world.live(1)
    world.silence.expect([BTC])
    async with world.running():
        for newest in range(2, 402):
            world.ask.newest["BTCUSDT"] = newest
            await world.clock.sleep(1.0)
            world.fill()
    waits = apart(at_s for at_s, _ in world.resubscribed)
    assert waits == sorted(waits)
    assert waits[0] >= 10
    assert len(world.resubscribed) < 12
    assert waits[-1] >= 60
    assert world.stats.stale == 1


async def test_a_stale_stream_that_speaks_again_has_resumed(world: World) -> None:
    world.live(1)
    world.silence.expect([BTC])
    async with world.running():
        for newest in range(2, 30):
            world.ask.newest["BTCUSDT"] = newest
            await world.clock.sleep(1.0)
            world.fill()
        world.live(30)
        await world.clock.sleep(3.0)
    assert await world.ledger() == [("stale", "BTCUSDT"), ("resumed", "BTCUSDT")]


async def test_lines_that_are_due_are_asked_about_in_one_request(world: World) -> None:
    world.silence.expect([BTC, ETH])
    async with world.running():
        await world.clock.sleep(9.0)
    assert [sorted(pairs) for _, pairs in world.ask.log] == [["BTCUSDT", "ETHUSDT"]]


async def test_one_request_names_no_more_than_the_venue_takes_and_the_next_one_waits(world: World) -> None:
    world.silence.expect([Subscription("binance", Channel.TRADES, f"P{number}USDT") for number in range(50)])
    async with world.running():
        await world.clock.sleep(12.0)
    assert [len(pairs) for _, pairs in world.ask.log] == [20, 20, 10]
    assert min(apart(at_s for at_s, _ in world.ask.log)) >= 2


async def test_aggregates_are_watched_by_their_own_ids_and_klines_not_at_all(world: World) -> None:
    world.ask.newest["BTCUSDT"] = 7
    world.silence.expect([AGG, CANDLES])
    async with world.running():
        await world.clock.sleep(9.0)
    assert [pairs for _, pairs in world.ask.log] == [["BTCUSDT"]]
    assert world.continuity.newest(AGG)[0] == 7


async def test_a_venue_out_of_reach_is_said_once_and_asked_seldom(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.live(1)
    world.ask.trouble = Unanswered("venue did not answer in time")
    world.silence.expect([BTC])
    async with world.running():
        await world.clock.sleep(600.0)
        world.ask.trouble, world.ask.newest["BTCUSDT"] = None, 4
        await world.clock.sleep(70.0)
    said = capsys.readouterr()
    assert (said.out + said.err).count("feed.silence_unchecked") == 1
    assert len(world.ask.log) < 16
    assert world.gaps == [BTC]


async def test_a_pause_is_obeyed(world: World) -> None:
    world.ask.trouble = Paused("silence", delay_s=100.0, status=429)
    world.silence.expect([BTC])
    async with world.running():
        await world.clock.sleep(150.0)
    assert apart(world.ask.asked_about("BTCUSDT")) == [pytest.approx(100, abs=2)]


async def test_one_delisted_pair_does_not_blind_us_to_the_others(world: World) -> None:
    world.live(1)
    world.ask.newest["BTCUSDT"] = 4
    world.ask.delisted = {"ETHUSDT"}
    world.silence.expect([BTC, ETH])
    async with world.running():
        await world.clock.sleep(30.0)
    assert world.gaps == [BTC]
    assert world.ask.log[0][1] == ["BTCUSDT", "ETHUSDT"]
    assert len(world.ask.asked_about("ETHUSDT")) == 2


async def test_pairs_that_are_known_after_all_are_asked_about_together_again(world: World) -> None:
    sol = Subscription("binance", Channel.TRADES, "SOLUSDT")
    world.live(1)
    world.live(1, of=sol)
    world.ask.delisted = {"ETHUSDT"}
    world.silence.expect([BTC, ETH, sol])
    async with world.running():
        await world.clock.sleep(30.0)
        world.silence.expect([BTC, ETH, sol])
        await world.clock.sleep(9.0)
    together = [sorted(pairs) for _, pairs in world.ask.log if len(pairs) > 1]
    assert together == [["BTCUSDT", "ETHUSDT", "SOLUSDT"], ["BTCUSDT", "SOLUSDT"]]


async def test_a_stale_stream_is_asked_about_no_oftener_than_it_is_subscribed_to(world: World) -> None:
    world.live(1)
    world.silence.expect([BTC])
    async with world.running():
        for newest in range(2, 402):
            world.ask.newest["BTCUSDT"] = newest
            await world.clock.sleep(1.0)
            world.fill()
    assert len(world.ask.log) <= len(world.resubscribed) + 2


async def test_a_line_followed_no_longer_is_not_asked_about(world: World) -> None:
    world.live(1)
    world.silence.expect([BTC, ETH])
    async with world.running():
        await world.clock.sleep(1.0)
        world.continuity.forget(BTC)
        world.silence.forget([ETH])
        await world.clock.sleep(60.0)
    assert world.ask.log == []


async def test_a_real_exchange_says_what_a_silent_stream_has_missed() -> None:
    """Real HTTP; only the first-frame deadline is waited for."""
    async with LocalExchange(seed=4, pairs=["BTCUSDT", "ETHUSDT"], rate=20.0, history_s=60.0) as exchange:
        exchange.halt()
        last = {wanted: exchange.sent(wanted.pair)[-1] for wanted in (BTC, ETH)}
        world = World(Hurried())  # type: ignore[arg-type]
        async with Rest(SystemClock(), weight_header=Binance.weight_header) as rest:
            venue = Binance(rest_url=exchange.rest_url)
            world.silence = Silence(
                venue, rest.get, world.continuity, world.door, resubscribe=lambda _: None,
                clock=world.clock, silent_after_s=60.0, stats=world.stats,
            )  # fmt: skip
            world.continuity.seed(BTC, last[BTC] - 3, Micros(1))
            world.continuity.seed(ETH, last[ETH], Micros(1))
            world.silence.expect([BTC, ETH])
            async with world.running(), asyncio.timeout(10):
                while not world.gaps:
                    await world.clock.sleep(0.1)
    gap = world.continuity.gap(BTC)
    assert gap is not None
    assert gap.hole == (last[BTC] - 2, last[BTC])
    assert world.gaps == [BTC]


class Hurried(SystemClock):
    """Ten seconds a second."""

    def monotonic(self) -> float:
        return 10 * super().monotonic()

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(delay_s / 10)
