"""Publishing alone: XADDs a second of our Publisher beside redis-benchmark and redis-py, on one server."""

import csv
import io
from contextlib import ExitStack
from shutil import which
from typing import Any

from benchmarks.market import pairs
from benchmarks.processes import Child, Redis, Unavailable, redis_server, run
from benchmarks.report import Report, mid, say, spread

PAIRS = 50
BATCH = 500
HANDED = 5_000
"""Records in one `write` of ours: what an inbox holds under load. The Publisher cuts them as it likes."""
TARGET = 0.60
_BENCH, _BENCH_1 = f"redis-benchmark -P {BATCH} (50 clients)", f"redis-benchmark -P {BATCH} -c 1"
_OURS = "cryptostream Publisher"
_REDIS_PY = {"pipeline": f"redis-py pipeline of {BATCH}", "xadd": "redis-py await xadd"}
_SHARE = {"ours": 1.0, "pipeline": 0.2, "xadd": 0.02}
"""How many of the entries each way gets: the slow ones show what they are with fewer."""


def measure(*, quick: bool, rounds: int) -> Report:
    """Interleaved rounds after one that fills the streams, so that every XADD trims as it does in a long run."""
    entries = 150_000 if quick else 400_000
    about = f"XADD MAXLEN ~ 10000, 7 fields, {PAIRS} streams, {entries:,} entries, one server"
    report = Report("publish", about)
    rates: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    with ExitStack() as opened:
        redis = opened.enter_context(redis_server())
        ways = {
            way: opened.enter_context(Child("-m", "benchmarks.publishing", "--redis", redis.url, "--way", way))
            for way in _SHARE
        }
        for number in range(rounds + 1):
            found = {_BENCH_1: _redis_benchmark(redis, entries, 1), _BENCH: _redis_benchmark(redis, entries, 50)}
            told = {way: ways[way].ask(str(int(entries * share))) for way, share in _SHARE.items()}
            found |= {_REDIS_PY.get(way, _OURS): facts["rate"] for way, facts in told.items()}
            if number == 0:
                continue
            say(f"publish {number}/{rounds}: " + " · ".join(f"{name} {rate:,.0f}/s" for name, rate in found.items()))
            for name, rate in found.items():
                rates.setdefault(name, []).append(rate)
            for way, facts in told.items():
                cpu.setdefault(_REDIS_PY.get(way, _OURS), []).append(facts["us"])
    _conclude(report, rates, cpu)
    return report


def _redis_benchmark(redis: Redis, entries: int, clients: int) -> float:
    """XADDs a second by Redis' own C program, with our fields, and ids by the server since it cannot count."""
    program = which("redis-benchmark")
    if program is None:
        raise Unavailable("no redis-benchmark on PATH")
    pair = pairs(1)[0]
    key = "b" * (len(f"trades:{pair}") - 12) + "__rand_int__"  # it puts 12 digits there: keys as long as ours
    fields = f"exchange binance pair {pair} price 45123.50000000 qty 0.12300000 ts 2024-11-14T17:30:00.123000 side buy"
    command = ["XADD", key, "MAXLEN", "~", "10000", "*", *fields.split(), "trade_id", "12345678"]
    options = ["-p", str(redis.port), "-n", str(entries), "-P", str(BATCH), "-c", str(clients), "-r", str(PAIRS)]
    printed = run([program, *options, "--csv", *command], timeout_s=120)
    [row] = csv.DictReader(io.StringIO(printed))
    return float(row["rps"])


def _conclude(report: Report, rates: dict[str, list[float]], cpu: dict[str, list[float]]) -> None:
    best = mid(rates[_BENCH])
    for name, found in rates.items():
        row: dict[str, Any] = {"who": name, "XADD/s": mid(found)}
        row["least-most, thousands"] = spread([rate / 1000 for rate in found])
        row["of redis-benchmark's rate"] = f"{mid(found) / best:.0%}"
        row["client CPU us/XADD"] = mid(cpu[name]) if name in cpu else None
        report.rows.append(row)
    report.at_least(
        f"{_OURS}: XADDs a second of redis-benchmark's, %", 100 * mid(rates[_OURS]) / best, 100 * TARGET, " %"
    )
