import pytest
from msgspec.structs import replace

from cryptostream.bus.connect import connect
from cryptostream.bus.health import BusFacts, eviction, findings, look, weakest
from cryptostream.engine.clock import SystemClock
from cryptostream.model.finding import Finding, Level
from cryptostream.testing import ManualClock
from tests.conftest import RedisServer

GOOD = BusFacts(
    url="redis://127.0.0.1:6379",
    round_trip_ms=0.2,
    server="redis",
    version="7.0.15",
    role="master",
    append_only=True,
    save="",
    policy="noeviction",
    max_bytes=0,
    used_bytes=1 << 20,
    skew_ms=1.5,
)


def found(**differs: object) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings(replace(GOOD, **differs))}


def test_a_bus_that_can_be_trusted_has_nothing_but_good_findings() -> None:
    assert {finding.level for finding in findings(GOOD)} == {Level.OK}


CASES = {
    "an old server": ({"version": "5.0.14"}, "bus version", Level.FAIL, "Redis 6.2"),
    "just new enough": ({"version": "6.2.0"}, "bus version", Level.OK, ""),
    "valkey": ({"server": "valkey", "version": "8.0.1"}, "bus version", Level.OK, ""),
    "a silent server": ({"version": None}, "bus version", Level.WARN, "Redis 6.2"),
    "a replica": ({"role": "slave"}, "bus role", Level.FAIL, "primary"),
    "snapshots only": ({"append_only": False, "save": "3600 1"}, "bus persistence", Level.WARN, "appendonly yes"),
    "no persistence": ({"append_only": False, "save": ""}, "bus persistence", Level.WARN, "appendonly yes"),
    "unknown persistence": ({"append_only": False, "save": None}, "bus persistence", Level.WARN, "appendonly"),
    "an evicting policy": ({"policy": "allkeys-lru"}, "bus eviction", Level.FAIL, "maxmemory-policy noeviction"),
    "nearly full": ({"max_bytes": 1 << 20}, "bus memory", Level.WARN, "maxmemory"),
    "room enough": ({"max_bytes": 4 << 20}, "bus memory", Level.OK, ""),
    "a clock that is ahead": ({"skew_ms": 1001.0}, "bus clock", Level.WARN, "NTP"),
    "a clock that is behind": ({"skew_ms": -1001.0}, "bus clock", Level.WARN, "NTP"),
    "open to the network": ({"url": "redis://10.0.0.5:6379"}, "bus exposure", Level.WARN, "requirepass"),
    "open to the network by name": ({"url": "rediss://db:6379"}, "bus exposure", Level.WARN, "requirepass"),
    "a cluster open to the network": ({"url": "redis+cluster://[::1]:1,10.0.0.5:2"}, "bus exposure", Level.WARN, "ACL"),
    "without a server": ({"url": "embedded:///d", "version": None}, "bus persistence", Level.WARN, "redis-server"),
}


@pytest.mark.parametrize(("differs", "what", "level", "fix"), CASES.values(), ids=CASES.keys())
def test_each_doubt_is_told_with_what_mends_it(differs: dict[str, object], what: str, level: Level, fix: str) -> None:
    finding = found(**differs)[what]
    assert finding.level is level
    assert fix in finding.fix


NOT_EXPOSED = (
    "redis://***@10.0.0.5",
    "unix:///run/redis.sock",
    "redis://[::1]:6379",
    "redis://localhost",
    "redis+cluster://127.0.0.1:1,[::1]:2",
    "redis+sentinel://***@10.0.0.5:1,10.0.0.6:2/market",
    "embedded:///d",
)


@pytest.mark.parametrize("url", NOT_EXPOSED)
def test_a_bus_that_nobody_can_reach_or_has_a_password_is_not_exposed(url: str) -> None:
    assert "bus exposure" not in found(url=url)


def test_what_the_server_does_not_tell_is_not_guessed() -> None:
    told = {finding.what for finding in findings(BusFacts(url="redis://localhost", round_trip_ms=0.1))}
    assert told == {"bus", "bus version", "bus persistence"}


async def test_a_real_server_tells_all_of_it(redis_server, data_dir, clock: ManualClock) -> None:  # type: ignore[no-untyped-def]
    server: RedisServer = redis_server("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru", "--save", "60 1")
    async with connect(server.url, data_dir=data_dir, clock=clock) as bus:
        facts = await look(bus, SystemClock())
    assert (facts.server, facts.role, facts.append_only, facts.save) == ("redis", "master", False, "60 1")
    assert (facts.policy, facts.max_bytes) == ("allkeys-lru", 64 << 20)
    assert None not in (facts.version, facts.used_bytes, facts.skew_ms)


async def test_the_skew_is_the_servers_clock_less_ours(real_redis_url: str, data_dir, clock: ManualClock) -> None:  # type: ignore[no-untyped-def]
    slow = ManualClock(now_ns=SystemClock().now_ns() - 90 * 10**9)
    async with connect(real_redis_url, data_dir=data_dir, clock=clock) as bus:
        skew_ms = (await look(bus, slow)).skew_ms
    assert skew_ms is not None
    assert 89_000 < skew_ms < 100_000


async def test_a_user_who_may_not_ask_is_told_what_is_unknown(redis_server, data_dir, clock: ManualClock) -> None:  # type: ignore[no-untyped-def]
    server: RedisServer = redis_server("--user", "ingester", "on", ">pw", "-@all", "+ping", password="x")
    url = f"redis://ingester:pw@127.0.0.1:{server.port}"
    async with connect(url, data_dir=data_dir, clock=clock) as bus:
        facts = await look(bus, clock)
    assert (facts.version, facts.policy, facts.skew_ms) == (None, None, None)


async def test_fakeredis_is_looked_at_without_an_error(fake_redis_url: str, data_dir, clock: ManualClock) -> None:  # type: ignore[no-untyped-def]
    async with connect(fake_redis_url, data_dir=data_dir, clock=clock) as bus:
        assert Level.FAIL not in {finding.level for finding in findings(await look(bus, clock))}


WEAKNESSES: dict[str, dict[str, object]] = {
    "the oldest": {"version": "6.0.16"},
    "snapshots only": {"append_only": False, "save": "60 1"},
    "a replica": {"role": "slave"},
    "an evicting policy": {"policy": "allkeys-lru"},
    "the slowest": {"round_trip_ms": 9.0},
    "a clock behind": {"skew_ms": -900.0},
    "the fullest": {"max_bytes": 1 << 21},
}


@pytest.mark.parametrize("differs", WEAKNESSES.values(), ids=WEAKNESSES.keys())
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_cluster_is_as_good_as_its_weakest_master(differs: dict[str, object], place: int) -> None:
    told = [GOOD, GOOD, GOOD]
    told[place] = replace(GOOD, **differs)
    assert weakest(told) == told[place]


def test_a_policy_can_be_judged_alone() -> None:
    assert eviction("noeviction").level is Level.OK
    assert eviction("volatile-ttl").level is Level.FAIL
