"""What the page of the pipeline is told: differences, groups over their streams, and what became of a wish."""

from cryptostream.errors import BusUnavailable, UsageError
from cryptostream.web import shown
from cryptostream.web.dashboard.pipeline import answered
from cryptostream.web.dashboard.working import Working, groups
from tests.web.probes import FakeCommands, FakeProbes


def group(name: str, stream: str, pending: int, lag: int | None) -> shown.Group:
    return shown.Group(group=name, stream=stream, consumers=1, pending=pending, lag=lag)


def test_groups_are_summed_over_their_streams_and_an_unknown_lag_is_no_zero() -> None:
    found = groups([group("b", "x", 1, 5), group("a", "x", 0, None), group("b", "y", 2, 7), group("b", "z", 0, None)])
    assert list(found) == ["a", "b"]
    assert (found["b"]["pending"], found["b"]["lag"], found["b"]["worst"], found["b"]["streams"]) == (3, 12, "y", 3)
    assert (found["a"]["lag"], found["a"]["worst"]) == (None, "")


async def test_a_browser_is_told_all_and_then_only_what_changes() -> None:
    probes = FakeProbes()
    working = Working(probes)
    first = await working.message()
    assert set(first) == {"now", "ingesters", "consumers", "groups", "streams", "letters", "at"}
    assert first["letters"]["put"].popitem()[1]["group"] == "momentum"
    assert await working.message() == {}
    probes.told_letters, probes.reasons = [], ["no ingester runs"]
    changed = await working.message()
    assert changed["now"]["put"]["now"] == {"wrong": ["no ingester runs"], "wrongs": 1, "redis": False}
    assert set(changed) == {"now", "letters", "at"}
    assert len(changed["letters"]["gone"]) == 1
    working.forget()
    assert "streams" in await working.message()


async def test_letters_stay_as_they_were_while_the_bus_is_away() -> None:
    probes = FakeProbes()
    working = Working(probes)
    await working.message()
    probes.failing = BusUnavailable("no answer")
    await working.message()
    assert "letters" not in await working.message()


async def test_wishes_are_obeyed_refused_or_nonsense_and_always_answered() -> None:
    commands = FakeCommands()
    done = await answered(commands, "pause", {"name": "momentum"})
    assert done["verdicts"] == [{"what": "momentum", "accepted": True, "why": ""}]
    told = await answered(commands, "retry", {"queue": "dlq:g", "ids": ["1-0", "2-0"]})
    assert told == {"to": "retry", "said": "2 given back to g, which handles them again"}
    assert commands.wished == [("pause", "momentum"), ("retry", ("dlq:g", ["1-0", "2-0"]))]
    told = await answered(commands, "retry", {"queue": "dlq:g", "ids": ["1-0", "0-1"]})
    assert told["left"] == "1 could not be: its stream was trimmed"
    assert "failed" in await answered(commands, "rm -rf", {})
    commands.failing = UsageError("trades:A was trimmed", hint="too late")
    told = await answered(commands, "retry", {"ids": None})
    assert told == {"to": "retry", "failed": "trades:A was trimmed - too late"}


async def test_no_more_streams_than_a_browser_bears_are_sent() -> None:
    probes = FakeProbes()
    probes.pairs = [f"C{number:03}USDT" for number in range(600)]
    working = Working(probes)
    message = await working.message()
    assert len(message["streams"]["put"]) == 500
    assert message["now"]["put"]["now"]["streams"] == 600
    working.find("c59 usdt")
    found = await working.message()
    assert "trades:C599USDT" in found["streams"]["put"]
    assert len(found["streams"]["gone"]) == 500
