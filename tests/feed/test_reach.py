import httpx2
import pytest

from cryptostream.errors import BadFrame, VenueUnavailable
from cryptostream.feed.reach import ReachFacts, findings, look
from cryptostream.feed.rest import Rest
from cryptostream.model.finding import Level
from cryptostream.testing import ManualClock
from cryptostream.venues.binance import Binance


def rest(clock: ManualClock, status: int, text: str) -> Rest:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, text=text))
    return Rest(clock, transport=transport, attempts=1)


async def test_a_venue_that_answers_is_reached_and_its_skew_known(clock: ManualClock) -> None:
    ahead_ms = clock.now_ns() // 1_000_000 + 2_500
    async with rest(clock, 200, f'{{"serverTime":{ahead_ms}}}') as client:
        facts = await look(Binance(), client, clock)
    assert facts == ReachFacts("binance", 0.0, 2_500.0)


@pytest.mark.parametrize(("skew_ms", "level"), [(0.0, Level.OK), (1_000.0, Level.OK), (-1_001.0, Level.WARN)])
def test_a_clock_may_differ_by_a_second(skew_ms: float, level: Level) -> None:
    reached, skew = findings(ReachFacts("binance", 42.0, skew_ms))
    assert (reached.level, reached.detail) == (Level.OK, "answers in 42 ms")
    assert skew.level is level


async def test_a_venue_that_refuses_or_talks_nonsense_is_an_error(clock: ManualClock) -> None:
    async with rest(clock, 403, "") as client:
        with pytest.raises(VenueUnavailable):
            await look(Binance(), client, clock)
    async with rest(clock, 200, "<html>") as client:
        with pytest.raises(BadFrame):
            await look(Binance(), client, clock)
