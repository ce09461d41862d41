"""`python -m benchmarks [NAME ...]`: run those benchmarks, all of them unless told, and print what they found."""

import argparse
import importlib
import json
import signal
import sys

from benchmarks.processes import Unavailable
from benchmarks.report import Report, as_json, machine, show, show_machine

_ALL = (
    "ingest",
    "cost",
    "publish",
    "latency",
    "pairs",
    "backfill",
    "consume",
    "recorder",
    "indicators",
    "backtest",
    "strategies",
    "serving",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="|".join(_ALL), help="which; all of them by default")
    parser.add_argument("--quick", action="store_true", help="less of everything: a look, not a figure")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (3 with --quick, else 5)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(_ALL):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    facts = machine()
    if chosen.output == "table":
        show_machine(facts)
    reports = []
    for name in chosen.names or _ALL:
        reports.append(_measured(name, quick=chosen.quick, rounds=chosen.rounds or (3 if chosen.quick else 5)))
        if chosen.output == "table":
            show(reports[-1])
    if chosen.output == "json":
        print(json.dumps(as_json(reports, facts), indent=2))
    return 1 if any(report.failed for report in reports) else 0


def _measured(name: str, *, quick: bool, rounds: int) -> Report:
    try:
        report: Report = importlib.import_module(f"benchmarks.{name}").measure(quick=quick, rounds=rounds)
    except Unavailable as error:
        return Report(name, "not measured", notes=[str(error)])
    except RuntimeError as error:
        return Report(name, "failed", notes=[str(error)], failed=True)
    return report


if __name__ == "__main__":
    raise SystemExit(main())
