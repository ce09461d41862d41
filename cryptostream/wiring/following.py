"""What the feeds of a process follow: what is named and found, and what was wished for while they run."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from msgspec.structs import replace as with_

from cryptostream import logs
from cryptostream.bus import control
from cryptostream.bus.ask import heed_cancellation, insist
from cryptostream.bus.connect import Bus
from cryptostream.bus.control import WATCHLIST, Request, Verdict, Wishes
from cryptostream.config import Config
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused, BusUnavailable, CryptostreamError, UsageError, VenueUnavailable
from cryptostream.feed.source import Feed
from cryptostream.model.instrument import Pair, Subscription
from cryptostream.model.ports import Clock
from cryptostream.wiring import watchlist
from cryptostream.wiring.basics import INGESTER, adopter
from cryptostream.wiring.ingest import Ingest
from cryptostream.wiring.judging import Judged, Judging
from cryptostream.wiring.listings import Listings
from cryptostream.wiring.plans import Plan, subscriptions, untraded
from cryptostream.wiring.watchlist import ADDED, REMOVED

LOOK_EVERY_S = 10.0
"""How often what is stored is looked at: it may have been changed while we could not hear of it."""
_log = logs.get("watchlist")


async def following(config: Config, plans: Sequence[Plan], on: Bus | None, *, by: str = INGESTER) -> "Following":
    """What the feeds of these plans are to follow, with the watchlist that the bus holds. Raises BusUnavailable."""
    made = Following(config, plans, on, SystemClock(), by=by)
    await made.restore(config.bus.connect_timeout)
    return made


class Following:
    """What each feed follows: what is named, found and added, without what is removed; one change at a time.

    `plans` say what feeds begin with, and `lead` which feeds these are. As a companion it obeys requests for the
    watchlist and keeps to what is stored; without a bus, or where that does not allow it, nobody can ask.
    """

    def __init__(self, config: Config, plans: Sequence[Plan], on: Bus | None, clock: Clock, *, by: str) -> None:
        self._plans = plans
        self._base = [list(plan.pairs) for plan in plans]
        self._adopts = [plan.feed is adopter(config.feeds, plan.venue.name) for plan in plans]
        self._stored = control.Wishes(on, WATCHLIST) if on else None
        self._clock = clock
        self._by = by
        self._feeds: Sequence[Feed] = ()
        self._wishes: dict[str, str] = {}
        self._untraded: frozenset[str] = frozenset()
        """Wishes for what is not traded any more."""
        self._listings = Listings(clock)
        self._due = False
        self._turn = asyncio.Lock()

    @property
    def plans(self) -> list[Plan]:
        """The plans, each with what its feed is to follow now."""
        return [replace(plan, subscriptions=self._wanted(number)) for number, plan in enumerate(self._plans)]

    @property
    def followed(self) -> list[Pair]:
        """The pairs that feeds follow now."""
        return list(dict.fromkeys(Pair(one.exchange, one.pair) for feed in self._feeds for one in feed.subscriptions))

    def lead(self, stage: Ingest) -> None:
        """From now on these feeds, one for each plan, follow what is wished."""
        self._feeds = stage.feeds

    def plan(self, number: int) -> Plan:
        """What a feed began with, before anybody wished for anything."""
        return self._plans[number]

    def base(self, number: int) -> Sequence[str]:
        """What is named and found for a feed."""
        return self._base[number]

    async def found(self, number: int, pairs: Sequence[str]) -> None:
        """Another list is named and found for a feed. Raises BusUnavailable, BusRefused; then the old list stays."""
        async with self._turn:
            before, self._base[number] = self._base[number], list(pairs)
            try:
                await self._apply()
            except (BusUnavailable, BusRefused):
                self._base[number] = before
                raise

    async def restore(self, within_s: float) -> None:
        """Take over the watchlist that the bus holds; not allowed to, go on without. Raises BusUnavailable."""
        if self._stored is None:
            return
        try:
            stored = await insist(self._stored.read, self._clock, within_s)
        except BusRefused as refused:
            _log.warning("control.denied", role="ingest", why=str(refused))
            self._stored = None
            return
        if stored:
            await self._adopt(stored)

    async def __call__(self) -> None:
        """Obey and answer requests, and keep to what is stored, until cancelled."""
        if self._stored is None or not self._feeds:
            return
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self._keep(self._stored))
            await control.attend(self._stored.bus, "ingest", self._by, self._clock, self.obey)
            keeping.cancel()

    async def obey(self, request: Request) -> Sequence[Verdict]:
        """Do what a request wants, as far as that can be done. Raises UsageError, BusUnavailable, BusRefused."""
        if request.verb != "watchlist":
            raise UsageError(f'an ingester does not know what "{request.verb}" is')
        assert self._stored is not None  # noqa: S101 - the request came by it
        asked = watchlist.asked(request.args)
        async with self._turn:
            followed = self.followed  # before what another who obeys the same request has stored by now
            await self._look(self._stored)
            judged = await Judging(self._plans, self._listings, self._wishes, followed).judged(asked)
            verdicts = await self._done(self._stored, judged)
            told, left = {one.what for one in verdicts}, set(self.followed)
            gone = [name for name in followed if name not in left and str(name) not in told]
            return [*verdicts, *(Verdict(str(name), True, "followed no more") for name in gone)]

    async def _done(self, stored: Wishes, judged: Judged) -> Sequence[Verdict]:
        """Follow and store what is wished from now on; what is told of it."""
        before, verdicts = self._wishes, judged.verdicts
        self._wishes = dict(judged.wishes)
        self._untraded -= {name.key for name in judged.again}
        try:
            await self._apply(judged.again)
        except BusUnavailable:
            self._wishes = before
            raise
        except BusRefused as refused:  # a stream that would be begun is a key of another type
            self._wishes = before
            return [with_(one, accepted=False, why=str(refused)) if one.accepted else one for one in verdicts]
        await stored.wish(watchlist.changes(before, judged.wishes))
        return verdicts

    # What is stored.

    async def _keep(self, stored: Wishes) -> None:
        """Look again and again; what cannot be had, or followed, is told once and tried again."""
        told = ""
        while True:
            heed_cancellation()
            await self._clock.sleep(LOOK_EVERY_S)
            try:
                async with self._turn:
                    await self._look(stored)
                told = ""
            except CryptostreamError as error:
                if str(error) != told:
                    _log.warning("watchlist.unread", why=str(error))
                told = str(error)

    async def _look(self, stored: Wishes) -> None:
        """Follow what is stored."""
        found = await stored.read()
        if found != self._wishes:
            await self._adopt(found)
        if self._due:
            await self._apply()

    async def _adopt(self, stored: Mapping[str, str]) -> None:
        self._wishes, self._due = dict(stored), True
        adopting = [plan for plan, adopts in zip(self._plans, self._adopts, strict=True) if adopts]
        self._untraded = frozenset([name.key for plan in adopting for name in await self._gone(plan)])
        signs = {sign: [key for key, one in stored.items() if one == sign] for sign in (ADDED, REMOVED)}
        _log.info("watchlist.read", added=signs[ADDED], removed=signs[REMOVED])

    async def _gone(self, plan: Plan) -> list[Pair]:
        """What was added on a plan's venue and is not traded there any more."""
        exchange = plan.venue.name
        if not (added := list(watchlist.added(exchange, self._wishes))):
            return []
        try:
            listed = await self._listings.of(plan)
        except VenueUnavailable as error:
            _log.warning("symbols.unchecked", venue=exchange, why=str(error))
            return []
        gone = {pair: why for pair in added if (why := untraded(pair, listed))}
        for pair, why in gone.items():
            _log.warning("symbols.left_out", venue=exchange, symbol=pair, why=why)
        return [Pair(exchange, pair) for pair in gone]

    # What is followed.

    async def _apply(self, again: Collection[Pair] = ()) -> None:
        """Let each feed follow what it is to. What had to be left out stays so, unless it is wished for `again`."""
        self._due = True
        for number, feed in enumerate(self._feeds):
            left_out = {one for one in feed.left_out if Pair(one.exchange, one.pair) not in again}
            await feed.change([one for one in self._wanted(number) if one not in left_out])
        self._due = False

    def _wanted(self, number: int) -> list[Subscription]:
        plan = self._plans[number]
        exchange = plan.venue.name
        own = {
            pair
            for other, base in zip(self._plans, self._base, strict=True)
            if other.venue.name == exchange
            for pair in base
        }
        wishes = {key: sign for key, sign in self._wishes.items() if key not in self._untraded}
        found = watchlist.pairs(self._base[number], exchange, wishes, own, adopts=self._adopts[number])
        return subscriptions(plan.feed, found)
