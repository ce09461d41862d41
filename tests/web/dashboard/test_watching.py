"""What a browser is told of the market: differences, and the whole when it asks for it."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from cryptostream.errors import BusUnavailable
from cryptostream.web import shown
from cryptostream.web.dashboard.watching import Watching
from tests.web import probes
from tests.web.probes import FakeProbes


class Sparse(FakeProbes):
    """Few candles in long intervals, many in short ones."""

    asked: Sequence[str] = ()
    more = 0

    async def bars(self, pair: str, interval: str, **bounds: int | None) -> Sequence[shown.Bar]:  # type: ignore[override]
        self._known(pair)
        self.asked = (*self.asked, interval)
        return [probes.bar(at) for at in range({"1m": 3, "15s": 12, "5s": 36}.get(interval, 180) + self.more)]


async def test_nothing_is_told_twice() -> None:
    watching = Watching(FakeProbes())
    first = await watching.message()
    assert {"anew", "quotes", "strategies", "state", "candles", "tape", "signals", "marks"} == set(first)
    assert len(first["candles"]["rows"]) == 60
    assert await watching.message() == {}


async def test_of_a_quote_only_what_has_changed_is_told() -> None:
    asked = FakeProbes()
    watching = Watching(asked)
    await watching.message()
    asked.told_quotes = [probes.quote("BTCUSDT", price="45200.00"), *asked.told_quotes[1:-1]]
    message = await watching.message()
    assert message == {"quotes": {"put": {"BTCUSDT": {"price": "45200.00"}}, "gone": ["币安人生USDT"]}}


async def test_another_pair_begins_anew_and_the_rest_stays() -> None:
    watching = Watching(FakeProbes())
    await watching.message()
    watching.choose("ETHUSDT", "5s")
    message = await watching.message()
    assert message["anew"] == "pair"
    assert message["candles"]["whole"]
    assert message["state"]["put"]["now"]["pair"] == "ETHUSDT"
    assert "quotes" not in message


async def test_the_interval_that_shows_enough_is_taken() -> None:
    asked = Sparse()
    watching = Watching(asked)
    message = await watching.message()
    assert message["state"]["put"]["now"]["interval"] == "5s"
    asked.asked = ()
    await watching.message()
    assert asked.asked == ("5s",)


async def test_a_bus_that_is_away_leaves_what_is_there_and_says_so() -> None:
    asked = FakeProbes()
    watching = Watching(asked)
    await watching.message()
    asked.failing = BusUnavailable("no answer from redis://localhost")
    message = await watching.message()
    assert message.keys() == {"state"}
    assert message["state"]["put"]["now"]["said"] == "the bus: no answer from redis://localhost"


async def test_what_cannot_be_drawn_of_a_pair_takes_nothing_else_from_the_page() -> None:
    asked = FakeProbes()
    watching = Watching(asked)
    told_bars = asked.bars

    async def bars(*args: Any, **bounds: Any) -> Sequence[shown.Bar]:
        good = await told_bars(*args, **bounds)
        return [*good[:-1], good[-1].model_copy(update={"close": float("inf")})]

    asked.bars = bars  # type: ignore[method-assign]
    with capture_logs() as logged:
        message = await watching.message()
        asked.told_quotes = [probes.quote("BTCUSDT", price="45200.00"), *asked.told_quotes[1:]]
        assert (await watching.message())["quotes"]["put"]["BTCUSDT"] == {"price": "45200.00"}
    assert {"quotes", "strategies", "state", "tape", "signals"} < set(message)
    assert "BTCUSDT has entries that cannot be shown" in message["state"]["put"]["now"]["said"]
    assert [line["event"] for line in logged] == ["web.pair_unshown"]
    asked.bars = told_bars  # type: ignore[method-assign]
    healed = await watching.message()
    assert healed["candles"]["whole"]
    assert healed["state"]["put"]["now"]["said"] == ""


@pytest.mark.parametrize(("holds", "interval"), [(False, "1m"), (True, "5s")])
async def test_the_interval_grows_with_the_market_until_somebody_zooms(holds: bool, interval: str) -> None:
    asked = Sparse()
    watching = Watching(asked)
    await watching.message()
    if holds:
        watching.hold()
    asked.more = 60  # an hour later
    for _ in range(60):
        await watching.message()
    assert watching.interval == interval


async def test_an_unknown_pair_is_told_and_no_mistake_of_ours() -> None:
    watching = Watching(FakeProbes())
    watching.choose("<script>alert(1)</script>")
    message = await watching.message()
    assert message["state"]["put"]["now"]["said"].startswith("no such pair: <script>")
    assert json.dumps(message)


async def test_of_an_installed_kind_another_can_be_started_of_a_file_none() -> None:
    asked = FakeProbes()
    mine = probes.strategy("mine").model_copy(update={"kind": "strategies/mine.py:Mine"})
    asked.told_strategies = [probes.strategy(), mine]
    told = (await Watching(asked).message())["strategies"]["put"]
    assert {row["name"]: row["installed"] for row in told.values()} == {"momentum": True, "mine": False}


async def test_an_empty_bus_is_no_mistake() -> None:
    message = await Watching(FakeProbes(pairs=[])).message()
    assert message["state"]["put"]["now"] == {
        "pair": "",
        "asked": "auto",
        "interval": "",
        "said": "",
        "ingesters": True,
        "redis": True,
        "may_write": True,
    }
