"""Consumers that obey while they run: paused, resumed, begun and ended by request, on both engines."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from math import sin
from pathlib import Path
from typing import Any

import pytest

from cryptostream import config
from cryptostream.bus import admin, control, holding
from cryptostream.bus.admin import ConsumerRow
from cryptostream.bus.control import Request, Verdict
from cryptostream.bus.group import plan, source
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused, StateRefused
from cryptostream.model import codec
from cryptostream.model.codec import signal_fields
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Micros, Trade, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.strategies.desk import Desk
from cryptostream.strategies.loading import make
from cryptostream.transforms.bars import Bars, parse_bars
from cryptostream.wiring.consumers import Consuming
from cryptostream.wiring.hosting import Hosting, making, planned, wished
from cryptostream.wiring.hosting import hosting as module
from cryptostream.wiring.hosting.hosted import Hosted
from cryptostream.wiring.hosting.planned import Planned
from cryptostream.wiring.hosting.wished import Wished
from tests.client.conftest import T0_MS, Market, market
from tests.conftest import one_engine

__all__ = ["market"]

TRADES, SIGNALS = "trades:BTCUSDT", "signals:ma_cross:BTCUSDT"
CROSS = {"fast": 3, "slow": 8}
START = {"strategy": "ma_cross", "bars": "1s", "parameters": CROSS}
MOMENTUM: dict[str, Any] = {
    "read": "trades",
    "bars": "1s",
    "strategies": [{"ma_cross": CROSS}],
    "write": "bus",
    "warm_up": False,
}
Work = Callable[..., Any]


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds are made by `keep`, and members look often for streams that are free."""
    monkeypatch.setattr(module, "EVERY_S", 3600.0)
    monkeypatch.setattr(control, "_BLOCK_MS", 50)
    monkeypatch.setattr(plan, "BLOCK_S", 0.05)
    monkeypatch.setattr(source, "_RESCAN_S", 0.2)


@pytest.fixture
def work(market: Market, tmp_path: Path) -> Work:
    """A process that works, with these consumers."""

    @asynccontextmanager
    async def working(by: str = "here:1", **consumers: Any) -> AsyncIterator[Hosting]:
        venues = {"binance": {"rest_url": "http://127.0.0.1:9"}}
        flags = {"consumers": consumers, "venues": venues, "data_dir": str(tmp_path)}
        told = config.load([], sets=(), flags=flags, env={}).config
        made = Hosting(told, market.bus, list(consumers), by=by)
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(made.run())
            while by not in await control.here(market.bus, "consume"):
                await SystemClock().sleep(0.01)
            yield made
            made.stop()

    return working


async def put(market: Market, *numbers: int) -> None:
    """Trades in waves, one each 500 ms; the number of a trade is its id."""
    pipeline = market.bus.command.pipeline(transaction=False)
    for number in numbers:
        wanted = Subscription("binance", Channel.TRADES, "BTCUSDT")
        record = TradeRecord(wanted, price(number), "0.10000000", ts(number), "buy", number)
        pipeline.xadd(TRADES, codec.fields(record), id=entry_id(number))  # type: ignore[arg-type]
    await pipeline.execute()


def price(number: int) -> str:
    return f"{100 + 5 * sin(number / 10):.2f}"


def ts(number: int) -> Micros:
    return Micros((T0_MS + number * 500) * 1000)


def entry_id(number: int) -> str:
    return f"{T0_MS + number * 500}-{number}"


def expected(numbers: Iterable[int], after: int = 0, **params: int) -> list[tuple[str, dict[str, str]]]:
    """The signals of a strategy that takes in these trades, those that it gives after one of them."""
    desk = Desk("BTCUSDT", {"ma_cross": make("ma_cross", {**CROSS, **params})}, Bars(parse_bars("1s")))
    trades = (
        Trade(entry_id(each), "binance", "BTCUSDT", float(price(each)), 0.1, ts(each), "buy", each) for each in numbers
    )
    found = [(one.entry_id, signal_fields(one)) for trade in trades for one in desk.on(trade)]
    return [one for one in found if parse_id(one[0])[1] > after]


