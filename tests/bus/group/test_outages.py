"""What a consumer makes of a Redis that dies, comes back empty, or loses a second of what it was told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from random import Random

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.group.source import Group
from cryptostream.engine.clock import SystemClock
from cryptostream.model.events import Entry
from cryptostream.testing import ManualClock
from tests.bus.members import STREAM, add, ids, member, pending, read, some
from tests.conftest import RedisServer


@pytest.fixture
async def bus(bus_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=tmp_path, clock=clock) as opened:
        yield opened


@pytest.mark.row(14)
async def test_a_redis_that_comes_back_empty_is_read_on_from_where_it_was(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2, 3)
    source = member(bus, clock)
    batches = source.batches()
    batch = await anext(batches)
    while not batch.events:
        batch = await anext(batches)
    await source.commit(batch)
    await bus.command.flushall()
    await add(bus, STREAM, 3, 4, 5)
    clock.advance(6)
    assert ids(await some(batches)) == [4, 5]
    assert source.stats.resets == 1
    await batches.aclose()


@pytest.mark.row(14)
async def test_a_stream_that_is_deleted_while_it_is_waited_for_is_read_again(
    real_redis_url: str, tmp_path: Path
) -> None:
    clock = SystemClock()
    async with connect(real_redis_url, data_dir=tmp_path, clock=clock) as bus:
        await add(bus, STREAM, 1)
        source = member(bus, clock)
        async with aclosing(source.batches()) as batches:
            assert ids(await some(batches)) == [1]
            await anext(batches)
            waiting = asyncio.create_task(some(batches))
            while not (await bus.command.info("clients"))["blocked_clients"]:
                await clock.sleep(0.01)
            await bus.command.delete(STREAM)
            await add(bus, STREAM, 2)
            assert ids(await waiting) == [2]
    assert source.stats.resets == 1


@pytest.mark.row(14)
async def test_what_an_emptied_bus_took_before_it_was_read_is_a_gap(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2, 3)
    source = member(bus, clock)
    async with aclosing(source.batches()) as batches:
        assert ids(await some(batches)) == [1, 2, 3]
        await add(bus, STREAM, *range(4, 9))
        await bus.command.flushall()
        await add(bus, STREAM, 9, 10)
        clock.advance(6)
        assert ids(await some(batches)) == [(4, 8, 5), 9, 10]
    assert (source.stats.lost, source.stats.resets) == (5, 1)


@pytest.mark.row(14)
async def test_a_stream_that_is_gone_is_read_again_once_somebody_writes_it(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1)
    await add(bus, "trades:B", 1)
    source = member(bus, clock)
    batches = source.batches()
    assert ids(await some(batches)) == [1, 1]
    await bus.command.delete(STREAM)
    await add(bus, "trades:B", 2)
    assert ids(await some(batches)) == [2]
    assert not await bus.command.exists(STREAM)
    await add(bus, STREAM, 2)
    clock.advance(1)
    assert ids(await some(batches)) == [2]
    assert source.stats.resets == 1
    await batches.aclose()


async def test_a_group_that_somebody_destroyed_loses_and_repeats_nothing(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2)
    source = member(bus, clock)
    batches = source.batches()
    await some(batches)
    await bus.command.xgroup_destroy(STREAM, "g")
    await add(bus, STREAM, 3)
    assert ids(await some(batches)) == [3]
    assert (source.stats.lost, source.stats.resets) == (0, 1)
    await batches.aclose()


async def test_a_stream_named_without_a_glob_is_waited_for_and_read_when_it_comes(bus: Bus, clock: ManualClock) -> None:
    source = member(bus, clock, "trades:A")
    batches = source.batches()
    assert (await anext(batches)).events == []
    await add(bus, STREAM, 1)
    assert ids(await some(batches)) == [1]
    await batches.aclose()


class Load:
    """Somebody who writes trades through whatever happens, each once; `top` is the last that Redis took."""

    def __init__(self, url: str, folder: Path) -> None:
        self.top = 0
        self.is_done = False
        self._url = url
        self._folder = folder

    async def write(self) -> None:
        clock = SystemClock()
        async with connect(self._url, data_dir=self._folder, clock=clock) as bus:
            while not self.is_done:
                try:
                    await add(bus, STREAM, self.top + 1)
                    self.top += 1
                except Exception as error:  # whatever redis-py makes of a server that is gone
                    if "equal or smaller" in str(error):
                        self.top += 1
                await clock.sleep(0.001)


async def handled(source: Group, load: Load) -> list[Entry]:
    """Everything, with a commit of each batch, until the load ends and all of it was read."""
    found: list[Entry] = []
    async with source:
        async for batch in source.batches():
            found += batch.events
            await source.commit(batch)
            if load.is_done and found and found[-1].entry_id == f"1000-{load.top}":
                return found
    raise AssertionError("unreachable")


@pytest.mark.row(13)
async def test_redis_is_killed_again_and_again_and_every_entry_is_read_once(
    redis_server: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server = redis_server("--appendonly", "yes", "--appendfsync", "everysec")
    clock, random, load = SystemClock(), Random(13), Load(server.unix_url, tmp_path)
    async with connect(server.unix_url, data_dir=tmp_path, clock=clock) as bus:
        source = member(bus, clock, "trades:A")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.write())
            reading = tasks.create_task(handled(source, load))
            for _ in range(5):
                await clock.sleep(random.uniform(0.1, 0.5))
                await asyncio.to_thread(server.restart)
            await clock.sleep(0.5)
            load.is_done = True
        found = ids(reading.result())
        assert found == list(range(1, load.top + 1))
        assert await pending(bus) == []


@pytest.mark.row(13)
async def test_what_redis_forgot_of_a_group_is_not_handled_twice(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2, 3)
    source = member(bus, clock)
    batches = source.batches()
    batch = await anext(batches)
    while not batch.events:
        batch = await anext(batches)
    source.acknowledge(STREAM, ["1000-1"])
    await source._lose_touch()
    await bus.command.xgroup_setid(STREAM, "g", "0")
    await add(bus, STREAM, 4)
    assert ids(await some(batches)) == [4]
    await batches.aclose()
    assert [entry_id for _, entry_id in await pending(bus)] == ["1000-2", "1000-3", "1000-4"]


async def test_what_could_not_be_acknowledged_is_sent_again_and_not_read_again(
    redis_server: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server, clock = redis_server("--appendonly", "yes", "--appendfsync", "always"), SystemClock()
    async with connect(server.unix_url, data_dir=tmp_path, clock=clock) as bus:
        await add(bus, STREAM, 1)
        source = member(bus, clock)
        batches = source.batches()
        batch = await anext(batches)
        while not batch.events:
            batch = await anext(batches)
        server.kill()
        await source.commit(batch)
        assert (await anext(batches)).events == []
        assert source.stats.trouble
        server.start()
        await add(bus, STREAM, 2)
        assert ids(await some(batches)) == [2]
        assert not source.stats.trouble
        assert [entry_id for _, entry_id in await pending(bus)] == ["1000-2"]
        await batches.aclose()


async def test_a_new_start_reads_what_a_killed_one_left(bus: Bus, clock: ManualClock) -> None:
    await add(bus, STREAM, 1, 2)
    await read(member(bus, clock), 2, commit=False)
    assert ids(await read(member(bus, clock), 2)) == [1, 2]
