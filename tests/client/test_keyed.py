"""Handlers that remember: what they write, their state and the acknowledgement happen together or not at all."""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from cryptostream import Consumer, Output, Trade
from cryptostream.bus.effects.transact import Effects
from cryptostream.client.handlers import name_of
from cryptostream.errors import BusUnavailable, Fenced, StateRefused, UsageError
from tests.client.conftest import T0_MS, Market

Make = Callable[..., Consumer]


class Sums:
    """Writes the sum of all prices so far with every trade."""

    def __init__(self) -> None:
        self.sum = 0.0

    def __call__(self, trade: Trade) -> Iterable[Output]:
        self.sum += trade.price
        yield Output(f"sums:{trade.pair}", {"sum": f"{self.sum:g}"})


async def run(reading: Consumer, made: type, last: int) -> None:
    """Run until the trade of that number is handled."""

    @reading.on("trades:*")
    def enough(trade: Any) -> None:
        if getattr(trade, "trade_id", None) == last:
            reading.stop()

    reading.keyed("trades:*")(made)
    await reading.run()


async def sums(market: Market, pair: str = "BTCUSDT") -> list[str]:
    return [fields["sum"] for _, fields in await market.entries(f"sums:{pair}")]


async def test_outputs_carry_the_id_of_the_entry_they_come_from(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    await run(consumer(), Sums, last=2)
    assert await market.entries("sums:BTCUSDT") == [
        (f"{T0_MS + 1000}-1", {"sum": "1"}),
        (f"{T0_MS + 2000}-2", {"sum": "3"}),
    ]
    assert await market.pending() == 0


async def test_each_stream_has_an_instance_of_its_own(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    await market.trades("ETHUSDT", 5)
    await run(consumer(until_idle_s=0.1), Sums, last=99)
    assert (await sums(market), await sums(market, "ETHUSDT")) == (["1", "3"], ["5"])


async def test_the_next_one_goes_on_with_what_the_last_one_remembered(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    await run(consumer(), Sums, last=2)
    await market.trades("BTCUSDT", 3)
    await run(consumer(), Sums, last=3)
    assert await sums(market) == ["1", "3", "6"]


async def test_what_was_read_and_not_committed_is_made_once(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.trades("BTCUSDT", 1, 2)
    reading = consumer()
    monkeypatch.setattr("cryptostream.bus.effects.transact.Effects.commit", _dies)
    with pytest.raises(KeyboardInterrupt):
        await run(reading, Sums, last=2)
    monkeypatch.undo()
    assert await market.pending() == 2
    await run(consumer(), Sums, last=2)
    assert await sums(market) == ["1", "3"]


async def _dies(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("done", [True, False], ids=["whose reply is lost", "that fails"])
async def test_a_commit_is_made_again_only_where_it_was_not_made(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    await market.trades("BTCUSDT", 1, 2)
    commit, lost = Effects.commit, [BusUnavailable("no reply")]

    async def losing(self: Effects, work: Any) -> Any:
        refused = await commit(self, work) if done or not lost else ()
        if lost:
            self.let_go([one.stream for one in work])
            raise lost.pop()
        return refused

    monkeypatch.setattr(Effects, "commit", losing)
    await run(consumer(until_idle_s=1.5), Sums, last=99)
    assert not lost
    assert await sums(market) == ["1", "3"]
    assert await market.pending() == 0


async def test_what_is_in_the_state_is_not_counted_again_when_the_group_is_set_back(
    market: Market, consumer: Make
) -> None:
    await market.trades("BTCUSDT", 1, 2)
    await run(consumer(), Sums, last=2)
    await market.bus.command.xgroup_setid("trades:BTCUSDT", "g", "0")
    await market.trades("BTCUSDT", 3)
    await run(consumer(), Sums, last=3)
    assert await sums(market) == ["1", "3", "6"]
    assert await market.pending() == 0


class RaisesOnce(Sums):
    """Changes its state and raises, the first time that it sees trade 2."""

    raised = False

    def __call__(self, trade: Trade) -> Iterable[Output]:
        made = list(super().__call__(trade))
        if trade.trade_id == 2 and not RaisesOnce.raised:
            RaisesOnce.raised = True
            raise ZeroDivisionError
        return made


async def test_a_handler_that_raised_half_way_remembers_nothing_of_it(market: Market, consumer: Make) -> None:
    RaisesOnce.raised = False
    await market.trades("BTCUSDT", 1, 2, 3)
    await run(consumer(until_idle_s=0.5), RaisesOnce, last=99)
    assert await sums(market) == ["1", "3", "6"]
    assert await market.pending() == 0


class WritesNothing:
    """Writes something that cannot be written."""

    def __call__(self, trade: Trade) -> Iterable[Output]:
        return [Output("out", {})] if trade.trade_id == 1 else []


async def test_an_output_that_cannot_be_written_sets_its_entry_aside(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    await run(consumer(until_idle_s=0.5, max_deliveries=1), WritesNothing, last=99)
    [(_, letter)] = await market.entries("dlq:g")
    assert "no fields" in letter["error"]
    assert await market.pending() == 0


async def test_what_a_function_raised_at_comes_again_though_the_bus_was_away_for_one_that_remembers(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)
    await market.trades("ETHUSDT", 1)
    reading, seen = consumer(until_idle_s=1.0), list[int]()
    commit, away = Effects.commit, [BusUnavailable("away")]

    @reading.on("trades:BTCUSDT")
    def once_bad(trade: Trade) -> None:
        seen.append(trade.trade_id)
        if seen == [1, 2]:
            raise ZeroDivisionError

    async def failing(self: Effects, work: Any) -> Any:
        if away:
            raise away.pop()
        return await commit(self, work)

    monkeypatch.setattr(Effects, "commit", failing)
    reading.keyed("trades:ETHUSDT")(Sums)
    await reading.run()
    assert (seen, away, await sums(market, "ETHUSDT")) == ([1, 2, 2, 3], [], ["1"])
    assert await market.pending() == 0


class Slots:
    """Remembers in a slot."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, trade: Trade) -> Iterable[Output]:
        self.seen += 1
        return [Output(f"sums:{trade.pair}", {"sum": str(self.seen)})]


async def test_slots_are_remembered_too(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    await run(consumer(), Slots, last=1)
    await market.trades("BTCUSDT", 2)
    await run(consumer(), Slots, last=2)
    assert await sums(market) == ["1", "2"]


async def test_gaps_reach_those_that_remember_although_somebody_else_is_told(market: Market, consumer: Make) -> None:
    await market.gap("BTCUSDT", 1, 4)

    class Kinds:
        def __call__(self, event: object) -> Iterable[Output]:
            return [Output("kinds", {"kind": type(event).__name__})]

    reading = consumer(on_gap=lambda _: None, until_idle_s=0.1)
    reading.keyed("trades:*")(Kinds)
    await reading.run()
    assert [fields for _, fields in await market.entries("kinds")] == [{"kind": "Gap"}]


async def test_state_of_another_version_is_refused_and_nothing_is_touched(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    await run(consumer(), Sums, last=1)
    await market.trades("BTCUSDT", 2)
    with pytest.raises(StateRefused, match='version "1"'):
        await run(consumer(version="2"), Sums, last=2)
    assert await sums(market) == ["1"]


async def test_one_whose_stream_another_took_meanwhile_writes_nothing_more(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    reading = consumer()

    @reading.on("trades:*")
    async def while_another_takes_over(trade: Trade) -> None:
        if trade.trade_id == 1:
            await market.trades("BTCUSDT", 2)
        else:
            async with Effects(market.bus, "g") as other:
                await other.claim(["trades:BTCUSDT"])

    reading.keyed("trades:*")(Sums)
    with pytest.raises(Fenced, match="trades:BTCUSDT"):
        await reading.run()
    assert await sums(market) == ["1"]
    assert await market.pending() == 1


async def test_one_that_holds_leases_lets_go_of_what_another_took_and_goes_on(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    reading, taken = consumer(ownership="lease"), list[int]()

    @reading.on("trades:*")
    async def while_another_takes_over(trade: Trade) -> None:
        if trade.trade_id == 1:
            await market.trades("BTCUSDT", 2)
        elif not taken:
            taken.append(trade.trade_id)
            async with Effects(market.bus, "g") as other:
                await other.claim(["trades:BTCUSDT"])
        else:
            reading.stop()

    reading.keyed("trades:*")(Sums)
    await reading.run()
    assert await sums(market) == ["1", "3"]


async def test_trouble_names_the_class_that_has_an_event_for_too_long(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2)
    reading, found = consumer(deadline_s=0.0, until_idle_s=0.1), list[str]()

    class Stubborn:
        def __call__(self, _: Trade) -> None:
            found.append(reading.trouble)

    reading.keyed("trades:*")(Stubborn)
    await reading.run()
    assert found == [
        f"Stubborn has been at {T0_MS + 1000}-1 of trades:BTCUSDT for 0 s",
        f"Stubborn has been at {T0_MS + 2000}-2 of trades:BTCUSDT for 0 s",
    ]
    assert (reading.trouble, reading.stats.read) == ("", 2)


class Waits:
    """Cannot be part of a transaction."""

    async def __call__(self, _: Trade) -> None:
        pass


class WaitsAndYields:
    """Neither can this one."""

    async def __call__(self, _: Trade) -> AsyncIterator[Output]:
        yield Output("out", {"a": "b"})


@pytest.mark.parametrize("made", [Waits, WaitsAndYields, Waits()])
def test_one_that_is_async_is_refused(made: Any) -> None:
    with pytest.raises(UsageError, match=f"{name_of(made)} is async"):
        Consumer("redis://localhost", group="g").keyed("trades:*")(made)


async def test_one_that_turns_out_to_be_async_when_it_is_made_is_refused(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1)
    reading = consumer(max_deliveries=1)
    reading.keyed("trades:*")(lambda: Waits())  # type: ignore[arg-type, return-value]
    with pytest.raises(UsageError, match="is async"):
        await reading.run()
    assert await market.pending() == 1


def test_two_that_remember_under_one_name_are_refused() -> None:
    reading = Consumer("redis://localhost", group="g")
    reading.keyed("trades:*")(Sums)
    with pytest.raises(UsageError, match="two keyed handlers are called Sums"):
        reading.keyed("klines:*")(Sums)
