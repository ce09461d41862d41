"""Members of a group come and go, and each stream is read by one of them at a time. Rows 26 and 27."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.effects.transact import Effects, Saved, Work
from cryptostream.bus.group.lease import Leases
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.events import Output
from tests.cluster import Cluster
from tests.conftest import RedisServer

STREAMS = [f"trades:{{P{number}}}" for number in range(6)]
TTL_S = 10.0


class StoppedClock:
    """Time stands still until it is told to go on; who sleeps wakes then, and whoever was waiting has its turn."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now_ns(self) -> int:
        return round(self._now_s * 1e9)

    def monotonic(self) -> float:
        return self._now_s

    async def sleep(self, delay_s: float) -> None:
        waked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now_s + delay_s, waked))
        await waked

    async def asleep(self) -> None:
        """Return once somebody sleeps."""
        while all(waked.done() for _, waked in self._sleepers):
            await SystemClock().sleep(0.001)

    def advance(self, seconds: float) -> None:
        self._now_s += seconds
        for until_s, waked in self._sleepers:
            if until_s <= self._now_s and not waked.done():
                waked.set_result(None)


@pytest.fixture
async def bus(bus_url: str, data_dir: Path) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=SystemClock()) as opened:
        yield opened


@pytest.fixture
async def join(bus: Bus) -> AsyncIterator[Callable[[str], Leases]]:
    """Members that do not renew by themselves: time passes for them only at the server."""
    async with AsyncExitStack() as stack:

        def make(name: str) -> Leases:
            made = Leases(bus, "g", name, StoppedClock(), TTL_S)
            stack.push_async_callback(made._lines.close)
            return made

        yield make


async def settled(*members: Leases, streams: Collection[str] = STREAMS) -> list[set[str]]:
    """What each has after all have been asked some times, as a group does every few seconds."""
    for _ in range(3):
        for member in members:
            await member._hear()
            await member.mine(list(streams))
    return [set(await member.mine(list(streams))) for member in members]


async def pause(bus: Bus, *members: Leases) -> None:
    """Let these members sleep for longer than their leases last: the server forgets them."""
    for member in members:
        await bus.command.zadd("members:g", {member._name: 1.0})
        for stream in member._until:
            await bus.command.delete(f"lease:g:{stream}")


async def test_a_member_alone_has_every_stream(join: Callable[[str], Leases]) -> None:
    [found] = await settled(join("a"))
    assert found == set(STREAMS)


async def test_members_share_the_streams_and_none_has_two_holders(join: Callable[[str], Leases]) -> None:
    found = await settled(join("a"), join("b"), join("c"), join("d"))
    assert sorted(stream for one in found for stream in one) == sorted(STREAMS)
    assert max(map(len, found)) <= 2


async def test_who_joins_gets_a_share_of_what_others_hold_once_they_are_asked(join: Callable[[str], Leases]) -> None:
    first, second = join("a"), join("b")
    await settled(first)
    assert not await second.mine(STREAMS), "nothing is taken away from who holds it"
    assert [len(one) for one in await settled(first, second)] == [3, 3]


async def test_shares_do_not_wander(join: Callable[[str], Leases]) -> None:
    members = join("a"), join("b")
    before = await settled(*members)
    assert await settled(*members) == before


async def test_what_a_dead_member_held_goes_to_the_others_when_its_leases_end(
    bus: Bus, join: Callable[[str], Leases]
) -> None:
    living, dead = join("a"), join("b")
    await settled(living, dead)
    await pause(bus, dead)
    [found] = await settled(living)
    assert found == set(STREAMS)


async def test_a_lease_ends_by_itself_at_the_server(bus: Bus, join: Callable[[str], Leases]) -> None:
    await settled(join("a"))
    left_ms = [await bus.command.pttl(f"lease:g:{stream}") for stream in STREAMS]
    assert all(0 < left <= TTL_S * 1000 for left in left_ms)


async def test_who_did_not_renew_in_time_owns_nothing_before_the_server_gives_it_away(
    bus: Bus, join: Callable[[str], Leases]
) -> None:
    member = join("a")
    await settled(member)
    member._clock.advance(TTL_S)  # type: ignore[attr-defined]
    assert not member.held
    assert not await member.mine(STREAMS), "its own old leases are not taken for new ones"


async def test_who_lost_its_leases_meanwhile_notices_when_it_renews(bus: Bus, join: Callable[[str], Leases]) -> None:
    sleeper, heir = join("a"), join("b")
    await settled(sleeper)
    await pause(bus, sleeper)
    [taken] = await settled(heir)
    await sleeper._renew()
    assert not sleeper.held
    assert taken == set(STREAMS)


async def test_who_slept_until_its_leases_ended_does_not_renew_those_of_its_heir(
    bus: Bus, join: Callable[[str], Leases]
) -> None:
    sleeper, heir = join("a"), join("b")
    await settled(sleeper)
    await pause(bus, sleeper)
    await settled(heir)
    sleeper._clock.advance(TTL_S)  # type: ignore[attr-defined]
    await bus.command.pexpire(f"lease:g:{STREAMS[0]}", 5000)
    await sleeper._renew()
    assert await bus.command.pttl(f"lease:g:{STREAMS[0]}") <= 5000


async def test_two_processes_of_one_name_are_two_members(join: Callable[[str], Leases]) -> None:
    found = await settled(join("a"), join("a"))
    assert [len(one) for one in found] == [3, 3]


