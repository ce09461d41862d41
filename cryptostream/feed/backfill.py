"""What was missed is fetched: each line that lacks trades is looked after until it waits for nothing."""

import asyncio
from collections.abc import Callable
from functools import partial

from cryptostream.engine.stats import FeedStats
from cryptostream.feed.door import Door
from cryptostream.feed.fill import Fill, GapSettings
from cryptostream.feed.pages import Ask
from cryptostream.feed.tradepages import TradePages
from cryptostream.model.instrument import Subscription
from cryptostream.model.ports import Clock
from cryptostream.venues.base import Venue
from cryptostream.venues.continuity import Continuity

__all__ = ["Backfill", "GapSettings"]


class Backfill:
    """Fills the gaps of a feed's lines, all of them side by side; one that has to wait keeps nobody else waiting.

    `ask` fetches one page and waits for the venue's weight budget; while there is no `room` further on, nobody asks.
    """

    def __init__(
        self,
        venue: Venue,
        ask: Ask,
        continuity: Continuity,
        door: Door,
        *,
        room: Callable[[], bool],
        clock: Clock,
        settings: GapSettings,
        stats: FeedStats,
    ) -> None:
        self._fill = partial(
            Fill,
            pages=TradePages(venue, ask, clock),
            continuity=continuity,
            door=door,
            room=room,
            clock=clock,
            settings=settings,
            stats=stats,
        )
        self._calls: set[Subscription] = set()
        self._attended: set[Subscription] = set()
        self._called = asyncio.Event()

    def wanted(self, subscription: Subscription) -> None:
        """A line has a gap that was not there before."""
        self._calls.add(subscription)
        self._called.set()

    async def run(self) -> None:
        """Look after every line that calls, for ever."""
        async with asyncio.TaskGroup() as lines:
            while True:
                await self._called.wait()
                self._called.clear()
                # Whoever is attended to now sees for himself that there is more to do.
                for line in self._calls - self._attended:
                    self._attended.add(line)
                    lines.create_task(self._attend(line))
                self._calls.clear()

    async def _attend(self, line: Subscription) -> None:
        await self._fill(line).run()
        self._attended.discard(line)
