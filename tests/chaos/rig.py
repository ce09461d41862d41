"""What every fault is thrown at: a market that trades on, a real Redis behind a proxy, ingesters that can be killed."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cryptostream import config, wiring
from cryptostream.engine.clock import SystemClock
from cryptostream.sim.exchange import LocalExchange
from tests.conftest import RedisServer, free_port
from tests.history import History, check_history, truth_of
from tests.proxy import Proxy

PAIRS = ("BTCUSDT", "ETHUSDT")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
_CLOCK = SystemClock()
_POLL_S = 0.02
_NEVER = Retry(NoBackoff(), 0)
_PAGE = 10_000
_METRIC = re.compile(r"^(\w+)(?:\{[^}]*\})? (\S+)", re.MULTILINE)


class Hasty(SystemClock):
    """The machine's time, so many times as fast."""

    def __init__(self, haste: int) -> None:
        self._haste = haste

    def monotonic(self) -> float:
        return super().monotonic() * self._haste

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(delay_s / self._haste)


class Program:
    """One `cryptostream` in a process of its own; killed, it can be started again as it was."""

    def __init__(self, words: Sequence[str], env: dict[str, str], log: Path, port: str = "--health-port") -> None:
        self.health_port = free_port()
        self.log = log
        self._command = [sys.executable, "-m", "cryptostream", *words]
        self._command += [port, str(self.health_port), "--log-format", "json"]
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, **options: Any) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended hears nothing."""
        if self.runs:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once (SIGKILL), also while it is stopped."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    async def stop(self, within_s: float = 12.0) -> int:
        """Ask it to end (SIGTERM) and return its exit code. Raises TimeoutError, with it killed, if it does not."""
        self.signal(signal.SIGTERM)
        return await self.ended(within_s)

    async def ended(self, within_s: float = 12.0) -> int:
        """Its exit code, once it has one."""
        assert self._process is not None
        try:
            await until(lambda: not self.runs, within_s, f"{self._command[3]} to end")
        except TimeoutError:
            self.kill()
            raise
        return int(self._process.returncode)

    def told(self, event: str = "") -> list[dict[str, Any]]:
        """The log lines so far, all or those of one event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if event in ("", line.get("event"))]

    @property
    def rss_mib(self) -> float:
        """Memory it holds now; 0 where it has ended."""
        with suppress(OSError, AttributeError, AssertionError):
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        return 0.0

    async def get(self, path: str) -> tuple[int, str]:
        """What its health endpoint says; status 0 where nobody answers."""
        try:
            async with httpx2.AsyncClient(trust_env=False, timeout=2.0) as client:
                answer = await client.get(f"http://127.0.0.1:{self.health_port}{path}")
        except httpx2.HTTPError:
            return 0, ""
        return answer.status_code, answer.text

    async def metrics(self) -> dict[str, float]:
        """Its metrics, summed over their labels."""
        summed: dict[str, float] = {}
        for name, value in _METRIC.findall((await self.get("/metrics"))[1]):
            summed[name] = summed.get(name, 0.0) + float(value)
        return summed


