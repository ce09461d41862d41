"""What is served, out of a real bus: quotes, bars, signals, what is wrong, and a server that dies and comes back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus import admin
from cryptostream.bus.admin import ConsumerRow, Consumers, GroupFacts
from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.glance import GroupAt
from cryptostream.config import Config
from cryptostream.config.loading import load
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.stats import PairFacts
from cryptostream.errors import NotFound, Unreachable, UsageError
from cryptostream.model import codec
from cryptostream.model.events import KlineRecord, Micros
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.testing import ManualClock
from cryptostream.web import shown
from cryptostream.wiring.basics import keys
from cryptostream.wiring.serving import wrong
from cryptostream.wiring.serving.board import Board
from cryptostream.wiring.serving.commands import BusCommands
from cryptostream.wiring.serving.jobs import Jobs
from cryptostream.wiring.serving.probes import BusProbes
from cryptostream.wiring.serving.reports import Reports
from tests.client.conftest import T0_MS, Market
from tests.conftest import one_engine

MINUTE_MS = 60_000


class Served:
    """Probes of a bus whose looks are taken when a test says so."""

    def __init__(self, config: Config, bus: Bus, clock: ManualClock) -> None:
        self.bus = bus
        self.clock = clock
        self.board = Board(bus, clock, keys(config))
        jobs = Jobs(config, Reports(config), clock)
        self.probes = BusProbes(config, bus, self.board, jobs)
        self.commands = BusCommands(bus, jobs)
        self.market = Market(bus)

    async def look(self, times: int = 1, after_s: float = 3.0) -> None:
        for _ in range(times):
            self.clock.advance(after_s)
            await self.board.refresh()

    async def ingests(self, **facts: Any) -> None:
        """Somebody ingests and is well, unless told."""
        told = {"ingest": {"active_connections": 1, "total_messages": 7}, "pairs_count": 1, "at": self.clock.now_ns()}
        told |= {"host": "a", "pid": 1, **facts}
        await admin.write_counters(self.bus, f"{told['host']}:{told['pid']}", told)

    async def consumes(self, *rows: ConsumerRow) -> None:
        await admin.write_consumers(self.bus, "a:2", Consumers(host="a", pid=2, consumers=list(rows)))

    @property
    def wrong(self) -> list[str]:
        return self.probes.pipeline().wrong

    def quote(self, pair: str = "BTCUSDT") -> shown.Quote:
        return next(one for one in self.probes.quotes() if one.pair == pair)


def configured(url: str, folder: Path) -> Config:
    return load(flags={"bus.url": url, "data_dir": folder}, env={}).config


@pytest.fixture
async def served(bus_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Served]:
    async with connect(bus_url, data_dir=tmp_path, clock=SystemClock()) as bus:
        yield Served(configured(bus_url, tmp_path), bus, clock)


async def kline(bus: Bus, minute: int, price: int, *, closed: bool = True) -> None:
    """The minute's candle of BTCUSDT, of open, high, low and close `price`."""
    opened = T0_MS + minute * MINUTE_MS
    text = f"{price}.0"
    one = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
    record = KlineRecord(
        one, opened, opened + MINUTE_MS - 1, text, text, text, text, "2.0", "9.0", 3, "1.0", "4.0", closed,
        Micros((opened + 30_000) * 1000), "{}",
    )  # fmt: skip
    entry_id = f"{opened + MINUTE_MS - 1}-1" if closed else f"{opened + 30_000}-0"
    fields: dict[Any, Any] = codec.fields(record)
    await bus.command.xadd("klines:BTCUSDT:1m", fields, id=entry_id)


async def signal(bus: Bus, entry_id: str, strategy: str = "macd_rsi", pair: str = "BTCUSDT", **more: str) -> None:
    told = {"strategy": strategy, "pair": pair.rpartition(":")[2], "side": "buy", "price": "5.0", "strength": "0.5"}
    fields: dict[Any, Any] = {**told, "reason": "it rose", "ts": "2024-11-14T17:30:01.000000", "rsi": "31.5", **more}
    await bus.command.xadd(f"signals:{strategy}:{pair}", fields, id=entry_id)


