"""The live line under a running ingest: what comes in, over how many connections, how far behind the exchange."""

from collections.abc import Callable

from rich.live import Live
from rich.text import Text

from cryptostream.cli import render
from cryptostream.cli.sizes import size
from cryptostream.engine.stats import FeedStats, PublisherStats
from cryptostream.model.ports import Clock

EVERY_S = 1.0


def line(rate: float, pairs: int, feed: FeedStats, published: PublisherStats) -> Text:
    """One status line.

    >>> str(line(1234.5, 2, FeedStats(active_connections=1, lag_ms=3.2), PublisherStats(published=10)))
    '1,234/s  10 published  2 pairs  1 connection  0 reconnects  lag 3 ms'
    """
    connections = feed.active_connections
    parts = [
        f"{rate:,.0f}/s",
        f"{published.published:,} published",
        f"{pairs} pair{'s' * (pairs != 1)}",
        f"{connections} connection{'s' * (connections != 1)}",
        f"{feed.reconnects} reconnect{'s' * (feed.reconnects != 1)}",
    ]
    if feed.lag_ms is not None:
        parts.append(f"lag {feed.lag_ms:,.0f} ms")
    parts += _quality(feed, published)
    return Text("  ".join(parts), style="" if connections and not published.trouble else "yellow")


def _quality(feed: FeedStats, published: PublisherStats) -> list[str]:
    """What an undisturbed feed never has, and why the bus takes nothing; nothing where nothing happened.

    >>> _quality(FeedStats(gaps_opened=3, gaps_filled=2, filled=1200), PublisherStats(spool_bytes=5833, trouble="away"))
    ['1 gap open', '1,200 filled', 'spool 5.8 kB', 'away']
    """
    gaps = feed.gaps_opened - feed.gaps_filled - feed.gaps_unfillable
    counts = {
        "bad": feed.error_messages,
        "dropped": feed.dropped,
        "refused": published.refused,
        f"gap{'s' * (gaps != 1)} open": gaps,
        "filled": feed.filled,
        "missing": feed.missing,
    }
    spool = [f"spool {size(published.spool_bytes)}"] if published.spool_bytes else []
    trouble = [render.safe(published.trouble)] if published.trouble else []
    return [f"{count:,} {name}" for name, count in counts.items() if count > 0] + spool + trouble


class Ticker:
    """Repaints a status line once a second on a terminal; silent elsewhere, where the log speaks.

    `read` gives the feed's counters, the publisher's, and how many pairs are followed.
    """

    def __init__(self, clock: Clock, read: Callable[[], tuple[FeedStats, PublisherStats, int]]) -> None:
        self._clock = clock
        self._read = read

    async def __call__(self) -> None:
        """Repaint until cancelled."""
        console = render.err()
        if not console.is_terminal:
            return
        before = 0
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                feed, published, pairs = self._read()
                live.update(line((feed.total_messages - before) / EVERY_S, pairs, feed, published), refresh=True)
                before = feed.total_messages
                await self._clock.sleep(EVERY_S)
