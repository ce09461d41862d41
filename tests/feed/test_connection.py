"""A group that stays followed, in virtual time: back-off, rotation without a gap, budgets, frames too large to read."""

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from cryptostream.engine.stats import FeedStats
from cryptostream.errors import VenueUnavailable
from cryptostream.feed.connection import Connection
from cryptostream.feed.conversation import Shared
from cryptostream.feed.door import Door
from cryptostream.feed.gate import Gate
from cryptostream.feed.inbox import Inbox
from cryptostream.model.events import LedgerRecord, Record, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.venues.base import Rule
from cryptostream.venues.binance import Binance
from cryptostream.venues.continuity import Continuity
from tests.feed.wires import Wires, elapse, refused

pytestmark = pytest.mark.looptime
VENUE = Binance(ws_url="ws://nowhere")
BTC, ETH, SOL = (Subscription("binance", Channel.TRADES, pair) for pair in ("BTCUSDT", "ETHUSDT", "SOLUSDT"))


class Following:
    """A connection over wires, and what came of it. `active` is what spoke lately."""

    def __init__(self, wires: Wires, group: Sequence[Subscription], **settings: Any) -> None:
        self.wires = wires
        self.active: Sequence[Subscription] = group
        self.stats = FeedStats()
        self.opened: list[Sequence[Subscription]] = []
        self.over: list[Sequence[Subscription]] = []
        self.too_large = 0
        self.continuity = Continuity(lambda _: Rule.CONTIGUOUS, on_gap=lambda _: None)
        self._inbox = Inbox(100_000)
        self._records: list[Record] = []
        limits = VENUE.limits
        shared = Shared(
            connect=wires.connect,
            limits=limits,
            gate=Gate(limits, wires.clock, connect_timeout_s=settings.pop("connect_timeout_s", 30)),
            door=Door(self.continuity, None, self._inbox, wires.clock, "binance", ""),
            stats=self.stats,
            clock=wires.clock,
            max_frame=1 << 20,
        )
        self.connection = Connection(
            tuple(group),
            shared,
            session=VENUE.session,
            random=Random(1),
            rotate_after_s=settings.pop("rotate_after_s", 1e9),
            active=lambda _: self.active,
            on_open=self.opened.append,
            on_over=self.over.append,
            on_too_large=self._too_large,
        )
        self.task = asyncio.ensure_future(self.connection.run())

    def _too_large(self, connection: Connection) -> None:
        self.too_large += 1

    async def records(self) -> list[Record]:
        if len(self._inbox):
            self._records += (await self._inbox.take())[0]
        return self._records

    async def ids(self) -> list[int]:
        return [record.trade_id for record in await self.records() if isinstance(record, TradeRecord)]

    async def ledger(self) -> list[tuple[str, str]]:
        return [(line.event, line.cause) for line in await self.records() if isinstance(line, LedgerRecord)]


@asynccontextmanager
async def following(wires: Wires, group: Sequence[Subscription] = (BTC,), **settings: Any) -> AsyncIterator[Following]:
    made = Following(wires, group, **settings)
    await elapse(0.1)
    try:
        yield made
    finally:
        made.task.cancel()
        await asyncio.wait([made.task])


async def opened(wires: Wires, count: int) -> None:
    """Wait until so many sockets have been opened."""
    while len(wires.opened) < count:
        await elapse(1)


async def test_a_socket_that_was_cut_is_back_at_once() -> None:
    async with following(wires := Wires()) as found:
        await elapse(60)
        wires[0].end()
        await elapse(0.6)
        assert len(wires.open) == 1
        assert wires[1].streams == ["btcusdt@trade"]
    assert found.stats.reconnects_by == {"closed": 1}
    assert (found.stats.reconnects, found.stats.rotations) == (1, 0)
    assert found.opened == [(BTC,), (BTC,)]


@pytest.mark.row(3)
@pytest.mark.parametrize("storm", ["accept and close", "503"])
async def test_a_storm_stays_within_the_budget_and_never_hurries(storm: str) -> None:
    wires = Wires()
    wires.cutting = storm == "accept and close"
    wires.refusal = refused(503) if storm == "503" else None
    async with following(wires, connect_timeout_s=1e6):
        await elapse(1200)
    at = wires.attempts
    assert len(at) > 20
    assert min(later - earlier for earlier, later in pairwise(at)) >= 0.25
    assert max(sum(start <= moment < start + 300 for moment in at) for start in at) <= 60


@pytest.mark.row(4)
@pytest.mark.parametrize("status", [429, 418])
async def test_who_is_asked_for_patience_does_not_call_before(status: int) -> None:
    async with following(wires := Wires()):
        wires.refusal = refused(status, "90")
        wires[0].end()
        await elapse(2)
        wires.refusal = None
        await elapse(100)
    _, told, again = wires.attempts
    assert again - told >= 90