async def test_quote_tells_last_price_change_spark_and_rate(served: Served) -> None:
    await served.market.trades("BTCUSDT", 100, 110)
    await served.ingests(followed=["binance:BTCUSDT"])
    await served.look()
    await served.market.trades("BTCUSDT", *range(111, 131))
    await served.look(after_s=10)
    told = served.quote()
    assert (told.price, told.side, told.ts, told.state) == (
        "130.00000000",
        "buy",
        "2024-11-14T17:32:10.000000Z",
        "live",
    )
    assert (told.change, told.change_since) == (pytest.approx(0.3), "2024-11-14T17:31:40.000Z")
    assert (told.spark[0], told.spark[-1], told.rate_per_s) == (100.0, 130.0, 2.0)


async def test_change_is_since_a_day_ago_where_klines_tell(served: Served) -> None:
    for minute, price in ((0, 50), (10, 80)):
        await kline(served.bus, minute, price)
    second = 86_400 + 5 * 60
    await served.market.trades("BTCUSDT", 100, second)
    await served.look(2)
    told = served.quote()
    assert (told.change, told.change_since) == (pytest.approx(second / 80 - 1), "2024-11-14T17:40:59.999Z")


async def test_hole_at_the_end_of_a_stream_hides_no_price(served: Served) -> None:
    await served.market.trades("BTCUSDT", 7)
    await served.market.gap("BTCUSDT", 8, 9)
    await served.look()
    assert served.quote().price == "7.00000000"


@pytest.mark.parametrize(
    ("unwell", "state"),
    [
        ([], "live"),
        ([PairFacts(exchange="binance", channel="trades", pair="BTCUSDT", state="filling", note="asked")], "filling"),
        ([PairFacts(exchange="binance", channel="klines:1m", pair="BTCUSDT", state="filling")], "live"),
    ],
)
async def test_state_of_a_pair_is_what_its_ingester_says(served: Served, unwell: list[PairFacts], state: str) -> None:
    await served.market.trades("BTCUSDT", 7)
    await served.ingests(followed=["binance:BTCUSDT", "kraken:XBTUSD"], unwell=unwell)
    await served.look()
    assert served.quote().state == state
    assert (served.quote("XBTUSD").price, served.quote("XBTUSD").state) == (None, "silent")


async def test_pair_that_nobody_follows_is_quiet(served: Served) -> None:
    await served.market.trades("BTCUSDT", 7)
    await served.ingests(followed=["binance:ETHUSDT"])
    await served.look()
    assert served.quote().state == "quiet"


async def test_ingester_that_was_killed_is_gone_though_its_counters_stand(served: Served) -> None:
    await served.ingests()
    await served.look(3)
    assert served.probes.health().status == "ok"
    await served.look(3)
    assert served.probes.health().reasons == [
        "no ingester runs: nothing new comes from an exchange; start one with cryptostream ingest"
    ]


async def test_latency_is_that_of_the_last_minute(served: Served) -> None:
    for at_s, counts in ((0, [100, *[0] * 15]), (30, [100, 50, *[0] * 14]), (90, [100, 50, 50, *[0] * 13])):
        await served.ingests(latency=counts, at=at_s * 10**9)
        await served.look()
    told = served.probes.pipeline().latency
    assert told.p50_ms is not None and 1.0 < told.p50_ms <= 2.5


WRONG = {
    "no ingester": ({}, "no ingester runs"),
    "no connection": ({"ingest": {"active_connections": 0}}, "a:1 has no connection to an exchange"),
    "bus takes nothing": ({"trouble": "redis://10.0.0.1:6379 is out of memory"}, "the server is out of memory"),
    "spool": ({"publisher": {"spool_bytes": 2048}}, "a:1 holds 2 KiB in its spool"),
    "late": ({"lag_ms": 12_000.0}, "data of a:1 is 12.0 s late"),
    "gap": (
        {"unwell": [PairFacts(exchange="b", channel="trades", pair="X", state="filling", gap_from=3, gap_to=9)]},
        "1 gap is open: b trades:X, 3 to 9",
    ),
}