async def ask(of: Hosting, verb: str, name: str = "", **args: Any) -> Verdict | None:
    """What one process says, where it says anything."""
    named = {"name": name} if name else {}
    found = await of.obey(Request("1-1", verb, {**named, **args}, "test", "consume"))
    assert len(found) < 2
    return found[0] if found else None


async def obeyed(of: Hosting, verb: str, name: str = "", **args: Any) -> str:
    """The words with which a request is accepted."""
    told = await ask(of, verb, name, **args)
    assert told is not None and told.accepted, told
    return told.why


async def refused(of: Hosting, verb: str, name: str = "", **args: Any) -> str:
    told = await ask(of, verb, name, **args)
    assert told is not None and not told.accepted, told
    return told.why


async def rows(market: Market, of: Hosting, by: str = "here:1") -> dict[str, ConsumerRow]:
    """What a process shows of itself."""
    await of.keep()
    found = await admin.read_consumers(market.bus)
    return {row.name: row for one in found if f"{one.host}:{one.pid}" == by for row in one.consumers}


async def wishes(market: Market) -> dict[str, Wished]:
    return wished.read(await control.wishes(market.bus, control.CONSUMERS))


async def until(look: Callable[[], Any]) -> None:
    while not await look():
        await SystemClock().sleep(0.01)


async def stands(market: Market, of: Hosting, name: str, state: str, by: str = "here:1") -> None:
    async def look() -> bool:
        found = await rows(market, of, by)
        return name in found and found[name].state == state

    await until(look)


async def read(market: Market, number: int, group: str) -> None:
    """Wait until a group has acknowledged this trade."""

    async def look() -> bool:
        found: Any = await market.bus.command.hget(f"state:{group}:{TRADES}", "upto")
        return bool(found) and parse_id(str(found))[1] >= number

    await until(look)


async def test_a_consumer_that_was_paused_goes_on_where_it_stood(market: Market, work: Work) -> None:
    await put(market, *range(1, 160))
    async with work(momentum=MOMENTUM) as here:
        await read(market, 159, "momentum")
        assert await obeyed(here, "pause", "momentum") == ""
        await put(market, *range(160, 300))
        told = (await rows(market, here))["momentum"]
        assert (told.state, told.read, told.started_by) == ("paused", 159, "configuration")
        assert (told.strategies, told.parameters["ma_cross"]["average"]) == ({"ma_cross": "ma_cross"}, "sma")
        assert await obeyed(here, "pause", "momentum") == "it was paused already"
    async with work(momentum=MOMENTUM) as here:  # who starts later finds it paused
        assert (await rows(market, here))["momentum"].state == "paused"
        assert await market.entries(SIGNALS) == expected(range(1, 160))
        await obeyed(here, "start", strategy="ma_cross")
        await read(market, 299, "momentum")
        assert await wishes(market) == {}
    assert await market.entries(SIGNALS) == expected(range(1, 300))


async def test_a_strategy_that_was_started_knows_the_past_and_signals_each_crossing_once_however_often_it_is_stopped(
    market: Market, work: Work
) -> None:
    await put(market, *range(1, 160))
    async with work() as here:
        assert await obeyed(here, "start", **START, symbols=["btcusdt"]) == f"reads {TRADES} from now on"
        await stands(market, here, "ma_cross", "running")
        await put(market, *range(160, 201))
        await read(market, 200, "ma_cross")
        await obeyed(here, "stop", "ma_cross")
        await put(market, *range(201, 250))
        await obeyed(here, "start", strategy="ma_cross")
        await read(market, 249, "ma_cross")
        assert await obeyed(here, "start", strategy="ma_cross") == "it runs already"
        assert await refused(here, "start", strategy="ma_cross", bars="5s") == (
            '"ma_cross" runs with other settings; stop it first, or set its parameters'
        )
    async with work("there:2") as there:  # another process has it at once
        await put(market, *range(250, 300))
        await read(market, 299, "ma_cross")
        assert (await rows(market, there, "there:2"))["ma_cross"].started_by == "request"
        assert await obeyed(there, "stop", "ma_cross", remove=True) == "removed; its signals stay"
        assert await rows(market, there, "there:2") == {}
    assert await wishes(market) == {}
    assert await market.entries(SIGNALS) == expected(range(1, 300), after=159)


