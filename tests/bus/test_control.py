"""Wishes of operators: made by one process, obeyed and answered by all who are to, and by nobody else."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from cryptostream.bus import control
from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.control import Request, Role, Verdict
from cryptostream.bus.outage import Outage
from cryptostream.bus.publish import Publisher
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused, BusUnavailable, NoAnswer, Unreachable, UsageError
from cryptostream.testing import ManualClock
from tests.conftest import RedisServer

CLOCK = SystemClock()


@pytest.fixture(autouse=True)
def _quick_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_BLOCK_MS", 100)


@pytest.fixture
async def bus(bus_url: str, data_dir: Path) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=CLOCK) as opened:
        yield opened


class Obedient:
    """One who obeys, and what it was asked."""

    def __init__(self, by: str) -> None:
        self.by = by
        self.heard: list[Request] = []

    async def obey(self, request: Request) -> Sequence[Verdict]:
        self.heard.append(request)
        if request.args.get("symbol") == "?":
            raise UsageError("not a symbol", hint="letters")
        return [Verdict(request.args["symbol"], True, f"said {self.by}")]


@asynccontextmanager
async def attending(bus: Bus, *who: Obedient, role: Role = "ingest") -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(control.attend(bus, role, one.by, CLOCK, one.obey)) for one in who]
    try:
        await here(bus, role, {one.by for one in who})
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def here(bus: Bus, role: Role, who: set[str]) -> None:
    async with asyncio.timeout(5):
        while not who <= await those_here(bus, role):
            await CLOCK.sleep(0.005)


async def those_here(bus: Bus, role: Role) -> set[str]:
    try:
        return set(await control.here(bus, role))
    except BusUnavailable:  # a connection that a killed server left behind
        return set()


async def ask(bus: Bus, symbol: str, *, role: Role = "ingest", within_s: float = 5.0) -> control.Outcome:
    return await control.ask(bus, "watchlist", {"symbol": symbol}, role=role, by="me", clock=CLOCK, within_s=within_s)


async def test_all_of_a_role_obey_and_answer_and_nobody_else(bus: Bus) -> None:
    one, other, consumer = Obedient("one:1"), Obedient("other:2"), Obedient("one:1")
    async with attending(bus, one, other), attending(bus, consumer, role="consume"):
        found = await ask(bus, "BTCUSDT")
        assert {each.by: each.verdicts for each in found.answers} == {
            by: [Verdict("BTCUSDT", True, f"said {by}")] for by in ("one:1", "other:2")
        }
        assert found.unanswered == []
        assert [request.entry_id for request in (*one.heard, *other.heard)] == [found.request] * 2
        assert consumer.heard == []
    assert await control.here(bus, "ingest") == []
    with pytest.raises(Unreachable, match="nobody ingests on this bus"):
        await ask(bus, "ETHUSDT")


async def test_what_cannot_be_done_is_a_refusal_and_the_next_request_is_obeyed(bus: Bus) -> None:
    async with attending(bus, Obedient("one:1")):
        refused = await ask(bus, "?")
        assert refused.answers[0].verdicts == [Verdict("watchlist", False, "not a symbol; letters")]
        assert (await ask(bus, "BTCUSDT")).answers[0].verdicts[0].accepted


async def test_who_is_here_and_does_not_answer_is_named(bus: Bus) -> None:
    await control.be_here(bus, "ingest", "dead:1")
    async with attending(bus, Obedient("one:1")):
        found = await ask(bus, "BTCUSDT", within_s=0.3)
    assert ([one.by for one in found.answers], found.unanswered) == (["one:1"], ["dead:1"])


async def test_a_request_to_which_nobody_says_anything_is_no_success(bus: Bus) -> None:
    class Silent(Obedient):
        async def obey(self, request: Request) -> Sequence[Verdict]:
            return []

    async with attending(bus, Silent("one:1")):
        with pytest.raises(NoAnswer, match="who is in charge"):
            await ask(bus, "BTCUSDT")
        await control.be_here(bus, "ingest", "dead:1")
        with pytest.raises(NoAnswer, match=r"no answer in time .* from dead:1$"):
            await ask(bus, "BTCUSDT", within_s=0.1)


async def test_a_request_that_waited_too_long_is_not_obeyed_nor_one_that_cannot_be_read(bus: Bus) -> None:
    one = Obedient("one:1")
    fields = {"role": "ingest", "verb": "watchlist", "args": '{"symbol": "OLDUSDT"}', "by": "me", "within_ms": "9999"}
    with structlog.testing.capture_logs() as logs:
        async with attending(bus, one):
            for broken in (
                {**fields, "within_ms": "-1"},
                {**fields, "args": "["},
                {"x": "y"},
                {**fields, "within_ms": "soon"},
            ):
                await bus.command.xadd(control.REQUESTS, broken)  # type: ignore[arg-type]
            await ask(bus, "BTCUSDT")
    assert [request.args["symbol"] for request in one.heard] == ["BTCUSDT"]
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["control.stale"] + [
        "control.unreadable"
    ] * 3


async def test_an_answer_of_somebody_else_and_one_that_cannot_be_read_are_none(bus: Bus) -> None:
    class Rude(Obedient):
        async def obey(self, request: Request) -> Sequence[Verdict]:
            for broken in ({"request": request.entry_id}, {"request": request.entry_id, "by": "x", "verdicts": "["}):
                await bus.command.xadd(control.ANSWERS, broken)  # type: ignore[arg-type]
            await control.answer(bus, Request("1-1", "", {}, ""), [], role="ingest", by="elsewhere:1")
            return await super().obey(request)

    async with attending(bus, Rude("one:1")):
        assert [one.by for one in (await ask(bus, "BTCUSDT")).answers] == ["one:1"]


async def test_wishes_are_kept_and_taken_back(bus: Bus) -> None:
    await control.wish(bus, control.WATCHLIST, {"binance:BTCUSDT": "+", "binance:ETHUSDT": "-"})
    await control.wish(bus, control.WATCHLIST, {"binance:BTCUSDT": None})
    assert await control.wishes(bus, control.WATCHLIST) == {"binance:ETHUSDT": "-"}


async def test_wishes_are_written_all_at_once_or_not_at_all(
    redis_server: Callable[..., RedisServer], data_dir: Path
) -> None:
    server = redis_server()
    server.call("ACL", "SETUSER", "half", "on", ">secret", "~control:*", "+@all", "-hdel")
    async with connect(f"redis://half:secret@127.0.0.1:{server.port}", data_dir=data_dir, clock=CLOCK) as bus:
        with pytest.raises(BusRefused):
            await control.wish(bus, control.WATCHLIST, {"binance:BTCUSDT": "+", "binance:ETHUSDT": None})
        assert await control.wishes(bus, control.WATCHLIST) == {}


async def test_a_bus_that_has_lost_what_was_wished_is_told_again_and_one_where_it_was_taken_back_is_not(
    bus: Bus,
) -> None:
    one, other = control.Wishes(bus, control.WATCHLIST), control.Wishes(bus, control.WATCHLIST)
    await one.wish({"binance:BTCUSDT": "+", "binance:ETHUSDT": "+"})
    assert await other.read() == {"binance:BTCUSDT": "+", "binance:ETHUSDT": "+"}
    await one.wish({"binance:BTCUSDT": None, "binance:ETHUSDT": None})
    assert (await other.read(), await one.read()) == ({}, {})
    await one.wish({"binance:SOLUSDT": "-"})
    await bus.command.delete(control.WATCHLIST)
    assert await other.read() == {}
    assert await one.read() == await other.read() == {"binance:SOLUSDT": "-"}


async def test_of_all_who_wait_for_a_bus_one_tells_that_it_is_away_and_one_that_it_is_back(
    bus: Bus, clock: ManualClock
) -> None:
    reading, obeying, publisher = Outage(clock, bus), Outage(clock, bus), Publisher(bus, clock=clock)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            await reading.wait(BusUnavailable("no answer"))
            await obeying.wait(BusUnavailable("no answer"))
            await publisher._retreat(BusUnavailable("no answer"))
        reading.over()
        assert [line["event"] for line in logs] == ["bus.away"]
        bus.waiting.discard(publisher)
        obeying.over()
        reading.over()
    assert [line["event"] for line in logs] == ["bus.away", "bus.back"]


async def test_after_a_bus_that_came_back_empty_requests_are_obeyed_again(
    redis_server: Callable[..., RedisServer], data_dir: Path
) -> None:
    server = redis_server()
    one = Obedient("one:1")
    async with connect(server.unix_url, data_dir=data_dir, clock=CLOCK) as bus:
        await bus.command.xadd(control.REQUESTS, {"far": "ahead"}, id="99999999999999-0")  # its clock was wrong
        async with attending(bus, one):
            server.restart()
            await here(bus, "ingest", {"one:1"})
            assert (await ask(bus, "BTCUSDT")).unanswered == []
    assert [request.args["symbol"] for request in one.heard] == ["BTCUSDT"]
