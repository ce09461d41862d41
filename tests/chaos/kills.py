"""A recorder and a signalling consumer, killed again and again under load: whatever comes is recorded and told once.

`python -m tests.chaos kills [--kills 200] [--seed N]`. Trades come all the while; each victim is killed (SIGKILL) at
random moments of its start and of its work, and started again. In the end what was written is held against the streams:
entries in Parquet, read without any code of ours, against the entries of the streams; signals against those that one
uninterrupted run would have made. After every kill of the recorder each closed file has to read.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import pyarrow.parquet as pq
import redis.asyncio

from cryptostream.engine.clock import SystemClock
from cryptostream.tape.parquet import Recording
from tests.chaos.rig import DURABLE, until
from tests.chaos.victims import GROUPS, signals
from tests.conftest import RedisServer

PAIRS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
KILLS = 200
_RATE = 600
"""Trades a second, of each pair."""
_EVERY_S = 0.02
_BURST = 200
_AT_WORK_S = (0.0, 1.2)
_AT_START = 0.15
"""The share of kills that may hit a victim before it has read anything."""
_STARTS_S = 1.5
_PATIENCE_S = 60.0
_DRAINS_S = 12.0
_PAGE = 10_000
_SHOWN = 5
_CLOCK = SystemClock()
_Stored = list[tuple[str, dict[str, str]]]


@dataclass
class Kills:
    """What came of it; every problem is one line."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    at_start: int = 0
    """Those that hit before the victim had read anything."""
    entries: int = 0
    recorded: int = 0
    files: int = 0
    signals: int = 0
    torn: int = 0
    """Files in progress that a kill left behind, which nobody reads."""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    kept: Path | None = None
    """Where logs and data are left."""

    @property
    def failed(self) -> bool:
        return bool(self.problems)

    def __str__(self) -> str:
        """In Markdown."""
        figures = {
            "kills": f"{self.kills.total()} ({self.at_start} of them at a start)",
            "entries": f"{self.entries:,}",
            "recorded": f"{self.recorded:,}",
            "files": f"{self.files:,}",
            "left in progress": f"{self.torn}",
            "signals": f"{self.signals:,}",
            "lasted": f"{self.seconds:.0f} s",
        }
        table = [f"| {' | '.join(figures)} |", "|" + "---|" * len(figures), f"| {' | '.join(figures.values())} |"]
        kept = [f"logs and data are in {self.kept}"] if self.kept else []
        return "\n".join([f"seed {self.seed}", "", *table, *(f"* {problem}" for problem in (*self.problems, *kept))])


async def run(kills: int = KILLS, *, seed: int, keep: bool = False) -> Kills:
    """Kill so often, half of it the recorder and half the signaller; `keep` leaves everything where it is."""
    found = Kills(seed)
    folder = Path(tempfile.mkdtemp(prefix="cs-"))
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        raise SystemExit("no redis-server or valkey-server on PATH")
    server = RedisServer(binary, folder, *DURABLE)
    server.start()
    began_s = _CLOCK.monotonic()
    try:
        async with redis.asyncio.Redis.from_url(server.unix_url, decode_responses=True) as client:
            await _Rig(client, server.url, folder, found).run(kills)
    finally:
        server.kill()
        found.seconds = _CLOCK.monotonic() - began_s
        if keep or found.failed or sys.exc_info()[0] is not None:
            found.kept = folder
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return found