@one_engine
async def test_new_parameters_begin_anew_and_outlive_a_restart(market: Market, work: Work) -> None:
    told = {**MOMENTUM, "warm_up": True}
    await put(market, *range(1, 160))
    async with work(momentum=told) as here:
        await read(market, 159, "momentum")
        assert await refused(here, "parameters", "momentum", parameters={"fats": 5}) == (
            'strategy ma_cross has no parameter "fats"; did you mean "fast"?'
        )
        assert await obeyed(here, "parameters", "momentum", parameters={"fast": "3"}) == "it has these already"
        assert await obeyed(here, "parameters", "ma_cross", parameters={"fast": 5}) == (
            "it begins anew, warmed up with what came before"
        )
        await put(market, *range(160, 225))
        await read(market, 224, "momentum")
        assert (await rows(market, here))["momentum"].parameters["ma_cross"]["fast"] == 5
    async with work(momentum=told) as here:
        await put(market, *range(225, 300))
        await read(market, 299, "momentum")
    whole = expected(range(1, 160)) + expected(range(1, 300), after=159, fast=5)
    found = await market.entries(SIGNALS)  # the last digit of a sum depends on where it began
    assert [(at, one["side"]) for at, one in found] == [(at, one["side"]) for at, one in whole]


REFUSED = {
    "what is not installed": ("start", {"strategy": "ma_crss"}, 'no strategy "ma_crss" is installed; did you mean'),
    "a file": ("start", {"strategy": "strategies/mine.py"}, 'no strategy "strategies/mine.py" is installed'),
    "a module": ("start", {"strategy": "os:system"}, 'no strategy "os:system" is installed'),
    "no symbol": ("start", {"strategy": "macd_rsi", "symbols": ["BTC*"]}, "not a symbol: 'BTC*'"),
    "no bars": ("start", {"strategy": "macd_rsi", "bars": "soon"}, "soon"),
    "no name": ("start", {"strategy": "macd_rsi", "name": "a:b"}, "the name of a consumer should be letters"),
    "a parameter too many": ("start", {"strategy": "macd_rsi", "parameters": {"x": 1}}, 'has no parameter "x"'),
    "another name": ("start", {"strategy": "macd_rsi", "parameters": {"as": "x"}}, 'has no parameter "as"'),
    "an argument too many": ("start", {"strategy": "macd_rsi", "path": "x"}, "path: Extra inputs"),
    "what is configured": ("start", {"strategy": "ma_cross", "bars": "5s"}, '"ma_cross" stands in the configuration'),
    "nobody": ("pause", {"name": "momentun"}, 'no consumer or strategy "momentun" runs; did you mean "momentum"?'),
    "no strategies": ("stop", {"name": "recorder"}, "recorder runs no strategies; cryptostream consumers pause recor"),
    "one of several": ("stop", {"name": "rsi_trend"}, "rsi_trend runs in consumer both together with others; crypto"),
    "which of them": ("parameters", {"name": "both", "parameters": {"period": 5}}, "both runs rsi_trend, rsi_rev"),
    "no parameters": ("parameters", {"name": "momentum", "parameters": {}}, "names no parameters"),
    "what is not ours to remove": ("stop", {"name": "momentum", "remove": True}, "stands in the configuration"),
    "an unknown verb": ("dance", {"name": "momentum"}, 'consumers do not know what "dance" is'),
}


@one_engine
async def test_what_cannot_be_done_is_refused_with_a_reason_and_changes_nothing(market: Market, work: Work) -> None:
    both = {**MOMENTUM, "strategies": ["rsi_trend", "rsi_reversion"]}
    recorder = {"read": "trades", "write": "console"}
    async with work(momentum=MOMENTUM, both=both, recorder=recorder) as here:
        found = {case: await refused(here, verb, **args) for case, (verb, args, _) in REFUSED.items()}
        assert [case for case, why in found.items() if REFUSED[case][2] not in why] == [], found
        assert await wishes(market) == {}
        assert {row.state for row in (await rows(market, here)).values()} == {"waiting"}  # there is no stream yet


