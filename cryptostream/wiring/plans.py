"""What each feed listens to: its pairs found, checked against the venue's list, and looked for again."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from cryptostream import logs
from cryptostream.config import Config, FeedConfig
from cryptostream.config.schema import Discover
from cryptostream.engine.clock import SystemClock, within
from cryptostream.errors import BadFrame, NotFound, VenueUnavailable
from cryptostream.feed.discover import Discovery, discover
from cryptostream.feed.rest import Rest
from cryptostream.model.instrument import Instrument, Subscription
from cryptostream.registry import did_you_mean
from cryptostream.venues.base import Venue
from cryptostream.wiring.basics import rest, venue

_log = logs.get("wiring")


@dataclass(frozen=True)
class Plan:
    """What one feed listens to; `unknown` says which symbols were left out and why.

    `client` asks the venue over REST, as long as the plan is in use.
    """

    venue: Venue
    client: Rest
    feed: FeedConfig
    subscriptions: Sequence[Subscription]
    unknown: Sequence[str] = ()

    @property
    def pairs(self) -> list[str]:
        return list(dict.fromkeys(wanted.pair for wanted in self.subscriptions))


@asynccontextmanager
async def plans(config: Config, give_up_at: float) -> AsyncIterator[list[Plan]]:
    """A plan for each feed: its pairs found and checked against the venue's list.

    Half of the time until `give_up_at` (seconds of the monotonic clock) may be spent on it. A symbol that the venue
    does not trade is left out and named; raises NotFound if none is left. Feeds of one venue share a client, and so
    the venue's budget.
    """
    async with AsyncExitStack() as opened:
        clients: dict[str, Rest] = {}
        made: list[Plan] = []
        for feed in config.feeds:
            place = venue(config, feed.venue)
            if feed.venue not in clients:
                clients[feed.venue] = await opened.enter_async_context(rest(place))
            made.append(await _plan(config, feed, place, clients[feed.venue], give_up_at))
        yield made


async def _plan(config: Config, feed: FeedConfig, place: Venue, client: Rest, give_up_at: float) -> Plan:
    found = (await discovered(config, feed, place, client)).pairs if feed.discover else ()
    symbols = dict.fromkeys([*feed.symbols, *(ranked.pair for ranked in found)])
    known, unknown = await _checked(client, place, list(symbols), left_s(give_up_at) / 2)
    if not known:
        raise NotFound(f"{feed.venue} trades none of what was asked for: {'; '.join(unknown) or 'no symbols'}")
    return Plan(place, client, feed, subscriptions(feed, known), unknown)


def subscriptions(feed: FeedConfig, pairs: Sequence[str]) -> list[Subscription]:
    """Every channel of a feed for every pair."""
    return [
        Subscription(feed.venue, wanted.channel, pair, wanted.interval) for pair in pairs for wanted in feed.channels
    ]


async def discovered(config: Config, feed: FeedConfig, place: Venue, client: Rest, *, force: bool = False) -> Discovery:
    """The pairs that a feed's discovery finds now. Raises VenueUnavailable where nothing at all can be found."""
    told = feed.discover or Discover()
    settings = config.discovery.model_copy(update={"top": told.top, "quote": told.quote})
    found = await discover(client, place, settings, config.data_dir, force=force)
    for warning in found.warnings:
        _log.warning("discovery.warning", what=warning)
    return found


def left_s(give_up_at: float) -> float:
    """Seconds until a start is given up, at least one."""
    return max(1.0, give_up_at - SystemClock().monotonic())


async def _checked(client: Rest, place: Venue, symbols: Sequence[str], within_s: float) -> tuple[list[str], list[str]]:
    """Symbols the venue trades, and a line on each it does not: it would acknowledge them and stay silent."""
    try:
        listed = place.instruments(await within(SystemClock(), within_s, client.get(place.instruments_request())))
    except (VenueUnavailable, BadFrame, TimeoutError) as error:
        _log.warning("symbols.unchecked", venue=place.name, why=str(error) or f"no answer in {within_s:.0f} s")
        return list(symbols), []
    instruments = {instrument.pair: instrument for instrument in listed}
    problems = {symbol: _problem(symbol, instruments) for symbol in symbols}
    for symbol, why in problems.items():
        if why:
            _log.warning("symbols.left_out", venue=place.name, symbol=symbol, why=why)
    return [s for s in symbols if not problems[s]], [f"{s} {why}" for s, why in problems.items() if why]


def _problem(symbol: str, instruments: Mapping[str, Instrument]) -> str:
    meant = "" if symbol in instruments else did_you_mean(symbol, instruments)
    return ", ".join(filter(None, (untraded(symbol, instruments), meant)))


def untraded(symbol: str, instruments: Mapping[str, Instrument]) -> str:
    """Why a venue that lists these does not trade a symbol; empty where it does."""
    instrument = instruments.get(symbol)
    if instrument is None:
        return "is not listed"
    return "" if instrument.tradable else "is listed and does not trade now"