class _Rig:
    """A market that trades on, and two victims."""

    def __init__(self, client: Any, url: str, folder: Path, found: Kills) -> None:
        self._client = client
        self._url = url
        self._folder = folder
        self._found = found
        self._random = Random(found.seed)
        self._read: set[tuple[Path, int, int]] = set()

    async def run(self, kills: int) -> None:
        """Kill, let both catch up, end them in order, and judge."""
        market = asyncio.create_task(self._trade())
        try:
            async with asyncio.TaskGroup() as victims:
                for name, times in (("recorder", kills - kills // 2), ("signaller", kills // 2)):
                    victims.create_task(self._torment(name, times, Random(self._random.random())))
        finally:
            market.cancel()
        await self._end()
        entries = {pair: await self._stored(f"trades:{pair}") for pair in PAIRS}
        self._found.entries = sum(map(len, entries.values()))
        self._judge_files(entries)
        for pair in PAIRS:
            self._judge_signals(pair, entries[pair], await self._stored(f"signals:momentum:{pair}"))

    async def _trade(self) -> None:
        """Trades of every pair, in order, until cancelled; both victims' groups see them from the first on."""
        trade_id, price = 0, 50_000.0
        began_s = _CLOCK.monotonic()
        while True:
            ms = _CLOCK.now_ns() // 1_000_000
            due = round(_RATE * (_CLOCK.monotonic() - began_s)) - trade_id
            adding = self._client.pipeline(transaction=False)
            for _ in range(min(due, _BURST)):
                trade_id, price = trade_id + 1, price + self._random.uniform(-5, 5)
                for pair in PAIRS:
                    adding.xadd(f"trades:{pair}", _fields(pair, trade_id, price, ms), id=f"{ms}-{trade_id}")
            await adding.execute()
            await _CLOCK.sleep(_EVERY_S)

    async def _torment(self, name: str, times: int, random: Random) -> None:
        for _ in range(times):
            victim = self._victim(name)
            if random.random() < _AT_START:
                await _CLOCK.sleep(random.uniform(0, _STARTS_S))
                self._found.at_start += not victim.is_ready
            else:
                await until(lambda: victim.is_ready or not victim.runs, _PATIENCE_S, f"the {name} to read")  # noqa: B023
                await _CLOCK.sleep(random.uniform(*_AT_WORK_S))
            if (code := victim.kill()) != -signal.SIGKILL:
                self._found.problems.append(f"the {name} ended by itself with {code}; see {victim.log}")
            self._found.kills[name] += 1
            if name == "recorder":
                await asyncio.to_thread(self._look)
            if self._found.kills.total() % 20 == 0:
                print(f"{self._found.kills.total()} kills", file=sys.stderr, flush=True)

    def _victim(self, name: str) -> "_Victim":
        return _Victim(name, self._url, self._folder)

    def _look(self) -> None:
        """Every closed file reads; whoever wrote it is dead. What was in progress is counted once it is gone."""
        for path in _files(self._folder):
            told = path.stat()
            if (stamp := (path, told.st_mtime_ns, told.st_size)) in self._read:
                continue
            self._read.add(stamp)
            try:
                pq.read_table(path, partitioning=None)
            except Exception as error:
                self._found.problems.append(f"{path.name} does not read: {error}")
        self._found.torn += len(list(self._folder.rglob("*.inprogress")))

    async def _end(self) -> None:
        """Let both catch up with all that was traded, and end them in order."""
        victims = [self._victim(name) for name in GROUPS]
        try:
            await until(self._caught_up, _PATIENCE_S, "both to catch up")
        except TimeoutError as error:
            self._found.problems.append(str(error))
        for victim in victims:
            if code := await victim.end():
                self._found.problems.append(f"the {victim.name} ended with {code} at SIGTERM; see {victim.log}")

    async def _caught_up(self) -> bool:
        for pair in PAIRS:
            groups = await self._client.xinfo_groups(f"trades:{pair}")
            if len(groups) < len(GROUPS) or any(group["lag"] or group["pending"] for group in groups):
                return False
        return True

    async def _stored(self, stream: str) -> _Stored:
        found: _Stored = []
        after = "-"
        while page := await self._client.xrange(stream, after, count=_PAGE):
            found += page
            after = f"({page[-1][0]}"
        return found

    def _judge_files(self, entries: Mapping[str, _Stored]) -> None:
        """Every entry in exactly one row of one file, and read back exactly as the stream has it."""
        self._look()
        rows: dict[str, Counter[str]] = {pair: Counter() for pair in PAIRS}
        for path in _files(self._folder):
            self._found.files += 1
            pair = path.parent.parent.name.removeprefix("pair=")
            rows[pair].update(pq.read_table(path, columns=["entry_id"], partitioning=None)["entry_id"].to_pylist())
        recording = Recording(self._folder / "parquet")
        for pair, stored in entries.items():
            self._found.recorded += rows[pair].total()
            self._compare(f"rows of {pair}", rows[pair], Counter(entry_id for entry_id, _ in stored))
            back = [entry for page in recording.after(f"trades:{pair}", "0-0") for entry in page]
            if [(entry.entry_id, entry.fields) for entry in back] != stored:
                self._found.problems.append(f"{pair} does not read back as the stream has it")

    def _judge_signals(self, pair: str, entries: _Stored, told: _Stored) -> None:
        """The signals of one run that nobody killed, each once, in order."""
        expected: list[str] = []
        seen = 0
        for count, (entry_id, _) in enumerate(entries, 1):
            seen = crc32(entry_id.encode(), seen)
            if signals(seen):
                expected.append(f"{entry_id} {count} {seen}")
        found = [f"{entry_id} {fields['count']} {fields['seen']}" for entry_id, fields in told]
        self._found.signals += len(found)
        self._compare(f"signals of {pair}", Counter(found), Counter(expected))
        if sorted(found) == sorted(expected) and found != expected:
            self._found.problems.append(f"signals of {pair} are out of order")

    def _compare(self, what: str, found: Counter[str], expected: Counter[str]) -> None:
        for how, wrong in (("missing", expected - found), ("too many", found - expected)):
            if wrong:
                shown = ", ".join(list(wrong)[:_SHOWN])
                self._found.problems.append(f"{what}: {wrong.total():,} {how} ({shown})")


class _Victim:
    """A program that runs until it is killed; it has said that it works once `is_ready`."""

    def __init__(self, name: str, url: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._said = folder / f"{name}.said"
        command = [sys.executable, "-m", "tests.chaos.victims", name, url, str(folder)]
        env = {**os.environ, "PYTHONWARNINGS": "error"}
        with self.log.open("ab") as log, self._said.open("wb") as said:
            self._process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=log)

    @property
    def is_ready(self) -> bool:
        return self._said.stat().st_size > 0

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> int:
        """End it at once, and say how it ended."""
        self._process.kill()
        return self._process.wait(10)

    async def end(self) -> int:
        """Ask it to end; its exit code."""
        self._process.terminate()
        try:
            await until(lambda: not self.runs, _DRAINS_S, f"the {self.name} to drain")
        except TimeoutError:
            return self.kill()
        return int(self._process.returncode)


def _files(folder: Path) -> list[Path]:
    """All that a reader would take for closed Parquet files."""
    return sorted((folder / "parquet").rglob("*.parquet"))


def _fields(pair: str, trade_id: int, price: float, ms: int) -> dict[str, str]:
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return {
        "exchange": "binance",
        "pair": pair,
        "price": f"{price:.8f}",
        "qty": f"{trade_id % 97 + 1}.00000000",
        "ts": moment.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "side": "buy" if trade_id % 3 else "sell",
        "trade_id": str(trade_id),
    }