async def test_a_strategy_is_taken_over_when_its_process_is_gone_and_given_up_when_it_was(
    market: Market, work: Work
) -> None:
    await put(market, *range(1, 160))
    async with work() as here, work("there:2") as there:
        await obeyed(here, "start", **START)
        await stands(market, here, "ma_cross", "running")
        assert await ask(there, "start", **START) is None  # it is not his to answer
        assert await ask(there, "pause", "ma_cross") is None
        await put(market, *range(160, 201))
        await read(market, 200, "ma_cross")
        assert 0 < await market.bus.command.pttl(holding.PREFIX + "ma_cross") <= holding.HELD_S * 1000
        await market.bus.command.delete(holding.PREFIX + "ma_cross")  # as after ten seconds of silence
        assert await obeyed(there, "parameters", "ma_cross", parameters={"fast": 3}) == "it has these already"
        await put(market, *range(201, 250))  # the one reads still, and the other does not yet
        await read(market, 249, "ma_cross")
        assert await rows(market, here) == {}
        await put(market, *range(250, 300))
        await read(market, 299, "ma_cross")
        await stands(market, there, "ma_cross", "running", "there:2")
    assert await market.entries(SIGNALS) == expected(range(1, 300), after=159)


@one_engine
async def test_what_a_strategy_by_request_fails_at_is_its_own_affair(market: Market, work: Work) -> None:
    await put(market, *range(1, 160))
    async with work(momentum=MOMENTUM):
        await read(market, 159, "momentum")
    async with work(other={"read": "trades", "write": "console"}) as here:
        await obeyed(here, "start", **START)
        await stands(market, here, "ma_cross", "running")
        await put(market, 160)
        await stands(market, here, "ma_cross", "failed")
        found = await rows(market, here)
        assert f'{SIGNALS} is written by group "momentum"' in found["ma_cross"].why
        assert found["other"].state == "running"
        assert [one.troubles for one in here.facts() if one.name == "ma_cross"] == [[found["ma_cross"].why]]


LARGE = {"fast": 50_000_000, "slow": 60_000_000}
LONG = {"fast": 5_000, "slow": 10_001}


@one_engine
async def test_a_strategy_that_keeps_too_much_is_refused_before_anything_is_wished(market: Market, work: Work) -> None:
    async with work(momentum=MOMENTUM) as here:
        for params, why in ((LARGE, "fast must be a whole number from 1 to 100000"), (LONG, "10,000 at most")):
            assert why in await refused(here, "start", "big", strategy="ma_cross", parameters=params)
            assert why in await refused(here, "parameters", "momentum", parameters=params)
        assert await wishes(market) == {}


@one_engine
async def test_a_stored_wish_that_cannot_be_made_has_failed_and_the_others_obey_as_ever(
    market: Market, work: Work
) -> None:
    stored = {
        name: Wished(start={**START, "name": name, "parameters": told}) for name, told in (("a", LARGE), ("b", LONG))
    }
    await control.wish(market.bus, control.CONSUMERS, {name: wished.text(one) for name, one in stored.items()})
    await put(market, *range(1, 160))
    async with work(momentum=MOMENTUM) as here:
        await stands(market, here, "a", "failed")
        await stands(market, here, "b", "failed")
        found = await rows(market, here)
        assert "fast must be a whole number from 1 to 100000, not 50000000" in found["a"].why
        assert (found["a"].parameters, found["a"].started_by) == ({"a": LARGE}, "request")
        assert "by request 10,000 at most" in found["b"].why
        assert await obeyed(here, "pause", "momentum") == ""
        assert await obeyed(here, "start", strategy="ma_cross", name="other", bars="1s") == "reads trades from now on"
        assert (
            await obeyed(here, "parameters", "a", parameters=CROSS) == "it begins anew, warmed up with what came before"
        )
        await stands(market, here, "a", "running")
        assert await obeyed(here, "stop", "b", remove=True) == "removed; its signals stay"
        assert set(await wishes(market)) == {"a", "momentum", "other"}