@pytest.mark.parametrize(("facts", "words"), WRONG.values(), ids=WRONG.keys())
async def test_what_is_wrong_is_said_in_words(served: Served, facts: dict[str, Any], words: str) -> None:
    if facts:
        await served.ingests(**facts)
    await served.look()
    assert [why for why in served.wrong if words in why]
    assert "10.0.0.1" not in str(served.probes.health())


NAMES = [("trader-box", 123456), ("trader-box", 7), ("3fa9c1", 4242), ("10.0.0.1", 31337), ("box", 99)]


@pytest.mark.parametrize(("host", "pid"), NAMES)
async def test_health_is_for_anybody_and_names_no_process(served: Served, host: str, pid: int) -> None:
    for number in (pid, pid + 1):
        facts = {"ingest": {"active_connections": 0}, "trouble": f"no answer from redis://{host}:{number}/0"}
        await served.ingests(host=host, pid=number, **facts)
    await served.look()
    assert served.probes.health().reasons == [
        "the bus takes nothing from an ingester: no answer from the server",
        "an ingester has no connection to an exchange",
    ]
    assert f"{host}:{pid} has no connection to an exchange" in served.wrong


async def test_all_is_well_with_an_ingester_that_is(served: Served) -> None:
    await served.ingests(followed=["binance:BTCUSDT"])
    await served.market.trades("BTCUSDT", 7)
    await served.look()
    assert (served.probes.health().status, served.wrong) == ("ok", [])


async def test_group_without_a_reader_and_dead_letters_are_told(served: Served) -> None:
    await served.ingests()
    await served.market.trades("BTCUSDT", 1, 2, 3)
    await served.bus.command.xgroup_create("trades:BTCUSDT", "g", "0")
    await served.bus.command.xadd("dlq:g", {"error": "no"})
    await served.look()
    [group] = served.probes.groups()
    assert (group.group, group.lag, group.pending) == ("g", 3, 0)
    assert served.wrong == [
        "group g has nobody to read: 3 entries wait, 0 are not acknowledged",
        "1 dead letter in dlq:g",
    ]
    await served.consumes(ConsumerRow(name="g", state="running", strategies={"mine": "macd_rsi"}))
    await served.look()
    assert served.wrong == ["1 dead letter in dlq:g"]


async def test_group_that_somebody_reads_is_well(served: Served) -> None:
    await served.ingests()
    await served.market.trades("BTCUSDT", 1, 2)
    await served.bus.command.xgroup_create("trades:BTCUSDT", "g", "0")
    await served.bus.command.xreadgroup("g", "me", {"trades:BTCUSDT": ">"}, count=1)
    await served.look()
    assert [(group.lag, group.pending) for group in served.probes.groups()] == [(1, 1)]
    assert served.wrong == []


FALLING = {
    "steady": (lambda step: (5_000, step), ""),
    "growing": (lambda step: (5_000 + 100 * step, step), "group g falls behind: 6,100 entries wait, 1,100 more"),
    "stuck": (lambda step: (5_000, 0), "group g does not go on: 5,000 entries wait"),
    "small": (lambda step: (10 + step, step), ""),
}


@pytest.mark.parametrize(("at", "words"), FALLING.values(), ids=FALLING.keys())
def test_group_that_falls_behind_is_told(at: Callable[[int], tuple[int, int]], words: str) -> None:
    groups = wrong.Groups(idle_ms={"g": 0})
    for step in range(12):
        lag, place = at(step)
        facts = GroupFacts("g", consumers=1, pending=0, lag=lag)
        groups.saw(5.0 * step, {"trades:BTCUSDT": [GroupAt(facts, f"{place}-1")]})
    told = groups.wrong(frozenset({"g"}))
    assert [why[: len(words)] for why in told] == ([words] if words else [])


