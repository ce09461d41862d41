"""Desks of strategies on live streams: signals once, latest values, letters, warm-up and seeds, on both engines."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import msgspec
import pytest

from cryptostream import Consumer, Entry, Gap, Trade
from cryptostream.bus.effects.forget import forget
from cryptostream.bus.effects.hashes import Kept
from cryptostream.bus.effects.seeds import seed
from cryptostream.bus.effects.transact import Effects
from cryptostream.bus.group import poison
from cryptostream.bus.operate import letters
from cryptostream.errors import BusUnavailable, StrategyFailed
from cryptostream.model import memory
from cryptostream.model.codec import signal_fields
from cryptostream.model.events import Bar, Event, Kline, Latest, Micros, Output, Signal
from cryptostream.model.instrument import Interval
from cryptostream.strategies.desk import Desk
from cryptostream.testing import ManualClock
from cryptostream.transforms.bars import Bars, parse_bars
from cryptostream.wiring.desks import Desks, LiveDesk
from tests.client.conftest import T0_MS, Market, consumer, market

Make = Callable[..., Consumer]
__all__ = ["consumer", "market"]


class Mean:
    """Says what the mean of all closes so far is."""

    warm_up = 1
    bad: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0

    @property
    def values(self) -> dict[str, float | None]:
        return {"mean": self.total / self.count if self.count else None, "never": None}

    def on_bar(self, bar: Bar) -> Iterable[Signal]:
        self.count += 1
        self.total += bar.close
        if bar.entry_id in self.bad:
            raise ZeroDivisionError("no")
        return [Signal("buy", 0.5, "a bar", {"mean": self.total / self.count})]


class Weak(Mean):
    """The same, and fails at some entries."""


def new_desk(pair: str) -> Desk:
    return Desk(pair, {"mean": Mean(), "weak": Weak()}, Bars(parse_bars("tick:2")))


def desks(**told: Any) -> Desks:
    options: dict[str, Any] = {
        "group": "g",
        "config": {"mean": "word", "weak": "b"},
        "ttl_s": 60,
        "clock": ManualClock(),
        **told,
    }
    return Desks(new_desk, **options)


def entry_id(number: int) -> str:
    return f"{T0_MS + number * 1000}-{number}"


def trade(number: int, pair: str = "BTCUSDT", exchange: str = "binance", price: float | None = None) -> Trade:
    """The one that `Market` writes."""
    ts = Micros((T0_MS + number * 1000) * 1000)
    return Trade(entry_id(number), exchange, pair, price or float(number), 1.0, ts, "buy", number)


def of(made: Iterable[Any], kind: type) -> list[Any]:
    return [each for each in made if isinstance(each, kind)]


def begun(*numbers: int, **told: Any) -> LiveDesk:
    """A desk that has had these trades."""
    live = desks(**told)()
    live.of_stream("trades:BTCUSDT")
    for number in numbers:
        live(trade(number))
    return live


# What it makes of an event.


def test_a_signal_becomes_the_entry_that_the_contract_wants() -> None:
    [mean, weak] = of(begun(1)(trade(2)), Output)
    assert (mean.stream, weak.stream, mean.entry_id) == ("signals:mean:BTCUSDT", "signals:weak:BTCUSDT", entry_id(2))
    assert mean.fields == {
        "strategy": "mean",
        "pair": "BTCUSDT",
        "side": "buy",
        "price": "2.0",
        "strength": "0.5",
        "reason": "a bar",
        "ts": "2024-11-14T17:30:02.000000",
        "mean": "2.0",
    }


def test_the_newest_indicators_are_told_when_a_bar_closes_and_only_then() -> None:
    live = begun(1)
    [latest] = of(live(trade(2)), Latest)
    assert latest == Latest(
        "indicators:BTCUSDT",
        {
            "ts": "2024-11-14T17:30:02.000000",
            "price": "2.0",
            "interval": "tick:2",
            "mean.mean": "2.0",
            "weak.mean": "2.0",
        },
        60,
    )
    assert live(trade(3)) == []


def test_a_price_of_many_zeros_is_written_as_it_is() -> None:
    live = begun(1)
    [latest] = of(live(trade(2, price=1e-7)), Latest)
    assert latest.fields["price"] == "0.0000001"


@pytest.mark.parametrize(
    ("exchange", "tagged", "keys"),
    [
        ("kraken", False, {"signals:mean:kraken:BTCUSDT", "indicators:kraken:BTCUSDT"}),
        ("binance", True, {"signals:mean:{BTCUSDT}", "indicators:{BTCUSDT}"}),
    ],
)
def test_keys_say_whose_they_are(exchange: str, tagged: bool, keys: set[str]) -> None:
    live = desks(tagged=tagged)()
    first = live(trade(1, exchange=exchange))
    second = live(trade(2, exchange=exchange))
    assert keys <= {each.stream if isinstance(each, Output) else each.key for each in second}
    assert {each.key for each in of(first, Kept)} == {
        f"seed:{key.replace('mean', name)}" for key in keys if "signals" in key for name in ("mean", "weak")
    }


def test_entries_of_another_kind_are_none_of_its_business() -> None:
    live = desks()()
    assert live(Entry("notes", "1-0", {"text": "hello"})) == []
    assert live(Signal("buy", pair="BTCUSDT", entry_id="1-1")) == []
    assert live(Gap("1-1", "", "", 1, 2, "trimmed", Micros(0))) == []
    found = [each.key for each in of(live(trade(1)), Kept)]
    assert found == ["seed:signals:mean:BTCUSDT", "seed:signals:weak:BTCUSDT"]


# How it begins.


def test_the_seed_is_what_each_strategy_knew_before_its_first_entry() -> None:
    live = desks()()
    live.of_stream("trades:BTCUSDT")
    for number in (1, 2, 3):
        live.warm(trade(number))
    [mean, weak] = of(live(trade(5)), Kept)
    assert (mean.key, weak.key) == ("seed:signals:mean:BTCUSDT", "seed:signals:weak:BTCUSDT")
    found = dict(mean.fields)
    state = msgspec.msgpack.decode(found.pop("state"))
    assert found == {
        "upto": f"{T0_MS + 5000}-4",
        "from": f"3 trades, from {entry_id(1)} to {entry_id(3)}",
        "at": "2024-11-14T17:30:00.000000",
        "config": "word",
        "group": "g",
        "stream": "trades:BTCUSDT",
    }
    assert state["strategies"] == {"mean": {"count": 1, "total": 2.0}}
    assert state["bars"] == memory.remembered(warmed(1, 2, 3).bars)


def warmed(*numbers: int) -> Desk:
    desk = new_desk("BTCUSDT")
    for number in numbers:
        desk.on(trade(number))
    return desk


def test_a_loss_before_the_first_trade_is_known_and_is_not_what_it_begins_with() -> None:
    live = desks()()
    assert live(Gap(entry_id(1), "binance", "BTCUSDT", 1, 2, "drop", Micros(0))) == []
    [mean, _] = of(live(trade(3)), Kept)
    assert mean.fields["upto"] == f"{T0_MS + 3000}-2"
    assert msgspec.msgpack.decode(mean.fields["state"])["bars"] != memory.remembered(Bars(parse_bars("tick:2")))


def test_a_candle_that_is_still_open_is_not_what_it_begins_with() -> None:
    live, again = desks()(), desks()()
    assert live(kline("2-0", closed=False)) == []
    again.__setstate__(live.__getstate__())
    for each in (live, again):
        made = each(kline("9-1", closed=True))
        assert {kept.fields["upto"] for kept in of(made, Kept)} == {"9-0"}
        assert len(of(made, Output)) == 2
        assert of(each(kline("10-0", closed=False)), Kept) == []


def kline(at: str, *, closed: bool) -> Kline:
    figures = (1.0, 2.0, 1.0, 2.0, 5.0, 5.0, 3, 2.0, 2.0)
    return Kline(at, "binance", "BTCUSDT", Interval("1m"), 0, 59_999, *figures, closed, Micros(0))


def test_who_begins_without_a_past_says_so() -> None:
    [mean, _] = of(desks()()(trade(1)), Kept)
    assert (mean.fields["from"], mean.fields["upto"], mean.fields["config"]) == ("nothing", f"{T0_MS + 1000}-0", "word")


def test_who_goes_on_from_a_saved_state_knows_what_it_knew_and_begins_no_second_time() -> None:
    live = begun(1, 2, 3)
    again = desks()()
    again.__setstate__(msgspec.msgpack.decode(msgspec.msgpack.encode(live.__getstate__())))
    assert again(trade(4)) == live(trade(4)) != []


class EachTrade:
    """Wants trades, and no bars."""

    warm_up = 0

    def __init__(self) -> None:
        self.total = 0.0

    @property
    def values(self) -> dict[str, float | None]:
        return {"total": self.total}

    def on_trade(self, trade: Trade) -> Iterable[Signal]:
        self.total += trade.price
        return [Signal("buy", values={"total": self.total})]


def trading(pair: str) -> Desk:
    return Desk(pair, {"each": EachTrade()}, None)


@pytest.mark.parametrize("make", [new_desk, trading])
def test_what_is_saved_at_each_commit_is_what_the_strategies_know_then(make: Callable[[str], Desk]) -> None:
    config = dict.fromkeys(("mean", "weak", "each"), "word")
    room = Desks(make, group="g", config=config, ttl_s=60, clock=ManualClock())
    live = room()
    for number in range(1, 10):
        live(trade(number))
        again = room()
        again.__setstate__(msgspec.msgpack.decode(msgspec.msgpack.encode(live.__getstate__())))
        assert live._desk is not None and again._desk is not None
        assert again._desk.__getstate__() == live._desk.__getstate__()


def test_what_a_warm_up_changes_is_saved() -> None:
    live, again = desks()(), desks()()
    for number in range(1, 5):
        live.warm(trade(number))
        live.__getstate__()
    again.__setstate__(live.__getstate__())
    assert live._desk is not None and again._desk is not None
    assert again._desk.__getstate__() == live._desk.__getstate__()


def test_who_was_warmed_and_made_again_begins_as_if_it_had_not_been_made_again() -> None:
    live, again = desks()(), desks()()
    live.warm(trade(1))
    again.__setstate__(live.__getstate__())
    told = again(trade(2))
    assert told == live(trade(2))
    assert len(of(told, Kept)) == 2


def test_what_is_taken_in_of_the_past_is_not_told() -> None:
    live = desks()()
    live.warm(trade(1))
    live.warm(trade(2))
    assert of(live(trade(3)), Output) == []
    [mean, _] = of(live(trade(4)), Output)
    assert mean.fields["mean"] == "3.0"


# What a strategy fails at.


def test_who_fails_twice_at_an_entry_cannot_do_without() -> None:
    failed = StrategyFailed("strategy weak failed")
    failed.strategy, failed.entry_id = "weak", "1-1"
    live, entry = desks()(), Entry("trades:A", "1-1", {"price": "5"})
    assert live.set_aside(entry, failed) is not None
    assert live.set_aside(entry, failed) is None
    assert live.set_aside(entry, ValueError()) is None


async def test_a_letter_has_the_shape_that_the_group_gives_its_own(market: Market) -> None:
    entry, clock = Entry("trades:A", "1-1", {"price": "5", "raw_json": "{}"}), ManualClock()
    failed = StrategyFailed("strategy weak failed")
    failed.strategy = "weak"
    [made] = of(desks(clock=clock)().set_aside(entry, failed) or (), Output)
    await poison.set_aside(market.bus, "g", entry, "StrategyFailed: strategy weak failed", 1, clock)
    [(_, told)] = await market.entries("dlq:g")
    assert (made.stream, list(made.fields.items())) == ("dlq:g", list(told.items()))


# Live.


async def run(reading: Consumer, made: Desks, last: int = 0) -> Consumer:
    """Run until a trade of that number came to the desks."""

    class Enough:
        def __call__(self, event: Any) -> None:
            if getattr(event, "trade_id", None) == last:
                reading.stop()

    reading.keyed("trades:*")(made)
    reading.keyed("trades:*")(Enough)
    async with asyncio.timeout(20):  # where it is broken, the last one never comes
        await reading.run()
    return reading


def backtested(numbers: Iterable[int]) -> list[tuple[str, dict[str, str]]]:
    """What a desk alone makes of these trades."""
    desk = Desk("BTCUSDT", {"mean": Mean()}, Bars(parse_bars("tick:2")))
    return [(one.entry_id, signal_fields(one)) for number in numbers for one in desk.on(trade(number))]


async def test_live_writes_what_the_desk_alone_says(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", *range(1, 10))
    await run(consumer(batch=4), desks(), last=9)
    assert await market.entries("signals:mean:BTCUSDT") == backtested(range(1, 10))
    latest = await market.bus.command.hgetall("indicators:BTCUSDT")
    assert (latest["price"], latest["mean.mean"]) == ("8.0", "5.0")
    assert 0 < await market.bus.command.pttl("indicators:BTCUSDT") <= 60_000


@pytest.mark.parametrize("done", [True, False], ids=["whose reply is lost", "that fails"])
async def test_signals_seeds_and_letters_are_written_once_whatever_becomes_of_a_commit(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    monkeypatch.setattr(Weak, "bad", (entry_id(4),))
    await market.trades("BTCUSDT", *range(1, 8))
    commit, count = Effects.commit, 0

    async def losing(self: Effects, work: Any) -> Any:
        nonlocal count
        count += 1
        is_lost = count in (1, 3)
        refused = await commit(self, work) if done or not is_lost else ()
        if is_lost:
            self.let_go([one.stream for one in work])
            raise BusUnavailable("no reply")
        return refused

    monkeypatch.setattr(Effects, "commit", losing)
    await run(consumer(batch=2, until_idle_s=0.8), desks())
    assert count >= 4
    assert await market.entries("signals:mean:BTCUSDT") == backtested(range(1, 8))
    assert len(await market.entries("dlq:g")) == 1
    assert (await seed_of(market)).upto == f"{T0_MS + 1000}-0"
    assert await market.pending() == 0


async def seed_of(market: Market, strategy: str = "mean") -> Any:
    found = await seed(market.bus, f"signals:{strategy}:BTCUSDT")
    assert found is not None
    return found


async def test_a_strategy_that_fails_leaves_the_entry_out_and_the_others_do_not(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Weak, "bad", (entry_id(4), entry_id(8)))
    await market.trades("BTCUSDT", *range(1, 11))
    reading = await run(consumer(), desks(), last=10)
    assert await market.entries("signals:mean:BTCUSDT") == backtested(range(1, 11))
    weak = await market.entries("signals:weak:BTCUSDT")
    assert [one for one, _ in weak] == [entry_id(2), entry_id(6), entry_id(10)]
    assert [fields["mean"] for _, fields in weak] == ["2.0", "4.0", "6.0"]
    told = [letters.contents(Entry("dlq:g", one, fields)) for one, fields in await market.entries("dlq:g")]
    assert [(each["stream"], each["entry_id"], each["deliveries"]) for each in told] == [
        ("trades:BTCUSDT", entry_id(4), 1),
        ("trades:BTCUSDT", entry_id(8), 1),
    ]
    assert told[0]["error"] == (
        f"StrategyFailed: strategy weak of BTCUSDT failed at entry {entry_id(4)}: ZeroDivisionError: no"
    )
    assert told[0]["entry"]["price"] == "4.00000000"
    assert (reading.stats.dead_letters, reading.stats.rejected, await market.pending()) == (2, 0, 0)


async def test_two_strategies_may_fail_at_one_entry(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mean, "bad", (entry_id(2),))
    await market.trades("BTCUSDT", *range(1, 5))
    await run(consumer(), desks(), last=4)
    assert [one for one, _ in await market.entries("signals:mean:BTCUSDT")] == [entry_id(4)]
    assert [one for one, _ in await market.entries("signals:weak:BTCUSDT")] == [entry_id(4)]
    assert len(await market.entries("dlq:g")) == 2


async def test_a_letter_says_that_its_entry_would_be_skipped(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Weak, "bad", (entry_id(2),))
    await market.trades("BTCUSDT", 1, 2, 3)
    await run(consumer(), desks(), last=3)
    [(one, fields)] = await market.entries("dlq:g")
    assert "would be skipped" in await letters.retry(market.bus, Entry("dlq:g", one, fields))


async def past(stream: str, before: str) -> AsyncIterator[Sequence[Event]]:
    """The first five trades."""
    yield [trade(number) for number in range(1, 6)]


async def test_signals_after_a_warm_up_are_those_of_one_who_was_there_from_the_start(
    market: Market, consumer: Make
) -> None:
    await market.trades("BTCUSDT", *range(1, 13))
    await run(consumer(warm_up=past, from_=entry_id(6)), desks(), last=12)
    found = await market.entries("signals:mean:BTCUSDT")
    assert found == backtested(range(1, 13))[2:]
    assert (await seed_of(market)).warmed == f"5 trades, from {entry_id(1)} to {entry_id(5)}"


async def test_a_backtest_from_the_seed_says_what_live_said(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", *range(1, 13))
    await run(consumer(warm_up=past, from_=entry_id(6), batch=3), desks(), last=12)
    for name in ("mean", "weak"):
        found = await seed_of(market, name)
        desk = Desk("BTCUSDT", {name: Mean()}, Bars(parse_bars("tick:2")))
        desk.__setstate__(found.state)
        rows: Any = await market.bus.command.xrange("trades:BTCUSDT", f"({found.upto}")
        made = [signal for one, _ in rows for signal in desk.on(trade(int(one.split("-")[1])))]
        told = [(signal.entry_id, signal_fields(signal)) for signal in made]
        assert told == await market.entries(f"signals:{name}:BTCUSDT")


async def test_a_seed_is_written_with_the_first_commit_and_again_only_after_a_reset(
    market: Market, consumer: Make
) -> None:
    await market.trades("BTCUSDT", 1)
    await run(consumer(), desks(), last=1)
    first = await market.bus.command.hget("seed:signals:mean:BTCUSDT", "upto")
    assert (first, await market.bus.command.pttl("seed:signals:mean:BTCUSDT")) == (f"{T0_MS + 1000}-0", -1)
    await market.trades("BTCUSDT", 2)
    await run(consumer(), desks(), last=2)
    assert (await seed_of(market)).upto == f"{T0_MS + 1000}-0"
    await forget(market.bus, "g", ["trades:BTCUSDT"])
    await market.trades("BTCUSDT", 3)
    await run(consumer(), desks(), last=3)
    assert (await seed_of(market)).upto == f"{T0_MS + 3000}-2"


async def test_where_it_fails_at_the_very_first_entry_it_has_begun_before_it(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Weak, "bad", (entry_id(6),))
    await market.trades("BTCUSDT", 6, 7)
    await run(consumer(warm_up=past), desks(), last=7)
    found = await seed_of(market, "weak")
    assert (found.upto, found.state["strategies"]["weak"]["count"]) == (f"{T0_MS + 6000}-5", 2)
    assert len(await market.entries("dlq:g")) == 1
