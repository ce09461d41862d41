"""From the socket to a visible entry: how long a trade takes at 10,000 trades a second, seen by another process."""

import tempfile
import time
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.processes import Child, Redis, certificate, redis_server
from benchmarks.report import Report, mid, say

PAIRS = 50
WATCHED = 5
"""How many of the pairs the reader follows: a reader of all fifty would weigh more than what is measured."""
RATE = 10_000
_WARM_UP_S = 2.0
_MOST_ROUNDS = 3
_FAST = "cryptostream, picows + uvloop"
_WAYS = {
    _FAST: ("picows", "uvloop"),
    "cryptostream, websockets": ("websockets", "asyncio"),
}
_FIGURES = ("p50", "p99", "p99.9", "max")


def measure(*, quick: bool, rounds: int) -> Report:
    """Interleaved rounds; the figure of record is the median of the rounds' percentiles."""
    seconds = 4 if quick else 10
    about = f"ms from sending over wss to XREAD BLOCK elsewhere, {RATE:,} trades/s at random moments, {PAIRS} pairs"
    report = Report("latency", about)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in _WAYS}
    with ExitStack() as opened:
        crt, key = certificate(Path(opened.enter_context(tempfile.TemporaryDirectory())))
        redis = opened.enter_context(redis_server())
        options = ["--certificate", str(crt), "--key", str(key), "--pairs", str(PAIRS)]
        exchange = opened.enter_context(Child("-m", "benchmarks.exchange", *options))
        address = f"wss://127.0.0.1:{exchange.hear()['port']}"
        for number, name in product(range(min(rounds, _MOST_ROUNDS)), _WAYS):
            transport, loop = _WAYS[name]
            flags = ["--ws", address, "--redis", redis.url, "--transport", transport, "--loop", loop]
            flags += ["--time-unit", "microsecond", "--maxlen", "10000"]
            with Child("-m", "benchmarks.ours", *flags, env={"SSL_CERT_FILE": str(crt)}) as subject:
                found = _run(subject, exchange, redis, seconds)
            runs[name].append(found)
            say(f"latency {number + 1} {name}: p50 {found['p50']:.2f} ms, p99 {found['p99']:.2f} ms")
    _conclude(report, runs)
    return report


def _run(subject: Child, exchange: Child, redis: Redis, seconds: float) -> dict[str, Any]:
    redis.clear()
    exchange.ask("accept 1", timeout_s=30)
    with Child("-m", "benchmarks.reader", "--redis-port", str(redis.port), "--pairs", str(WATCHED)) as reader:
        reader.ask("start", timeout_s=20)
        exchange.tell(f"pace {RATE} {seconds + _WARM_UP_S}")
        time.sleep(_WARM_UP_S)
        before = subject.ask("before")
        reader.ask("start")
        sent = exchange.hear()
        redis.wait_for(sent["sent"], timeout_s=20)
        after = subject.ask("after")
        seen = reader.ask("tell")
    exchange.ask("hang up")
    used = after["cpu_s"] - before["cpu_s"]
    return seen | {
        "late": sent["late_p99_ms"],
        "us": used / (after["published"] - before["published"]) * 1e6,
        "rate": sent["sent"] / sent["seconds"],
    }


def _conclude(report: Report, runs: dict[str, list[dict[str, Any]]]) -> None:
    for name, found in runs.items():
        row: dict[str, Any] = {"who": name, "trades/s": mid(run["rate"] for run in found)}
        row |= {figure: mid(run[figure] for run in found) for figure in _FIGURES}
        row["CPU us/trade"] = mid(run["us"] for run in found)
        row["sent late, p99"] = mid(run["late"] for run in found)
        report.rows.append(row)
    fast = report.rows[0]
    report.at_most(f"{_FAST}: p50, ms", fast["p50"], 1)
    report.at_most(f"{_FAST}: p99, ms", fast["p99"], 5)
    report.notes.append("sent late: how far the exchange was behind its own timetable; 1 ms and more is a busy machine")
