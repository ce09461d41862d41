"""Keyed handlers that leave out an entry they raised at: what they write instead is part of the commit."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from structlog.testing import capture_logs

from cryptostream import Consumer, Entry, Output, Trade
from cryptostream.bus.effects.transact import Effects
from cryptostream.errors import BusUnavailable
from tests.client.conftest import T0_MS, Market

Make = Callable[..., Consumer]


class Picky:
    """Sums prices; raises at trades of some numbers, half-way, unless it leaves them out."""

    bad: tuple[int, ...] = (2,)

    def __init__(self) -> None:
        self.sum = 0.0
        self._out: set[str] = set()

    def __call__(self, trade: Trade) -> Iterable[Output]:
        if trade.entry_id in self._out:
            return []
        self.sum += trade.price
        if trade.trade_id in self.bad:
            raise ZeroDivisionError(f"trade {trade.trade_id}")
        return [Output(f"sums:{trade.pair}", {"sum": f"{self.sum:g}"})]

    def set_aside(self, entry: Entry, error: Exception) -> list[Output]:
        self._out.add(entry.entry_id)
        return [Output("dlq:g", {"entry_id": entry.entry_id, "error": str(error), "price": entry.fields["price"]})]

    def __getstate__(self) -> dict[str, Any]:
        return {"sum": self.sum}


async def run(reading: Consumer, *made: Callable[[], object], last: int = 0) -> Consumer:
    """Run until a trade of that number came to the last of the handlers."""

    class Enough:
        def __call__(self, trade: Trade) -> None:
            if trade.trade_id == last:
                reading.stop()

    for each in (*made, Enough):
        reading.keyed("trades:*")(each)  # type: ignore[type-var]
    async with asyncio.timeout(20):  # where it is broken, the last one never comes
        await reading.run()
    return reading


async def sums(market: Market, pair: str = "BTCUSDT") -> list[str]:
    return [fields["sum"] for _, fields in await market.entries(f"sums:{pair}")]


async def letters(market: Market) -> list[str]:
    return [fields["entry_id"] for _, fields in await market.entries("dlq:g")]


async def test_the_entry_is_left_out_and_what_follows_is_handled_as_if_it_had_never_been(
    market: Market, consumer: Make
) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)
    reading = await run(consumer(), Picky, last=3)
    assert await sums(market) == ["1", "4"]
    [(_, letter)] = await market.entries("dlq:g")
    assert letter == {"entry_id": f"{T0_MS + 2000}-2", "error": "trade 2", "price": "2.00000000"}
    assert await market.pending() == 0
    assert (reading.stats.rejected, reading.stats.dead_letters, reading.stats.redelivered) == (0, 1, 0)


async def test_several_of_one_batch_are_left_out_each_once(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Picky, "bad", (1, 3, 4))
    await market.trades("BTCUSDT", 1, 2, 3, 4, 5)
    await run(consumer(), Picky, last=5)
    assert await sums(market) == ["2", "7"]
    assert await letters(market) == [f"{T0_MS + 1000}-1", f"{T0_MS + 3000}-3", f"{T0_MS + 4000}-4"]


async def test_others_are_given_the_entry_all_the_same(market: Market, consumer: Make) -> None:
    class Counts:
        def __init__(self) -> None:
            self.count = 0

        def __call__(self, trade: Trade) -> list[Output]:
            self.count += 1
            return [Output("counts", {"of": trade.pair, "count": str(self.count)})]

    await market.trades("BTCUSDT", 1, 2, 3)
    await market.trades("ETHUSDT", 1)
    await run(consumer(until_idle_s=0.1), Counts, Picky)
    told = [fields for _, fields in await market.entries("counts")]
    assert [each["count"] for each in told if each["of"] == "BTCUSDT"] == ["1", "2", "3"]
    assert (await sums(market), await sums(market, "ETHUSDT")) == (["1", "4"], ["1"])


@pytest.mark.parametrize("done", [True, False], ids=["whose reply is lost", "that fails"])
async def test_a_letter_is_written_once_whatever_becomes_of_the_commit(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)
    commit, lost = Effects.commit, [BusUnavailable("no reply")]

    async def losing(self: Effects, work: Any) -> Any:
        refused = await commit(self, work) if done or not lost else ()
        if lost:
            self.let_go([one.stream for one in work])
            raise lost.pop()
        return refused

    monkeypatch.setattr(Effects, "commit", losing)
    await run(consumer(until_idle_s=0.6), Picky)
    assert (await sums(market), len(await letters(market))) == (["1", "4"], 1)
    assert await market.pending() == 0


async def test_a_letter_of_one_that_was_killed_before_its_commit_is_written_by_the_next(
    market: Market, consumer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)

    async def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Effects, "commit", dies)
    with pytest.raises(KeyboardInterrupt):
        await run(consumer(), Picky)
    monkeypatch.undo()
    assert await letters(market) == []
    await run(consumer(), Picky, last=3)
    assert (await sums(market), len(await letters(market))) == (["1", "4"], 1)


class Stubborn(Picky):
    """Says that it leaves the entry out, and does not."""

    def __call__(self, trade: Trade) -> Iterable[Output]:
        self._out.clear()
        return super().__call__(trade)


class Changing(Stubborn):
    """And raises something new each time."""

    tries = 0

    def __call__(self, trade: Trade) -> Iterable[Output]:
        try:
            return super().__call__(trade)
        except ZeroDivisionError as error:
            Changing.tries += 1
            raise ValueError(f"try {Changing.tries}") from error


class Unable(Picky):
    """Cannot do without."""

    def set_aside(self, entry: Entry, error: Exception) -> None:  # type: ignore[override]
        return None


class Clumsy(Picky):
    """Raises when it is told."""

    def set_aside(self, entry: Entry, error: Exception) -> list[Output]:
        raise KeyError(entry.entry_id)


class Wrong(Picky):
    """Wants something written instead that cannot be."""

    def set_aside(self, entry: Entry, error: Exception) -> list[Output]:
        return [Output("out", {})]


@pytest.mark.parametrize("made", [Stubborn, Changing, Unable, Clumsy, Wrong])
async def test_one_that_cannot_leave_it_out_has_it_rejected_as_ever(
    market: Market, consumer: Make, made: Callable[[], object]
) -> None:
    await market.trades("BTCUSDT", 1, 2, 3)
    reading = await run(consumer(max_deliveries=2), made, last=3)
    assert await sums(market) == ["1", "4"]
    [(_, letter)] = await market.entries("dlq:g")
    assert (letter["entry_id"], letter["deliveries"]) == (f"{T0_MS + 2000}-2", "2")
    assert (reading.stats.rejected, reading.stats.dead_letters) == (2, 1)
    assert await market.pending() == 0


async def test_one_of_several_parts_may_fail_at_an_entry_that_another_has_left_out(
    market: Market, consumer: Make
) -> None:
    class Parts:
        """Two parts raise at trade 2, one after the other."""

        def __init__(self) -> None:
            self.out: list[str] = []

        def __call__(self, trade: Trade) -> list[Output]:
            for name in ("a", "b", "c"):
                if trade.trade_id == 2 and name != "c" and name not in self.out:
                    raise ValueError(name)
            return [Output("out", {"n": str(trade.trade_id)})]

        def set_aside(self, entry: Entry, error: Exception) -> list[Output]:
            self.out.append(str(error))
            return [Output("aside", {"part": str(error)})]

    await market.trades("BTCUSDT", 1, 2, 3)
    await run(consumer(), Parts, last=3)
    assert [fields["part"] for _, fields in await market.entries("aside")] == ["a", "b"]
    assert [fields["n"] for _, fields in await market.entries("out")] == ["1", "2", "3"]


async def test_what_was_left_out_and_then_rejected_for_another_is_written_when_it_is_done(
    market: Market, consumer: Make
) -> None:
    class RaisesOnce:
        """Cannot leave anything out, and is well the second time."""

        raised = False

        def __call__(self, trade: Trade) -> None:
            if trade.trade_id == 2 and not RaisesOnce.raised:
                RaisesOnce.raised = True
                raise KeyError

    await market.trades("BTCUSDT", 1, 2, 3)
    await run(consumer(), Picky, RaisesOnce, last=3)
    assert (await sums(market), len(await letters(market))) == (["1", "4"], 1)
    assert await market.pending() == 0


async def test_who_set_what_aside_is_told(market: Market, consumer: Make) -> None:
    await market.trades("BTCUSDT", 2)
    with capture_logs() as told:
        await run(consumer(), Picky, last=2)
    [line] = [each for each in told if each["event"] == "consumer.set_aside"]
    assert (line["who"], line["stream"], line["entry"]) == ("Picky", "trades:BTCUSDT", f"{T0_MS + 2000}-2")