def test_group_whose_members_are_long_silent_has_nobody_to_read() -> None:
    groups = wrong.Groups(idle_ms={"g": 61_000})
    groups.saw(0.0, {"trades:BTCUSDT": [GroupAt(GroupFacts("g", consumers=1, pending=2, lag=0), "5-1")]})
    assert groups.wrong(frozenset()) == [
        "group g has nobody to read for 61 s: 0 entries wait, 2 are not acknowledged",
    ]


async def test_consumers_and_strategies_are_those_that_run_and_those_that_could(served: Served) -> None:
    parameters = {"mine": {"fast": 3}}
    row = ConsumerRow(name="g", state="failed", why="it broke", strategies={"mine": "macd_rsi"}, parameters=parameters)
    await served.consumes(row)
    await signal(served.bus, "5000-1", "mine")
    await served.look()
    mine, *others = served.probes.strategies()
    assert (mine.name, mine.kind, mine.state) == ("mine", "macd_rsi", "failed")
    assert mine.last_signal == "1970-01-01T00:00:05.000Z"
    assert {"ma_cross", "rsi_reversion"} <= {one.name for one in others if one.state == "installed"}
    assert "macd_rsi" not in {one.name for one in others}
    assert served.probes.realtime().reasons == ["g: it broke"]


async def test_bars_are_built_from_trades_and_the_last_one_is_open(served: Served) -> None:
    await served.market.trades("BTCUSDT", 1, 2, 61, 62)
    await served.look()
    closed, still = await served.probes.bars("BTCUSDT", "1m")
    assert (closed.open, closed.close, closed.trades, closed.closed, closed.gap) == (1.0, 2.0, 2, True, False)
    assert (still.open_time_ms, still.close, still.closed) == (T0_MS + MINUTE_MS, 62.0, False)


