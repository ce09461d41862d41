"""From a local socket into Redis: CPU per trade of cryptofeed and of us, flooded with the same frames over `wss`."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import peer
from benchmarks.processes import Child, Redis, Unavailable, certificate, redis_server
from benchmarks.report import Report, mid, say, spread

PAIRS = 50
_FAST, _PLAIN, _PEER = "cryptostream, picows + uvloop", "cryptostream, websockets", f"cryptofeed {peer.VERSION}"
_TARGETS = {_FAST: 0.12, _PLAIN: 0.30}

Start = Callable[[], Child]


def measure(*, quick: bool, rounds: int) -> Report:
    """Interleaved rounds of every contestant; the figure of record is the median CPU per trade."""
    trades = 40_000 if quick else 200_000
    report = Report("ingest", f"wss socket to Redis, {trades:,} aggTrade frames, {PAIRS} pairs, no raw_json, flood")
    with flood(trades) as (exchange, address, crt, redis):
        contestants = _contestants(address, crt, redis, report)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
        for number in range(rounds):
            for name, start in contestants.items():
                runs[name].append(run_once(start, exchange, redis, trades))
                say(f"ingest {number + 1}/{rounds} {name}: {runs[name][-1]['us']:.2f} us of CPU a trade")
    _conclude(report, runs)
    return report


@contextmanager
def flood(trades: int) -> Iterator[tuple[Child, str, Path, Redis]]:
    """An exchange that has so many frames to send, where it listens, its certificate, and a Redis to put them in."""
    with ExitStack() as opened:
        crt, key = certificate(Path(opened.enter_context(tempfile.TemporaryDirectory())))
        redis = opened.enter_context(redis_server())
        options = ["--certificate", str(crt), "--key", str(key), "--trades", str(trades)]
        exchange = opened.enter_context(Child("-m", "benchmarks.exchange", *options))
        yield exchange, f"wss://127.0.0.1:{exchange.hear()['port']}", crt, redis


def _contestants(address: str, crt: Path, redis: Redis, report: Report) -> dict[str, Start]:
    trusting = {"SSL_CERT_FILE": str(crt)}

    def ours(transport: str, loop: str) -> Child:
        flags = ["--ws", address, "--redis", redis.url, "--transport", transport, "--loop", loop]
        return Child("-m", "benchmarks.ours", *flags, env=trusting)

    contestants: dict[str, Start] = {}
    try:
        python = peer.python()
        flags = ["--ws", address, "--redis-port", str(redis.port), "--certificate", str(crt)]
        contestants[_PEER] = lambda: Child(str(peer.SCRIPT), *flags, python=python)
    except Unavailable as error:
        report.notes.append(f"{error}; no ratios")
    contestants[_FAST] = lambda: ours("picows", "uvloop")
    contestants[_PLAIN] = lambda: ours("websockets", "asyncio")
    return contestants


def run_once(start: Start, exchange: Child, redis: Redis, trades: int) -> dict[str, float]:
    """One process, from its subscription to the last entry in Redis; what came before is not counted."""
    redis.clear()
    exchange.tell("accept 1")
    with start() as subject:
        exchange.hear(timeout_s=30)
        before = subject.ask("before")
        started = time.perf_counter()
        exchange.tell("flood")
        redis.wait_for(trades)
        seconds = time.perf_counter() - started
        after = subject.ask("after")
        exchange.hear()
        exchange.ask("hang up")
        if (held := redis.held()) != trades:
            raise RuntimeError(f"{held} entries of {trades} trades")
    return {"us": (after["cpu_s"] - before["cpu_s"]) / trades * 1e6, "rate": trades / seconds}


def _conclude(report: Report, runs: dict[str, list[dict[str, float]]]) -> None:
    cpu = {name: mid(run["us"] for run in found) for name, found in runs.items()}
    for name, found in runs.items():
        row: dict[str, Any] = {"who": name, "CPU us/trade": cpu[name], "least-most": spread([r["us"] for r in found])}
        row["trades/s"] = mid(run["rate"] for run in found)
        if _PEER in cpu:
            row["of cryptofeed's CPU"] = f"{cpu[name] / cpu[_PEER]:.1%}"
            row["target"] = f"<= {_TARGETS[name]:.0%}" if name in _TARGETS else ""
            if name in _TARGETS:
                report.at_most(
                    f"{name}: CPU per trade of cryptofeed's, %",
                    100 * cpu[name] / cpu[_PEER],
                    100 * _TARGETS[name],
                    " %",
                )
        report.rows.append(row)
