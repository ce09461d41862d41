"""The watchlist while feeds run: who obeys, what becomes of the other pairs, and what a restart finds."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from cryptostream import config, wiring
from cryptostream.bus import control
from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.control import Outcome, Request, Verdict
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusUnavailable
from cryptostream.model.instrument import Instrument, Pair, Subscription
from cryptostream.sim.exchange import LocalExchange
from cryptostream.wiring import Following, Ingest
from cryptostream.wiring.judging import Judging
from cryptostream.wiring.listings import Listings
from cryptostream.wiring.watchlist import Asked
from tests.history import check_history, truth_of

CLOCK = SystemClock()
PAIRS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")


@pytest.fixture(autouse=True)
def _quick_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_BLOCK_MS", 100)


@pytest.fixture
async def exchange() -> AsyncIterator[LocalExchange]:
    async with LocalExchange(pairs=PAIRS, rate=50.0, history_s=1.0) as made:
        yield made


@pytest.fixture
async def bus(bus_url: str, data_dir: Path) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=CLOCK) as opened:
        yield opened


@dataclass
class Running:
    """Feeds that run, and what they follow."""

    config: config.Config
    following: Following
    stage: Ingest

    @property
    def pairs(self) -> list[str]:
        return sorted(map(str, self.following.followed))


@asynccontextmanager
async def ingesting(
    exchange: LocalExchange, bus: Bus, folder: Path, *feeds: Mapping[str, Any], by: str = "one:1"
) -> AsyncIterator[Running]:
    """An ingester in this process, from the exchange to the bus; unless said, it follows BTCUSDT and ETHUSDT."""
    told = [{"binance": feed} for feed in feeds or ({"symbols": ["BTCUSDT", "ETHUSDT"]},)]
    venue = {"ws_url": exchange.ws_url, "rest_url": exchange.rest_url}
    flags = {"feeds": told, "venues": {"binance": venue}, "bus.maxlen": 0, "data_dir": str(folder / by[:3])}
    flags |= {"discovery.url": exchange.coingecko_url, "discovery.fallback_pairs": "BTCUSDT"}
    loaded = config.load([], sets=(), flags=flags, env={}).config
    give_up_at = CLOCK.monotonic() + 10
    async with wiring.plans(loaded, give_up_at) as plans:
        following = await wiring.following(loaded, plans, bus, by=by)
        async with wiring.ingest(loaded, following.plans, bus, give_up_at=give_up_at) as stage:
            following.lead(stage)
            obeying = asyncio.ensure_future(following())
            async with asyncio.TaskGroup() as tasks:
                for pipeline in stage.pipelines:
                    tasks.create_task(pipeline.run())
                try:
                    await until(lambda: is_here(bus, by))
                    yield Running(loaded, following, stage)
                finally:
                    for pipeline in stage.pipelines:
                        pipeline.stop()
                    obeying.cancel()
                    await asyncio.gather(obeying, return_exceptions=True)


async def is_here(bus: Bus, by: str) -> bool:
    return by in await control.here(bus, "ingest")


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():
            await CLOCK.sleep(0.01)


async def ask(bus: Bus, **args: Any) -> Outcome:
    return await control.ask(bus, "watchlist", args, role="ingest", by="me", clock=CLOCK)


async def verdicts(bus: Bus, **args: Any) -> list[Verdict]:
    """What the only ingester says."""
    [answer] = (await ask(bus, **args)).answers
    return answer.verdicts


async def wishes(bus: Bus) -> dict[str, str]:
    return await control.wishes(bus, control.WATCHLIST)


async def flows(bus: Bus, *pairs: str, beyond: int = 5) -> None:
    """Return once every pair has so many trades more than now."""
    wanted = {pair: int(await bus.command.xlen(f"trades:{pair}")) + beyond for pair in pairs}

    async def all_there() -> bool:
        return all([int(await bus.command.xlen(f"trades:{pair}")) >= count for pair, count in wanted.items()])

    await until(all_there)


async def test_a_pair_is_added_and_removed_without_a_trade_of_the_others_lost(
    exchange: LocalExchange, bus: Bus, tmp_path: Path
) -> None:
    async with ingesting(exchange, bus, tmp_path) as one:
        await flows(bus, "BTCUSDT", "ETHUSDT")
        assert await verdicts(bus, add=["solusdt"]) == [Verdict("SOLUSDT", True)]
        await flows(bus, "BTCUSDT", "ETHUSDT", "SOLUSDT", beyond=20)
        assert await verdicts(bus, remove=["ETHUSDT"]) == [Verdict("ETHUSDT", True)]
        await flows(bus, "BTCUSDT", "SOLUSDT", beyond=20)
        assert (one.pairs, await wishes(bus)) == (
            ["BTCUSDT", "SOLUSDT"],
            {"binance:SOLUSDT": "+", "binance:ETHUSDT": "-"},
        )
        stats = one.stage.feed()
        assert (stats.reconnects, stats.gaps_opened, stats.connection_errors) == (0, 0, 0)
        told: Any = await bus.command.xrange("events:binance")
        left = [entry["cause"] for _, entry in told if entry["event"] == "disconnected"]
        assert left == ["its pairs changed"] * 2  # once the next socket had been heard
    for pair in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        stored: Any = await bus.command.xrange(f"trades:{pair}")
        assert len(stored) > 20
        check_history(truth_of(exchange, pair), stored).assert_clean()


async def test_what_cannot_be_followed_is_refused_with_the_reason_and_the_rest_is_done(
    exchange: LocalExchange, bus: Bus, tmp_path: Path
) -> None:
    async with ingesting(exchange, bus, tmp_path) as one:
        found = await verdicts(bus, add=["SOLUSTD", "XRPUSDT", "kraken:BTCUSD", "a b", "BTCUSDT"], remove=["ETHUSD"])
        assert {verdict.what: (verdict.accepted, verdict.why) for verdict in found} == {
            "XRPUSDT": (True, ""),
            "BTCUSDT": (True, "followed already"),
            "SOLUSTD": (False, 'is not listed; did you mean "SOLUSDT"?'),
            "kraken:BTCUSD": (False, "no feed follows kraken here; those that run follow binance"),
            "a b": (False, "not a symbol: 'a b'; letters, digits and ._- only, at most 32"),
            "ETHUSD": (False, 'is not followed; did you mean "ETHUSDT"?'),
        }
        assert one.pairs == ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
        [refused] = await verdicts(bus, add=["SOLUSDT"], replace=["SOLUSDT"])
        assert (refused.what, refused.accepted) == ("watchlist", False)


async def test_all_ingesters_obey_and_say_the_same(exchange: LocalExchange, bus: Bus, tmp_path: Path) -> None:
    async with (
        ingesting(exchange, bus, tmp_path) as one,
        ingesting(exchange, bus, tmp_path, by="two:2") as other,
    ):
        for args, follow in (
            ({"add": ["SOLUSDT"]}, ["BTCUSDT", "ETHUSDT", "SOLUSDT"]),
            ({"remove": ["ETHUSDT"]}, ["BTCUSDT", "SOLUSDT"]),
            ({"replace": ["XRPUSDT"]}, ["XRPUSDT"]),
        ):
            found = await ask(bus, **args)
            assert (one.pairs, other.pairs, found.unanswered) == (follow, follow, [])
            assert [answer.verdicts[0] for answer in found.answers] == [Verdict(str(*args.values())[2:-2], True)] * 2

        async def obeyed() -> bool:
            return one.pairs == ["BTCUSDT"]

        async with other.following._turn:  # it is busy, and finds what the first has stored by then
            asking = asyncio.ensure_future(ask(bus, add=["BTCUSDT"], remove=["XRPUSDT"]))
            await until(obeyed)
        found = await asking
        assert [answer.verdicts for answer in found.answers] == [
            [Verdict("BTCUSDT", True), Verdict("XRPUSDT", True)]
        ] * 2


async def test_a_list_replaces_what_is_configured_until_it_is_reset(
    exchange: LocalExchange, bus: Bus, tmp_path: Path
) -> None:
    async with ingesting(exchange, bus, tmp_path) as one:
        assert not (await verdicts(bus, replace=["NOSUCHUSDT"]))[0].accepted
        assert one.pairs == ["BTCUSDT", "ETHUSDT"]
        assert {verdict.what: verdict.why for verdict in await verdicts(bus, replace=["XRPUSDT", "ETHUSDT"])} == {
            "XRPUSDT": "",
            "ETHUSDT": "followed already",
            "BTCUSDT": "followed no more",
        }
        assert one.pairs == ["ETHUSDT", "XRPUSDT"]
    async with ingesting(exchange, bus, tmp_path) as again:
        assert again.pairs == ["ETHUSDT", "XRPUSDT"]
        await verdicts(bus, reset=True)
        assert (again.pairs, await wishes(bus)) == (["BTCUSDT", "ETHUSDT"], {})


async def test_a_reset_holds_also_for_an_ingester_that_slept_through_it(
    exchange: LocalExchange, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[Following.__module__], "LOOK_EVERY_S", 0.05)
    configured = ["BTCUSDT", "ETHUSDT"]
    async with (
        ingesting(exchange, bus, tmp_path) as one,
        ingesting(exchange, bus, tmp_path, by="two:2") as other,
    ):
        await ask(bus, add=["SOLUSDT"], remove=["ETHUSDT"])
        with structlog.testing.capture_logs() as logs:
            found = await ask(bus, reset=True)
            assert (len(found.answers), one.pairs, other.pairs, await wishes(bus)) == (2, configured, configured, {})
        assert [line for line in logs if line["event"] == "control.lost"] == []

        await ask(bus, add=["XRPUSDT"])
        await one.following.obey(Request("1-1", "watchlist", {"reset": True}, "me"))  # the other hears nothing of it

        async def forgotten() -> bool:
            return other.pairs == configured

        await until(forgotten)
        assert await wishes(bus) == {}


async def test_what_could_not_be_followed_for_want_of_a_bus_is_not_wished(
    exchange: LocalExchange, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise BusUnavailable("no answer")

    async with ingesting(exchange, bus, tmp_path) as one:
        with monkeypatch.context() as patched:
            patched.setattr(one.stage.feeds[0], "change", away)
            with pytest.raises(BusUnavailable):
                await one.following.obey(Request("1-1", "watchlist", {"add": ["SOLUSDT"]}, "me"))
        await one.following.found(0, ["XRPUSDT"])
        assert (one.pairs, await wishes(bus)) == (["XRPUSDT"], {})


async def test_a_list_that_is_found_waits_its_turn(
    exchange: LocalExchange, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()
    async with ingesting(exchange, bus, tmp_path) as one:
        change = one.stage.feeds[0].change

        async def slow(wanted: Sequence[Subscription]) -> None:
            begun.set()
            await goes_on.wait()
            await change(wanted)

        monkeypatch.setattr(one.stage.feeds[0], "change", slow)
        asking = asyncio.ensure_future(ask(bus, add=["SOLUSDT"]))
        await begun.wait()
        finding = asyncio.ensure_future(one.following.found(0, ["XRPUSDT"]))
        await CLOCK.sleep(0)
        assert one.following.base(0) == ["BTCUSDT", "ETHUSDT"]
        goes_on.set()
        await asyncio.gather(asking, finding)
        assert one.pairs == ["SOLUSDT", "XRPUSDT"]


async def test_a_process_follows_as_many_pairs_as_are_promised_and_no_more() -> None:
    pairs = [f"A{number}USDT" for number in range(2001)]

    class Listed:
        async def of(self, _: object) -> Mapping[str, Instrument]:
            return {pair: Instrument(pair, pair.removesuffix("USDT"), "USDT") for pair in pairs}

    plan: Any = SimpleNamespace(venue=SimpleNamespace(name="binance"))
    followed = [Pair("binance", pair) for pair in pairs[:1999]]
    judging = Judging([plan], cast("Listings", Listed()), {}, followed)
    found = await judging.judged(Asked(add=[*pairs[1999:], pairs[0]]))
    assert {verdict.what: (verdict.accepted, verdict.why) for verdict in found.verdicts} == {
        "A1999USDT": (True, ""),
        "A0USDT": (True, "followed already"),
        "A2000USDT": (False, "2,000 pairs are followed, and that is the most"),
    }


async def test_a_restart_finds_the_watchlist_and_a_feed_without_pairs_lives_on(
    exchange: LocalExchange, bus: Bus, tmp_path: Path
) -> None:
    async with ingesting(exchange, bus, tmp_path) as one:
        await ask(bus, remove=["BTCUSDT", "ETHUSDT"])
        assert (one.pairs, one.stage.feed().active_connections) == ([], 0)
    async with ingesting(exchange, bus, tmp_path) as again:
        assert again.pairs == []
        again.stage.check(interrupted=False)
        await ask(bus, add=["XRPUSDT"])
        await flows(bus, "XRPUSDT")


async def test_what_is_added_goes_to_the_first_feed_and_what_a_feed_names_or_finds_to_its_own(
    exchange: LocalExchange, bus: Bus, tmp_path: Path
) -> None:
    feeds = ({"symbols": ["BTCUSDT"], "channels": "trades,klines:1s"}, {"symbols": ["ETHUSDT"]})
    async with ingesting(exchange, bus, tmp_path, *feeds) as one:
        await ask(bus, add=["SOLUSDT"], remove=["ETHUSDT"])
        assert [sorted({each.pair for each in feed.subscriptions}) for feed in one.stage.feeds] == [
            ["BTCUSDT", "SOLUSDT"],
            [],
        ]
        await ask(bus, add=["ETHUSDT"])
        assert [each.pair for each in one.stage.feeds[1].subscriptions] == ["ETHUSDT"]
        await one.following.found(1, ["XRPUSDT", "SOLUSDT"])  # as discovery finds them
        assert [sorted({each.pair for each in feed.subscriptions}) for feed in one.stage.feeds] == [
            ["BTCUSDT", "ETHUSDT"],
            ["SOLUSDT", "XRPUSDT"],
        ]


async def test_a_bus_that_came_back_empty_is_told_again_and_what_was_missed_is_caught_up_with(
    exchange: LocalExchange, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[Following.__module__], "LOOK_EVERY_S", 0.1)

    async def told_again() -> bool:
        return await wishes(bus) == {"binance:SOLUSDT": "+"}

    async def caught_up() -> bool:
        return one.pairs == ["BTCUSDT", "SOLUSDT"]

    async with ingesting(exchange, bus, tmp_path) as one:
        await ask(bus, add=["SOLUSDT"])
        await bus.command.delete(control.WATCHLIST)
        await until(told_again)
        await control.wish(bus, control.WATCHLIST, {"binance:ETHUSDT": "-"})  # by one who heard what we did not
        await until(caught_up)


async def test_a_stream_that_cannot_be_begun_refuses_its_pair_and_changes_nothing(
    exchange: LocalExchange, bus: Bus, tmp_path: Path
) -> None:
    await bus.command.set("trades:SOLUSDT", "mine")
    async with ingesting(exchange, bus, tmp_path) as one:
        [verdict] = await verdicts(bus, add=["SOLUSDT"])
        assert not verdict.accepted
        assert "trades:SOLUSDT" in verdict.why
        assert (one.pairs, await wishes(bus)) == (["BTCUSDT", "ETHUSDT"], {})
        assert (await verdicts(bus, add=["XRPUSDT"]))[0].accepted


async def test_what_is_not_traded_any_more_is_left_out_and_can_be_taken_back(
    exchange: LocalExchange, bus: Bus, tmp_path: Path
) -> None:
    await control.wish(bus, control.WATCHLIST, {"binance:OLDUSDT": "+", "binance:XRPUSDT": "+"})
    async with ingesting(exchange, bus, tmp_path) as one:
        assert one.pairs == ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
        assert (await verdicts(bus, remove=["OLDUSDT"]))[0].accepted


async def test_a_pair_that_had_to_be_left_out_stays_so_until_it_is_asked_for(
    exchange: LocalExchange, bus: Bus, tmp_path: Path
) -> None:
    async with ingesting(exchange, bus, tmp_path, {"symbols": ["BTCUSDT"]}, {"symbols": ["SOLUSDT"]}) as one:
        feed = one.stage.feeds[1]
        feed._isolate(feed.connections[0])  # as frames that are too large do
        await ask(bus, add=["XRPUSDT"])
        assert one.pairs == ["BTCUSDT", "XRPUSDT"]
        assert await verdicts(bus, add=["SOLUSDT"]) == [Verdict("SOLUSDT", True)]
        assert one.pairs == ["BTCUSDT", "SOLUSDT", "XRPUSDT"]


async def test_a_list_that_is_found_anew_is_joined_with_what_was_wished_for(
    exchange: LocalExchange, bus: Bus, tmp_path: Path
) -> None:
    async with ingesting(exchange, bus, tmp_path, {"discover": {"top": 2}}) as one:
        await ask(bus, add=["SOLUSDT"], remove=["ETHUSDT"])
        await one.following.found(0, ["BTCUSDT", "XRPUSDT"])  # an older list
        assert one.pairs == ["BTCUSDT", "SOLUSDT", "XRPUSDT"]
        [refreshing] = wiring.refreshing(one.config, one.following, force=False)
        await refreshing.refresh()
        assert one.following.base(0) == ["BTCUSDT", "ETHUSDT"]
        assert one.pairs == ["BTCUSDT", "SOLUSDT"]
