"""Minutes of random faults, every few seconds another one, and then the only question: is every trade there, once?"""

import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from cryptostream.engine.clock import SystemClock
from tests.chaos.candles import check_candles
from tests.chaos.faults import FAULTS, Fault, heal
from tests.chaos.rig import DURABLE, Rig, open_rig
from tests.conftest import RedisServer
from tests.history import History

PAUSE_S = (1.0, 4.0)
HEALING_S = 120.0
_SAMPLE_S = 0.25
_KLINES_LATE_MS = 5_000
"""What the market's end cuts off: a kline nobody pushed is asked for when it has been closed for a while."""
_CLOCK = SystemClock()
_BEGAN_S = _CLOCK.monotonic()


@dataclass
class Soak:
    """What a soak was, and what it found."""

    seed: int
    seconds: float
    ingesters: int
    histories: dict[str, History] = field(default_factory=dict)
    klines: int = 0
    """Closed one-second klines in all streams."""
    bad_klines: list[str] = field(default_factory=list)
    """Klines that are missing, there twice, or wrong in any digit."""
    struck: Counter[str] = field(default_factory=Counter)
    """How often each fault was on."""
    caught_up_s: dict[str, float] = field(default_factory=dict)
    """The longest time from the end of such a fault until the streams had what was traded until then."""
    stalled_s: float = 0.0
    """The longest time in which a stream did not grow."""
    rss_mib: float = 0.0
    """The most memory that one ingester held."""
    problems: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return bool(self.problems or self.bad_klines) or not all(
            one.clean and not one.gaps for one in self.histories.values()
        )

    @property
    def figures(self) -> dict[str, int]:
        """The verdict, added up over all pairs."""
        found = self.histories.values()
        return {
            "trades": sum(one.trades for one in found),
            "lost": sum(len(one.lost) for one in found),
            "duplicated": sum(len(one.duplicated) for one in found),
            "out of order": sum(len(one.disordered) for one in found),
            "wrong digits": sum(len(one.differing) + len(one.invented) for one in found),
            "recorded as gaps": sum(len(one.recorded) + len(one.false_gaps) for one in found),
            "klines": self.klines,
            "missing, twice or wrong": len(self.bad_klines),
        }


async def soak(seconds: float, *, seed: int, ingesters: int = 2, rate: float = 200.0, keep: bool = False) -> Soak:
    """Run `ingesters` for so long while faults drawn from `seed` strike; `keep` leaves logs where they are."""
    found = Soak(seed, seconds, ingesters)
    folder = Path(tempfile.mkdtemp(prefix="cs-"))
    server = RedisServer(redis_binary(), folder, *DURABLE)
    server.start()
    try:
        async with open_rig(server, folder, rate=rate, seed=seed) as rig:
            await _run(rig, found)
    finally:
        server.kill()
        if keep or found.failed:
            found.problems.append(f"logs and data are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def redis_binary() -> str:
    """The server on PATH. Raises SystemExit."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        raise SystemExit("no redis-server or valkey-server on PATH")
    return binary


async def _run(rig: Rig, found: Soak) -> None:
    settings: dict[str, object] = {"feed.silent_after": "3s", "feed.rotate_after": "20s", "bus.raw_json": "false"}
    for _ in range(found.ingesters):
        rig.process("--channels", "trades,klines:1s", settings=settings)
    await rig.flows(30.0)
    watching = asyncio.create_task(_watch(rig, found))
    try:
        await _strike(rig, found)
        await _heal(rig, found)
    finally:
        watching.cancel()
    await _judge(rig, found)


async def _strike(rig: Rig, found: Soak) -> None:
    """Draw faults until the time is up; return once all of them are over."""
    random = Random(found.seed)
    ends_s = _CLOCK.monotonic() + found.seconds
    busy: set[str] = set()
    async with asyncio.TaskGroup() as group:
        while _CLOCK.monotonic() < ends_s:
            free = [fault for fault in FAULTS if fault.place not in busy]
            if free:
                [fault] = random.choices(free, [one.weight for one in free])
                busy.add(fault.place)
                group.create_task(_one(rig, fault, Random(random.random()), busy, found))
            await _CLOCK.sleep(random.uniform(*PAUSE_S))


async def _one(rig: Rig, fault: Fault, random: Random, busy: set[str], found: Soak) -> None:
    found.struck[fault.name] += 1
    say(fault.name)
    try:
        await fault.strike(rig, random)
    except (AssertionError, TimeoutError) as error:
        found.problems.append(f"{fault.name}: {error}")
    busy.discard(fault.place)
    try:
        took_s = await rig.caught_up(HEALING_S)
    except TimeoutError as error:
        found.problems.append(f"after {fault.name}: {error}")
        return
    found.caught_up_s[fault.name] = max(took_s, found.caught_up_s.get(fault.name, 0.0))


async def _heal(rig: Rig, found: Soak) -> None:
    """End every fault, and wait for what is left to do."""
    say("healing")
    heal(rig)
    for ingester in rig.ingesters:
        if not ingester.runs:
            found.problems.append(f"an ingester ended by itself; see {ingester.log}")
            ingester.start()
    try:
        await rig.caught_up(HEALING_S)
        await rig.ends(HEALING_S)
    except TimeoutError as error:
        found.problems.append(str(error))


async def _judge(rig: Rig, found: Soak) -> None:
    for ingester in rig.ingesters:
        try:
            if code := await ingester.stop():
                found.problems.append(f"an ingester ended with {code} at SIGTERM")
        except TimeoutError as error:
            found.problems.append(str(error))
    for pair in rig.exchange.pairs:
        found.histories[pair] = await rig.history(pair)
        until_ms = rig.exchange.time.now_us() // 1_000 - _KLINES_LATE_MS
        count, wrong = check_candles(rig.exchange, pair, await rig.stored(f"klines:{pair}:1s"), until_ms=until_ms)
        found.klines += count
        found.bad_klines += [f"{pair}: {one}" for one in wrong]


async def _watch(rig: Rig, found: Soak) -> None:
    """Note the longest stall and the most memory, until cancelled."""
    grew_at = {pair: (await rig.newest(pair), _CLOCK.monotonic()) for pair in rig.exchange.pairs}
    while True:
        await _CLOCK.sleep(_SAMPLE_S)
        found.rss_mib = max(found.rss_mib, *(ingester.rss_mib for ingester in rig.ingesters))
        for pair, (before, at_s) in grew_at.items():
            newest, now_s = await rig.newest(pair), _CLOCK.monotonic()
            if newest > before:
                found.stalled_s = max(found.stalled_s, now_s - at_s)
                grew_at[pair] = (newest, now_s)


def say(text: str) -> None:
    """Progress, to stderr."""
    print(f"{_CLOCK.monotonic() - _BEGAN_S:8.1f} s  {text}", file=sys.stderr, flush=True)
