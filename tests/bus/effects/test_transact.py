"""Outputs, state and XACK: all of it once, or nothing of it. Rows 15 and 27."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.effects.forget import forget
from cryptostream.bus.effects.outputs import BadOutput
from cryptostream.bus.effects.transact import Effects, Saved, Work
from cryptostream.bus.line import Line
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused, BusUnavailable, StateRefused
from cryptostream.model.events import Output
from tests.cluster import Cluster
from tests.conftest import RedisServer
from tests.proxy import Proxy

IN, OUT = "trades:{A}", "signals:{A}"


@pytest.fixture
async def bus(bus_url: str, data_dir: Path) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=SystemClock()) as opened:
        yield opened


@pytest.fixture
async def real_bus(real_redis_url: str, data_dir: Path) -> AsyncIterator[Bus]:
    async with connect(real_redis_url, data_dir=data_dir, clock=SystemClock()) as opened:
        yield opened


@pytest.fixture
async def effects(bus: Bus) -> AsyncIterator[Effects]:
    async with Effects(bus, "g") as opened:
        yield opened


async def deliver(bus: Bus, numbers: Iterable[int], stream: str = IN) -> None:
    """Entries of a stream, delivered to a member of the group and pending there."""
    if not await bus.command.exists(stream):
        await bus.command.xgroup_create(stream, "g", id="0", mkstream=True)
    for number in numbers:
        await bus.command.xadd(stream, {"n": str(number)}, id=f"1-{number}")
    await bus.command.xreadgroup("g", "me", {stream: ">"})


def work(
    *numbers: int, stream: str = IN, out: str = OUT, state: Any = None, outputs: Iterable[Output] | None = None
) -> Work:
    """An output for each entry, under its id."""
    ids = [f"1-{number}" for number in numbers]
    made = [Output(out, {"of": stream}, entry_id) for entry_id in ids] if outputs is None else list(outputs)
    return Work(stream, ids, made, state, ids[-1])


async def written(bus: Bus, stream: str = OUT) -> list[str]:
    return [entry_id for entry_id, _ in await bus.command.xrange(stream)]


async def pending(bus: Bus, stream: str = IN) -> int:
    return int((await bus.command.xpending(stream, "g"))["pending"])


async def undone(bus: Bus) -> bool:
    """Whether nothing was written and three entries are still pending."""
    found = await bus.command.hgetall(f"state:g:{IN}")
    return (await pending(bus), await bus.command.exists(OUT), "upto" in found) == (3, 0, False)


async def test_outputs_state_and_acknowledgement_are_written_together(bus: Bus, effects: Effects) -> None:
    await deliver(bus, [1, 2, 3])
    assert await effects.claim([IN]) == {IN: None}
    assert not await effects.commit([work(1, 2, state={"mean": 1.5})])
    assert await bus.command.xrange(OUT) == [("1-1", {"of": IN}), ("1-2", {"of": IN})]
    assert await pending(bus) == 1
    assert await effects.claim([IN]) == {IN: Saved({"mean": 1.5}, "1-2")}
    assert (effects.stats.transactions, effects.stats.written) == (1, 2)


async def test_a_state_says_what_it_is_in_words(real_bus: Bus) -> None:
    async with Effects(real_bus, "g", version="7", config="fast") as effects:
        await effects.claim([IN])
        await effects.commit([work(1, state=[1])])
    found = await real_bus.command.hgetall(f"state:g:{IN}")
    assert (found["version"], found["config"], found["upto"]) == ("7", "fast", "1-1")
    assert found["at"].endswith("Z") and len(found["token"]) == 16


async def test_several_streams_are_one_transaction(bus: Bus, effects: Effects) -> None:
    for stream in ("a", "b"):
        await deliver(bus, [1, 2], stream)
    await effects.claim(["a", "b"])
    await effects.commit([work(1, 2, stream="a", out="x"), work(1, 2, stream="b", out="y")])
    assert effects.stats.transactions == 1
    assert (await written(bus, "x"), await written(bus, "y")) == (["1-1", "1-2"],) * 2
    assert (await pending(bus, "a"), await pending(bus, "b")) == (0, 0)


async def test_more_entries_than_one_command_takes_are_acknowledged(bus: Bus, effects: Effects) -> None:
    await deliver(bus, range(1, 2502))
    await effects.claim([IN])
    await effects.commit([work(*range(1, 2502), outputs=())])
    assert await pending(bus) == 0


async def test_an_output_stream_is_kept_to_its_length(bus: Bus) -> None:
    async with Effects(bus, "g", maxlen=100) as effects:
        await effects.claim([IN])
        await effects.commit([work(*range(1, 1001))])
    assert 100 <= len(await written(bus)) < 300


# Whose it is.


async def test_who_lost_a_stream_to_another_writes_nothing(bus: Bus, effects: Effects) -> None:
    await deliver(bus, [1, 2, 3])
    await effects.claim([IN])
    async with Effects(bus, "g") as other:
        await other.claim([IN])
        assert await effects.commit([work(1, 2, 3, state="mine")]) == {IN}
        assert await undone(bus)
        assert not await other.commit([work(1, state="theirs")])
    assert effects.stats.fenced == 1


async def test_one_stream_that_is_lost_does_not_hinder_the_others(bus: Bus, effects: Effects) -> None:
    for stream in ("a", "b"):
        await deliver(bus, [1], stream)
    await effects.claim(["a", "b"])
    async with Effects(bus, "g") as other:
        await other.claim(["a"])
    assert await effects.commit([work(1, stream="a", out="x"), work(1, stream="b", out="y")]) == {"a"}
    assert (await written(bus, "x"), await written(bus, "y")) == ([], ["1-1"])
    assert (await pending(bus, "a"), await pending(bus, "b")) == (1, 0)


async def test_a_stream_that_was_never_claimed_is_not_written(bus: Bus, effects: Effects) -> None:
    await deliver(bus, [1, 2, 3])
    assert await effects.commit([work(1)]) == {IN}
    assert await undone(bus)


async def before_exec(effects: Effects, monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[object]]) -> None:
    """Have something happen once, between our look and our MULTI."""
    execute, acts = Line.execute, [act]

    async def late(self: Line, commands: Any) -> Any:
        if self in effects._lines._open.values() and acts:
            await acts.pop()()
        return await execute(self, commands)

    monkeypatch.setattr(Line, "execute", late)


async def test_a_claim_between_our_look_and_our_exec_stops_us(
    bus: Bus, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deliver(bus, [1, 2, 3])
    await effects.claim([IN])
    async with Effects(bus, "g") as other:
        await before_exec(effects, monkeypatch, lambda: other.claim([IN]))
        assert await effects.commit([work(1, 2, 3)]) == {IN}
    assert await undone(bus)


async def test_of_two_who_claim_at_once_one_owns_the_stream(
    bus: Bus, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Effects(bus, "g") as other:
        await effects.claim([IN])
        await before_exec(effects, monkeypatch, lambda: other.claim([IN]))
        await effects.claim([IN])
        assert await other.commit([work(1)]) == {IN}
        assert not await effects.commit([work(1)])


async def test_what_the_old_owner_saves_while_we_claim_is_not_missed(
    bus: Bus, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Effects(bus, "g") as old:
        await old.claim([IN])
        await before_exec(effects, monkeypatch, lambda: old.commit([work(1, state="newer")]))
        await effects.claim(["warm up"])
        await before_exec(effects, monkeypatch, lambda: old.commit([work(2, state="newest")]))
        assert await effects.claim([IN]) == {IN: Saved("newest", "1-2")}


async def test_members_who_take_a_stream_from_each_other_all_the_time_do_everything_once(
    real_bus: Bus,
) -> None:
    await deliver(real_bus, range(1, 201))
    refusals = 0

    async def member() -> None:
        nonlocal refusals
        async with Effects(real_bus, "g") as effects:
            done = 0
            while done < 200:
                saved = (await effects.claim([IN]))[IN]
                done = saved.state if saved else 0
                while done < 200 and not await effects.commit([work(done + 1, state=done + 1)]):
                    done += 1
                refusals += done < 200
                await SystemClock().sleep(0.01)  # who claims at once again lets nobody come to anything

    async with asyncio.TaskGroup() as members:
        for _ in range(3):
            members.create_task(member())
    assert await written(real_bus) == [f"1-{number}" for number in range(1, 201)]
    assert await pending(real_bus) == 0
    assert refusals


async def test_a_state_that_redis_has_lost_is_written_again(bus: Bus, effects: Effects) -> None:
    await effects.claim([IN])
    await effects.commit([work(1, state="before")])
    await bus.command.flushall()
    await deliver(bus, [2])
    assert not await effects.commit([work(2, state="after")])
    assert await effects.claim([IN]) == {IN: Saved("after", "1-2")}


async def test_after_redis_came_back_empty_a_new_owner_is_safe_from_the_old_one(bus: Bus, effects: Effects) -> None:
    await effects.claim([IN])
    await bus.command.flushall()
    await deliver(bus, [1, 2, 3])
    async with Effects(bus, "g") as other:
        await other.claim([IN])
    assert await effects.commit([work(1)]) == {IN}
    assert await undone(bus)


async def test_a_state_of_another_version_is_refused_and_its_owner_goes_on(bus: Bus, effects: Effects) -> None:
    await effects.claim([IN])
    await effects.commit([work(1, state="old")])
    async with Effects(bus, "g", version="2") as newer:
        with pytest.raises(StateRefused, match="version"):
            await newer.claim([IN])
    assert not await effects.commit([work(2, state="old")])


# What is there already.


async def test_outputs_that_are_there_are_counted_and_not_written_again(bus: Bus, effects: Effects) -> None:
    await effects.claim([IN])
    await effects.commit([work(1, 2)])
    async with Effects(bus, "twin") as twin:
        await twin.claim([IN])
        await twin.commit([work(1, 2, 3)])
    assert await written(bus) == ["1-1", "1-2", "1-3"]
    assert (twin.stats.duplicates, twin.stats.written) == (2, 1)


async def test_streams_that_share_an_output_stream_lose_nothing_to_each_others_ids(bus: Bus, effects: Effects) -> None:
    await effects.claim(["a", "b"])
    await effects.commit([work(1, 50, stream="a")])
    await effects.commit([work(7, stream="b")])
    await effects.commit([work(9, stream="b"), work(51, stream="a")])
    assert await written(bus) == ["1-1", "1-50", "1-51", "1-52", "1-53"]
    assert (effects.stats.written, effects.stats.moved) == (5, 3)


async def test_an_output_of_somebody_else_between_our_look_and_our_exec_costs_ours_nothing(
    bus: Bus, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deliver(bus, [1, 2])
    await effects.claim([IN])
    await before_exec(effects, monkeypatch, lambda: bus.command.xadd(OUT, {"side": "sell"}, id="5-0"))
    await effects.commit([work(1, 2)])
    assert await written(bus) == ["5-0", "5-1", "5-2"]
    assert await pending(bus) == 0


async def test_an_output_stream_that_others_never_leave_alone_is_named(
    bus: Bus, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deliver(bus, [1, 2, 3])
    await effects.claim([IN])
    execute = Line.execute

    async def crowded(self: Line, commands: Any) -> Any:
        await bus.command.xadd(OUT, {"of": "somebody"})
        return await execute(self, commands)

    monkeypatch.setattr(Line, "execute", crowded)
    with pytest.raises(BusUnavailable, match="others write all the time") as refused:
        await effects.commit([work(1)])
    assert "output streams of its own" in refused.value.hint
    assert await pending(bus) == 3


async def test_work_that_is_done_again_does_not_bring_back_what_was_trimmed(bus: Bus, effects: Effects) -> None:
    await effects.claim([IN])
    await effects.commit([work(1, 2, 3)])
    await bus.command.xtrim(OUT, maxlen=1, approximate=False)
    await effects.commit([work(1, 2, 3)])
    assert await written(bus) == ["1-3"]
    assert (effects.stats.duplicates, effects.stats.late) == (1, 2)


async def test_a_consumer_whose_state_is_dropped_begins_anew_and_writes_nothing_twice(
    bus: Bus, effects: Effects
) -> None:
    await effects.claim([IN])
    await effects.commit([work(1, 2, state="old")])
    await bus.command.xtrim(OUT, maxlen=1, approximate=False)
    assert await forget(bus, "g", [IN, "trades:{B}"]) == 1
    assert await effects.commit([work(3, state="old")]) == {IN}
    assert await effects.claim([IN]) == {IN: None}
    await effects.commit([work(1)])
    await effects.claim([IN])
    await effects.commit([work(2, 3)])
    assert await written(bus) == ["1-2", "1-3"]
    assert (effects.stats.late, effects.stats.duplicates, effects.stats.moved) == (1, 1, 0)
    assert not await bus.command.exists("state:g:trades:{B}")


# An acknowledgement never passes without its output.


async def test_of_work_that_is_partly_done_what_is_new_is_written_though_the_output_stream_went_on(bus: Bus) -> None:
    await deliver(bus, [1, 2, 3, 4])
    async with Effects(bus, "g") as first:
        await first.claim([IN])
        await first.commit([work(1, 2)])
    await bus.command.xadd(OUT, {"of": "another"}, id="9-0")
    await forget(bus, "g", [IN])
    async with Effects(bus, "g") as again:
        await again.claim([IN])
        await again.commit([work(1, 2, 3, 4)])
    assert len([fields for _, fields in await bus.command.xrange(OUT) if fields["of"] == IN]) == 4


async def test_an_output_key_of_another_type_stops_everything(bus: Bus, effects: Effects) -> None:
    await deliver(bus, [1, 2, 3])
    await effects.claim([IN])
    await bus.command.set("text", "x")
    with pytest.raises(BusRefused, match=r"text on .* is not a stream"):
        await effects.commit([work(1, 2, 3, outputs=[Output(OUT, {"a": "1"}), Output("text", {"a": "1"})])])
    assert await undone(bus)


async def test_an_output_key_that_changes_its_type_amid_our_work_stops_everything(
    bus: Bus, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deliver(bus, [1, 2, 3])
    await effects.claim([IN])
    await before_exec(effects, monkeypatch, lambda: bus.command.set(OUT, "x"))
    with pytest.raises(BusRefused, match="not a stream"):
        await effects.commit([work(1, 2, 3)])
    await bus.command.delete(OUT)
    assert await undone(bus)


@pytest.mark.parametrize("output", [Output(OUT, {"a": "1"}, "*"), Output(OUT, {}), Output(OUT, {"a": "1"}, "0-0")])
async def test_an_output_that_redis_would_refuse_stops_everything(bus: Bus, effects: Effects, output: Output) -> None:
    await deliver(bus, [1, 2, 3])
    await effects.claim([IN])
    with pytest.raises(BadOutput):
        await effects.commit([work(1, 2, 3, outputs=[output])])
    assert await undone(bus)
    assert not await effects.commit([work(1)])


async def test_a_state_that_cannot_be_saved_stops_everything(bus: Bus, effects: Effects) -> None:
    await deliver(bus, [1, 2, 3])
    await effects.claim([IN])
    with pytest.raises(TypeError, match="is a set"):
        await effects.commit([work(1, 2, 3, state={"seen": {1}})])
    assert await undone(bus)


@pytest.mark.parametrize("at", ["queueing", "EXEC"])
@pytest.mark.parametrize(
    ("trouble", "cure", "error"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "out of memory"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "read-only replica"),
    ],
)
async def test_a_server_that_takes_no_writes_takes_nothing_of_it(
    redis_server: Callable[..., RedisServer],
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
    trouble: str,
    cure: str,
    error: str,
) -> None:
    server = redis_server()

    async def fail() -> None:
        server.call(*trouble.split())

    clock = SystemClock()
    async with connect(server.unix_url, data_dir=data_dir, clock=clock) as bus, Effects(bus, "g") as effects:
        await deliver(bus, [1, 2, 3])
        await effects.claim([IN])
        await (fail() if at == "queueing" else amid_transaction(monkeypatch, fail))
        with pytest.raises(BusUnavailable, match=error):
            await effects.commit([work(1, 2, 3)])
        server.call(*cure.split())
        assert await undone(bus)
        monkeypatch.undo()
        await effects.claim([IN])
        assert not await effects.commit([work(1, 2, 3)])
        assert (await written(bus), await pending(bus)) == (["1-1", "1-2", "1-3"], 0)


async def amid_transaction(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[object]]) -> None:
    """Have something happen after all was queued and before EXEC."""
    ask = Line.ask

    async def torn(self: Line, commands: Any) -> Any:
        if commands[-1] != ("EXEC",):
            return await ask(self, commands)
        queued = await ask(self, commands[:-1])
        await act()
        return queued + await ask(self, commands[-1:])

    monkeypatch.setattr(Line, "ask", torn)


USER = "ACL SETUSER u on >p resetkeys ~trades:* ~signals:* ~state:* -@all +ping +hello +client"
RIGHTS = "+watch +unwatch +multi +exec +hget +hmget +hset +xinfo +xrange +xadd +xack"


@pytest.mark.parametrize("right", ["+multi", "+watch", "+xadd", "+hset", "+xack", "+exec", "~signals:*"])
async def test_a_right_that_is_missing_stops_everything(
    redis_server: Callable[..., RedisServer], data_dir: Path, right: str
) -> None:
    server = redis_server()
    server.call(*f"{USER} {RIGHTS}".replace(right, "").split())
    clock = SystemClock()
    async with (
        connect(server.unix_url, data_dir=data_dir, clock=clock) as bus,
        connect(server.unix_url.replace("unix://", "unix://u:p@"), data_dir=data_dir, clock=clock) as ours,
        Effects(ours, "g") as effects,
    ):
        await deliver(bus, [1, 2, 3])
        with pytest.raises(BusRefused, match="not allow"):
            await effects.claim([IN])
            await effects.commit([work(1, 2, 3)])
        assert await undone(bus)


async def test_a_right_that_is_taken_away_before_exec_is_told(
    redis_server: Callable[..., RedisServer], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = redis_server()
    server.call(*f"{USER} {RIGHTS}".split())

    async def take() -> None:
        server.call(*f"{USER} {RIGHTS}".replace("~signals:*", "").split())

    url = server.unix_url.replace("unix://", "unix://u:p@")
    async with connect(url, data_dir=data_dir, clock=SystemClock()) as bus, Effects(bus, "g") as effects:
        await effects.claim([IN])
        await amid_transaction(monkeypatch, take)
        with pytest.raises(BusRefused, match=r"refused XADD signals:\{A\} amid a transaction"):
            await effects.commit([work(1)])


# Replies that are lost.


@pytest.mark.row(15)
async def test_a_reply_that_is_lost_after_exec_leaves_its_work_done_once(
    redis_server: Callable[..., RedisServer], data_dir: Path
) -> None:
    server = redis_server()
    clock = SystemClock()
    async with (
        Proxy("127.0.0.1", server.port) as proxy,
        connect(server.unix_url, data_dir=data_dir, clock=clock) as bus,
        connect(f"redis://127.0.0.1:{proxy.port}", data_dir=data_dir, clock=clock) as ours,
        Effects(ours, "g") as effects,
    ):
        await deliver(bus, [1, 2, 3])
        await effects.claim([IN])
        for numbers, lost in (((1,), 1), ((1, 2), 2)):  # the reply to the look, then that to EXEC
            await lose_reply(effects, proxy, lost)
            with pytest.raises(BusUnavailable):
                await effects.commit([work(*numbers, state=len(numbers))])
            assert await effects.commit([work(*numbers)]) == {IN}, "not before it is claimed again"
            saved = await effects.claim([IN])
            assert saved == {IN: None if lost == 1 else Saved(2, "1-2")}
        assert (await written(bus), await pending(bus)) == (["1-1", "1-2"], 1)


async def lose_reply(effects: Effects, proxy: Proxy, number: int) -> None:
    """Lose the reply to the first or second write from now on."""
    [line] = effects._lines._open.values()
    ask, asked = line.ask, []

    async def counting(commands: Any) -> Any:
        asked.append(commands)
        if len(asked) == number:
            proxy.swallow(1)
        return await ask(commands)

    line.ask = counting  # type: ignore[method-assign]


async def test_however_much_of_a_transaction_arrives_it_is_done_or_it_is_not(
    redis_server: Callable[..., RedisServer], data_dir: Path
) -> None:
    server = redis_server()
    clock = SystemClock()
    seen: set[bool] = set()
    async with (
        Proxy("127.0.0.1", server.port) as proxy,
        connect(server.unix_url, data_dir=data_dir, clock=clock) as bus,
        connect(f"redis://127.0.0.1:{proxy.port}", data_dir=data_dir, clock=clock) as ours,
    ):
        for count in range(20, 700, 20):
            await bus.command.flushall()
            await deliver(bus, [1, 2, 3])
            async with Effects(ours, "g") as effects:
                await effects.claim([IN])
                proxy.cut_after(count, "up")
                with suppress(BusUnavailable):
                    await effects.commit([work(1, 2, 3, state={"n": 3})])
                proxy.heal()
                saved = (await effects.claim([IN]))[IN]
            done = saved is not None
            assert await written(bus) == ["1-1", "1-2", "1-3"] * done
            assert await pending(bus) == (0 if done else 3)
            seen.add(done)
    assert seen == {True, False}


async def test_a_commit_that_is_cancelled_leaves_no_reply_for_the_next_one(bus: Bus, effects: Effects) -> None:
    await deliver(bus, [1, 2, 3])
    await effects.claim([IN])
    [first] = effects._lines._open.values()
    for turns in range(1, 12):
        doing = asyncio.create_task(effects.commit([work(1)]))
        for _ in range(turns):
            await SystemClock().sleep(0)
        doing.cancel()
        await asyncio.wait([doing])
        assert await effects.claim([IN]) in ({IN: None}, {IN: Saved(None, "1-1")})
    assert not first._wire._connection.is_connected
    assert not await effects.commit([work(2)])
    assert await written(bus) in (["1-1", "1-2"], ["1-2"])


# A cluster.


async def test_in_a_cluster_each_slot_is_a_transaction_of_its_own(cluster: Cluster, data_dir: Path) -> None:
    pairs = [f"P{number}" for number in range(12)]
    async with connect(cluster.url, data_dir=data_dir, clock=SystemClock()) as bus, Effects(bus, "g") as effects:
        for pair in pairs:
            await deliver(bus, [1, 2], f"trades:{{{pair}}}")
        await effects.claim(f"trades:{{{pair}}}" for pair in pairs)
        done = [work(1, 2, stream=f"trades:{{{pair}}}", out=f"signals:{{{pair}}}", state=pair) for pair in pairs]
        assert not await effects.commit(done)
        assert effects.stats.transactions == 12
        for pair in pairs:
            assert await written(bus, f"signals:{{{pair}}}") == ["1-1", "1-2"]
            assert await pending(bus, f"trades:{{{pair}}}") == 0
        assert len(effects._lines._open) == 3
        saved = await effects.claim(f"trades:{{{pair}}}" for pair in pairs)
    assert saved == {f"trades:{{{pair}}}": Saved(pair, "1-2") for pair in pairs}


async def test_an_output_of_another_slot_is_refused_with_what_to_do(cluster: Cluster, data_dir: Path) -> None:
    async with connect(cluster.url, data_dir=data_dir, clock=SystemClock()) as bus, Effects(bus, "g") as effects:
        await deliver(bus, [1, 2, 3])
        await effects.claim([IN])
        with pytest.raises(BusRefused, match="another slot") as refused:
            await effects.commit([work(1, 2, 3, out="signals")])
        assert "signals:{BTCUSDT}" in refused.value.hint
        assert await undone(bus)


@pytest.mark.row(18)
async def test_a_slot_that_moves_is_followed(cluster: Cluster, data_dir: Path) -> None:
    async with connect(cluster.url, data_dir=data_dir, clock=SystemClock()) as bus, Effects(bus, "g") as effects:
        await deliver(bus, [1, 2, 3])
        await effects.claim([IN])
        target = cluster.another_master(IN)
        cluster.begin_move(IN, target)
        cluster.move_keys(IN, target)
        with pytest.raises(BusUnavailable, match="moving"):
            await effects.commit([work(1)])
        cluster.end_move(IN, target)
        cluster.wait_until_well()
        assert await follow(effects) == {IN: None}
        assert not await effects.commit([work(1, 2, 3)])
        assert (await written(bus), await pending(bus)) == (["1-1", "1-2", "1-3"], 0)


async def follow(effects: Effects) -> dict[str, Saved | None]:
    for _ in range(100):
        try:
            return await effects.claim([IN])
        except BusUnavailable:
            await SystemClock().sleep(0.02)
    pytest.fail("the slot was never found")


# A zombie.

ZOMBIE = """
import asyncio, sys
from pathlib import Path
from cryptostream.bus.connect import connect
from cryptostream.bus.effects.transact import Effects, Work
from cryptostream.engine.clock import SystemClock
from cryptostream.model.events import Output

