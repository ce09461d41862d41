"""`python -m tests.pages.soak --for 30m`: does anything grow while the dashboard is open, and how often is it updated?

A market of 50 pairs is traded and shown. Every half minute: the memory of the server, that of each page's scripts once
their garbage is collected, and its elements.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from playwright.sync_api import Browser, CDPSession, Page

from cryptostream.engine.clock import SystemClock
from cryptostream.model.duration import seconds
from tests.chaos.soak import redis_binary
from tests.conftest import RedisServer
from tests.pages import stage as stages
from tests.pages.stage import Seen, Stage

PAGES = ("", "pipeline", "backtests")
PAIRS = tuple(f"S{number:02}USDT" for number in range(50))
_EVERY_S = 30.0
_MOST_GROWTH = 0.10
"""Of the mean of the second third of the samples to that of the last third: what is flat may breathe."""
_MIB = 1 << 20


@dataclass
class Watched:
    """One open page, and what it has cost so far."""

    name: str
    seen: Seen
    session: CDPSession
    updates: int = 0
    heap_mib: list[float] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)

    def look(self) -> None:
        """Take a sample."""
        self.session.send("HeapProfiler.collectGarbage")
        found = {one["name"]: one["value"] for one in self.session.send("Performance.getMetrics")["metrics"]}
        self.heap_mib.append(found["JSHeapUsedSize"] / _MIB)
        self.nodes.append(int(found["Nodes"]))

    def heard(self, frame: str | bytes) -> None:
        """Count a message that changes the page; socket.io's own pings are none."""
        self.updates += len(frame) > 2


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pages.soak", description=__doc__)
    parser.add_argument("--for", dest="lasts", default="30m", help="how long (30m)")
    lasts_s = seconds(parser.parse_args().lasts)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="cs-")))
        (folder / "redis").mkdir()
        server = RedisServer(redis_binary(), folder / "redis")
        server.start()
        opened.callback(server.kill)
        stage = opened.enter_context(stages.staged(folder, server.url, pairs=PAIRS, followed=PAIRS, rate=10.0))
        browser = opened.enter_context(stages.browser())
        return _run(stage, browser, lasts_s)


def _run(stage: Stage, browser: Browser, lasts_s: float) -> int:
    clock = SystemClock()
    pages = [_open(stage, browser, name) for name in PAGES]
    rss_mib: list[float] = []
    began_s = clock.monotonic()
    print("minute  server MiB  " + "  ".join(f"{page.name} MiB" for page in pages), flush=True)
    while (elapsed_s := clock.monotonic() - began_s) < lasts_s:
        pages[0].seen.page.wait_for_timeout(_EVERY_S * 1000)
        rss_mib.append(_rss_mib(stage.run.pid))
        for page in pages:
            page.look()
        heaps = "  ".join(f"{page.heap_mib[-1]:{len(page.name) + 4}.1f}" for page in pages)
        print(f"{elapsed_s / 60:6.1f}  {rss_mib[-1]:10.1f}  {heaps}", flush=True)
    return _judge(pages, rss_mib, clock.monotonic() - began_s)


def _judge(pages: Sequence[Watched], rss_mib: Sequence[float], lasted_s: float) -> int:
    grown = {"server": growth(rss_mib)}
    grown |= {f"{page.name} scripts": growth(page.heap_mib) for page in pages}
    grown |= {f"{page.name} elements": growth(page.nodes) for page in pages}
    print("\nfrom the second third to the last third:")
    for what, by in grown.items():
        print(f"  {what:20} {by:+7.2%}{'  GROWS' if by > _MOST_GROWTH else ''}")
    for page in pages:
        print(f"  {page.name}: {page.updates / lasted_s:.2f} updates/s, complaints: {page.seen.complaints or 'none'}")
    return int(any(by > _MOST_GROWTH for by in grown.values()) or any(page.seen.complaints for page in pages))


def growth(samples: Sequence[float]) -> float:
    """How much more the last third of some samples is than the second.

    >>> growth([9, 9, 9, 4, 4, 4, 5, 5, 5])
    0.25
    """
    third = max(1, len(samples) // 3)
    middle, last = samples[-2 * third : -third], samples[-third:]
    return mean(last) / mean(middle) - 1 if middle else 0.0


def _open(stage: Stage, browser: Browser, name: str) -> Watched:
    seen = Seen(browser.new_page(viewport={"width": 1440, "height": 900}))
    session = seen.page.context.new_cdp_session(seen.page)
    session.send("Performance.enable")
    watched = Watched(name or "market", seen, session)
    seen.page.on("websocket", lambda socket: socket.on("framereceived", watched.heard))
    _go(seen.page, f"{stage.url}/dashboard/{name}")
    return watched


def _go(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("main h1, main h2").first.wait_for()


def _rss_mib(pid: int) -> float:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
