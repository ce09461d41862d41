"""Hashes beside the streams: written with the work that made them, newest value first of all, and refused in time."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.effects.hashes import Hash, Kept, check_hash, merged
from cryptostream.bus.effects.outputs import BadOutput
from cryptostream.bus.effects.transact import Effects, Work
from cryptostream.bus.line import Line, Lines
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused
from cryptostream.model.events import Latest, Output
from tests.cluster import Cluster

IN, OUT, KEY = "trades:{A}", "signals:{A}", "indicators:{A}"


@pytest.fixture
async def bus(bus_url: str, data_dir: Path) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=SystemClock()) as opened:
        yield opened


@pytest.fixture
async def effects(bus: Bus) -> AsyncIterator[Effects]:
    async with Effects(bus, "g") as opened:
        await opened.claim([IN])
        yield opened


async def deliver(bus: Bus, *numbers: int) -> None:
    """Entries that are pending."""
    await bus.command.xgroup_create(IN, "g", id="0", mkstream=True)
    for number in numbers:
        await bus.command.xadd(IN, {"n": str(number)}, id=f"1-{number}")
    await bus.command.xreadgroup("g", "me", {IN: ">"})


def work(*hashes: Hash, outputs: Iterable[Output] = (), upto: str = "1-1", stream: str = IN) -> Work:
    return Work(stream, [upto], list(outputs), {"n": 1}, upto, hashes)


async def found(bus: Bus, key: str = KEY) -> Any:
    return await bus.command.hgetall(key)


async def pending(bus: Bus) -> int:
    return int((await bus.command.xpending(IN, "g"))["pending"])


async def test_a_latest_value_is_written_with_its_work_and_goes_by_itself(bus: Bus, effects: Effects) -> None:
    await deliver(bus, 1)
    await effects.commit(
        [work(Latest(KEY, {"rsi": "28.5", "price": "5"}, ttl_s=1.5), outputs=[Output(OUT, {"a": "b"})])]
    )
    assert await found(bus) == {"rsi": "28.5", "price": "5"}
    assert 0 < await bus.command.pttl(KEY) <= 1500
    assert (await pending(bus), await bus.command.xlen(OUT)) == (0, 1)


async def test_of_several_for_one_key_the_newest_of_each_field_is_written(bus: Bus, effects: Effects) -> None:
    await effects.claim([IN, "trades:{B}"])
    await effects.commit(
        [
            work(Latest(KEY, {"rsi": "1", "sma": "1"}, ttl_s=100), Latest(KEY, {"rsi": "2"}, ttl_s=50)),
            work(Latest(KEY, {"ema": "3"}, ttl_s=10), stream="trades:{B}"),
        ]
    )
    assert await found(bus) == {"rsi": "2", "sma": "1", "ema": "3"}
    assert await bus.command.pttl(KEY) <= 10_000


async def test_a_field_that_is_not_told_anew_stays_as_it_is(bus: Bus, effects: Effects) -> None:
    await effects.commit([work(Latest(KEY, {"rsi": "1", "sma": "1"}, ttl_s=100))])
    await effects.commit([work(Latest(KEY, {"rsi": "2"}, ttl_s=100), upto="1-2")])
    assert await found(bus) == {"rsi": "2", "sma": "1"}


async def test_what_is_kept_stays_and_may_be_bytes(real_redis_url: str, data_dir: Path) -> None:
    clock = SystemClock()
    async with connect(real_redis_url, data_dir=data_dir, clock=clock) as bus, Effects(bus, "g") as effects:
        await effects.claim([IN])
        await effects.commit([work(Kept("seed:{A}", {"state": b"\x81\xff", "upto": "1-0"}))])
        assert await bus.command.pttl("seed:{A}") == -1
        async with Lines(bus).to("seed:{A}") as line:
            assert await line.ask([("HGET", "seed:{A}", "state")]) == [b"\x81\xff"]
            await line.close()


async def test_who_lost_the_stream_writes_no_latest_value(bus: Bus, effects: Effects) -> None:
    async with Effects(bus, "g") as other:
        await other.claim([IN])
        assert await effects.commit([work(Latest(KEY, {"rsi": "1"}, ttl_s=100))]) == {IN}
    assert await found(bus) == {}


@pytest.mark.parametrize("ttl_s", [0, -1, nan, inf, 1e11])
def test_a_time_to_live_that_is_none_is_refused(ttl_s: float) -> None:
    with pytest.raises(BadOutput, match="seconds"):
        check_hash(Latest(KEY, {"a": "b"}, ttl_s))


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Latest("", {"a": "b"}, 1), "no key"),
        (Latest(KEY, {}, 1), "no fields"),
        (Latest(KEY, {"a": 1.5}, 1), "not text"),  # type: ignore[dict-item]
        (Latest(KEY, {"a": b"b"}, 1), "not text"),  # type: ignore[dict-item]
        (Latest(KEY, {1: "a"}, 1), "not text"),  # type: ignore[dict-item]
        (Kept(KEY, {}), "no fields"),
        (Kept(KEY, {"a": None}), "not text"),  # type: ignore[dict-item]
    ],
)
async def test_a_hash_that_redis_would_not_give_back_stops_everything(
    bus: Bus, effects: Effects, wanted: Hash, why: str
) -> None:
    await deliver(bus, 1)
    with pytest.raises(BadOutput, match=why):
        await effects.commit([work(wanted, outputs=[Output(OUT, {"a": "b"})])])
    assert (await pending(bus), await bus.command.exists(OUT, KEY)) == (1, 0)


@pytest.mark.parametrize("wanted", [Latest(KEY, {"a": "b"}, 1), Kept(KEY, {"a": "b"})])
async def test_a_key_that_holds_something_else_stops_everything(bus: Bus, effects: Effects, wanted: Hash) -> None:
    await deliver(bus, 1)
    await bus.command.set(KEY, "text")
    with pytest.raises(BusRefused, match=r"indicators:\{A\} is not a hash"):
        await effects.commit([work(wanted, outputs=[Output(OUT, {"a": "b"})])])
    assert (await pending(bus), await bus.command.exists(OUT)) == (1, 0)
    assert await bus.command.get(KEY) == "text"


@pytest.mark.parametrize("key", [OUT, f"state:g:{IN}"])
async def test_a_key_that_the_work_needs_for_itself_stops_everything(bus: Bus, effects: Effects, key: str) -> None:
    await deliver(bus, 1)
    with pytest.raises(BadOutput, match="the same work"):
        await effects.commit([work(Latest(key, {"token": "x"}, 1), outputs=[Output(OUT, {"a": "b"})])])
    assert (await pending(bus), await bus.command.exists(OUT)) == (1, 0)


async def before_exec(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[object]]) -> None:
    """Have something happen once, between our look and our MULTI."""
    execute, acts = Line.execute, [act]

    async def late(self: Line, commands: Any) -> Any:
        if acts:
            await acts.pop()()
        return await execute(self, commands)

    monkeypatch.setattr(Line, "execute", late)


async def test_a_key_that_becomes_something_else_amid_our_work_costs_us_a_latest_value_and_no_more(
    bus: Bus, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deliver(bus, 1, 2)
    await before_exec(monkeypatch, lambda: bus.command.set(KEY, "text"))
    latest = Latest(KEY, {"a": "b"}, 1)
    assert not await effects.commit([work(latest, outputs=[Output(OUT, {"a": "b"})])])
    assert (await pending(bus), await bus.command.xlen(OUT)) == (1, 1)
    with pytest.raises(BusRefused, match="is not a hash"):
        await effects.commit([work(latest, upto="1-2")])
    assert await pending(bus) == 1


async def test_what_other_groups_write_to_a_hash_meanwhile_does_not_hinder_ours(
    bus: Bus, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await before_exec(monkeypatch, lambda: bus.command.hset(KEY, "theirs", "1"))
    await effects.commit([work(Latest(KEY, {"ours": "2"}, 1))])
    assert await found(bus) == {"theirs": "1", "ours": "2"}
    assert effects.stats.transactions == 1


def test_what_is_merged_is_left_as_it_was() -> None:
    one = Latest(KEY, {"a": "1"}, 1)
    merged([one, Latest(KEY, {"b": "2"}, 1)])
    assert one.fields == {"a": "1"}


async def test_dead_letters_are_kept_to_their_number(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryptostream.bus.effects.transact.LETTERS_KEPT", 100)
    async with Effects(bus, "g") as effects:
        await effects.claim([IN])
        made = [Output("dlq:g", {"n": str(number)}, f"1-{number}") for number in range(1, 501)]
        await effects.commit([work(outputs=made, upto="1-500")])
    assert 100 <= await bus.command.xlen("dlq:g") < 300


async def test_in_a_cluster_a_hash_of_another_slot_is_refused_with_what_to_do(cluster: Cluster, data_dir: Path) -> None:
    clock = SystemClock()
    async with connect(cluster.url, data_dir=data_dir, clock=clock) as bus, Effects(bus, "g") as effects:
        await deliver(bus, 1)
        await effects.claim([IN])
        with pytest.raises(BusRefused, match="another slot"):
            await effects.commit([work(Latest("indicators:A", {"a": "b"}, 1))])
        assert await pending(bus) == 1
        assert not await effects.commit([work(Latest(KEY, {"a": "b"}, 1))])
        assert await found(bus) == {"a": "b"}


async def test_in_a_cluster_dead_letters_are_written_wherever_they_lie(cluster: Cluster, data_dir: Path) -> None:
    clock = SystemClock()
    async with connect(cluster.url, data_dir=data_dir, clock=clock) as bus, Effects(bus, "g") as effects:
        await deliver(bus, 1)
        await effects.claim([IN])
        assert not await effects.commit([work(outputs=[Output("dlq:g", {"error": "no"}), Output(OUT, {"a": "b"})])])
        letters: Any = await bus.command.xrange("dlq:g")
        assert [fields for _, fields in letters] == [{"error": "no"}]
        assert (await pending(bus), await bus.command.xlen(OUT)) == (0, 1)