@one_engine
async def test_what_takes_too_long_to_be_made_holds_up_nobody(
    market: Market, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = threading.Event()

    def slow(*_: object) -> None:
        is_over.wait(20)

    monkeypatch.setattr(making, "_WITHIN_S", 0.05)
    monkeypatch.setattr(planned, "check", slow)
    async with work(momentum=MOMENTUM) as here:
        assert await refused(here, "start", "slow", **START) == "it is not made within 0.05 s"
        is_over.set()
        assert await wishes(market) == {}


@one_engine
async def test_what_a_configured_consumer_fails_at_ends_the_process(market: Market, work: Work) -> None:
    await put(market, *range(1, 30))
    async with work(momentum=MOMENTUM):
        await read(market, 29, "momentum")
    await put(market, 30)
    with pytest.RaisesGroup(StateRefused, flatten_subgroups=True):
        async with work(momentum={**MOMENTUM, "bars": "5s"}):
            await SystemClock().sleep(20)


@one_engine
async def test_a_bus_that_allows_no_requests_is_told_once_and_all_runs_as_configured(
    market: Market, work: Work, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def denied(*_: object) -> dict[str, str]:
        raise BusRefused("no rights")

    monkeypatch.setattr(control, "wishes", denied)
    await put(market, *range(1, 30))
    told = config.load([], sets=(), flags={"consumers": {"momentum": MOMENTUM}, "data_dir": str(tmp_path)}, env={})
    here = Hosting(told.config, market.bus, ["momentum"], by="here:1")
    running = asyncio.create_task(here.run())
    await read(market, 29, "momentum")
    assert (await rows(market, here))["momentum"].state == "running"
    here.stop()
    await running


async def test_what_was_paused_by_request_and_fails_when_it_goes_on_ends_no_process() -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[Consuming]:
        raise StateRefused("state of another version")
        yield

    def plan(*, is_paused: bool) -> Planned:
        row = ConsumerRow(name="momentum", state="waiting", reads=["trades"])
        return Planned(config.ConsumerConfig(read="trades", write="console"), is_paused, False, row, broken)

    one = Hosted(plan(is_paused=True), SystemClock())
    running = asyncio.create_task(one.run())
    assert await one.settled(5)
    one.change(plan(is_paused=False))
    assert await one.settled(5)
    assert (one.row().state, one.row().why) == ("failed", "state of another version")
    one.end()
    await running


@one_engine
async def test_as_many_strategies_are_started_by_request_as_are_promised_and_no_more(
    market: Market, work: Work
) -> None:
    there = [f"there{number}" for number in range(99)]
    await control.wish(market.bus, control.CONSUMERS, {name: wished.text(Wished(start=START)) for name in there})
    others = holding.Holding(market.bus, "there:2")
    await others.hold(there)
    await others.close()
    async with work() as here:
        assert await obeyed(here, "start", **START, name="last") == "reads trades from now on"
        assert await refused(here, "start", **START, name="more") == (
            "100 strategies were started already; remove one: strategies stop NAME --remove"
        )


async def test_a_bus_that_has_lost_what_was_wished_is_told_again(market: Market, work: Work) -> None:
    async with work(momentum=MOMENTUM) as here:
        await obeyed(here, "pause", "momentum")
        await market.bus.command.delete(control.CONSUMERS)
        assert (await rows(market, here))["momentum"].state == "paused"
        assert await wishes(market) == {"momentum": Wished("paused")}
        await obeyed(here, "resume", "momentum")
        assert await wishes(market) == {}
        await stands(market, here, "momentum", "waiting")  # for a stream


@one_engine
async def test_a_request_on_the_bus_is_answered_with_a_verdict(market: Market, work: Work) -> None:
    async with work(momentum=MOMENTUM):
        args = {"name": "momentum"}
        found = await control.ask(market.bus, "pause", args, role="consume", by="test", clock=SystemClock())
        assert [(one.by, one.verdicts) for one in found.answers] == [("here:1", [Verdict("momentum", True)])]
    assert await control.here(market.bus, "consume") == []
