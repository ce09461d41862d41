"""Which pairs to follow: the biggest coins that trade on a venue, asked live, else as last known, never none.

Three doors are tried within one time bound: the ranking of coins, the venue's instruments, its last prices. What
cannot be had is said in `warnings`; then the last good list on disk stands in, and after it the fallback pairs, which
are part of every list anyway.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from cryptostream.errors import BadFrame, VenueUnavailable
from cryptostream.feed.lastgood import LastGood, Stored
from cryptostream.feed.rest import Paused, Refused, Rest
from cryptostream.model.codec import iso
from cryptostream.model.instrument import Instrument
from cryptostream.venues import coingecko
from cryptostream.venues.base import Request, Venue
from cryptostream.venues.ranking import STABLECOINS, WRAPPED, Coin, Dropped, Mapped, Ranked, Reason, map_coins

T = TypeVar("T")

LIVE = "live"
FALLBACK = "fallback"
WITHIN_S = 10.0
MOST_PAGES = 10
MOST_LOST = 0.5
"""The share of the last good list that a new one may drop before it is taken for a mistake of the provider's."""


class Secret(Protocol):
    """Text that does not print itself."""

    def get_secret_value(self) -> str: ...


class Settings(Protocol):
    """What a person asks for; the `discovery` section of the configuration fits."""

    @property
    def url(self) -> str: ...
    @property
    def api_key(self) -> Secret | None: ...
    @property
    def pro_api_key(self) -> Secret | None: ...
    @property
    def top(self) -> int: ...
    @property
    def quote(self) -> str: ...
    @property
    def fallback_pairs(self) -> Sequence[str]: ...
    @property
    def exclude(self) -> Sequence[str]: ...
    @property
    def aliases(self) -> Mapping[str, str]: ...


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """The pairs to follow, never none; where they come from; which coins gave none; what went wrong on the way.

    `source` is "live", "last good list of <time>" or "fallback".
    """

    pairs: tuple[Ranked, ...]
    source: str
    dropped: tuple[Dropped, ...] = ()
    warnings: tuple[str, ...] = ()


async def discover(
    rest: Rest,
    venue: Venue,
    settings: Settings,
    store: Path,
    *,
    offline: bool = False,
    force: bool = False,
    within_s: float = WITHIN_S,
) -> Discovery:
    """Find the pairs to follow, and keep a full live list below `store` for the day nobody answers.

    Asks nobody when `offline`. A live list that drops more than half of the last good one is not believed, unless
    `force`. Raises VenueUnavailable only where nothing at all is left: no answer, no list on disk and no fallback pair
    that trades; ConfigError for an address that must not be called.
    """
    shelf = LastGood(store, venue.name, settings.quote, settings.top)
    last = shelf.read()
    survey = _Survey(rest, venue, settings)
    survey.warnings += shelf.damaged
    if not offline:
        await survey.run(within_s)
    found = _choose(survey, settings, last, force=force)
    if found.source == LIVE and survey.complete:
        await _keep(shelf, survey, rest.clock.now_ns())
    return _with_fallback(found, survey, settings)


def last_good(store: Path, venue: str, settings: Settings) -> Stored | None:
    """The list on disk that stands in when nobody answers, None where there is none."""
    return LastGood(store, venue, settings.quote, settings.top).read()


def _choose(survey: "_Survey", settings: Settings, last: Stored | None, *, force: bool) -> Discovery:
    """The ranked pairs of the best list there is; none at all means fallback."""
    live = survey.mapped()
    kept, gone = _still_trading(last.pairs[: settings.top] if last else (), survey.tradable())
    if live.pairs and (survey.complete or not kept) and (force or survey.believes(live, kept)):
        return Discovery(pairs=live.pairs, source=LIVE, dropped=live.dropped)
    if last and kept:
        return Discovery(pairs=kept, source=f"last good list of {last.saved_at}", dropped=gone)
    return Discovery(pairs=(), source=FALLBACK, dropped=live.dropped)


def _still_trading(
    pairs: Sequence[Ranked], tradable: frozenset[str] | None
) -> tuple[tuple[Ranked, ...], tuple[Dropped, ...]]:
    kept = tuple(row for row in pairs if tradable is None or row.pair in tradable)
    gone = tuple(
        Dropped(coin=row.coin, rank=row.rank, reason=Reason.NOT_TRADABLE, pair=row.pair, price=row.price)
        for row in pairs
        if tradable is not None and row.pair not in tradable
    )
    return kept, gone