class Rig:
    """A market, a bus behind a proxy (`link`), and whoever ingests from the one to the other.

    `front` is a proxy before the exchange, for websocket and REST alike. What is started here is ended here.
    """

    def __init__(
        self, exchange: LocalExchange, server: RedisServer, link: Proxy, front: Proxy, client: Any, folder: Path
    ) -> None:
        self.exchange, self.server, self.link, self.front, self.client = exchange, server, link, front, client
        self.folder = folder
        self.bus_url = f"redis://127.0.0.1:{link.port}"
        self.ingesters: list[Program] = []
        self.consumers: list[Program] = []
        self.first: dict[str, int] = {}
        """The id that each stream began with, once it flowed: nothing from there on may be missing."""

    # Who ingests.

    def process(self, *arguments: str, settings: dict[str, object] | None = None, start: bool = True) -> Program:
        """A process that ingests every pair of the market; several of them share the data folder."""
        symbols = [] if {"--symbols", "--top"} & set(arguments) else ["--symbols", ",".join(self.exchange.pairs)]
        log = self.folder / f"ingester-{len(self.ingesters)}.log"
        self.ingesters.append(self._program(["ingest", *symbols, *arguments], settings or {}, log))
        if start:
            self.ingesters[-1].start()
        return self.ingesters[-1]

    def serving(self, *arguments: str, settings: dict[str, object] | None = None) -> Program:
        """A process that ingests every pair and serves the API meanwhile; its health is the API's."""
        feeds = f"[{{binance: {{symbols: [{','.join(self.exchange.pairs)}], channels: [trades]}}}}]"
        told = {"feeds": feeds, "ingest.health_port": 0, "serve.dashboard": "false", **(settings or {})}
        log = self.folder / f"ingester-{len(self.ingesters)}.log"
        self.ingesters.append(self._program(["run", *arguments], told, log, "--port"))
        self.ingesters[-1].start()
        return self.ingesters[-1]

    def consumer(self, *arguments: str, settings: dict[str, object] | None = None, start: bool = True) -> Program:
        """A process that consumes; those of one group on this machine get names of their own by themselves."""
        log = self.folder / f"consumer-{len(self.consumers)}.log"
        self.consumers.append(self._program(["consume", *arguments], settings or {}, log))
        if start:
            self.consumers[-1].start()
        return self.consumers[-1]

    def _program(
        self, words: Sequence[str], settings: dict[str, object], log: Path, port: str = "--health-port"
    ) -> Program:
        told = self._settings(settings)
        sets = [word for name, value in told.items() for word in ("--set", f"{name}={value}")]
        return Program([*words, *sets], self._environment(), log, port)

    @asynccontextmanager
    async def inside(
        self, channels: str = "trades", *, haste: int = 1, **settings: object
    ) -> AsyncIterator["wiring.Ingest"]:
        """The same wired up in this process, which takes no time to start; `a__b=c` sets a.b.

        Its monotonic clock runs `haste` times as fast as the machine's, so that patience is shorter.
        """
        told = self._settings({name.replace("__", "."): value for name, value in settings.items()})
        feeds = [{"binance": {"symbols": list(self.exchange.pairs), "channels": channels}}]
        sets = [f"{name}={value}" for name, value in told.items()]
        loaded = config.load([], sets=sets, flags={"feeds": feeds}, env={}).config
        give_up_at = _CLOCK.monotonic() + loaded.bus.connect_timeout
        async with (
            wiring.plans(loaded, give_up_at) as plans,
            wiring.bus(loaded) as bus,
            _hasty(haste),
            wiring.ingest(loaded, plans, bus, give_up_at=give_up_at) as stage,
            _running(stage),
        ):
            yield stage

    def _settings(self, own: dict[str, object]) -> dict[str, object]:
        front = f"127.0.0.1:{self.front.port}"
        return {
            "bus.url": self.bus_url,
            "bus.maxlen": 0,
            "data_dir": self.folder / "data",
            "venues.binance.ws_url": f"ws://{front}",
            "venues.binance.rest_url": f"http://{front}",
            **own,
        }

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "PYTHONWARNINGS": "error", "COINGECKO_URL": self.exchange.coingecko_url}

    # What the streams hold.

    async def newest(self, pair: str) -> int:
        """The newest trade id in a pair's stream, 0 where there is none or nobody answers."""
        with suppress(RedisError, OSError, TimeoutError):
            for _, entry in await self.client.xrevrange(f"trades:{pair}", count=1):
                return int(entry.get("gap_to") or entry["trade_id"])
        return 0

    async def stored(self, key: str) -> list[tuple[str, dict[str, str]]]:
        """A whole stream, oldest first."""
        entries: list[tuple[str, dict[str, str]]] = []
        after = "-"
        while page := await self.client.xrange(key, after, count=_PAGE):
            entries += page
            after = f"({page[-1][0]}"
        return entries

    async def ledger(self, event: str = "") -> list[dict[str, str]]:
        """The lines of the venue's ledger, all or those of one event."""
        return [entry for _, entry in await self.stored("events:binance") if event in ("", entry["event"])]

    async def flows(self, within_s: float = 15.0) -> None:
        """Return once every pair's newest trades arrive."""
        await self.caught_up(within_s)
        for pair in self.exchange.pairs:
            if pair not in self.first:
                [(_, entry)] = await self.client.xrange(f"trades:{pair}", count=1)
                self.first[pair] = int(entry.get("gap_from") or entry["trade_id"])

    async def caught_up(self, within_s: float = 15.0) -> float:
        """Return once every stream has what was traded up to now, with the seconds that took."""
        began = _CLOCK.monotonic()
        wanted = {pair: self.exchange.sent(pair)[-1] for pair in self.exchange.pairs}
        await self.holds(wanted, within_s)
        return _CLOCK.monotonic() - began

    async def holds(self, wanted: dict[str, int], within_s: float) -> None:
        """Return once every stream goes up to an id."""
        left = dict(wanted)

        async def all_there() -> bool:
            for pair, trade_id in list(left.items()):
                if await self.newest(pair) >= trade_id:
                    del left[pair]
            return not left

        await until(all_there, within_s, lambda: f"streams to go up to {left}")

    async def ends(self, within_s: float = 30.0) -> None:
        """Stop the market, and return once every stream has its very last trade.

        It is stopped only once every pair was told live again: what was missed shows by what is traded after it.
        """
        await _CLOCK.sleep(0.05)  # the exchange notices that somebody left
        await until(self._heard, within_s, "somebody to listen to every pair")
        heard = {pair: self.exchange.sent(pair)[-1] + 1 for pair in self.exchange.pairs}
        await self.holds(heard, within_s)
        self.exchange.halt()
        await self.holds({pair: self.last(pair) for pair in self.exchange.pairs}, within_s)

    def last(self, pair: str) -> int:
        """The newest id that was traded: behind a hole at the very end nothing comes that would show it."""
        trade_of, trade_id = truth_of(self.exchange, pair), self.exchange.sent(pair)[-1]
        while True:
            with suppress(LookupError):
                trade_of(trade_id)
                return trade_id
            trade_id -= 1

    def _heard(self) -> bool:
        counts = self.exchange.stats()
        return bool(counts["connections"]) and counts["streams"] >= len(self.exchange.pairs)

    async def history(self, pair: str) -> History:
        """What a pair's stream holds against what was traded, from when it first flowed to now."""
        stored = await self.stored(f"trades:{pair}")
        return check_history(truth_of(self.exchange, pair), stored, first=self.first.get(pair), last=self.last(pair))

    async def judged(self, *, gaps: bool = False, within_s: float = 30.0) -> list[History]:
        """End the market and judge every stream. Raises AssertionError unless all are clean."""
        await self.ends(within_s)
        found = [await self.history(pair) for pair in self.exchange.pairs]
        for history in found:
            history.assert_clean(gaps=gaps)
        return found

    # The bus.

    async def start_redis(self, within_s: float = 20.0) -> None:
        """Start the server again, and return once it serves; the market goes on meanwhile."""
        self.server.start(wait=False)
        await until(self.serves, within_s, "redis-server to serve")

    async def serves(self) -> bool:
        """Whether the server takes commands."""
        try:
            return bool(await self.client.ping())
        except (RedisError, OSError, TimeoutError):
            return False

    @asynccontextmanager
    async def frozen(self, pid: int) -> AsyncIterator[None]:
        """A process stopped (SIGSTOP) for as long as this is open."""
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def end(self) -> None:
        """End every process that was started here."""
        for program in (*self.ingesters, *self.consumers):
            program.kill()