async def test_bars_asked_again_read_only_what_is_new(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await served.market.trades("BTCUSDT", 1, 2)
    await served.look()
    await served.probes.bars("BTCUSDT", "1m")
    await served.market.trades("BTCUSDT", 61)
    since = []
    page = served.probes._glance.page

    async def spied(stream: str, *place: str) -> Any:
        since.append(place)
        return await page(stream, *place)

    monkeypatch.setattr(served.probes._glance, "page", spied)
    assert [bar.close for bar in await served.probes.bars("BTCUSDT", "1m")] == [2.0, 61.0]
    assert since == [(f"({T0_MS + 2000}-2",)]


async def test_gap_and_trimmed_trades_mark_bars(served: Served) -> None:
    await served.market.trades("BTCUSDT", 1)
    await served.market.gap("BTCUSDT", 2, 60)
    await served.market.trades("BTCUSDT", 61, 121, 181)
    await served.look()
    assert [bar.gap for bar in await served.probes.bars("BTCUSDT", "1m")] == [True, True, False, False]
    await served.market.trades("BTCUSDT", 241, 301)
    await served.bus.command.xtrim("trades:BTCUSDT", maxlen=1, approximate=False)
    await served.look()
    bars = await served.probes.bars("BTCUSDT", "1m")
    assert [(bar.close, bar.gap) for bar in bars[3:]] == [(181.0, True), (301.0, True)]
    [anew] = await served.probes.bars("BTCUSDT", "5m")
    assert anew.gap, "trades of before are gone"


async def test_klines_are_taken_where_the_bus_has_them(served: Served) -> None:
    await served.market.trades("BTCUSDT", 1)
    for minute, price in ((0, 50), (1, 51), (3, 53)):
        await kline(served.bus, minute, price)
    await kline(served.bus, 4, 54, closed=False)
    await served.look()
    bars = await served.probes.bars("BTCUSDT", "1m")
    assert [(bar.close, bar.closed, bar.gap) for bar in bars] == [
        (50.0, True, False),
        (51.0, True, True),
        (53.0, True, True),
        (54.0, False, False),
    ]
    assert [bar.close for bar in await served.probes.bars("BTCUSDT", "1m", limit=2)] == [53.0, 54.0]
    until = await served.probes.bars("BTCUSDT", "1m", until_ms=T0_MS + MINUTE_MS, since_ms=T0_MS)
    assert [bar.close for bar in until] == [50.0, 51.0]


async def test_bars_of_trades_go_further_back_than_klines(served: Served) -> None:
    await served.market.trades("BTCUSDT", 1)
    await kline(served.bus, 3, 53)
    await served.look()
    assert [bar.close for bar in await served.probes.bars("BTCUSDT", "1m", since_ms=T0_MS)] == [1.0]
    since = T0_MS + 3 * MINUTE_MS
    assert [bar.close for bar in await served.probes.bars("BTCUSDT", "1m", since_ms=since)] == [53.0]


async def test_signals_of_all_streams_are_the_newest_oldest_first(served: Served) -> None:
    await signal(served.bus, "1000-1")
    await signal(served.bus, "3000-1", pair="ETHUSDT")
    await signal(served.bus, "2000-1", "other", "kraken:XBTUSD")
    await signal(served.bus, "4000-1", strength="strong")
    await served.look()
    all_of_them = await served.probes.signals(None, limit=4)
    assert [(one.id, one.exchange, one.pair) for one in all_of_them] == [
        ("1000-1", "binance", "BTCUSDT"),
        ("2000-1", "kraken", "XBTUSD"),
        ("3000-1", "binance", "ETHUSDT"),
    ], "the one that is none is left out"
    assert all_of_them[0].values == {"rsi": 31.5}
    assert [one.id for one in await served.probes.signals("kraken:XBTUSD", strategy="other")] == ["2000-1"]
    assert [one.id for one in await served.probes.signals(None, since_ms=2500, limit=1)] == []
    assert [one.id for one in await served.probes.signals("ETHUSDT", since_ms=2500)] == ["3000-1"]


async def test_indicators_are_read_by_strategy(served: Served) -> None:
    await served.market.trades("BTCUSDT", 1)
    fields: dict[Any, Any] = {"ts": "2024-11-14T17:30:01.000000", "price": "5.5", "interval": "1m"}
    await served.bus.command.hset("indicators:BTCUSDT", mapping={**fields, "my.v2.rsi": "31.5", "my.v2.bad": "nan"})
    await served.look()
    [told] = await served.probes.indicators("btcusdt")
    assert (told.price, told.interval, told.values) == (5.5, "1m", {"my.v2": {"rsi": 31.5}})


async def test_trades_are_the_newest_or_the_first_since(served: Served) -> None:
    await served.market.trades("BTCUSDT", 1, 2, 3)
    await served.market.gap("BTCUSDT", 4, 9)
    await served.look()
    newest = await served.probes.trades("BTCUSDT", limit=2)
    assert [(one.kind, one.trade_id, one.gap_to) for one in newest] == [("trade", 3, None), ("gap", None, 9)]
    first = await served.probes.trades("BTCUSDT", since_ms=T0_MS, until_ms=T0_MS + 2000, limit=9)
    assert [one.trade_id for one in first] == [1, 2]


@pytest.mark.parametrize("symbol", ["", "BTC USDT", "a" * 33, "../BTC", "trades:x:BTCUSDT", "BTC\r\nFLUSHALL", "*"])
async def test_symbol_that_is_none_becomes_no_key(served: Served, symbol: str) -> None:
    for probe in (served.probes.trades, served.probes.indicators):
        with pytest.raises(UsageError):
            await probe(symbol)
    with pytest.raises(UsageError):
        async with asyncio.timeout(5):
            await anext(served.probes.events([f"trades:{symbol}\n"]))


async def test_unknown_symbol_is_told_with_a_hint(served: Served) -> None:
    await served.market.trades("BTCUSDT", 1)
    await served.look()
    with pytest.raises(NotFound) as told:
        await served.probes.bars("BTCUSD", "1m")
    assert told.value.hint == 'did you mean "BTCUSDT"?'


async def test_events_are_what_comes_from_now_on(served: Served) -> None:
    await served.market.trades("BTCUSDT", 1)
    async with aclosing(served.probes.events(["trades:*"])) as following:  # type: ignore[type-var]
        coming = asyncio.ensure_future(anext(following))
        async with asyncio.timeout(5):
            while not coming.done():
                await served.market.trades("BTCUSDT", served.clock.now_ns() // 10**9 % 10**6 + 2)
                await asyncio.wait([coming], timeout=0.05)
                served.clock.advance(1)
        assert coming.result()[0].fields["trade_id"] != "1"


async def test_wish_that_nobody_can_obey_is_refused_with_the_way_out(served: Served) -> None:
    with pytest.raises(Unreachable) as told:
        await served.commands.watchlist(shown.Watchlist(add=["BTCUSDT"], remove=["ETHUSDT"]))
    assert "cryptostream ingest" in told.value.hint


async def test_stream_that_is_gone_is_gone_from_everything(served: Served) -> None:
    await served.market.trades("BTCUSDT", 1)
    await served.look()
    await served.bus.command.delete("trades:BTCUSDT")
    await served.look()
    assert (served.probes.quotes(), served.probes.streams(), served.board.look.glimpses) == ([], [], {})


async def test_key_of_another_type_harms_nothing(served: Served) -> None:
    await served.market.trades("BTCUSDT", 1)
    await served.look()
    await served.bus.command.delete("trades:BTCUSDT")
    await served.bus.command.set("trades:BTCUSDT", "no stream")
    await served.board.refresh()
    assert served.probes.streams() == []


async def test_health_is_bad_while_redis_is_killed_and_well_again(
    redis_server: Callable[..., Any], tmp_path: Path
) -> None:
    server = redis_server("--appendonly", "yes", "--appendfsync", "always")
    clock = SystemClock()
    async with connect(server.url, data_dir=tmp_path, clock=clock) as bus:
        config = configured(server.url, tmp_path)
        board = Board(bus, clock, keys(config))
        probes = BusProbes(config, bus, board, Jobs(config, Reports(config), clock))
        await admin.write_counters(bus, "a:1", {"ingest": {"active_connections": 1}, "host": "a", "pid": 1})
        looking = asyncio.ensure_future(board())

        async def until(status: str, within_s: float) -> shown.Health:
            async with asyncio.timeout(within_s):
                while (told := probes.health()).status != status:
                    await clock.sleep(0.02)
            return told

        await until("ok", 5)
        server.kill()
        told = await until("degraded", 2)
        assert (told.redis_connected, str(server.port) in str(told.reasons)) == (False, False)
        server.start()
        assert (await until("ok", 5)).redis_connected
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


async def test_bus_that_is_silent_is_away(served: Served) -> None:
    await served.ingests()
    await served.look()
    assert served.probes.health().redis_connected
    served.clock.advance(2)
    assert served.probes.health().reasons == ["the bus is away: the bus has not answered for 2 s"]


@one_engine
async def test_bus_of_many_streams_is_heard_all_the_while(bus_url: str, tmp_path: Path) -> None:
    troubles: list[str] = []

    class Listening(ManualClock):
        async def sleep(self, delay_s: float) -> None:
            await super().sleep(delay_s)
            troubles.append(board.trouble)

    clock = Listening()
    async with connect(bus_url, data_dir=tmp_path, clock=clock) as bus:
        pipeline = bus.command.pipeline(transaction=False)
        for number in range(2500):
            pipeline.xadd(f"signals:{number}:BTCUSDT", {"n": number}, id="1-1")
        await pipeline.execute()
        board = Board(bus, clock, keys(configured(bus_url, tmp_path)))
        looking = asyncio.ensure_future(board())
        while clock.monotonic() < 6:
            await asyncio.sleep(0)  # noqa: TID251 - gives way, and waits for nothing
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
    assert set(troubles) == {""}
