"""Whether a bus can be trusted with data: what the server tells about itself, and what follows from it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cryptostream.bus.connect import Bus
from cryptostream.model.finding import Finding, fail, ok, warn
from cryptostream.model.ports import Clock

OLDEST = (6, 2)
"""The first Redis with XAUTOCLAIM and exclusive ranges: https://redis.io/docs/latest/commands/xautoclaim/"""
_MOST_SKEW_MS = 1000.0
_FULL = 0.9


class BusFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a server tells; None where it does not. `save` is its RDB schedule, `skew_ms` its clock less ours."""

    url: str
    round_trip_ms: float
    server: str | None = None
    version: str | None = None
    role: str | None = None
    append_only: bool | None = None
    save: str | None = None
    policy: str | None = None
    max_bytes: int | None = None
    used_bytes: int | None = None
    skew_ms: float | None = None


async def look(bus: Bus, clock: Clock) -> BusFacts:
    """Ask the server about itself. What it refuses to tell stays None: not everybody may ask INFO and CONFIG.

    A cluster is as good as the weakest of its masters: each fact is the worst that any of them tells.
    """
    return weakest([await _look(bus.url, server, clock) for server in await bus.masters()])


async def _look(url: str, server: Redis, clock: Clock) -> BusFacts:
    start_s = clock.monotonic()
    await server.ping()
    round_trip_s = clock.monotonic() - start_s
    info: Mapping[str, Any] = await _told(server.info()) or {}
    config: Mapping[str, Any] = await _told(server.config_get("save")) or {}
    append_only = info.get("aof_enabled")
    return BusFacts(
        url=url,
        round_trip_ms=round_trip_s * 1000,
        server="valkey" if "valkey_version" in info else "redis" if info else None,
        version=info.get("valkey_version", info.get("redis_version")),
        role=info.get("role"),
        append_only=None if append_only is None else bool(append_only),
        save=config.get("save"),
        policy=info.get("maxmemory_policy"),
        max_bytes=info.get("maxmemory"),
        used_bytes=info.get("used_memory"),
        skew_ms=await _skew_ms(server, clock),
    )


def weakest(told: Sequence[BusFacts]) -> BusFacts:
    """Several servers as one: the worst fact of each kind."""

    def worst(badness: Callable[[BusFacts], Any]) -> BusFacts:
        return max(told, key=badness)

    kept = worst(lambda facts: (not facts.append_only, not facts.save))
    fullest = worst(lambda facts: (facts.used_bytes or 0) / facts.max_bytes if facts.max_bytes else 0.0)
    return replace(
        min(told, key=lambda facts: _number(facts.version or "")),
        round_trip_ms=max(facts.round_trip_ms for facts in told),
        role=worst(lambda facts: facts.role not in (None, "master")).role,
        append_only=kept.append_only,
        save=kept.save,
        policy=worst(lambda facts: facts.policy not in (None, "noeviction")).policy,
        max_bytes=fullest.max_bytes,
        used_bytes=fullest.used_bytes,
        skew_ms=worst(lambda facts: abs(facts.skew_ms or 0.0)).skew_ms,
    )


def findings(facts: BusFacts) -> Sequence[Finding]:
    """What is to be said about a bus, in the order it matters."""
    checks = (_reached, _version, _role, _persistence, _eviction, _memory, _skew, _exposure)
    return [finding for check in checks if (finding := check(facts)) is not None]


def eviction(policy: str) -> Finding:
    """What is to be said about a `maxmemory-policy`: any but one makes Redis delete whole streams when it is full."""
    if policy == "noeviction":
        return ok("bus eviction", policy)
    fix = "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"
    return fail("bus eviction", f"{policy} deletes whole streams when memory is full", fix)


async def _told(question: Any) -> Any:
    with suppress(RedisError, OSError):
        return await question
    return None


async def _skew_ms(server: Redis, clock: Clock) -> float | None:
    before_ns = clock.now_ns()
    told = await _told(server.time())
    if told is None:
        return None
    middle_ms = (before_ns + clock.now_ns()) / 2e6
    return float(int(told[0]) * 1000 + int(told[1]) / 1000 - middle_ms)


def _reached(facts: BusFacts) -> Finding:
    return ok("bus", f"{facts.url} answers in {facts.round_trip_ms:.1f} ms")


def _version(facts: BusFacts) -> Finding | None:
    if _is_volatile(facts):
        return None
    if facts.version is None:
        return warn("bus version", "the server does not tell", f"make sure it is Redis {_dotted(OLDEST)} or newer")
    told = f"{facts.server} {facts.version}"
    if _number(facts.version) < OLDEST:
        return fail("bus version", f"{told} is too old", f"install Redis {_dotted(OLDEST)} or newer")
    return ok("bus version", told)


def _role(facts: BusFacts) -> Finding | None:
    if facts.role in (None, "master"):
        return None
    return fail("bus role", "a read-only replica", "name the primary in the URL")


def _persistence(facts: BusFacts) -> Finding:
    if _is_volatile(facts):
        return warn("bus persistence", "no server on this machine, so nothing is kept", "install redis-server")
    if facts.append_only:
        return ok("bus persistence", "append-only file")
    fix = "redis-cli CONFIG SET appendonly yes, and the same in redis.conf"
    if facts.save:
        return warn("bus persistence", f"snapshots only ({facts.save}): a crash loses what came after the last", fix)
    if facts.append_only is None or facts.save is None:
        return warn("bus persistence", "the server does not tell", "make sure that appendonly is yes")
    return warn("bus persistence", "none: a crash loses everything", fix)


def _eviction(facts: BusFacts) -> Finding | None:
    return None if facts.policy is None else eviction(facts.policy)


def _memory(facts: BusFacts) -> Finding | None:
    if not facts.max_bytes or facts.used_bytes is None:
        return None
    share = facts.used_bytes / facts.max_bytes
    told = f"{share:.0%} of {facts.max_bytes / (1 << 20):,.0f} MiB"
    if share < _FULL:
        return ok("bus memory", told)
    return warn("bus memory", f"{told} used", "raise its maxmemory, or keep less with bus.maxlen")


def _skew(facts: BusFacts) -> Finding | None:
    if facts.skew_ms is None:
        return None
    told = f"{abs(facts.skew_ms) / 1000:.3f} s {'ahead of' if facts.skew_ms > 0 else 'behind'} ours"
    if abs(facts.skew_ms) <= _MOST_SKEW_MS:
        return ok("bus clock", told)
    return warn("bus clock", told, "set both clocks by NTP")


def _exposure(facts: BusFacts) -> Finding | None:
    parts = urlsplit(facts.url)
    if not parts.scheme.startswith("redis") or "@" in parts.netloc:
        return None
    hosts = [urlsplit(f"//{server}").hostname or "localhost" for server in parts.netloc.split(",")]
    exposed = next((host for host in hosts if not _is_loopback(host)), None)
    if exposed is None:
        return None
    fix = "give it a password (requirepass or an ACL user) and put it into the URL"
    return warn("bus exposure", f"{exposed} lets anybody in who reaches it", fix)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_volatile(facts: BusFacts) -> bool:
    """Whether the embedded bus runs without a server: a real one tells its own user everything."""
    return facts.version is None and facts.url.startswith("embedded:")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