def _with_fallback(found: Discovery, survey: "_Survey", settings: Settings) -> Discovery:
    """The list with the pairs that are always in it. Raises VenueUnavailable where that leaves nothing."""
    ranked = {row.pair for row in found.pairs}
    always = [Ranked(pair=pair, note="always included") for pair in map(str.upper, settings.fallback_pairs)]
    added, gone = _still_trading([row for row in always if row.pair not in ranked], survey.tradable())
    if gone:
        names = ", ".join(row.pair for row in gone)
        survey.warnings.append(f"always included, yet not traded on {survey.venue.name} now: {names}")
    if survey.tradable() is None:
        survey.warnings.append(f"not known what trades on {survey.venue.name} now: the pairs are not checked")
    if not (pairs := (*found.pairs, *added)):
        raise VenueUnavailable(
            f"no pair to follow on {survey.venue.name}: {'; '.join(survey.warnings) or 'nothing was asked'}",
            hint="name pairs that trade there in discovery.fallback_pairs",
        )
    return msgspec.structs.replace(found, pairs=pairs, dropped=(*found.dropped, *gone), warnings=tuple(survey.warnings))


async def _keep(shelf: LastGood, survey: "_Survey", now_ns: int) -> None:
    try:
        await asyncio.to_thread(shelf.write, f"{iso(now_ns // 1000)[:19]}Z", survey.mapped().pairs)
    except OSError as error:
        survey.warnings.append(f"the list is not kept on disk: {error}")


class _Survey:
    """What could be learnt in time. It fills as answers come, so a time-out loses only what had not come."""

    def __init__(self, rest: Rest, venue: Venue, settings: Settings) -> None:
        self.venue = venue
        self.complete = False
        """Whether the ranking was read as far as it was needed."""
        self.instruments: Sequence[Instrument] = ()
        self.prices: Mapping[str, float] = {}
        self.warnings: list[str] = []
        self._coins: list[Coin] = []
        self._rest = rest
        self._settings = settings

    async def run(self, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                await self._ask_all()
        except TimeoutError:
            self.warnings.append(f"no full answer within {within_s:g} s")
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group

    def mapped(self) -> Mapped:
        """The coins known so far, on the venue's instruments known so far."""
        return map_coins(
            self._coins,
            self.instruments,
            self.prices,
            quote=self._settings.quote,
            limit=self._settings.top,
            exclude=STABLECOINS | WRAPPED | set(self._settings.exclude),
            aliases={**coingecko.ALIASES, **self._settings.aliases},
        )

    def tradable(self) -> frozenset[str] | None:
        """Pairs that trade now; None where that is not known, and while a venue stands still as a whole."""
        return frozenset(listed.pair for listed in self.instruments if listed.tradable) or None

    def believes(self, live: Mapped, kept: Sequence[Ranked]) -> bool:
        """Whether enough of the last good list is left in the new one."""
        lost = {row.pair for row in kept} - {row.pair for row in live.pairs}
        if len(lost) <= MOST_LOST * len(kept):
            return True
        self.warnings.append(f"the live list lacks {len(lost)} of {len(kept)} pairs of the last good one: not believed")
        return False

    async def _ask_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask_instruments())
            group.create_task(self._ask_prices())
            first = group.create_task(self._ask_page(1))
        self.complete = await self._ask_further(first.result())

    async def _ask_instruments(self) -> None:
        venue = self.venue
        found = await self._ask(f"instruments of {venue.name}", venue.instruments_request(), venue.instruments)
        self.instruments = found or ()

    async def _ask_prices(self) -> None:
        venue = self.venue
        found = await self._ask(f"prices of {venue.name}", venue.prices_request(), venue.prices)
        self.prices = found or {}

    async def _ask_further(self, coins: Sequence[Coin] | None) -> bool:
        """Ask for pages until enough pairs are found, or a page is short or brings none; whether all could be read."""
        found = 0
        for page in range(2, MOST_PAGES + 1):
            before, found = found, len(self.mapped().pairs)
            if coins is None or len(coins) < coingecko.PER_PAGE or found == before or found >= self._settings.top:
                break
            coins = await self._ask_page(page)
        return coins is not None

    async def _ask_page(self, page: int) -> Sequence[Coin] | None:
        settings = self._settings
        request = coingecko.markets_request(
            page,
            url=str(settings.url),
            api_key=_open(settings.api_key),
            pro_api_key=_open(settings.pro_api_key),
        )
        coins = await self._ask(f"page {page} of the ranking of coins", request, coingecko.coins)
        self._coins += coins or ()
        return coins

    async def _ask(self, what: str, request: Request, read: Callable[[bytes], T]) -> T | None:
        """One answer, None with a warning where there is none to be had."""
        try:
            return read(await self._rest.get(request))
        except BadFrame as error:
            self.warnings.append(f"{what}: {error}")
        except VenueUnavailable as error:
            self.warnings.append(f"{what}: {_why(error)}")
        return None


def _open(secret: Secret | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _why(error: VenueUnavailable) -> str:
    """What happened and what to do, in the provider's own words where it used any."""
    body = error.body if isinstance(error, Refused) else b""
    status = error.status if isinstance(error, Refused | Paused) else 0
    said = coingecko.complaint(body)[1]
    advice = coingecko.advice(status, body)
    return "; ".join(filter(None, (f"{error}: {said}" if said else str(error), error.hint, advice)))