@asynccontextmanager
async def open_rig(
    server: RedisServer, folder: Path, *, pairs: Sequence[str] = PAIRS, rate: float = 200.0, **exchange: Any
) -> AsyncIterator[Rig]:
    """A rig on a server that runs; `exchange` are options of the local exchange."""
    async with (
        LocalExchange(pairs=pairs, rate=rate, **exchange) as market,
        Proxy("127.0.0.1", server.port) as link,
        Proxy("127.0.0.1", market.port) as front,
        redis.asyncio.Redis(
            unix_socket_path=str(server.socket_path), decode_responses=True, socket_timeout=2.0, retry=_NEVER
        ) as client,
    ):
        rig = Rig(market, server, link, front, client, folder)
        try:
            yield rig
        finally:
            rig.end()


async def until(condition: Callable[[], Any | Awaitable[Any]], within_s: float, what: str | Callable[[], str]) -> float:
    """Poll until it holds, and return the seconds that took. Raises TimeoutError that says what did not come."""
    began = _CLOCK.monotonic()
    while True:
        answer = condition()
        if await answer if isinstance(answer, Awaitable) else answer:
            return _CLOCK.monotonic() - began
        if _CLOCK.monotonic() - began > within_s:
            raise TimeoutError(f"waited {within_s:g} s for {what if isinstance(what, str) else what()}")
        await _CLOCK.sleep(_POLL_S)


@asynccontextmanager
async def _hasty(haste: int) -> AsyncIterator[None]:
    """What is wired up inside gets a clock that runs fast."""
    with patch("cryptostream.wiring.ingest.SystemClock", lambda: Hasty(haste)):
        yield


@asynccontextmanager
async def _running(stage: "wiring.Ingest") -> AsyncIterator[None]:
    """The pipelines at work; drained at the end."""
    async with asyncio.TaskGroup() as group:
        for pipeline in stage.pipelines:
            group.create_task(pipeline.run())
        try:
            yield
        finally:
            for pipeline in stage.pipelines:
                pipeline.stop()
