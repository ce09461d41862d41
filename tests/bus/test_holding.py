"""Names that one process holds: what is another's is left alone, also what became so a moment ago."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.holding import HELD_S, PREFIX, Holding
from cryptostream.bus.line import Command, Line
from cryptostream.engine.clock import SystemClock


@pytest.fixture
async def bus(bus_url: str, data_dir: Path) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=SystemClock()) as opened:
        yield opened


@pytest.fixture
async def process(bus: Bus) -> AsyncIterator[Callable[[str], Holding]]:
    async with AsyncExitStack() as stack:

        def make(by: str) -> Holding:
            made = Holding(bus, by)
            stack.push_async_callback(made.close)
            return made

        yield make


async def holders(bus: Bus, *names: str) -> list[str | None]:
    return [await bus.command.get(PREFIX + name) for name in names]


async def test_one_at_a_time_holds_a_name_and_only_who_does_lets_it_go(
    bus: Bus, process: Callable[[str], Holding]
) -> None:
    one, other = process("one:1"), process("other:2")
    assert (await one.hold(["a"]), await other.hold(["a", "b"]), await one.hold(["a", "b"])) == ({"a"}, {"b"}, {"a"})
    await one.let_go(["a", "b"])
    assert await holders(bus, "a", "b") == [None, "other:2"]
    assert await other.hold(["a", "b"]) == {"a", "b"}


async def test_who_holds_a_name_goes_on_holding_it_and_prolongs_no_other(
    bus: Bus, process: Callable[[str], Holding]
) -> None:
    one, other = process("one:1"), process("other:2")
    await one.hold(["a"])
    await other.hold(["b"])
    for name in ("a", "b"):
        await bus.command.pexpire(PREFIX + name, 5000)
    await one.hold(["a", "b"])
    left_s = [await bus.command.pttl(PREFIX + name) / 1000 for name in ("a", "b")]
    assert 5 < left_s[0] <= HELD_S
    assert left_s[1] <= 5


@pytest.mark.parametrize("act", ["hold", "let_go"])
async def test_a_name_that_lapsed_and_became_anothers_meanwhile_is_left_to_him(
    bus: Bus, process: Callable[[str], Holding], monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    execute = Line.execute
    lapses = iter([True])

    async def late(line: Line, commands: Sequence[Command]) -> list[Any] | None:
        if next(lapses, False):
            await bus.command.set(PREFIX + "a", "other:2", px=5000)
        return await execute(line, commands)

    one = process("one:1")
    await one.hold(["a", "b"])
    monkeypatch.setattr(Line, "execute", late)
    await getattr(one, act)(["a", "b"])
    assert await holders(bus, "a", "b") == ["other:2", "one:1" if act == "hold" else None]
    assert await bus.command.pttl(PREFIX + "a") <= 5000
