"""A stream made shorter by hand: exactly what was announced goes, and groups that lose something are known before."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cryptostream.bus import history
from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.operate import trimming
from cryptostream.testing import ManualClock


@pytest.fixture
async def bus(bus_url: str, data_dir: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=clock) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PAGE", 3)


async def put(bus: Bus, *numbers: int) -> None:
    for number in numbers:
        await bus.command.xadd("trades:A", {"n": number}, id=f"{number}-1")


async def numbers(bus: Bus) -> list[int]:
    return [int(entry_id.partition("-")[0]) for entry_id, _ in await bus.command.xrange("trades:A")]


@pytest.mark.parametrize("keep", [0, 1, 2, 5, 8, 9, 10, 11])
async def test_newest_entries_stay(bus: Bus, keep: int) -> None:
    await put(bus, *range(1, 11))
    cut = await trimming.cut(bus, "trades:A", keep=keep)
    assert (cut.goes, cut.length) == (max(0, 10 - keep), 10)
    assert await trimming.trim(bus, cut) == cut.goes
    assert await numbers(bus) == list(range(1, 11))[10 - min(keep, 10) :]


@pytest.mark.parametrize(("after", "first_left"), [("0-0", 1), ("4-0", 4), ("4-1", 5), ("3-18446744073709551615", 4)])
async def test_entries_above_an_id_stay(bus: Bus, after: str, first_left: int) -> None:
    await put(bus, *range(1, 11))
    cut = await trimming.cut(bus, "trades:A", after=after)
    assert cut.goes == first_left - 1
    await trimming.trim(bus, cut)
    assert await numbers(bus) == list(range(first_left, 11))


async def test_what_comes_between_the_question_and_the_answer_stays(bus: Bus) -> None:
    await put(bus, *range(1, 11))
    cut = await trimming.cut(bus, "trades:A", keep=0)
    await put(bus, 11, 12)
    assert await trimming.trim(bus, cut) == 10
    assert await numbers(bus) == [11, 12]


async def test_groups_that_would_lose_something_are_told_with_how_much(bus: Bus) -> None:
    await put(bus, *range(1, 11))
    for group, read, acknowledged in (("done", 10, 10), ("slow", 4, 4), ("stuck", 10, 5)):
        await bus.command.xgroup_create("trades:A", group, "0")
        await bus.command.xreadgroup(group, "one", {"trades:A": ">"}, count=read)
        await bus.command.xack("trades:A", group, *(f"{number}-1" for number in range(1, acknowledged + 1)))
    cut = await trimming.cut(bus, "trades:A", keep=2)
    assert cut.losses == [trimming.Loss("slow", 4, 0), trimming.Loss("stuck", 0, 3)]


async def test_entries_of_the_same_millisecond_are_kept_apart(bus: Bus) -> None:
    for sequence in range(1, 7):
        await bus.command.xadd("trades:A", {"n": sequence}, id=f"5-{sequence}")
    await bus.command.xgroup_create("trades:A", "g", "0")
    await bus.command.xreadgroup("g", "one", {"trades:A": ">"})
    cut = await trimming.cut(bus, "trades:A", keep=4)
    assert (cut.first_id, cut.losses) == ("5-3", [trimming.Loss("g", 0, 2)])
    assert await trimming.trim(bus, cut) == 2


async def test_empty_stream_has_no_ends_and_nothing_to_lose(bus: Bus) -> None:
    await put(bus, 1)
    assert await trimming.ends(bus, "trades:A") == trimming.Ends("1-1", "1-1")
    await bus.command.xtrim("trades:A", maxlen=0)
    assert await trimming.ends(bus, "trades:A") == trimming.Ends(None, None)
    assert (await trimming.cut(bus, "trades:A", keep=0)).goes == 0
    assert (await trimming.cut(bus, "trades:A", keep=5)).goes == 0
