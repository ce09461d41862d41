"""Entries put back under their own names and ids, each once."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.restore import Restorer
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.stats import PublisherStats
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.events import Entry


def entries(*ids: str, stream: str = "s") -> list[Entry]:
    return [Entry(stream, entry_id, {"n": entry_id, "人": "生"}) for entry_id in ids]


def opened(url: str) -> AbstractAsyncContextManager[Bus]:
    return connect(url, data_dir=Path(), connect_timeout_s=5, clock=SystemClock())


async def restore(url: str, *batches: list[Entry], prefix: str = "", maxlen: int = 0) -> PublisherStats:
    stats = PublisherStats()
    async with opened(url) as bus, Restorer(bus, stats, prefix=prefix, maxlen=maxlen) as sink:
        for batch in batches:
            await sink.write(batch)
    return stats


async def held(url: str, stream: str) -> list[tuple[str, dict[str, str]]]:
    async with opened(url) as bus:
        return [(entry_id, fields) for entry_id, fields in await bus.command.xrange(stream)]


async def test_entries_are_written_as_they_are(bus_url: str) -> None:
    stats = await restore(bus_url, entries("1-1", "1-2"), entries("5-0", stream="other"))

    assert await held(bus_url, "s") == [("1-1", {"n": "1-1", "人": "生"}), ("1-2", {"n": "1-2", "人": "生"})]
    assert [entry_id for entry_id, _ in await held(bus_url, "other")] == ["5-0"]
    assert stats == PublisherStats(published=3)


async def test_writing_again_changes_nothing(bus_url: str) -> None:
    await restore(bus_url, entries("1-1", "1-2"))
    stats = await restore(bus_url, entries("1-1", "1-2", "1-3"))

    assert len(await held(bus_url, "s")) == 3
    assert stats == PublisherStats(published=1, duplicates=2)


async def test_an_entry_the_stream_has_grown_past_is_refused_and_counted(bus_url: str) -> None:
    await restore(bus_url, entries("9-9"))

    assert await restore(bus_url, entries("1-1", "9-9")) == PublisherStats(duplicates=1, refused=1)


async def test_a_prefix_keeps_what_is_there_apart(bus_url: str) -> None:
    await restore(bus_url, entries("1-1"))
    await restore(bus_url, entries("1-1"), prefix="test:")

    assert len(await held(bus_url, "test:s")) == len(await held(bus_url, "s")) == 1


async def test_nothing_is_trimmed_unless_it_is_asked_for(bus_url: str) -> None:
    many = entries(*(f"{number}-0" for number in range(1, 1202)))
    await restore(bus_url, many)
    await restore(bus_url, many, prefix="short:", maxlen=10)

    assert len(await held(bus_url, "s")) == 1201
    assert len(await held(bus_url, "short:s")) < 300


async def test_a_key_of_another_type_is_told(real_redis_url: str) -> None:
    async with opened(real_redis_url) as bus:
        await bus.command.set("s", "text")
    with pytest.raises(BusRefused, match=r"s on .* is not a stream"):
        await restore(real_redis_url, entries("1-1"))


async def test_a_connection_that_uvloop_has_lost_is_told(fake_redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(fake_redis_url) as bus, Restorer(bus, PublisherStats()) as sink:

        async def lost(*_: object) -> None:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

        monkeypatch.setattr(sink._wire, "send", lost)
        with pytest.raises(BusUnavailable):
            await sink.write(entries("1-1"))


async def test_a_bus_that_goes_away_is_told(real_redis_url: str) -> None:
    async with opened(real_redis_url) as bus, Restorer(bus, PublisherStats()) as sink:
        await bus.command.execute_command("CLIENT KILL TYPE normal SKIPME yes")
        with pytest.raises(BusUnavailable):
            await sink.write(entries("1-1"))
