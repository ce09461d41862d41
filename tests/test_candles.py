"""Venues are asked for candles through one client each, and one that fails is left alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from cryptostream.config import load
from cryptostream.engine.runtime import DRAIN_S
from cryptostream.errors import VenueUnavailable
from cryptostream.feed.rest import Paused, Refused
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.testing import ManualClock
from cryptostream.venues.base import Request
from cryptostream.wiring import candles
from cryptostream.wiring.candles import AGAIN_S, ASK_S, Candles

MINUTE_MS = 60_000
START_MS = 1_700_000_040_000


class Client:
    """Answers with the candle of the minute that it is asked for and the one after it, or fails as it is told."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.made = self.calls = self.at_once = self.most = 0
        self.error: Exception | None = None
        self.is_silent = False
        self.is_closed = False

    async def get(self, request: Request) -> bytes:
        self.calls += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self.clock.sleep(0)
            if self.is_silent:
                await asyncio.Event().wait()
            if self.error is not None:
                raise self.error
        finally:
            self.at_once -= 1
        first = int(request.params["startTime"])
        return msgspec.json.encode([_row(first), _row(first + MINUTE_MS)])


def _row(opens: int) -> list[Any]:
    return [opens, "1", "2", "0.5", "1.5", "9", opens + MINUTE_MS - 1, "13", 4, "5", "6", "0"]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> Client:
    client = Client(clock)

    @asynccontextmanager
    async def rest(_: object) -> AsyncIterator[Client]:
        client.made += 1
        yield client
        client.is_closed = True

    monkeypatch.setattr(candles, "rest", rest)
    return client


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def asked(clock: ManualClock, client: Client) -> Callable[..., Any]:
    made = Candles(load(env={}).config, clock)

    async def ask(pair: str = "BTCUSDT", exchange: str = "binance", last_ms: int = START_MS) -> list[int]:
        found = await made(Subscription(exchange, Channel.KLINES, pair, Interval.M1), START_MS, last_ms)
        return [kline.open_time for kline in found]

    return ask


Ask = Callable[..., Any]


async def test_candles_are_those_whose_windows_were_asked_for(asked: Ask) -> None:
    assert await asked() == [START_MS]
    assert await asked(last_ms=START_MS + MINUTE_MS) == [START_MS, START_MS + MINUTE_MS]


async def test_one_client_serves_all_streams_of_a_venue_and_is_closed_at_the_end(
    client: Client, clock: ManualClock
) -> None:
    wanted = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
    async with Candles(load(env={}).config, clock) as made:
        await asyncio.gather(*(made(wanted, START_MS, START_MS) for _ in range(20)))
        assert (client.made, client.is_closed) == (1, False)
    assert client.is_closed


async def test_one_finds_out_whether_a_venue_answers_and_then_all_ask_at_once(asked: Ask, client: Client) -> None:
    client.error = VenueUnavailable("away")
    await asyncio.gather(*(asked() for _ in range(20)))
    assert (client.calls, client.most) == (1, 1)


async def test_a_venue_that_answers_is_asked_side_by_side(asked: Ask, client: Client) -> None:
    await asked()
    await asyncio.gather(*(asked() for _ in range(5)))
    assert client.most == 5


@pytest.mark.parametrize(
    ("error", "quiet_s"),
    [
        (VenueUnavailable("away"), AGAIN_S),
        (Refused("a firewall", status=403), AGAIN_S),
        (Paused("hush", delay_s=1.0, status=429), AGAIN_S),
        (Paused("hush", delay_s=120.0, status=429), 120.0),
        (Paused("hush", delay_s=1000.0, status=418), 1000.0),
    ],
)
async def test_a_venue_that_failed_is_left_alone_and_told_of_once(
    asked: Ask, client: Client, clock: ManualClock, error: Exception, quiet_s: float
) -> None:
    client.error = error
    with capture_logs() as told:
        assert await asked() == []
        clock.advance(quiet_s - 1)
        assert await asked("ETHUSDT") == []
    assert client.calls == 1
    assert [(line["event"], line["venue"]) for line in told] == [("warm_up.without_candles", "binance")]
    clock.advance(2)
    client.error = None
    assert await asked() == [START_MS]


async def test_a_venue_that_fails_while_many_ask_is_told_of_once_and_then_asked_by_one(
    asked: Ask, client: Client, clock: ManualClock
) -> None:
    await asked()
    client.error = VenueUnavailable("away")
    with capture_logs() as told:
        await asyncio.gather(*(asked() for _ in range(5)))
    assert (client.calls, len(told)) == (6, 1)
    clock.advance(AGAIN_S + 1)
    await asyncio.gather(*(asked() for _ in range(5)))
    assert client.calls == 7


async def test_silence_is_an_answer_soon_enough_for_whoever_wants_to_stop(
    asked: Ask, client: Client, clock: ManualClock
) -> None:
    client.is_silent = True
    assert await asked() == []
    assert clock.monotonic() == ASK_S <= DRAIN_S / 2


async def test_a_pair_that_a_venue_does_not_know_is_no_trouble_of_the_venue(asked: Ask, client: Client) -> None:
    client.error = Refused("no such symbol", status=400)
    with capture_logs() as told:
        assert await asked("NOSUCH") == []
    assert [line["pair"] for line in told] == ["NOSUCH"]
    client.error = None
    assert await asked() == [START_MS]


async def test_what_is_no_page_of_candles_is_done_without(asked: Ask, client: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr("tests.test_candles._row", lambda _: "what?")
    with capture_logs() as told:
        assert await asked() == []
    assert len(told) == 1


async def test_a_venue_that_nobody_knows_has_none_and_is_told_of_once(asked: Ask, client: Client) -> None:
    with capture_logs() as told:
        assert await asked(exchange="nowhere") == await asked(exchange="nowhere") == []
    assert [line["venue"] for line in told] == ["nowhere"]
    assert client.calls == 0


@pytest.mark.parametrize(("exchange", "known"), [("binance", True), ("nowhere", False)])
@pytest.mark.usefixtures("client")
async def test_only_of_a_venue_that_promises_it_ids_are_contiguous(
    clock: ManualClock, exchange: str, known: bool
) -> None:
    assert await Candles(load(env={}).config, clock).is_contiguous(exchange) is known
