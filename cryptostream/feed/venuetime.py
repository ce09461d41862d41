"""What time it is at a venue, by the venue's own account: our clock may be minutes off it, and may step."""

import asyncio

from cryptostream.feed.pages import Ask
from cryptostream.model.ports import Clock
from cryptostream.venues.base import Venue


class VenueTime:
    """Readings of a venue's clock over REST. One is never ahead of the venue, for it took its time to reach us.

    Both methods that ask raise VenueUnavailable and BadFrame.
    """

    def __init__(self, venue: Venue, ask: Ask, clock: Clock) -> None:
        self.told_ms = 0
        """The newest reading, milliseconds since the epoch; 0 before the first."""
        self._venue = venue
        self._ask = ask
        self._clock = clock
        self._told_at_s = 0.0
        self._asking = asyncio.Lock()

    def guess_ms(self) -> int:
        """The newest reading, carried on by our monotonic clock: good enough to know when to ask, and no proof.

        0 before the first reading.
        """
        return self.told_ms and self.told_ms + round((self._clock.monotonic() - self._told_at_s) * 1000)

    async def read(self) -> None:
        """Ask the venue what time it is."""
        told_ms = self._venue.server_time(await self._ask(self._venue.time_request()))
        self.told_ms, self._told_at_s = told_ms, self._clock.monotonic()

    async def is_past(self, ms: int) -> bool:
        """Whether the venue's clock is past a time. Asks unless that is known; who asks meanwhile shares the answer."""
        async with self._asking:
            if self.told_ms <= ms:
                await self.read()
        return self.told_ms > ms