async def main(url, stream, out):
    async with connect(url, data_dir=Path("/nowhere"), clock=SystemClock()) as bus, Effects(bus, "g") as effects:
        await effects.claim([stream])
        number = refused = 0
        while not refused:
            number += 1
            entry_id = f"1-{number}"
            made = [Output(out, {"by": "zombie"})]
            refused = await effects.commit([Work(stream, [entry_id], made, number, entry_id)])
            if number == 20:
                print("busy", flush=True)
        print("refused", number, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.row(27)
async def test_a_paused_owner_that_wakes_writes_nothing(real_bus: Bus, real_redis_url: str) -> None:
    zombie = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ZOMBIE, real_redis_url, IN, OUT), stdout=asyncio.subprocess.PIPE
    )
    assert zombie.stdout is not None
    try:
        assert await zombie.stdout.readline() == b"busy\n"
        os.kill(zombie.pid, signal.SIGSTOP)
        async with Effects(real_bus, "g") as heir:
            saved = (await heir.claim([IN]))[IN]
            before = await written(real_bus)
            os.kill(zombie.pid, signal.SIGCONT)
            assert b"refused" in await zombie.stdout.read()
            assert await written(real_bus) == before
            assert saved is not None and (saved.upto, saved.state) == (before[-1], len(before))
            assert not await heir.commit([work(len(before) + 1)])
    finally:
        if zombie.returncode is None:
            zombie.kill()
        await zombie.wait()