async def test_a_start_that_would_have_to_wait_longer_than_it_may_is_given_up_at_once() -> None:
    wires = Wires()
    wires.refusal = refused(418, "3600")
    async with following(wires) as found:
        [error] = failures(found)
    assert "to be tried again in 3600 s" in str(error)


async def test_a_rotation_overlaps_until_the_new_socket_has_heard_what_the_old_one_did() -> None:
    async with following(wires := Wires(), [BTC, ETH], rotate_after_s=100) as found:
        wires[0].trade(1, 2)
        wires[0].trade(7, pair="ETHUSDT")
        await opened(wires, 2)
        old, new = wires.opened
        assert 90 <= new.opened_at - old.opened_at <= 100
        await elapse(5)
        old.trade(3)
        new.trade(3, 4)
        assert old.open
        new.trade(8, pair="ETHUSDT")
        await elapse(0.1)
        assert wires.open == [new]
        new.trade(5)
        assert await found.ids() == [1, 2, 7, 3, 4, 8, 5]
        assert [event for event in await found.ledger() if event[0] != "connected"] == [("disconnected", "rotated")]
    assert (found.stats.rotations, found.stats.reconnects) == (1, 0)


async def test_a_rotation_waits_for_nobody_who_was_silent_before() -> None:
    async with following(wires := Wires(), [BTC, ETH], rotate_after_s=100) as found:
        found.active = [BTC]
        await opened(wires, 2)
        wires[1].trade(1)
        await elapse(0.1)
        assert len(wires.open) == 1


async def test_a_rotation_waits_for_the_answer_even_where_all_was_silent() -> None:
    async with following(wires := Wires(), rotate_after_s=100) as found:
        found.active = []
        wires.answering = False
        await opened(wires, 2)
        old, new = wires.opened
        assert old.open
        new.frames({"result": None, "id": new.said[0][1]["id"]})
        await elapse(0.1)
        assert wires.open == [new]


async def test_a_rotation_ends_ten_seconds_after_the_answer_whatever_was_heard() -> None:
    async with following(wires := Wires(), rotate_after_s=100):
        wires.answering = False
        await opened(wires, 2)
        await elapse(5)
        old, new = wires.opened
        new.frames({"result": None, "id": new.said[0][1]["id"]})
        await elapse(9.8)
        assert old.open
        await elapse(0.4)
        assert wires.open == [new]


async def test_ages_differ_by_chance() -> None:
    async with following(wires := Wires(), rotate_after_s=100) as found:
        found.active = []
        await opened(wires, 8)
    lives = {round(later.opened_at - earlier.opened_at) for earlier, later in pairwise(wires.opened)}
    assert len(lives) > 3
    assert all(90 <= life <= 101 for life in lives)


async def test_a_rotation_that_fails_leaves_the_old_socket_and_is_tried_again() -> None:
    async with following(wires := Wires(), rotate_after_s=100) as found:
        found.active = []
        wires.refusal = refused(503)
        await elapse(130)
        assert wires.open == [wires[0]]
        wires[0].trade(1)
        assert await found.ids() == [1]
        assert len(wires.attempts) > 3
        assert found.stats.reconnects_by == {"refused": len(wires.attempts) - 1}
        wires.refusal = None
        await elapse(40)
        assert wires.open == [wires[1]]
    assert found.stats.rotations == 1


async def test_a_new_socket_that_dies_before_it_was_heard_leaves_the_old_one() -> None:
    async with following(wires := Wires(), rotate_after_s=100) as found:
        await opened(wires, 2)
        wires[1].end()
        await elapse(0.1)
        assert wires.open == [wires[0]]
        await elapse(2)
        wires[2].trade(1)
        await elapse(0.1)
        assert wires.open == [wires[2]]
    assert (found.stats.rotations, found.stats.reconnects_by) == (1, {"closed": 1})


async def test_an_old_socket_that_dies_while_it_is_replaced_hands_over_at_once() -> None:
    async with following(wires := Wires(), rotate_after_s=100) as found:
        await opened(wires, 2)
        wires[0].end(1001)
        await elapse(30)
        assert len(wires.opened) == 2
        wires[1].trade(1)
        assert await found.ids() == [1]
    assert (found.stats.rotations, found.stats.reconnects_by) == (0, {"closed": 1})


async def test_an_announced_shutdown_moves_to_a_new_socket_before_the_old_one_ends() -> None:
    async with following(wires := Wires()) as found:
        wires[0].trade(1)
        wires[0].shutdown()
        await elapse(0.5)
        old, new = wires.opened
        assert old.open
        old.trade(2)
        new.trade(2, 3)
        await elapse(0.1)
        assert wires.open == [new]
        assert await found.ids() == [1, 2, 3]
        assert ("disconnected", "the venue announced its end") in await found.ledger()
    assert (found.stats.rotations, found.stats.reconnects_by) == (1, {"shutdown": 1})


