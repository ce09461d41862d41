"""Inside a process that `backtest` asks: each line of its input is answered with what one backtest took and found.

Standard library alone: the peers import it in their own venvs.
"""

import argparse
import gc
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.meter import cost, tell

Backtest = Callable[[Path], dict[str, Any]]


def serve(backtest: Backtest, about: str | None, prepare: Callable[[Path], object] = str) -> None:
    """Run backtests of `--file`, one for each line; the time is that from the file to the result.

    What is to be prepared once is prepared before.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--file", required=True, type=Path)
    chosen = parser.parse_args()
    prepare(chosen.file)
    for _ in sys.stdin:
        tell(timed(lambda: backtest(chosen.file)))


def timed(backtest: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a backtest found, with its seconds of CPU and of wall time, and the most memory that was ever held."""
    gc.collect()
    used_s, began_s = cost()["cpu_s"], time.perf_counter()
    found = backtest()
    wall_s, used_s = time.perf_counter() - began_s, cost()["cpu_s"] - used_s
    return {**found, "cpu_s": used_s, "wall_s": wall_s, "rss_mib": _most_kib() / 1024}


def _most_kib() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells is at least what the process held that started this one
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
