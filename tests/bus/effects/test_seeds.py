"""With what a strategy began is read back as it was written, and how far it has come since."""

from collections.abc import AsyncIterator
from math import inf
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.effects import seeds
from cryptostream.bus.effects.forget import forget
from cryptostream.bus.effects.state import packed
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused, DataQuality

SIGNALS, KEY, STATE = "signals:macd:{A}", "seed:signals:macd:{A}", "state:g:trades:{A}"
STATE_KNOWN = {"bars": None, "strategies": {"macd": {"mean": 0.1, "most": -inf, "seen": [1, 2]}}}
WRITTEN: dict[str, Any] = {
    "upto": "5-6",
    "state": packed(STATE_KNOWN),
    "config": "abc",
    "from": "12 trades, from 1-1 to 5-6",
    "at": "2024-11-14T17:30:00.000000",
    "group": "g",
    "stream": "trades:{A}",
}


@pytest.fixture
async def bus(bus_url: str, data_dir: Path) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=SystemClock()) as opened:
        yield opened


async def put(bus: Bus, key: str = KEY, /, **fields: Any) -> None:
    mapping: dict[Any, Any] = fields
    await bus.command.hset(key, mapping=mapping)


async def known(bus: Bus) -> seeds.Seed:
    found = await seeds.seed(bus, SIGNALS)
    assert found is not None
    return found


async def test_a_seed_comes_back_as_it_was_written(bus: Bus) -> None:
    await put(bus, **WRITTEN)
    assert await known(bus) == seeds.Seed(
        upto="5-6",
        state=STATE_KNOWN,
        config="abc",
        warmed="12 trades, from 1-1 to 5-6",
        at="2024-11-14T17:30:00.000000",
        group="g",
        stream="trades:{A}",
    )


async def test_where_nobody_began_there_is_no_seed(bus: Bus) -> None:
    assert await seeds.seed(bus, SIGNALS) is None


@pytest.mark.parametrize("lost", ["upto", "state"])
async def test_half_a_seed_is_none(bus: Bus, lost: str) -> None:
    await put(bus, **{name: value for name, value in WRITTEN.items() if name != lost})
    assert await seeds.seed(bus, SIGNALS) is None


async def test_a_seed_that_cannot_be_read_is_told_by_its_key(bus: Bus) -> None:
    await put(bus, **{**WRITTEN, "state": b"\xc1"})
    with pytest.raises(DataQuality, match=r"seed:signals:macd:\{A\} cannot be read"):
        await seeds.seed(bus, SIGNALS)


async def test_a_key_of_another_type_is_refused(bus: Bus) -> None:
    await bus.command.set(KEY, "x")
    with pytest.raises(BusRefused, match="seed:signals:macd"):
        await seeds.seed(bus, SIGNALS)


async def test_how_far_it_has_come_is_in_the_state_of_its_group_and_stream(bus: Bus) -> None:
    await put(bus, **WRITTEN)
    assert await seeds.reached(bus, await known(bus)) == ""
    await put(bus, STATE, upto="7-8", done="9-9")
    await put(bus, "state:other:trades:{A}", upto="1-1")
    assert await seeds.reached(bus, await known(bus)) == "7-8"


async def test_where_the_state_was_dropped_it_is_how_far_the_work_was_done(bus: Bus) -> None:
    await put(bus, **WRITTEN)
    await put(bus, STATE, token="x", upto="7-8", done="7-8", state=packed({}), version="1", config="c")
    assert await forget(bus, "g", ["trades:{A}"]) == 1
    assert await bus.command.hget(STATE, "upto") is None
    assert await seeds.reached(bus, await known(bus)) == "7-8"
