"""Strategies in a group: who may write which signals, what the console shows, how they end; on both engines."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

from cryptostream import Entry, Trade
from cryptostream.bus import history
from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.effects.forget import forget
from cryptostream.bus.effects.seeds import reached, seed
from cryptostream.bus.group.ownership import Shard
from cryptostream.bus.group.read import Slice
from cryptostream.bus.group.source import GroupSettings
from cryptostream.client.hand import Failed, Hand
from cryptostream.client.membership import Terms
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.runtime import Runtime
from cryptostream.errors import BusUnavailable, StateRefused
from cryptostream.model import codec
from cryptostream.model.codec import signal_fields
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Bar, Event, KlineRecord, Micros, Signal
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.strategies.desk import Desk
from cryptostream.testing import ManualClock
from cryptostream.transforms.bars import Bars, parse_bars
from cryptostream.wiring import trading as module
from cryptostream.wiring.alone import Alone
from cryptostream.wiring.desks import Desks
from cryptostream.wiring.trading import Trading
from tests.client.conftest import T0_MS, Market, market
from tests.proxy import Proxy

__all__ = ["market"]

TRADES, SIGNALS = "trades:BTCUSDT", "signals:closes:BTCUSDT"
Make = Callable[..., Trading]


class Closes:
    """Says the mean of all closes so far, at each bar; `at_bar` is called at each."""

    warm_up = 1
    at_bar: Callable[[Bar], None] = staticmethod(lambda bar: None)

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0

    @property
    def values(self) -> dict[str, float | None]:
        return {"mean": self.total / self.count if self.count else None}

    def on_bar(self, bar: Bar) -> Iterable[Signal]:
        self.at_bar(bar)
        self.count += 1
        self.total += bar.close
        return [Signal("buy", values={"mean": self.total / self.count})]


class Printed:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None: ...

    async def write(self, events: Sequence[Any]) -> None:
        self.entries += events

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(entry.stream, entry.entry_id) for entry in self.entries]


def desks(group: str = "a", tick: int = 2) -> Desks:
    def made(pair: str) -> Desk:
        return Desk(pair, {"closes": Closes()}, Bars(parse_bars(f"tick:{tick}")))

    return Desks(made, group=group, config={"closes": f"tick:{tick}"}, ttl_s=60, clock=ManualClock())


def of(bus: Bus, group: str = "a", tick: int = 2, *, read: str = "trades:*", **told: Any) -> Trading:
    """One that reads until it is stopped."""
    settings = GroupSettings(until=told.pop("until", None), count=told.pop("count", 100))
    terms: dict[str, Any] = {"ownership": Shard(1, of=1), "version": "1", "config": f"tick:{tick}", **told}
    return Trading(
        bus,
        f"one-of-{group}",
        Terms(group=group, settings=settings, until_idle_s=None, **terms),
        [read],
        desks(group, tick),
        deadline_s=30,
    )


async def once(market: Market, *words: Any, sink: Printed | None = None, **told: Any) -> None:
    """Run it over what is there now."""
    names = await history.streams(market.bus, told.get("read", "trades:*"))
    made = of(market.bus, *words, until=await history.tops(market.bus, names), **told)
    if sink is not None:
        made.tell(sink)
    async with asyncio.timeout(20):  # where it is broken, it may never end
        await made.run()


def entry_id(number: int) -> str:
    return f"{T0_MS + number * 1000}-{number}"


def trade(number: int) -> Trade:
    """The one that `Market` writes."""
    ts = Micros((T0_MS + number * 1000) * 1000)
    return Trade(entry_id(number), "binance", "BTCUSDT", float(number), 1.0, ts, "buy", number)


def backtested(numbers: Iterable[int], tick: int = 2) -> list[tuple[str, dict[str, str]]]:
    """What the desk alone makes of these trades."""
    desk = desks(tick=tick).desk("BTCUSDT")
    return [(one.entry_id, signal_fields(one)) for number in numbers for one in desk.on(trade(number))]


async def kline(market: Market, number: int, *, closed: bool, interval: str = "1m", ms: int = 0) -> None:
    """The candle of a minute, as it stands `ms` into it or as it closed."""
    opens = T0_MS + number * 60_000
    wanted = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval(interval))
    figures = ("1", "2", "1", f"{number + 1}", "5", "5", 3, "2", "2")
    record = KlineRecord(wanted, opens, opens + 59_999, *figures, closed, Micros((opens + ms) * 1000))
    at = f"{opens + 59_999}-1" if closed else f"{opens + ms}-0"
    await market.add(f"klines:BTCUSDT:{interval}", at, codec.fields(record))


async def begins(market: Market) -> list[str]:
    return sorted(await history.keys(market.bus, "seed:*:begins", "string"))


# One writer.


async def test_signals_that_another_group_writes_are_refused_and_stay_as_they_are(market: Market) -> None:
    await market.trades("BTCUSDT", *range(1, 10))
    await once(market, "a")
    before = await market.bus.command.hgetall(f"seed:{SIGNALS}")
    with pytest.raises(StateRefused) as refused:
        await once(market, "b", 3)
    assert str(refused.value) == f'{SIGNALS} is written by group "a"; give this one another name: as: NAME'
    assert "groups reset a --state" in (refused.value.hint or "")
    assert await market.bus.command.hgetall(f"seed:{SIGNALS}") == before
    assert await market.entries(SIGNALS) == backtested(range(1, 10))
    assert (await market.pending("b"), await begins(market)) == (9, [])
    await market.trades("BTCUSDT", 10)
    await once(market, "a")
    assert await market.entries(SIGNALS) == backtested(range(1, 11))


async def test_signals_are_taken_over_once_the_state_of_the_other_is_dropped(market: Market) -> None:
    await market.trades("BTCUSDT", *range(1, 4))
    await once(market, "a")
    await forget(market.bus, "a", [TRADES])
    await market.bus.command.delete(SIGNALS)
    await once(market, "b", 3)
    found = await seed(market.bus, SIGNALS)
    assert found is not None and found.group == "b"
    assert await market.entries(SIGNALS) == backtested(range(1, 4), tick=3)
    await market.trades("BTCUSDT", 4)
    with pytest.raises(StateRefused, match='by group "b"'):
        await once(market, "a")


async def test_who_runs_on_after_another_took_over_is_refused_too(market: Market) -> None:
    alone, hands = alone_with(market.bus), [hand(1, 2)]
    await alone.work(hands, fenced_is_fatal=False)
    await committed(market, "a")
    await alone.work(hands, fenced_is_fatal=False)
    assert await begins(market) == []
    await committed(market, "b")
    await alone.work(hands, fenced_is_fatal=False)  # its state is watched: see Effects
    alone.forget([TRADES])
    with pytest.raises(StateRefused, match='by group "b"'):
        await alone.work(hands, fenced_is_fatal=False)


async def test_who_lost_a_stream_to_another_member_looks_again_when_he_gets_it_back(market: Market) -> None:
    alone, hands = alone_with(market.bus, left={TRADES}), [hand(1, 2)]
    await committed(market, "a")
    await alone.work(hands, fenced_is_fatal=False)
    await committed(market, "b")
    with pytest.raises(StateRefused, match='by group "b"'):
        await alone.work(hands, fenced_is_fatal=False)


@pytest.mark.parametrize(("seed_of", "state_of"), [("a", "b"), ("b", "a")])
async def test_who_stands_where_he_is_about_to_begin_stays_until_seed_and_state_are_his(
    market: Market, seed_of: str, state_of: str
) -> None:
    alone = alone_with(market.bus)
    await market.bus.command.hset(f"seed:{SIGNALS}", mapping={"group": seed_of, "stream": TRADES})
    await market.bus.command.hset(f"state:{state_of}:{TRADES}", "upto", "9-9")
    if seed_of == "b":
        await market.bus.command.delete(f"state:b:{TRADES}")
    await alone.work([hand(1, 2)], fenced_is_fatal=False)
    assert len(await begins(market)) == 1
    await alone.leave()
    assert await begins(market) == []


async def test_who_comes_back_has_his_ten_minutes_anew_and_takes_nobody_elses_away(market: Market) -> None:
    alone, key = alone_with(market.bus), f"seed:{SIGNALS}:begins"
    await alone.work([hand(1, 2)], fenced_is_fatal=False)
    await market.bus.command.pexpire(key, 20_000)
    await alone.work([hand(3)], fenced_is_fatal=False)
    assert 500_000 < await market.bus.command.pttl(key) <= 600_000
    await market.bus.command.set(key, "b\ntrades:BTCUSDT")
    await alone.leave()
    assert await begins(market) == [key]


class Idle:
    """Keeps nothing."""

    def __init__(self, left: set[str]) -> None:
        self.left = left

    async def work(self, hands: Sequence[Hand], *, fenced_is_fatal: bool) -> tuple[list[Failed], set[str]]:
        return [], self.left

    def forget(self, streams: Iterable[str]) -> None: ...


def alone_with(bus: Bus, left: set[str] | None = None) -> Alone:
    keeping: Any = Idle(left or set())
    return Alone(bus, keeping, desks("a"))


def hand(*numbers: int) -> Hand:
    """Trades as a read gives them."""
    made = Hand(Slice(TRADES, []))
    made.events = [trade(number) for number in numbers]
    made.done = len(numbers)
    return made


async def committed(market: Market, group: str) -> None:
    """What a group's first commit leaves."""
    await market.bus.command.hset(f"seed:{SIGNALS}", mapping={"upto": "1-0", "group": group, "stream": TRADES})
    await market.bus.command.hset(f"state:{group}:{TRADES}", "upto", "9-9")


