"""Pages of a venue's trades by their ids, for all lines that lack some: a few at a time, and troubles as answers."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from cryptostream import logs
from cryptostream.errors import BadFrame, CryptostreamError
from cryptostream.feed.pages import PAGE, Ask
from cryptostream.model.events import TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.model.ports import Clock
from cryptostream.venues.base import Venue

__all__ = ["PAGE", "Absent", "Page", "TradePages"]

_AT_ONCE = 12
"""Pages on their way over all lines; the client has 20 connections."""
_LOOKS, _LOOK_S = 2, 3.0
"""How often ids have to be left out before they are believed not to exist, and how far apart."""
_log = logs.get("feed")


class Page(msgspec.Struct, frozen=True):
    """What came of asking for at most `limit` trades from `first` on: rows, or a trouble and none."""

    first: int
    limit: int
    rows: Sequence[TradeRecord] = ()
    trouble: Exception | None = None

    def ends_before(self, end: int) -> bool:
        """Whether the venue knows no trade at or above an id, nor any between its last row and that one."""
        last = self.rows[-1].trade_id if self.rows else self.first - 1
        return self.trouble is None and len(self.rows) < self.limit and last < end - 1


class Absent:
    """Stretches of ids that pages left out although they had later ones, and how often."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, int, float]] = {}

    def look(self, page: Page, now_s: float) -> None:
        expected = page.first
        for row in page.rows:
            if row.trade_id > expected:
                self._note(expected, row.trade_id - 1, now_s)
            expected = row.trade_id + 1

    def _note(self, first: int, last: int, now_s: float) -> None:
        _, looks, since_s = self._seen.get(first, (last, 0, -_LOOK_S))
        if now_s >= since_s + _LOOK_S:
            looks, since_s = looks + 1, now_s
        self._seen[first] = (last, looks, since_s)

    def until(self, first: int) -> int | None:
        """The last id of a stretch that begins here and was left out twice."""
        last, looks, _ = self._seen.get(first, (0, 0, 0.0))
        return last if looks >= _LOOKS else None

    def wait_s(self, first: int, now_s: float) -> float | None:
        """How long to wait before another look at this id tells anything; None where none was left out."""
        seen = self._seen.get(first)
        return None if seen is None else max(0.0, seen[2] + _LOOK_S - now_s)

    def forget_below(self, first: int) -> None:
        self._seen = {begin: seen for begin, seen in self._seen.items() if begin >= first}


class TradePages:
    """Asks one venue; no page waits for another one's trouble."""

    def __init__(self, venue: Venue, ask: Ask, clock: Clock) -> None:
        self._venue = venue
        self._ask = ask
        self._clock = clock
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._refusals: dict[Channel, str] = {}

    def refusal(self, wanted: Subscription) -> str:
        """Why missing trades of a channel cannot be asked for; empty where they can. Said once in the log."""
        if wanted.channel not in self._refusals:
            why = ""
            if self._venue.trades_request(wanted, 0) is None:
                host = urlsplit(self._venue.time_request().url).hostname
                why = f"{host} serves no {wanted.channel} by id"
                _log.warning("feed.gaps_stay", why=why, hint="set a rest_url that does, or use agg_trades")
            self._refusals[wanted.channel] = why
        return self._refusals[wanted.channel]

    async def get_all(self, wanted: Subscription, plan: Sequence[tuple[int, int]]) -> list[Page]:
        """Several pages at once, in the order of the plan: first ids and limits."""
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self.get(wanted, first, limit)) for first, limit in plan]
        return [task.result() for task in asked]

    async def get(self, wanted: Subscription, first: int, limit: int) -> Page:
        request = self._venue.trades_request(wanted, first, limit)
        assert request is not None, "refusal was asked"  # noqa: S101
        try:
            async with self._slots:
                body = await self._ask(request)
            return Page(first, limit, self._venue.trades(wanted, body, self._clock.now_ns()))
        except (CryptostreamError, BadFrame) as trouble:
            return Page(first, limit, trouble=trouble)
