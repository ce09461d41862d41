"""Answers over HTTP while a thousand pairs tick: how long they take, and what looking at the bus costs."""

import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT, Child, Redis, free_port, redis_server
from benchmarks.report import Report, mid, say

PAIRS = 1_000
RATE = 5_000
_ASKED_A_SECOND = 80
_STARTED_S = 30.0
_SETTLED_S = 6.0
_TICKS_S = os.sysconf("SC_CLK_TCK")
_CACHED = (
    "/health",
    "/stats",
    "/groups",
    "/pairs?symbols=COIN000USDT,COIN001USDT",
    "/api/v1/realtime/health",
    "/api/v1/realtime/stats",
)
_ASKING = ("/api/v1/trades/COIN000USDT?limit=100", "/api/v1/bars/COIN000USDT?interval=1s")
_WHOLE = ("/pairs", "/streams")


def measure(*, quick: bool, rounds: int) -> Report:
    """One server, asked in turns for everything; percentiles of all answers of a kind."""
    requests = 300 if quick else 1_000
    about = f"ms from a request to its whole answer, one at a time, {PAIRS:,} pairs at {RATE:,} trades/s"
    report = Report("serving", about)
    with ExitStack() as opened:
        redis = opened.enter_context(redis_server())
        writer = ["-m", "benchmarks.ticking", "--redis-port", str(redis.port), "--pairs", str(PAIRS)]
        opened.enter_context(Child(*writer, "--rate", str(RATE)))
        pid, port = opened.enter_context(_served(redis))
        used = _idle(pid, seconds=3 if quick else 8)
        say(f"serving: {used * 100:.1f} % of a core while nobody asks")
        for kind, paths in (("from memory", _CACHED), ("all 1,000 pairs", _WHOLE), ("from the bus", _ASKING)):
            many = requests if kind == "from memory" else requests // 5
            took = sorted(_asked(port, paths, many))
            row = {"what": kind, "answers": len(took), "p50": mid(took), "p99": took[len(took) * 99 // 100]}
            report.rows.append(row | {"max": took[-1]})
            say(f"serving {kind}: p50 {row['p50']:.2f} ms, p99 {row['p99']:.2f} ms")
    report.at_most("from memory: p99, ms", report.rows[0]["p99"], 10)
    report.at_most("looking at the bus while nobody asks, % of a core", used * 100, 15)
    report.notes.append(f"of {rounds} rounds one: each answer counts by itself")
    return report


@contextmanager
def _served(redis: Redis) -> Iterator[tuple[int, int]]:
    """The command itself, once it has looked at every pair."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        words = ["serve", "--no-dashboard", "--port", str(port), "--redis", redis.url, "--data-dir", folder]
        process = subprocess.Popen(
            [sys.executable, "-m", "cryptostream", *words], cwd=ROOT, stderr=subprocess.DEVNULL, env={**os.environ}
        )
        try:
            _await_pairs(port)
            time.sleep(_SETTLED_S)
            yield process.pid, port
        finally:
            process.terminate()
            process.wait(10)


def _await_pairs(port: int) -> None:
    deadline = time.monotonic() + _STARTED_S
    while time.monotonic() < deadline:
        try:
            if _answer(_connection(port), "/pairs").count(b'"pair"') >= PAIRS:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"cryptostream serve did not show {PAIRS} pairs in {_STARTED_S:g} s")


def _asked(port: int, paths: tuple[str, ...], many: int) -> list[float]:
    """How many milliseconds each answer took, over one connection, at an even pace."""
    connection, took = _connection(port), []
    for path in paths:  # what is loaded when it is first asked for
        _answer(connection, path)
    began = time.perf_counter()
    for number in range(many):
        time.sleep(max(0.0, began + number / _ASKED_A_SECOND - time.perf_counter()))
        start = time.perf_counter()
        _answer(connection, paths[number % len(paths)])
        took.append((time.perf_counter() - start) * 1e3)
    connection.close()
    return took


def _connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=10)


def _answer(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    if response.status not in (200, 503) or (response.status == 503 and path != "/health"):
        raise RuntimeError(f"{path}: {response.status} {body[:200]!r}")  # nobody ingests: /health says so
    return body


def _idle(pid: int, *, seconds: float) -> float:
    """The share of a core that a process uses."""
    before, began = _used_s(pid), time.monotonic()
    time.sleep(seconds)
    return (_used_s(pid) - before) / (time.monotonic() - began)


def _used_s(pid: int) -> float:
    """CPU seconds of a process, all its threads."""
    fields: list[Any] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S