async def test_of_two_groups_that_begin_at_once_one_is_refused(market: Market) -> None:
    await market.trades("BTCUSDT", *range(1, 10))
    refused: list[str] = []

    async def past(stream: str, before: str) -> AsyncIterator[Sequence[Event]]:
        try:  # the other begins, warms up and would commit while this one warms up
            await once(market, "b", 3)
        except StateRefused as error:
            refused.append(str(error))
        yield []

    await once(market, "a", warm_up=past)
    assert refused == [f'{SIGNALS} is about to be written by group "a"; give this one another name: as: NAME']
    assert await market.entries(SIGNALS) == backtested(range(1, 10))
    found = await seed(market.bus, SIGNALS)
    assert found is not None and found.group == "a"
    assert await begins(market) == []


async def test_two_loops_side_by_side_leave_the_signals_of_one(market: Market) -> None:
    await market.trades("BTCUSDT", *range(1, 10))
    ended = await asyncio.gather(once(market, "a"), once(market, "b", 3), return_exceptions=True)
    [lost] = [number for number, error in enumerate(ended) if isinstance(error, StateRefused)]
    assert ended[1 - lost] is None
    assert await market.entries(SIGNALS) == backtested(range(1, 10), tick=(3, 2)[lost])


async def test_who_dies_before_its_first_commit_stands_in_the_way_of_others_for_a_while_and_not_in_its_own(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.trades("BTCUSDT", *range(1, 4))

    async def stopping(stream: str, before: str) -> AsyncIterator[Sequence[Event]]:
        made.stop()
        yield []

    async def no_farewell(alone: Alone) -> None: ...

    made = of(market.bus, "a", warm_up=stopping)
    with monkeypatch.context() as dying:
        dying.setattr(Alone, "leave", no_farewell)
        async with asyncio.timeout(20):
            await made.run()
    [held] = await begins(market)
    assert 500_000 < await market.bus.command.pttl(held) <= 600_000
    with pytest.raises(StateRefused, match="about to be written"):
        await once(market, "b", 3)
    await once(market, "a")
    assert (await market.entries(SIGNALS), await begins(market)) == (backtested(range(1, 4)), [])


async def test_who_is_stopped_before_its_first_commit_stands_in_nobodys_way(market: Market) -> None:
    await market.trades("BTCUSDT", *range(1, 4))

    async def stopping(stream: str, before: str) -> AsyncIterator[Sequence[Event]]:
        made.stop()
        yield []

    made = of(market.bus, "a", warm_up=stopping)
    async with asyncio.timeout(20):
        await made.run()
    assert await begins(market) == []
    await once(market, "b", 3)
    assert await market.entries(SIGNALS) == backtested(range(1, 4), tick=3)


async def test_two_streams_of_a_pair_do_not_make_one_stream_of_signals(market: Market) -> None:
    await kline(market, 1, closed=True)
    await kline(market, 1, closed=True, interval="5m")
    with pytest.raises(StateRefused, match="read one stream of each pair"):
        await once(market, read="klines:*")
    assert await begins(market) == []


async def test_a_stream_whose_first_candle_is_still_open_is_taken_all_the_same(market: Market) -> None:
    await kline(market, 1, closed=False, ms=500)
    await once(market, "a", read="klines:*")
    assert await seed(market.bus, SIGNALS) is None
    await kline(market, 1, closed=True)
    await once(market, "a", read="klines:*")
    found = await seed(market.bus, SIGNALS)
    assert found is not None
    assert (found.upto, await reached(market.bus, found)) == (f"{T0_MS + 119_999}-0", f"{T0_MS + 119_999}-1")
    assert len(await market.entries(SIGNALS)) == 1
    assert await begins(market) == []


async def test_who_sees_but_an_open_candle_is_refused_at_once(market: Market) -> None:
    await kline(market, 1, closed=True)
    await once(market, "a", read="klines:*")
    await market.bus.command.xtrim("klines:BTCUSDT:1m", maxlen=0, approximate=False)
    await kline(market, 2, closed=False, ms=500)
    with pytest.raises(StateRefused, match='is written by group "a"'):
        await once(market, "b", read="klines:*")


async def test_a_bus_that_is_away_while_it_is_looked_at_costs_nothing(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.trades("BTCUSDT", *range(1, 10))
    ask, troubles = Alone._ask, [1, 3, 8, 16]
    asked = 0

    async def losing(alone: Alone, commands: Any) -> Any:
        nonlocal asked
        asked += 1
        found = await ask(alone, commands)
        if asked in troubles:
            raise BusUnavailable("no reply")
        return found

    monkeypatch.setattr(Alone, "_ask", losing)
    monkeypatch.setattr("cryptostream.bus.outage.Outage.wait", at_once)
    monkeypatch.setattr(module, "_TELL_S", 1e9)
    shown = Printed()
    await once(market, count=4, sink=shown)
    assert asked > max(troubles)
    assert shown.told == [(SIGNALS, one) for one, _ in backtested(range(1, 10))]
    assert (await market.entries(SIGNALS), await market.pending("a")) == (backtested(range(1, 10)), 0)


async def at_once(outage: Any, trouble: BusUnavailable) -> None: ...


# What is shown.


async def test_the_console_shows_the_signals_that_are_written_here_and_no_others(market: Market) -> None:
    await market.trades("BTCUSDT", *range(1, 6))
    await once(market)
    await market.add("signals:closes:ETHUSDT", "1-1", {"of": "another"})
    await market.trades("BTCUSDT", *range(6, 10))
    shown = Printed()

    async def past(stream: str, before: str) -> AsyncIterator[Sequence[Event]]:
        await market.add("signals:closes:SOLUSDT", "1-1", {"of": "another, meanwhile"})
        yield []

    await market.trades("XRPUSDT", 1, 2)
    await once(market, sink=shown, warm_up=past)
    assert sorted(shown.told) == [
        *[(SIGNALS, one) for one, _ in backtested(range(1, 10))[2:]],
        ("signals:closes:XRPUSDT", entry_id(2)),
    ]
    assert [fields["mean"] for fields in (entry.fields for entry in shown.entries if entry.stream == SIGNALS)] == [
        *("4.0", "5.0")
    ]


@pytest.mark.parametrize("every_s", [0.0, 1e9], ids=["at each read", "at the end"])
async def test_signals_of_many_pairs_are_shown_once_and_in_order_of_time(
    market: Market, monkeypatch: pytest.MonkeyPatch, every_s: float
) -> None:
    monkeypatch.setattr(module, "_TELL_S", every_s)
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    pairs, shown = ("BTCUSDT", "ETHUSDT", "SOLUSDT"), Printed()
    for pair in pairs:
        await market.trades(pair, *range(1, 10))
    await once(market, sink=shown, count=4)
    assert sorted(shown.told) == sorted((f"signals:closes:{pair}", entry_id(n)) for pair in pairs for n in (2, 4, 6, 8))
    for pair in pairs:
        ids = [one for stream, one in shown.told if stream.endswith(pair)]
        assert ids == sorted(ids, key=parse_id)


async def test_each_look_is_one_question_for_all_streams(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    command = market.bus.command
    xread, scan = command.xread, command.scan_iter

    async def reading(streams: dict[Any, Any], **told: Any) -> Any:
        asked.append(len(streams))
        return await xread(streams, **told)

    def scanning(*words: Any, **told: Any) -> Any:
        assert "signals" not in str(told.get("match")), "the keys are not searched for signals"
        return scan(*words, **told)

    monkeypatch.setattr(command, "xread", reading)
    monkeypatch.setattr(command, "scan_iter", scanning)
    for pair in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        await market.trades(pair, *range(1, 4))
    shown = Printed()
    await once(market, sink=shown)
    assert asked and set(asked) == {3}
    assert [one for _, one in shown.told] == [entry_id(2)] * 3


# How it begins and ends.


async def test_who_is_stopped_before_he_runs_reads_nothing(market: Market) -> None:
    await market.trades("BTCUSDT", *range(1, 10))
    made = of(market.bus)
    made.stop()
    async with asyncio.timeout(10):  # where it is broken, it runs for ever
        await made.run()
    assert (made.events, await market.entries(SIGNALS)) == (0, [])
    assert await market.bus.command.xinfo_groups(TRADES) == []
    await once(market)
    assert await market.entries(SIGNALS) == backtested(range(1, 10))


@pytest.fixture(params=["fakeredis", "redis"])
def port(request: pytest.FixtureRequest) -> int:
    if request.param == "fakeredis":
        return urlsplit(request.getfixturevalue("fake_redis_url")).port or 0
    return int(request.getfixturevalue("redis_server")().port)


async def test_a_bus_that_is_away_at_the_start_is_waited_for(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away: list[str] = []
    url, clock = "redis://127.0.0.1:{}", SystemClock()

    async def back(outage: Any, trouble: BusUnavailable) -> None:
        away.append(str(trouble))
        proxy.heal()

    monkeypatch.setattr("cryptostream.bus.outage.Outage.wait", back)
    async with (
        Proxy("127.0.0.1", port) as proxy,
        connect(url.format(port), data_dir=tmp_path, clock=clock) as bus,
        connect(url.format(proxy.port), data_dir=tmp_path, clock=clock) as ours,
    ):
        market = Market(bus)
        await market.trades("BTCUSDT", *range(1, 10))
        shown, made = Printed(), of(ours, until={TRADES: entry_id(9)})
        made.tell(shown)
        proxy.refuse()
        async with asyncio.timeout(20):
            await made.run()
        assert away
        assert await market.entries(SIGNALS) == backtested(range(1, 10))
        assert shown.told == [(SIGNALS, one) for one, _ in backtested(range(1, 10))]


async def test_a_signal_amid_the_work_ends_it_where_its_state_is(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.trades("BTCUSDT", *range(1, 30))

    def terminated(bar: Bar) -> None:
        if bar.entry_id == entry_id(8):
            os.kill(os.getpid(), signal.SIGTERM)

    made = of(market.bus, count=5)
    with monkeypatch.context() as amid:
        amid.setattr(Closes, "at_bar", staticmethod(terminated))
        async with asyncio.timeout(20):
            assert await Runtime([made], clock=SystemClock()).run() == 0
    found = await seed(market.bus, SIGNALS)
    assert found is not None
    number = int((await reached(market.bus, found)).split("-")[1])
    assert 8 <= number < 29, "it was stopped amid the stream"
    assert await market.entries(SIGNALS) == backtested(range(1, number + 1))
    await once(market)
    assert await market.entries(SIGNALS) == backtested(range(1, 30))
    assert await market.pending("a") == 0
