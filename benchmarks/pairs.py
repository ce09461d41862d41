"""1,000 pairs over 20 connections at 20,000 trades a second: everything published, nothing dropped, memory flat."""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.processes import Child, certificate, redis_server
from benchmarks.report import Report, say

PAIRS = 1_000
CONNECTIONS = 20
RATE = 20_000
_WARM_UP_S = 3.0
_GROWTH_MIB = 5.0


def measure(*, quick: bool, rounds: int) -> Report:  # noqa: ARG001 - one long run
    """One run; memory is read after the warm-up, in the middle and at the end."""
    seconds = 8.0 if quick else 30.0
    about = f"{PAIRS:,} pairs over {CONNECTIONS} wss connections, {RATE:,} trades/s for {seconds:g} s, picows + uvloop"
    report = Report("pairs", about)
    with ExitStack() as opened:
        crt, key = certificate(Path(opened.enter_context(tempfile.TemporaryDirectory())))
        redis = opened.enter_context(redis_server())
        options = ["--certificate", str(crt), "--key", str(key), "--pairs", str(PAIRS)]
        exchange = opened.enter_context(Child("-m", "benchmarks.exchange", *options))
        flags = ["--ws", f"wss://127.0.0.1:{exchange.hear()['port']}", "--redis", redis.url, "--pairs", str(PAIRS)]
        flags += ["--time-unit", "microsecond", "--maxlen", "10000"]
        subject = opened.enter_context(Child("-m", "benchmarks.ours", *flags, env={"SSL_CERT_FILE": str(crt)}))
        exchange.ask(f"accept {CONNECTIONS}", timeout_s=30)
        exchange.tell(f"pace {RATE} {seconds + _WARM_UP_S}")
        samples = _watch(subject, seconds)
        sent = exchange.hear()
        redis.wait_for(sent["sent"], timeout_s=20)
        end = subject.ask("end")
        published = redis.held()
    _conclude(report, samples, sent, end, published)
    return report


def _watch(subject: Child, seconds: float) -> list[dict[str, Any]]:
    """What the process says of itself at the start, in the middle and at the end, after the warm-up."""
    time.sleep(_WARM_UP_S)
    samples = [subject.ask("start")]
    for moment in ("middle", "end"):
        time.sleep(seconds / 2 - 0.1)
        samples.append(subject.ask(moment))
        say(f"pairs, {moment}: {samples[-1]['published']:,} published, {samples[-1]['rss_mib']:.1f} MiB")
    return samples


def _conclude(
    report: Report, samples: list[dict[str, Any]], sent: dict[str, Any], end: dict[str, Any], published: int
) -> None:
    start, middle, last = samples
    trades = last["published"] - start["published"]
    report.rows.append(
        {
            "trades/s": sent["sent"] / sent["seconds"],
            "sent": sent["sent"],
            "published": end["published"],
            "dropped": end["dropped"],
            "RSS MiB start": start["rss_mib"],
            "middle": middle["rss_mib"],
            "end": last["rss_mib"],
            "CPU us/trade": (last["cpu_s"] - start["cpu_s"]) / trades * 1e6,
            "sent late, p99 ms": sent["late_p99_ms"],
        }
    )
    report.at_least("offered, trades/s", sent["sent"] / sent["seconds"], 0.95 * RATE)
    report.at_most("sent and not in Redis", float(sent["sent"] - published), 0)
    report.at_most("dropped", float(end["dropped"]), 0)
    report.at_most("RSS growth from start to end, MiB", last["rss_mib"] - start["rss_mib"], _GROWTH_MIB)