async def test_another_group_is_followed_before_the_old_one_is_left() -> None:
    async with following(wires := Wires(), [BTC, ETH]) as found:
        found.connection.move((ETH, SOL))
        await elapse(0.5)
        old, new = wires.opened
        assert new.streams == ["ethusdt@trade", "solusdt@trade"]
        assert old.open
        new.trade(1, pair="ETHUSDT")  # BTC is not waited for: nobody wants it any more
        await elapse(0.1)
        assert wires.open == [new]
        assert found.over == [(BTC, ETH)]
        assert ("disconnected", "its pairs changed") in await found.ledger()


async def test_a_group_that_changes_while_a_socket_opens_is_followed_in_the_end() -> None:
    async with following(wires := Wires(), [BTC]) as found:
        found.active = []
        found.connection.move((ETH,))
        found.connection.move((SOL,))
        await elapse(1)
        found.connection.move((BTC,))
        await elapse(1)
        assert [wire.streams for wire in wires.open] == [["btcusdt@trade"]]


async def test_groups_that_change_in_a_hurry_are_not_connected_in_a_hurry() -> None:
    async with following(wires := Wires(), [BTC]) as found:
        found.active = []
        for group in ((ETH,), (SOL,)) * 20:
            found.connection.move(group)
            await elapse(0.07)
    assert len(wires.attempts) > 4
    assert min(later - earlier for earlier, later in pairwise(wires.attempts)) >= 0.25


async def test_a_subscription_is_asked_for_again_where_it_is_followed() -> None:
    async with following(wires := Wires(), [BTC]) as found:
        await elapse(12)
        found.connection.resubscribe(ETH)
        found.connection.resubscribe(BTC)
        await elapse(1)
    assert [word["method"] for _, word in wires[0].said] == ["SUBSCRIBE", "UNSUBSCRIBE", "SUBSCRIBE"]


async def test_frames_too_large_again_and_again_are_told_and_others_are_not() -> None:
    async with following(wires := Wires()) as found:
        for code in (1009, 1006, 1009, 1006):
            wires.open[0].end(code)
            await elapse(40)
        assert found.too_large == 0
        wires.open[0].end(1009)
        await elapse(1)
        assert found.too_large == 1
        for _ in range(4):
            await elapse(200)
            wires.open[0].end(1009)
        assert found.too_large == 1


def failures(found: Following) -> list[BaseException]:
    error = found.task.exception()
    assert isinstance(error, BaseExceptionGroup)
    return list(error.exceptions)


@pytest.mark.row(33)
async def test_a_certificate_that_is_not_valid_ends_the_start_at_once() -> None:
    wires = Wires()
    wires.refusal = ssl.SSLCertVerificationError(1, "certificate verify failed")
    wires.refusal.verify_message = "self-signed certificate"
    async with following(wires) as found:
        [error] = failures(found)
    assert isinstance(error, VenueUnavailable)
    assert "certificate of ws://nowhere/stream is not valid: self-signed" in str(error)
    assert "no plain-text fallback" in error.hint


@pytest.mark.row(33)
async def test_a_certificate_that_expires_on_the_way_is_tried_again() -> None:
    async with following(wires := Wires()) as found:
        wires.refusal = ssl.SSLCertVerificationError(1, "certificate has expired")
        wires[0].end()
        await elapse(300)
        assert not found.task.done()
        wires.refusal = None
        await elapse(31)
        assert len(wires.open) == 1


@pytest.mark.row(33)
async def test_a_name_that_is_not_found_is_looked_up_again() -> None:
    wires = Wires()
    wires.refusal = OSError("Name or service not known")
    async with following(wires):
        await elapse(5)
        wires.refusal = None
        await elapse(20)
        assert len(wires.open) == 1


@pytest.mark.row(37)
async def test_without_file_handles_live_sockets_stay_and_the_log_says_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with following(wires := Wires(), rotate_after_s=100) as found:
        wires.refusal = OSError(errno.EMFILE, "Too many open files")
        await elapse(200)
        assert wires.open == [wires[0]]
        assert 3 < len(wires.attempts) < 20
        assert found.stats.reconnects_by == {"unreachable": len(wires.attempts) - 1}
    out, err = capsys.readouterr()
    assert "raise the limit: ulimit -n" in out + err


@pytest.mark.row(37)
async def test_a_start_without_file_handles_says_what_to_do() -> None:
    wires = Wires()
    wires.refusal = OSError(errno.EMFILE, "Too many open files")
    async with following(wires) as found:
        await elapse(31)
        [error] = failures(found)
    assert isinstance(error, VenueUnavailable)
    assert "ulimit -n" in error.hint
