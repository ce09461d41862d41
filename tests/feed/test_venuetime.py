"""The venue's time is what the venue says, and in between what our monotonic clock makes of it."""

import asyncio
import json

import pytest

from cryptostream.errors import VenueUnavailable
from cryptostream.feed.venuetime import VenueTime
from cryptostream.testing import ManualClock
from cryptostream.venues.base import Request
from cryptostream.venues.binance import Binance

THERE_MS = 1_900_000_000_000


class Api:
    """A venue whose clock runs as ours does, far ahead of it."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked = 0
        self.away = False

    async def __call__(self, request: Request) -> bytes:
        self.asked += 1
        now_ms = THERE_MS + round(self.clock.monotonic() * 1000)
        await self.clock.sleep(0.2)
        if self.away:
            raise VenueUnavailable("away")
        return json.dumps({"serverTime": now_ms}).encode()


@pytest.fixture
def api(clock: ManualClock) -> Api:
    return Api(clock)


@pytest.fixture
def time(api: Api, clock: ManualClock) -> VenueTime:
    return VenueTime(Binance(), api, clock)


async def test_before_the_first_reading_there_is_no_guess(time: VenueTime) -> None:
    assert (time.told_ms, time.guess_ms()) == (0, 0)


async def test_a_guess_carries_the_reading_on_and_never_runs_ahead(time: VenueTime, clock: ManualClock) -> None:
    await time.read()
    clock.advance(10)
    assert time.told_ms == THERE_MS
    assert time.guess_ms() == THERE_MS + 10_000  # at the venue it is 200 ms later: the answer's way


async def test_a_time_that_is_known_to_be_past_is_not_asked_for(time: VenueTime, api: Api) -> None:
    assert await time.is_past(THERE_MS - 1)
    assert await time.is_past(THERE_MS - 1)
    assert api.asked == 1


async def test_a_time_that_was_still_to_come_is_asked_for_again(time: VenueTime, api: Api, clock: ManualClock) -> None:
    assert not await time.is_past(THERE_MS + 5_000)
    clock.advance(6)
    assert await time.is_past(THERE_MS + 5_000)
    assert api.asked == 2


async def test_a_reading_of_that_very_time_is_not_past_it(time: VenueTime, api: Api) -> None:
    assert not await time.is_past(THERE_MS)
    assert await time.is_past(THERE_MS)  # 200 ms later, which only another reading tells
    assert api.asked == 2


async def test_those_who_ask_at_once_share_the_answer(time: VenueTime, api: Api) -> None:
    assert all(await asyncio.gather(*(time.is_past(THERE_MS - number) for number in range(1, 20))))
    assert api.asked == 1


async def test_a_venue_that_does_not_answer_leaves_the_last_reading(time: VenueTime, api: Api) -> None:
    await time.read()
    api.away = True
    with pytest.raises(VenueUnavailable):
        await time.is_past(THERE_MS + 1)
    assert time.told_ms == THERE_MS
