"""`python -m tests.chaos [rows] [soak] [kills] [--seed N]`: make things go wrong; what came of it, in Markdown."""

import argparse
import asyncio
import signal
import sys
from random import SystemRandom

from cryptostream.model.duration import seconds, spelled
from tests.chaos import kills, rows
from tests.chaos.soak import Soak, soak

_SHORT, _LONG = "60s", "5m"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="rows|soak|kills", help="rows and a short soak by default")
    parser.add_argument("--for", dest="lasts", help=f"how long the soak is ({_SHORT}; {_LONG} where it is alone)")
    parser.add_argument("--seed", type=int, help="draw the faults of an earlier soak again")
    parser.add_argument("--ingesters", type=int, help="how many write the same streams (2; rows: once 1, once 2)")
    parser.add_argument("--rate", type=float, default=200.0, help="trades a second and pair (200)")
    parser.add_argument(
        "--kills", type=int, default=kills.KILLS, help=f"how often consumers are killed ({kills.KILLS})"
    )
    parser.add_argument("--keep", action="store_true", help="leave logs and data where they are")
    chosen = parser.parse_args()
    what = set(chosen.what) or {"rows", "soak"}
    if unknown := what - {"rows", "soak", "kills"}:
        parser.error(f"neither rows, soak nor kills: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    failed = 0
    if "rows" in what:
        failed |= _rows()
    if "kills" in what:
        failed |= _kills(chosen)
    if "soak" in what:
        alone = what == {"soak"}
        for ingesters in [chosen.ingesters] if chosen.ingesters else [2] if alone else [1, 2]:
            failed |= _soak(chosen, seconds(chosen.lasts or (_LONG if alone else _SHORT)), ingesters)
    return failed


def _rows() -> int:
    shown, code = rows.run()
    print(f"\n{rows.table(shown)}\n")
    return int(code != 0)


def _kills(chosen: argparse.Namespace) -> int:
    found = asyncio.run(kills.run(chosen.kills, seed=_seed(chosen), keep=chosen.keep))
    print(f"\n{found}")
    return int(found.failed)


def _seed(chosen: argparse.Namespace) -> int:
    return SystemRandom().randrange(2**32) if chosen.seed is None else int(chosen.seed)


def _soak(chosen: argparse.Namespace, lasts_s: float, ingesters: int) -> int:
    seed = _seed(chosen)
    print(f"soak: seed {seed}, {spelled(lasts_s)}", file=sys.stderr, flush=True)
    found = asyncio.run(soak(lasts_s, seed=seed, ingesters=ingesters, rate=chosen.rate, keep=chosen.keep))
    print(f"\n{_told(found)}")
    return int(found.failed)


def _told(found: Soak) -> str:
    """A soak in Markdown: the verdict, then a row for each kind of fault."""
    who = "1 ingester" if found.ingesters == 1 else f"{found.ingesters} ingesters on the same streams"
    lines = [
        f"{spelled(found.seconds)}, seed {found.seed}, {who}: "
        f"{found.struck.total()} faults of {len(found.struck)} kinds",
        "",
        "| " + " | ".join(found.figures) + " | longest stall | most memory |",
        "|" + "---|" * (len(found.figures) + 2),
        "| " + " | ".join(f"{count:,}" for count in found.figures.values())
        + f" | {found.stalled_s:.1f} s | {found.rss_mib:.0f} MiB |",
        "",
        "| fault | times | all caught up after it, at most |",
        "|---|---|---|",
    ]  # fmt: skip
    for name, count in sorted(found.struck.items()):
        caught_up_s = found.caught_up_s.get(name)
        lines.append(f"| {name} | {count} | {'never' if caught_up_s is None else f'{caught_up_s:.1f} s'} |")
    for pair, history in found.histories.items():
        lines += [] if history.clean and not history.gaps else [f"* {pair}: {history}"]
    lines += [f"* {problem}" for problem in (*found.problems, *found.bad_klines[:20])]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