async def test_streams_that_are_no_longer_wanted_are_given_up_once_what_was_read_of_them_can_be_safe(
    bus: Bus, join: Callable[[str], Leases]
) -> None:
    member = join("a")
    await settled(member)
    assert set(await member.mine(STREAMS[:2])) == set(STREAMS[:2])
    assert set(member.leaving) == set(STREAMS[2:])
    assert await bus.command.exists(*(f"lease:g:{stream}" for stream in STREAMS)) == len(STREAMS)
    assert set(await member.mine(STREAMS[:2])) == set(STREAMS[:2])
    assert not member.leaving
    assert await bus.command.exists(*(f"lease:g:{stream}" for stream in STREAMS[2:])) == 0


async def test_a_stream_that_is_given_up_but_is_anothers_by_now_stays_his(
    bus: Bus, join: Callable[[str], Leases]
) -> None:
    sleeper, heir = join("a"), join("b")
    await settled(sleeper)
    await pause(bus, sleeper)
    await settled(heir)
    await sleeper._give_up(STREAMS)
    assert await bus.command.get(f"lease:g:{STREAMS[0]}") == heir._name


async def test_leases_are_renewed_while_a_member_works(bus: Bus) -> None:
    clock = StoppedClock()
    async with Leases(bus, "g", "a", clock, TTL_S) as member:
        await member.mine(STREAMS)
        for _ in range(5):
            await clock.asleep()
            await bus.command.pexpire(f"lease:g:{STREAMS[0]}", 5000)
            clock.advance(TTL_S / 3)
        await clock.asleep()
        assert await bus.command.pttl(f"lease:g:{STREAMS[0]}") > 5000
        assert set(member.held) == set(STREAMS)


async def test_who_leaves_in_order_leaves_nothing_behind(bus: Bus) -> None:
    async with Leases(bus, "g", "a", StoppedClock(), TTL_S) as member:
        await member.mine(STREAMS)
    assert await bus.command.keys("*") == []


async def test_while_the_bus_is_away_leases_lapse_and_come_again(
    redis_server: Callable[..., RedisServer], data_dir: Path
) -> None:
    server = redis_server()
    clock = StoppedClock()
    async with (
        connect(server.unix_url, data_dir=data_dir, clock=SystemClock()) as bus,
        Leases(bus, "g", "a", clock, TTL_S) as member,
    ):
        await member.mine(STREAMS)
        server.kill()
        clock.advance(TTL_S / 2)
        await member.mine(STREAMS[:1])
        with pytest.raises(BusUnavailable):
            await member.mine(STREAMS[:1])
        assert list(member.held) == STREAMS[:1]
        clock.advance(TTL_S)
        assert not member.held
        server.start()
        assert set(await member.mine(STREAMS)) == set(STREAMS)
        server.kill()


async def test_what_renewing_is_refused_for_is_raised_where_streams_are_asked_for(
    redis_server: Callable[..., RedisServer], data_dir: Path
) -> None:
    server = redis_server()
    server.call(*["ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-getex"])
    url = server.unix_url.replace("unix://", "unix://u:p@")
    clock = StoppedClock()
    async with (
        connect(url, data_dir=data_dir, clock=SystemClock()) as bus,
        Leases(bus, "g", "a", clock, TTL_S) as member,
    ):
        await clock.asleep()
        assert set(await member.mine(STREAMS)) == set(STREAMS)
        clock.advance(TTL_S / 3)
        while member._task is not None and not member._task.done():
            await SystemClock().sleep(0.001)
        with pytest.raises(BusRefused, match="getex"):
            await member.mine(STREAMS)


async def test_in_a_cluster_leases_live_in_the_slots_of_their_streams(cluster: Cluster, data_dir: Path) -> None:
    async with connect(cluster.url, data_dir=data_dir, clock=SystemClock()) as bus:
        members = [Leases(bus, "g", name, StoppedClock(), TTL_S) for name in "ab"]
        found = await settled(*members)
        assert sorted(stream for one in found for stream in one) == sorted(STREAMS)
        assert [len(one) for one in found] == [3, 3]
        for member in members:
            await member._leave()
            await member._lines.close()
        assert await bus.command.exists(f"lease:g:{STREAMS[0]}") == 0


@pytest.mark.row(27)
async def test_a_paused_member_that_wakes_has_no_effect_whatever_it_believes(
    bus: Bus, join: Callable[[str], Leases]
) -> None:
    sleeper, heir = join("a"), join("b")
    async with Effects(bus, "g") as old, Effects(bus, "g") as new:
        stream = STREAMS[0]
        await bus.command.xgroup_create(stream, "g", id="0", mkstream=True)
        await bus.command.xadd(stream, {"n": "1"}, id="1-1")
        await bus.command.xreadgroup("g", "a", {stream: ">"})
        await old.claim(await sleeper.mine([stream]))
        await pause(bus, sleeper)
        assert await settled(heir, streams=[stream]) == [{stream}]
        await new.claim([stream])
        assert list(sleeper.held) == [stream], "its clock stood still with it"
        done = Work(stream, ["1-1"], [Output("signals:{P0}", {"side": "buy"}, "1-1")], {"n": 1}, "1-1")
        assert await old.commit([done]) == {stream}
        assert await bus.command.exists("signals:{P0}") == 0
        assert (await bus.command.xpending(stream, "g"))["pending"] == 1
        assert not await new.commit([done])
        assert await new.claim([stream]) == {stream: Saved({"n": 1}, "1-1")}
