"""What completeness costs: CPU per trade of ingest with continuity and ids of our own, and of the same without both."""

from functools import partial

from benchmarks.ingest import PAIRS, flood, run_once
from benchmarks.processes import Child
from benchmarks.report import Report, mid, say, spread

_WHOLE, _BARE = "with continuity and entry ids", "without both"
_ADDED = 0.25


def measure(*, quick: bool, rounds: int) -> Report:
    """Interleaved rounds of both; the figure of record is the median CPU per trade."""
    trades = 40_000 if quick else 200_000
    report = Report("cost", f"wss socket to Redis, {trades:,} aggTrade frames, {PAIRS} pairs, no raw_json, flood")
    with flood(trades) as (exchange, address, crt, redis):
        flags = ["--ws", address, "--redis", redis.url]
        start = partial(Child, "-m", "benchmarks.ours", *flags, env={"SSL_CERT_FILE": str(crt)})
        contestants = {_BARE: partial(start, "--bare"), _WHOLE: start}
        runs: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(rounds):
            for name, begin in contestants.items():
                runs[name].append(run_once(begin, exchange, redis, trades)["us"])
                say(f"cost {number + 1}/{rounds} {name}: {runs[name][-1]:.2f} us of CPU a trade")
    _conclude(report, runs)
    return report


def _conclude(report: Report, runs: dict[str, list[float]]) -> None:
    bare = mid(runs[_BARE])
    for name, found in runs.items():
        added = f"{mid(found) / bare - 1:+.1%}"
        report.rows.append({"who": name, "CPU us/trade": mid(found), "least-most": spread(found), "added": added})
    report.at_most("CPU that both add, %", 100 * (mid(runs[_WHOLE]) / bare - 1), 100 * _ADDED, " %")
