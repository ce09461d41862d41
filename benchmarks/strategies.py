"""Live strategies: 1,000 pairs that trade every second, bars of a second, five indicators each; CPU of the consumer."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from benchmarks.five import LONGEST
from benchmarks.market import pairs
from benchmarks.processes import ROOT, Redis, redis_server
from benchmarks.report import Report, say
from cryptostream.model.codec import iso

PAIRS = 1_000
TARGET_SHARE = 25
_BARS = LONGEST + 10
_WARM_UP_S = 4.0
_PARTS = 20
"""The pairs trade in so many groups, one after the other, within each second."""
_TICKS_S = os.sysconf("SC_CLK_TCK")
_CONFIG = """\
bus: {{url: "{url}"}}
data_dir: {folder}
consume: {{health_port: 0}}
plugins: {{paths: [{paths}]}}
consumers:
  five:
    read: trades
    strategies: ["five.py:Five"]
    bars: 1s
    warm_up: false
    write: bus
"""


class _Moment(NamedTuple):
    """What was used up to a point in time."""

    at_s: float
    trades: int
    used_s: float
    server_s: float
    commands: dict[str, int]


def measure(*, quick: bool, rounds: int) -> Report:  # noqa: ARG001 - one long run
    """One run of `cryptostream consume` beside a feed at an even pace, after enough bars for every indicator."""
    seconds = 10.0 if quick else 30.0
    report = Report("strategies", f"{PAIRS:,} pairs, a trade a second each, 1 s bars, five indicators, {seconds:g} s")
    with tempfile.TemporaryDirectory(prefix="cs-strategies-") as folder, redis_server() as redis:
        market = _Market(redis)
        market.history()
        with _consumer(redis, Path(folder)) as process:
            _await_bars(redis, process)
            market.live(_WARM_UP_S)
            begin = _moment(market, redis, process.pid)
            late_s = market.live(seconds)
            end = _moment(market, redis, process.pid)
            row = _row(begin, end) | {"RSS, MiB": _rss_mib(process.pid), "sent late, ms": late_s * 1000}
            _await_end(redis)
        report.rows.append(row)
        _conclude(report, row, _pairs_with_indicators(redis), len(redis.client.keys("signals:*")))
        _tell_commands(report, begin, end)
    return report


def _moment(market: "_Market", redis: Redis, pid: int) -> _Moment:
    return _Moment(time.monotonic(), market.trades, _used_s(pid), _server_s(redis), _commands(redis))


def _row(begin: _Moment, end: _Moment) -> dict[str, Any]:
    took_s, trades, used_s = end.at_s - begin.at_s, end.trades - begin.trades, end.used_s - begin.used_s
    return {
        "trades/s": trades / took_s,
        "bars/s": _rates(begin, end)["pexpire"],  # of the hash of indicators, once for each bar
        "CPU, % of one core": 100 * used_s / took_s,
        "CPU us/bar": used_s / trades * 1e6,
        "Redis, CPU %": 100 * (end.server_s - begin.server_s) / took_s,
    }


def _conclude(report: Report, row: dict[str, Any], warm: int, speaking: int) -> None:
    report.at_least("offered, trades/s", row["trades/s"], 0.95 * PAIRS)
    report.at_least("bars/s", row["bars/s"], 0.95 * PAIRS)
    report.at_most("CPU of the consumer, % of one core", row["CPU, % of one core"], TARGET_SHARE, " %")
    report.at_least("pairs with indicators in Redis", warm, PAIRS)
    report.notes.append(f"{speaking:,} pairs gave signals; each bar writes a state and a hash to Redis")


def _tell_commands(report: Report, begin: _Moment, end: _Moment) -> None:
    told = ", ".join(f"{name} {rate:,.0f}" for name, rate in sorted(_rates(begin, end).items()) if rate >= 1)
    report.notes.append(f"commands/s, the feed's {PAIRS:,} xadd among them: {told}")


def _rates(begin: _Moment, end: _Moment) -> dict[str, float]:
    """Commands a second, by name."""
    took_s = end.at_s - begin.at_s
    return {name: (calls - begin.commands.get(name, 0)) / took_s for name, calls in end.commands.items()}


class _Market:
    """A walk of each pair; entries as our publisher writes them."""

    def __init__(self, redis: Redis) -> None:
        self.trades = 0
        self._redis = redis
        self._chance = Random(3)
        self._names = pairs(PAIRS)
        self._prices = [self._chance.uniform(1, 1_000) for _ in self._names]
        self._ids = [1_000_000] * PAIRS  # without a hole, pair by pair: a consumer looks into each hole

    def history(self) -> None:
        """So many seconds of all pairs at once, up to now."""
        now_ms = time.time_ns() // 1_000_000
        for second in range(_BARS, 0, -1):
            for part in range(_PARTS):
                self._publish(part, now_ms - second * 1_000 + part * (1_000 // _PARTS))

    def live(self, seconds: float) -> float:
        """A trade a second of each pair, by groups at an even pace; how late the latest was sent, in seconds."""
        began, late_s = time.monotonic(), 0.0
        for step in range(round(seconds * _PARTS)):
            wait_s = began + step / _PARTS - time.monotonic()
            late_s = max(late_s, -wait_s)
            time.sleep(max(0.0, wait_s))
            self._publish(step % _PARTS, time.time_ns() // 1_000_000)
        return late_s

    def _publish(self, part: int, ms: int) -> None:
        with self._redis.client.pipeline(transaction=False) as pipe:
            for place in range(part, PAIRS, _PARTS):
                self.trades += 1
                self._ids[place] += 1
                entry_id = f"{ms}-{self._ids[place]}"
                pipe.xadd(f"trades:{self._names[place]}", self._trade(place, ms), id=entry_id, maxlen=10_000)
            pipe.execute()

    def _trade(self, place: int, ms: int) -> dict[Any, Any]:
        chance = self._chance
        self._prices[place] *= 1 + chance.uniform(-0.0005, 0.0005)
        return {
            "exchange": "binance",
            "pair": self._names[place],
            "price": f"{self._prices[place]:.8f}",
            "qty": f"{0.001 + chance.random():.8f}",
            "ts": iso(ms * 1000),
            "side": "buy" if self._ids[place] & 1 else "sell",
            "trade_id": str(self._ids[place]),
        }


@contextmanager
def _consumer(redis: Redis, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    config = folder / "cryptostream.yaml"
    config.write_text(_CONFIG.format(url=redis.url, folder=folder / "data", paths=ROOT / "benchmarks"))
    command = [sys.executable, "-m", "cryptostream", "consume", "five", "--config", str(config)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            yield process
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {(folder / 'log').read_text()[-600:]}") from error
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_bars(redis: Redis, process: "subprocess.Popen[bytes]", timeout_s: float = 90.0) -> None:
    """Return once the past is worked off. Raises RuntimeError when it is not."""
    deadline = time.monotonic() + timeout_s
    while _pairs_with_indicators(redis) < PAIRS or _behind(redis):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the consumer did not get to the end of the past in {timeout_s:g} s")
        time.sleep(0.5)
    say("strategies: the past is worked off")


def _await_end(redis: Redis, timeout_s: float = 10.0) -> None:
    """Return once all that was sent is worked off. Raises RuntimeError when it is not: then CPU was saved by delay."""
    deadline = time.monotonic() + timeout_s
    while left := _behind(redis):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{left:,} streams were not worked off {timeout_s:g} s after the last trade")
        time.sleep(0.5)


def _pairs_with_indicators(redis: Redis) -> int:
    return sum(1 for _ in redis.client.scan_iter("indicators:*", count=1000))


def _behind(redis: Redis) -> int:
    """How many streams have entries that are not acknowledged."""
    with redis.client.pipeline(transaction=False) as pipe:
        for pair in pairs(PAIRS):
            pipe.xinfo_groups(f"trades:{pair}")
        found: Any = pipe.execute(raise_on_error=False)
    return sum(1 for one in found if not one or isinstance(one, Exception) or one[0]["lag"] or one[0]["pending"])


def _used_s(pid: int) -> float:
    """CPU seconds of a process, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


def _rss_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _server_s(redis: Redis) -> float:
    found: Any = redis.client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def _commands(redis: Redis) -> dict[str, int]:
    found: Any = redis.client.info("commandstats")
    names = {name: told["calls"] for name, told in found.items() if told["calls"]}
    return {name.removeprefix("cmdstat_").lower(): calls for name, calls in names.items()}
