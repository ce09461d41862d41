"""A venue's own account of trades and klines, page by page over REST, for whoever wants to compare or to fill."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

from cryptostream.errors import BadFrame, UsageError, VenueUnavailable
from cryptostream.feed.rest import Paused
from cryptostream.model.events import KlineRecord, TradeRecord
from cryptostream.model.instrument import Subscription
from cryptostream.model.intervals import following
from cryptostream.model.ports import Clock
from cryptostream.venues.base import Request, Venue

PAGE = 1000
_PAUSES = 5
_LONGEST_PAUSE_S = 300.0

Ask = Callable[[Request], Awaitable[bytes]]
R = TypeVar("R")


async def trades(
    venue: Venue, ask: Ask, wanted: Subscription, first: int, last: int | None = None, *, clock: Clock
) -> AsyncGenerator[Sequence[TradeRecord], None]:
    """Pages of trades from one id to another, both included, or up to the venue's newest, in the order of ids.

    Ends early where the venue has no more; ids that it leaves out are left out. Sits out pauses of a few minutes.
    Raises VenueUnavailable, and UsageError for a venue that cannot be asked by id.
    """
    while last is None or first <= last:
        limit = PAGE if last is None else min(PAGE, last - first + 1)
        page = await _page(venue, ask, wanted, first, limit, clock, venue.trades_request, venue.trades)
        found = [trade for trade in page if trade.trade_id >= first and (last is None or trade.trade_id <= last)]
        if found:
            yield found
        if len(found) < limit:
            return
        first = found[-1].trade_id + 1


async def klines(
    venue: Venue, ask: Ask, wanted: Subscription, first: int, last: int | None = None, *, clock: Clock
) -> AsyncGenerator[Sequence[KlineRecord], None]:
    """Pages of closed klines by their open times, in milliseconds, as `trades` does it."""
    interval = wanted.interval
    while interval is not None and (last is None or first <= last):
        page = await _page(venue, ask, wanted, first, PAGE, clock, venue.klines_request, venue.klines)
        found = [kline for kline in page if kline.closed and first <= kline.open_time <= (last or kline.open_time)]
        if found:
            yield found
        if len(found) < PAGE:
            return
        first = following(interval, found[-1].open_time)


async def _page(
    venue: Venue,
    ask: Ask,
    wanted: Subscription,
    first: int,
    limit: int,
    clock: Clock,
    request_of: Callable[[Subscription, int, int], Request | None],
    read: Callable[[Subscription, bytes, int], Sequence[R]],
) -> Sequence[R]:
    request = request_of(wanted, first, limit)
    if request is None:
        raise UsageError(f"{venue.name} cannot be asked for {wanted.channel} by their ids")
    body = await _asked(ask, request, clock)
    try:
        return read(wanted, body, clock.now_ns())
    except BadFrame as error:
        raise VenueUnavailable(f"{venue.name} answered what is no page of {wanted.channel}: {error}") from error


async def _asked(ask: Ask, request: Request, clock: Clock) -> bytes:
    for _ in range(_PAUSES):
        try:
            return await ask(request)
        except Paused as pause:
            if pause.delay_s > _LONGEST_PAUSE_S:
                raise
            await clock.sleep(pause.delay_s)
    return await ask(request)
