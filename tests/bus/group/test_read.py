"""The wire of a group: what is sent, what comes back, and which errors leave."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.group.read import GroupGone, Read, Reader, reader, xack
from cryptostream.bus.group.trimmed import Facts
from cryptostream.bus.resp import ServerWire
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.testing import ManualClock
from tests.bus.members import STREAM, add, pending


@pytest.fixture
async def bus(bus_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=tmp_path, clock=clock) as opened:
        yield opened


@pytest.fixture
async def wire(bus: Bus) -> AsyncIterator[Reader]:
    opened = await reader(bus, "g", "me")
    yield opened
    await opened.close()


NEW = [Read({STREAM: ">"}, 100)]


async def test_rows_come_as_text_and_count_bounds_them(bus: Bus, wire: Reader) -> None:
    await add(bus, STREAM, 1, 2, 3)
    await bus.command.xgroup_create(STREAM, "g", id="0")
    answer = await wire.read([Read({STREAM: ">"}, 2)], {})
    assert [stream for stream, _ in answer.rows] == [STREAM]
    assert answer.rows[0][1][0] == ["1000-1", ["exchange", "binance", "pair", "A", "trade_id", "1"]]
    assert len(answer.rows[0][1]) == 2


async def test_acknowledgements_ride_in_front_of_the_read_in_one_write(
    bus: Bus, wire: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(bus, STREAM, 1, 2)
    await bus.command.xgroup_create(STREAM, "g", id="0")
    await wire.read(NEW, {})
    sent: list[int] = []
    send = ServerWire.send

    async def counted(self: ServerWire, commands: list[str], count: int) -> object:
        sent.append(count)
        return await send(self, commands, count)

    monkeypatch.setattr(ServerWire, "send", counted)
    answer = await wire.read(NEW, {STREAM: ["1000-1", "1000-2"]})
    assert (answer.acked, answer.rows, sent, await pending(bus)) == (2, [], [2], [])


def test_ids_of_several_lengths_are_acknowledged_together() -> None:
    assert xack("s", "g", ["9-1", "10-1"]) == ("*5\r\n$4\r\nXACK\r\n$1\r\ns\r\n$1\r\ng\r\n$3\r\n9-1\r\n$4\r\n10-1\r\n")
    assert xack("s", "g", ["1-1", "2-1"]).endswith("$3\r\n1-1\r\n$3\r\n2-1\r\n")


async def test_looking_tells_how_the_stream_stood_before_it_was_read(bus: Bus, wire: Reader) -> None:
    await add(bus, STREAM, 1, 2, 3)
    await bus.command.xgroup_create(STREAM, "g", id="0", entries_read=0)
    answer = await wire.read(NEW, {}, watched=[STREAM], block_ms=1000)
    assert answer.facts == {STREAM: Facts(3, 3, "1000-1", "1000-3", "0-0", 0)}
    assert len(answer.rows[0][1]) == 3


async def test_text_that_is_no_utf8_stays_readable(bus: Bus, wire: Reader) -> None:
    await bus.command.xadd(STREAM, {"name": b"\xff"}, id="1-1")  # type: ignore[arg-type]
    await bus.command.xgroup_create(STREAM, "g", id="0")
    answer = await wire.read(NEW, {})
    assert answer.rows[0][1] == [["1-1", ["name", "\\xff"]]]


@pytest.mark.parametrize("watched", [(), (STREAM,)])
async def test_a_missing_group_is_told_apart_from_a_refusal(bus: Bus, wire: Reader, watched: tuple[str, ...]) -> None:
    with pytest.raises(GroupGone):
        await wire.read(NEW, {}, watched=watched)
    await add(bus, STREAM, 1)
    with pytest.raises(GroupGone):
        await wire.read(NEW, {}, watched=watched)


async def test_a_key_of_another_type_is_refused(bus: Bus, wire: Reader) -> None:
    await bus.command.set(STREAM, "x")
    with pytest.raises(BusRefused):
        await wire.read(NEW, {})


async def test_a_connection_that_is_gone_is_the_buss_fault(bus: Bus, wire: Reader) -> None:
    await bus.command.xgroup_create(STREAM, "g", id="0", mkstream=True)
    await wire.close()
    with pytest.raises(BusUnavailable):
        await wire.read(NEW, {})
