"""What came before a stream's first event is taken in, in order and once, and writes nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from cryptostream import Consumer, Output, Trade
from cryptostream.bus.effects.forget import forget
from cryptostream.bus.effects.transact import Effects
from cryptostream.client.warming import Warming
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusUnavailable
from cryptostream.model.events import Event
from tests.client.conftest import T0_MS, Market

Make = Callable[..., Consumer]


class Sums:
    """Writes the sum of all prices so far, of the past too."""

    def __init__(self) -> None:
        self.sum = 0.0

    def warm(self, trade: Trade) -> None:
        self.sum += trade.price

    def __call__(self, trade: Trade) -> list[Output]:
        self.sum += trade.price
        return [Output(f"sums:{trade.pair}", {"sum": f"{self.sum:g}"})]


class Past:
    """Trades of these numbers, in pages, whoever asks for them; remembers who did."""

    def __init__(self, *pages: Sequence[int], error: Exception | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        self.error = error
        self._pages = pages

    async def __call__(self, stream: str, before: str) -> AsyncIterator[Sequence[Event]]:
        self.asked.append((stream, before))
        for page in self._pages:
            yield [trade(number) for number in page]
        if self.error is not None:
            raise self.error


def trade(number: int) -> Trade:
    """The one that `Market` writes."""
    ms = T0_MS + number * 1000
    return Trade(f"{ms}-{number}", "binance", "BTCUSDT", float(number), 1.0, ms * 1000, "buy", number)  # type: ignore[arg-type]


async def run(reading: Consumer, made: Callable[[], object] = Sums, last: int = 0) -> None:
    class Enough:
        def __call__(self, event: Any) -> None:
            if getattr(event, "trade_id", None) == last:
                reading.stop()

    for each in (made, Enough):
        reading.keyed("trades:*")(each)  # type: ignore[type-var]
    async with asyncio.timeout(20):  # where it is broken, the last one never comes
        await reading.run()


async def sums(market: Market, pair: str = "BTCUSDT") -> list[str]:
    return [fields["sum"] for _, fields in await market.entries(f"sums:{pair}")]


async def test_the_first_event_finds_what_came_before_it(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 1, 2, 3, 4)
    past = Past([1], [2])
    await run(consumer(warm_up=past, from_=f"{T0_MS + 3000}-3"), last=4)
    assert past.asked == [("trades:BTCUSDT", f"{T0_MS + 3000}-3")]
    assert await sums(market) == ["6", "10"]


async def test_what_is_not_past_or_was_given_before_is_left_out(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 5)
    await run(consumer(warm_up=Past([1, 2], [2, 1, 3], [3, 5, 6])), last=5)
    assert await sums(market) == ["11"]


async def test_a_stream_that_something_is_saved_of_is_not_warmed(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 2)
    past = Past([1])
    await run(consumer(warm_up=past), last=2)
    await market.trades("BTCUSDT", 3)
    await run(consumer(warm_up=past), last=3)
    assert (await sums(market), len(past.asked)) == (["3", "6"], 1)


async def test_a_state_that_was_dropped_is_warmed_anew(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 2)
    await run(consumer(warm_up=Past([1])), last=2)
    await forget(market.bus, "g", ["trades:BTCUSDT"])
    await market.trades("BTCUSDT", 3)
    past = Past([1, 2])
    await run(consumer(warm_up=past), last=3)
    assert past.asked == [("trades:BTCUSDT", f"{T0_MS + 3000}-3")]
    assert await sums(market) == ["3", "6"]


async def test_what_is_pending_is_not_past(market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dies(*_: object) -> None:
        raise KeyboardInterrupt

    await market.trades("BTCUSDT", 2, 3)
    monkeypatch.setattr(Effects, "commit", dies)
    with pytest.raises(KeyboardInterrupt):
        await run(consumer(warm_up=Past([1])))
    monkeypatch.undo()
    past = Past([1, 2, 3])
    await run(consumer(warm_up=past), last=3)
    assert past.asked == [("trades:BTCUSDT", f"{T0_MS + 2000}-2")]
    assert await sums(market) == ["3", "6"]


async def test_one_that_raises_before_anything_is_saved_is_warm_still_and_the_past_is_read_once(
    market: Market, consumer: Make
) -> None:
    class RaisesOnce(Sums):
        raised = False

        def __call__(self, trade: Trade) -> list[Output]:
            made = super().__call__(trade)
            if not RaisesOnce.raised:
                RaisesOnce.raised = True
                raise ZeroDivisionError
            return made

    await market.trades("BTCUSDT", 3, 4)
    past = Past([1, 2])
    await run(consumer(warm_up=past), RaisesOnce, last=4)
    assert (await sums(market), len(past.asked)) == (["6", "10"], 1)


async def test_a_bus_that_is_away_at_the_first_commit_costs_no_second_reading(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, away = Effects.commit, [BusUnavailable("away")]

    async def failing(self: Effects, work: Any) -> Any:
        if away:
            self.let_go([one.stream for one in work])
            raise away.pop()
        return await commit(self, work)

    monkeypatch.setattr(Effects, "commit", failing)
    await market.trades("BTCUSDT", 3)
    past = Past([1, 2])
    await run(consumer(warm_up=past, until_idle_s=0.6))
    assert (await sums(market), len(past.asked), away) == (["6"], 1, [])


async def test_what_was_taken_in_is_held_until_it_is_saved_and_no_longer(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, held, made = Effects.commit, list[int](), list[Warming]()
    begin = Warming.__init__

    def noted(self: Warming, *given: Any) -> None:
        begin(self, *given)
        made.append(self)

    async def looking(self: Effects, work: Any) -> Any:
        held.append(len(made[0]._warm))
        return await commit(self, work)

    monkeypatch.setattr(Warming, "__init__", noted)
    monkeypatch.setattr(Effects, "commit", looking)
    await market.trades("BTCUSDT", 3)
    await run(consumer(warm_up=Past([1])), last=3)
    assert (held, made[0]._warm) == ([1], {})


async def test_a_past_that_is_away_is_asked_for_again(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 3)
    past = Past([1, 2], error=BusUnavailable("away"))

    async def away_once(stream: str, before: str) -> AsyncIterator[Sequence[Event]]:
        if past.asked:
            past.error = None
        async for page in past(stream, before):
            yield page

    await run(consumer(warm_up=away_once, until_idle_s=0.6))
    assert (await sums(market), len(past.asked)) == (["6"], 2)


async def test_a_past_that_cannot_be_read_is_done_without_as_a_whole(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 3)
    with capture_logs() as told:
        await run(consumer(warm_up=Past([1, 2], error=OSError("no such folder"))), last=3)
    assert await sums(market) == ["3"]
    [line] = [each for each in told if each["event"] == "consumer.cold"]
    assert (line["stream"], line["why"]) == ("trades:BTCUSDT", "OSError('no such folder')")


async def test_one_that_raises_at_its_past_does_without(market: Market, consumer: Make) -> None:
    class Weak(Sums):
        def warm(self, trade: Trade) -> None:
            super().warm(trade)
            raise ZeroDivisionError

    await market.trades("BTCUSDT", 3)
    await run(consumer(warm_up=Past([1, 2])), Weak, last=3)
    assert await sums(market) == ["3"]


async def test_those_that_do_not_want_the_past_cost_no_reading(market: Market, consumer: Make) -> None:
    class Counts:
        def __call__(self, trade: Trade) -> list[Output]:
            return [Output("sums:BTCUSDT", {"sum": "1"})]

    past = Past([1])
    await market.trades("BTCUSDT", 3)
    await run(consumer(warm_up=past), Counts, last=3)
    assert (await sums(market), past.asked) == (["1"], [])


async def test_streams_are_warmed_side_by_side_and_each_for_itself(market: Market, consumer: Make) -> None:
    pairs = [f"P{number}" for number in range(20)]
    for pair in pairs:
        await market.trades(pair, 3)
    at_once, most = 0, 0

    async def slowly(stream: str, before: str) -> AsyncIterator[Sequence[Event]]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await SystemClock().sleep(0)
        yield [trade(1)] if stream.endswith("1") else [trade(1), trade(2)]
        at_once -= 1

    await run(consumer(warm_up=slowly, until_idle_s=0.1))
    assert {pair: await sums(market, pair) for pair in pairs} == {
        pair: ["4" if pair.endswith("1") else "6"] for pair in pairs
    }
    assert 1 < most <= 8


async def test_a_stop_is_heeded_between_two_pages_and_nothing_is_lost(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 3)
    reading = consumer()
    closed = []

    async def endless(stream: str, before: str) -> AsyncIterator[Sequence[Event]]:
        try:
            while True:
                reading.stop()
                yield [trade(1)]
        finally:
            closed.append(stream)

    reading = consumer(warm_up=endless)
    await run(reading)
    assert (closed, await sums(market), await market.pending()) == (["trades:BTCUSDT"], [], 1)
    await run(consumer(warm_up=Past([1, 2])), last=3)
    assert await sums(market) == ["6"]


async def test_a_stop_ends_a_warm_up_that_waits_for_somebody_silent(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 3)
    closed = list[str]()

    async def silent(stream: str, before: str) -> AsyncIterator[Sequence[Event]]:
        try:
            yield [trade(1)]
            asyncio.get_running_loop().call_later(0.05, reading.stop)
            await asyncio.Event().wait()
        finally:
            closed.append(stream)

    reading = consumer(warm_up=silent)
    async with asyncio.timeout(5):
        await run(reading)
    assert (closed, await sums(market), await market.pending()) == (["trades:BTCUSDT"], [], 1)
    await run(consumer(warm_up=Past([1, 2])), last=3)
    assert await sums(market) == ["6"]


class Remembers:
    """A memory that wants the past, or does not."""

    def __init__(self, wants_past: bool) -> None:
        self.wants_past = wants_past
        self.count = 0

    def warm(self, event: Event) -> None:
        self.count += 1

    def state(self) -> int:
        return self.count


async def test_of_many_streams_none_is_begun_after_a_stop_and_those_that_want_no_past_are_there() -> None:
    asked, stopped = list[str](), asyncio.Event()

    async def heeds_no_end(stream: str, before: str) -> AsyncIterator[Sequence[Event]]:
        asked.append(stream)
        yield [trade(1)]
        if stream == "s0":
            return
        asyncio.get_running_loop().call_later(0.05, stopped.set)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    def make(stream: str, state: Any) -> Any:
        return Remembers(wants_past=stream != "plain")

    warming = Warming(heeds_no_end, make, stopped.is_set)
    async with asyncio.timeout(5):
        found = await warming.memories({f"s{number}": f"{T0_MS + 3000}-3" for number in range(20)} | {"plain": "9-9"})
    assert {stream: memory.count for stream, memory in found.items()} == {"s0": 1, "plain": 0}  # type: ignore[attr-defined]
    assert len(asked) == 9  # eight at once, and one after the first of them
    assert await warming.memories({"s1": f"{T0_MS + 3000}-3"}) == {}
    assert len(asked) == 9


async def test_streams_that_were_warm_when_a_stop_came_are_begun(market: Market, consumer: Make) -> None:
    await market.trades("P1", 3)
    await market.trades("P2", 3)

    async def one_silent(stream: str, before: str) -> AsyncIterator[Sequence[Event]]:
        yield [trade(1)]
        if stream == "trades:P2":
            await SystemClock().sleep(0.05)
            reading.stop()
            await asyncio.Event().wait()

    reading = consumer(warm_up=one_silent)
    await run(reading)
    assert (await sums(market, "P1"), await sums(market, "P2")) == (["4"], [])
    assert (await market.pending(pair="P1"), await market.pending(pair="P2")) == (0, 1)


async def test_a_past_that_has_all_pages_at_hand_lets_others_stop_it(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 3)
    given = 0

    async def at_hand(stream: str, before: str) -> AsyncIterator[Sequence[Event]]:
        nonlocal given
        asyncio.get_running_loop().call_soon(reading.stop)
        while given < 10_000:
            given += 1
            yield [trade(1)]

    reading = consumer(warm_up=at_hand)
    await run(reading)
    assert given < 10
    assert (await sums(market), await market.pending()) == ([], 1)


async def test_a_gap_that_comes_first_is_no_past(market: Market, consumer: Make) -> None:
    await market.gap("BTCUSDT", 2, 3)
    await market.trades("BTCUSDT", 4)

    class Kinds(Sums):
        def __call__(self, event: Any) -> list[Output]:
            return super().__call__(event) if isinstance(event, Trade) else []

    past = Past([1])
    await run(consumer(warm_up=past), Kinds, last=4)
    assert past.asked == [("trades:BTCUSDT", f"{T0_MS + 2000}-2")]
    assert await sums(market) == ["5"]
