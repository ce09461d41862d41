"""Candles of venues: one client for each venue, and one that fails is left alone for a while, and told of once."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Self

from cryptostream import logs
from cryptostream.bus.pack import Entries
from cryptostream.config import Config
from cryptostream.engine.clock import within
from cryptostream.errors import BadFrame, ConfigError, CryptostreamError, VenueUnavailable
from cryptostream.feed import pages
from cryptostream.feed.rest import Paused, Refused, Rest
from cryptostream.model import codec
from cryptostream.model.events import Kline
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.model.ports import Clock
from cryptostream.venues.base import Request, Rule, Venue
from cryptostream.wiring.basics import rest, venue

ASK_S = 5.0
"""How long a venue has for an answer, further tries included."""
AGAIN_S = 60.0
"""A venue that failed is not asked again for so long, or for as long as it wants if that is longer."""
_OF_THE_PAIR = (400, 404)
_log = logs.get("wiring")


class Candles:
    """Asks the venues of a configuration for closed candles; an async context manager."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._opened = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._desks: dict[str, _Desk | None] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.__aexit__(kind, error, trace)

    async def __call__(self, wanted: Subscription, first_ms: int, last_ms: int) -> list[Kline]:
        """Those whose windows open between two times, both included, in order; as far as the venue gives them."""
        desk = await self._desk(wanted.exchange)
        return await desk.candles(wanted, first_ms, last_ms) if desk is not None else []

    async def is_contiguous(self, exchange: str) -> bool:
        """Whether each trade's id is known to be the one before plus one."""
        desk = await self._desk(exchange)
        return desk is not None and desk.place.rule(Channel.TRADES) is Rule.CONTIGUOUS

    async def _desk(self, exchange: str) -> "_Desk | None":
        async with self._opening:
            if exchange not in self._desks:
                self._desks[exchange] = await self._opened_at(exchange)
        return self._desks[exchange]

    async def _opened_at(self, exchange: str) -> "_Desk | None":
        try:
            place = venue(self._config, exchange)
        except ConfigError as error:
            _log.warning("warm_up.without_candles", venue=exchange, why=str(error))
            return None
        return _Desk(place, await self._opened.enter_async_context(rest(place)), self._clock)


class _Silent(VenueUnavailable):
    """No call may be made now: unlike Paused, nobody is to wait for the end of it."""

    def __init__(self, pause: Paused) -> None:
        super().__init__(str(pause), hint=pause.hint)
        self.delay_s = pause.delay_s


class _Desk:
    """Where one venue is asked. As long as nobody knows whether it answers, one finds out and the others wait."""

    def __init__(self, place: Venue, client: Rest, clock: Clock) -> None:
        self.place = place
        self._client = client
        self._clock = clock
        self._line = asyncio.Lock()
        self._answers = False
        self._quiet_until_s = clock.monotonic()

    async def candles(self, wanted: Subscription, first_ms: int, last_ms: int) -> list[Kline]:
        if self._answers:
            return await self._asked(wanted, first_ms, last_ms)
        async with self._line:
            return await self._asked(wanted, first_ms, last_ms)

    async def _asked(self, wanted: Subscription, first_ms: int, last_ms: int) -> list[Kline]:
        found: list[Kline] = []
        if self._is_quiet:
            return found
        try:
            await self._fetch(found, wanted, first_ms, last_ms)
            self._answers = True
        except (CryptostreamError, BadFrame, TimeoutError) as error:
            if isinstance(error, Refused) and error.status in _OF_THE_PAIR:
                _log.warning("warm_up.without_candles", venue=self.place.name, pair=wanted.pair, why=str(error))
            else:
                self._leave_alone(error)
        return found

    async def _fetch(self, found: list[Kline], wanted: Subscription, first_ms: int, last_ms: int) -> None:
        entry_of = Entries()
        async with aclosing(pages.klines(self.place, self._get, wanted, first_ms, last_ms, clock=self._clock)) as asked:
            async for page in asked:
                for entry in map(entry_of, page):
                    event = codec.event(entry.stream, entry.entry_id, entry.fields)
                    if isinstance(event, Kline):
                        found.append(event)

    async def _get(self, request: Request) -> bytes:
        try:
            return await within(self._clock, ASK_S, self._client.get(request))
        except Paused as pause:
            raise _Silent(pause) from pause
        except TimeoutError as error:
            raise VenueUnavailable(f"{self.place.name} gave no answer in {ASK_S:g} s") from error

    @property
    def _is_quiet(self) -> bool:
        return self._clock.monotonic() < self._quiet_until_s

    def _leave_alone(self, error: Exception) -> None:
        quiet_s = max(AGAIN_S, error.delay_s if isinstance(error, _Silent) else 0.0)
        if not self._is_quiet:
            _log.warning(
                "warm_up.without_candles",
                venue=self.place.name,
                why=str(error) or type(error).__name__,
                again_in_s=round(quiet_s),
            )
        self._answers = False
        self._quiet_until_s = max(self._quiet_until_s, self._clock.monotonic() + quiet_s)
