"""Streams at a glance, on both engines: what they hold, what is gone, and a wire that broke."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus import glance
from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.glance import Glance, Glimpse
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused
from tests.cluster import Cluster


@pytest.fixture
async def bus(bus_url: str, data_dir: Path) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=SystemClock()) as connected:
        yield connected


async def put(bus: Bus, stream: str, *numbers: int) -> None:
    for number in numbers:
        await bus.command.xadd(stream, {"pair": "人", "raw_json": "{}"}, id=f"{number}-1")


async def seen(bus: Bus, *names: str) -> list[Glimpse | None]:
    return await Glance(bus).streams(names)


async def test_stream_is_told_by_its_ends_and_its_length(bus: Bus) -> None:
    await put(bus, "trades:A", 5, 6, 7)
    await bus.command.xtrim("trades:A", maxlen=2, approximate=False)
    [told] = await seen(bus, "trades:A")
    assert told is not None
    assert (told.length, told.added, told.first_ms, told.last_ms, told.is_trimmed) == (2, 3, 6, 7, True)
    assert told.last is not None and glance.entry("trades:A", told.last).fields == {"pair": "人"}


async def test_what_is_gone_or_no_stream_leaves_a_hole(bus: Bus) -> None:
    await put(bus, "trades:A", 5)
    await bus.command.set("trades:B", "text")
    first, *others = await seen(bus, "trades:A", "trades:B", "trades:C")
    assert first is not None and others == [None, None]


async def test_stream_emptied_by_trimming_has_no_ends(bus: Bus) -> None:
    await put(bus, "trades:A", 5)
    await bus.command.xtrim("trades:A", maxlen=0, approximate=False)
    [told] = await seen(bus, "trades:A")
    assert told is not None and (told.length, told.first_ms, told.last_ms) == (0, None, None)


async def test_answers_do_not_shift_when_somebody_waits_no_more(bus: Bus) -> None:
    await put(bus, "trades:A", 5)
    await put(bus, "trades:B", 6, 7)
    looking = Glance(bus)
    await looking.streams(["trades:A"])
    given_up = asyncio.ensure_future(looking.streams(["trades:A"]))
    await asyncio.wait([given_up], timeout=0)
    given_up.cancel()
    with suppress(asyncio.CancelledError):
        await given_up
    [told] = await looking.streams(["trades:B"])
    assert told is not None and told.length == 2


async def test_right_that_is_missing_is_told(redis_server: Callable[..., Any], data_dir: Path) -> None:
    server = redis_server()
    server.call("ACL", "SETUSER", "blind", "on", "nopass", "~*", "+@all", "-xinfo")
    url = server.url.replace("redis://", "redis://blind:x@")
    async with connect(url, data_dir=data_dir, clock=SystemClock()) as bus:
        with pytest.raises(BusRefused, match="does not allow this"):
            await seen(bus, "trades:A")


async def test_streams_of_a_cluster_are_seen_wherever_they_are(cluster: Cluster, data_dir: Path) -> None:
    names = [f"trades:{{PAIR{number}}}" for number in range(12)]
    async with connect(cluster.url, data_dir=data_dir, clock=SystemClock()) as bus:
        for number, name in enumerate(names, 1):
            await put(bus, name, number)
        looking = Glance(bus)
        assert [told and told.last_ms for told in await looking.streams(names)] == list(range(1, 13))
        assert all(await looking.memory(names))
        assert [len(page) for page in await looking.pages([(name, "-", "+", 5) for name in names])] == [1] * 12
