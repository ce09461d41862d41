"""Everything a soak throws at a running system: each fault by name, where it strikes, and how it is done."""

import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from redis.exceptions import RedisError

from cryptostream.engine.clock import SystemClock
from tests.chaos.rig import Program, Rig, until

Strike = Callable[[Rig, Random], Awaitable[None]]
_CLOCK = SystemClock()


@dataclass(frozen=True)
class Fault:
    """One kind of fault. Of the faults at one `place` only one is on at a time; those of two places may meet.

    `strike` returns once it is over. It is drawn `weight` times as often as a fault of weight 1.
    """

    name: str
    place: str
    strike: Strike
    weight: float = 1.0


def _exchange(name: str, place: str, *specs: str, lasts_s: float = 0.0, weight: float = 1.0) -> Fault:
    """A fault of the local exchange, one of `specs` by lot; see `cryptostream simulate --faults`."""

    async def strike(rig: Rig, random: Random) -> None:
        rig.exchange.faults.inject(random.choice(specs))
        await _CLOCK.sleep(lasts_s)

    return Fault(name, place, strike, weight)


async def _kill_redis(rig: Rig, random: Random) -> None:
    rig.server.kill()
    await _CLOCK.sleep(random.uniform(0.0, 2.0))
    await rig.start_redis()


async def _freeze_redis(rig: Rig, random: Random) -> None:
    async with rig.frozen(rig.server.pid):
        await _CLOCK.sleep(random.uniform(3.0, 8.0))


async def _squeeze_redis(rig: Rig, random: Random) -> None:
    """Leave Redis no memory for new entries, for some seconds."""
    try:
        await rig.client.config_set("maxmemory", 1)
        await _CLOCK.sleep(random.uniform(2.0, 5.0))
    finally:
        await until(lambda: _unsqueezed(rig), 20.0, "redis-server to take its memory back")


async def _unsqueezed(rig: Rig) -> bool:
    with suppress(RedisError, OSError, TimeoutError):
        return bool(await rig.client.config_set("maxmemory", 0))
    return False


async def _cut_link(rig: Rig, random: Random) -> None:
    random.choice((rig.link.reset, rig.link.close))()


async def _lose_replies(rig: Rig, random: Random) -> None:
    rig.link.swallow_chance = 0.1
    await _CLOCK.sleep(random.uniform(1.0, 3.0))
    rig.link.heal()


async def _cut_replies_short(rig: Rig, random: Random) -> None:
    rig.link.cut_after(random.randrange(2_000))
    await _CLOCK.sleep(1.0)
    rig.link.heal()


async def _break_protocol(rig: Rig, random: Random) -> None:
    """The first byte of a reply, which says of what kind it is, comes wrong."""
    rig.link.corrupt(at=0)
    await _CLOCK.sleep(1.0)
    rig.link.heal()


async def _swallow_everything(rig: Rig, random: Random) -> None:
    rig.link.black_hole()
    await _CLOCK.sleep(random.uniform(2.0, 7.0))
    rig.link.heal()


async def _delay_link(rig: Rig, random: Random) -> None:
    rig.link.latency_s = random.uniform(0.02, 0.3)
    await _CLOCK.sleep(3.0)
    rig.link.heal()


async def _kill_ingester(rig: Rig, random: Random) -> None:
    await _again(random.choice(rig.ingesters), random, signal.SIGKILL)


async def _stop_ingester(rig: Rig, random: Random) -> None:
    await _again(random.choice(rig.ingesters), random, signal.SIGTERM)


async def _kill_all_ingesters(rig: Rig, random: Random) -> None:
    for ingester in rig.ingesters:
        ingester.kill()
    await _CLOCK.sleep(random.uniform(0.0, 3.0))
    for ingester in rig.ingesters:
        ingester.start()


async def _freeze_ingester(rig: Rig, random: Random) -> None:
    async with rig.frozen(random.choice(rig.ingesters).pid):
        await _CLOCK.sleep(random.uniform(1.0, 6.0))


async def _again(ingester: Program, random: Random, number: signal.Signals) -> None:
    """End an ingester and start it again after a while. Raises AssertionError where SIGTERM does not drain it."""
    ingester.signal(number)
    code = await ingester.ended()
    assert code == (0 if number is signal.SIGTERM else -number), f"an ingester ended with {code} at {number.name}"
    await _CLOCK.sleep(random.uniform(0.0, 3.0))
    ingester.start()


FAULTS = (
    _exchange("sockets reset", "sockets", "drop"),
    _exchange("sockets closed", "sockets", "close,code=1008", "close,code=1012", "close,code=1001"),
    _exchange("one socket reset", "sockets", "drop,only=1"),
    _exchange("half-open sockets", "sockets", "halfopen", "halfopen,only=1", lasts_s=3, weight=0.3),
    _exchange("serverShutdown", "sockets", "shutdown,lead=2s", lasts_s=2),
    _exchange("handshakes refused", "sockets", "drop", "handshake,status=503,for=3s", lasts_s=3),
    _exchange("accepted, then closed", "sockets", "accept_close,for=2s", lasts_s=2),
    _exchange("nobody listens", "sockets", "refuse,for=2s", lasts_s=2),
    _exchange("events swapped", "events", "swap:10%,for=3s", lasts_s=3),
    _exchange("events twice", "events", "duplicate:10%,for=3s", lasts_s=3),
    _exchange("events left out", "events", "skip:1%,for=3s", lasts_s=3, weight=2),
    _exchange("events late", "events", "late:5%,for=3s,by=500ms", lasts_s=3),
    _exchange("garbage", "events", "garbage:5%,for=3s", lasts_s=3),
    _exchange("fields missing or of another type", "events", "missing:1%,for=2s", "mistype:1%,for=2s", lasts_s=2),
    _exchange("fields and events nobody knows", "events", "extra:10%,for=3s", "unknown:10%,for=3s", lasts_s=3),
    _exchange("silent streams", "events", "silent,for=4s", lasts_s=4, weight=0.5),
    _exchange("REST 429", "rest", "rest,answer=429,retry_after=2,for=3s", lasts_s=3),
    _exchange("REST 503", "rest", "rest,answer=503,for=3s", lasts_s=3),
    _exchange("REST cut or junk", "rest", "rest,answer=cut,for=3s", "rest,answer=junk,for=3s", lasts_s=3),
    _exchange("REST slow", "rest", "slow,by=2s,for=4s", lasts_s=4),
    _exchange("REST behind the stream", "rest", "lag,by=3s,for=5s", lasts_s=5, weight=2),
    Fault("Redis killed", "redis", _kill_redis, 2),
    Fault("Redis frozen", "redis", _freeze_redis),
    Fault("Redis out of memory", "redis", _squeeze_redis),
    Fault("link to Redis cut", "link", _cut_link),
    Fault("replies lost", "link", _lose_replies, 2),
    Fault("replies cut short", "link", _cut_replies_short),
    Fault("a reply damaged", "link", _break_protocol),
    Fault("link a black hole", "link", _swallow_everything),
    Fault("link slow", "link", _delay_link),
    Fault("an ingester killed", "ingesters", _kill_ingester, 2),
    Fault("an ingester stopped", "ingesters", _stop_ingester),
    Fault("all ingesters killed", "ingesters", _kill_all_ingesters),
    Fault("an ingester frozen", "ingesters", _freeze_ingester),
)


def heal(rig: Rig) -> None:
    """End every fault of the exchange and the network."""
    rig.exchange.faults.clear()
    rig.link.heal()
    rig.front.heal()
