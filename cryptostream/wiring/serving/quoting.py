"""All pairs as quotes: their tickers, what has to be asked for them now and then, and their state."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from cryptostream.bus.admin import Counters
from cryptostream.bus.glance import PIECE, Glance, Glimpse, field
from cryptostream.model.instrument import Channel, Interval, Pair, Subscription
from cryptostream.web import shown
from cryptostream.wiring.basics import KeyOf
from cryptostream.wiring.serving import named
from cryptostream.wiring.serving.quotes import DAY_MS, Ticker, priced

_THEN_S = 60.0
_SEEDED_AT_ONCE = 40
"""Spark lines that are begun in a round of looks."""
_MOST_FOLLOWED = 10_000
_STATES = frozenset({"live", "filling", "silent", "left out"})
_BACK = 20
"""Entries that are looked at for a trade where the newest is a hole."""


class _State(NamedTuple):
    state: str
    note: str


class Quoting:
    """Which streams are of a pair's trades, and what is known of each pair."""

    def __init__(self, glance: Glance, key_of: KeyOf) -> None:
        self._glance = glance
        self._key_of = key_of
        self._tickers: dict[str, Ticker] = {}
        self._unlike: set[str] = set()
        self._then_s: dict[str, float] = {}
        self._shown: dict[str, shown.Quote] = {}
        self._states: Mapping[Pair, _State] = {}
        self._followed: frozenset[Pair] = frozenset()
        self._is_known = False
        """Whether ingesters tell whom they follow; those of an older version do not."""

    def has(self, stream: str) -> bool:
        """Whether it is a stream of a pair's trades."""
        return stream in self._tickers

    def forget_all_but(self, streams: Collection[str]) -> None:
        """Keep nothing of streams that are gone."""
        self._tickers = {name: one for name, one in self._tickers.items() if name in streams}
        self._then_s = {name: at_s for name, at_s in self._then_s.items() if name in streams}
        self._shown = {name: one for name, one in self._shown.items() if name in streams}
        self._unlike.intersection_update(streams)

    def told(self, counters: Sequence[Counters]) -> None:
        """Take in what ingesters say of their pairs."""
        self._states = _states(counters)
        told = islice((Pair.of_key(text) for one in counters for text in one.followed), _MOST_FOLLOWED)
        self._followed = frozenset(filter(named.is_askable, told))
        self._is_known = bool(self._followed) or not counters

    def saw(self, glimpse: Glimpse, rate: float | None) -> None:
        """Take in a look at any stream, and how many entries a second come to it."""
        if glimpse.name in self._unlike:
            return
        ticker = self._tickers.get(glimpse.name)
        if ticker is None or ticker.ms > (glimpse.last_ms or ticker.ms):  # another stream has its name now
            ticker = self._opened(glimpse)
        if ticker is not None:
            ticker.saw(glimpse)
            self._show(ticker, rate)

    async def learn(self, glimpses: Mapping[str, Glimpse], now_s: float) -> None:
        """Ask for what no look tells: what was before, the trade before a hole, the price of a day ago."""
        unseeded = [one for one in self._tickers.values() if not one.is_seeded and one.stream in glimpses]
        for ticker in unseeded[:_SEEDED_AT_ONCE]:
            await self._seed(ticker, glimpses[ticker.stream])
        due = [one for name, one in self._tickers.items() if now_s >= self._then_s.get(name, 0.0) and one.ms]
        for start in range(0, len(due), PIECE):
            await self._ask_then(due[start : start + PIECE], glimpses, now_s)

    def quotes(self) -> list[shown.Quote]:
        """Every pair that has a stream of trades, or is followed, by name."""
        found: dict[Pair, shown.Quote] = {}
        for stream, quote in self._shown.items():
            found.setdefault(self._tickers[stream].pair, quote)
        for pair in self._followed - found.keys():
            state, note = self._states.get(pair, _State("silent", ""))
            found[pair] = Ticker(pair, self._stream_of(pair)).quote(state, note, None)
        return [found[pair] for pair in sorted(found, key=lambda one: (one.name, one.exchange))]

    def _show(self, ticker: Ticker, rate: float | None) -> None:
        quiet = "live" if ticker.pair in self._followed or not self._is_known else "quiet"
        state, note = self._states.get(ticker.pair, _State(quiet, ""))
        self._shown[ticker.stream] = ticker.quote(state, note, rate)

    def _opened(self, glimpse: Glimpse) -> Ticker | None:
        """A ticker for a stream of trades under a name of the contract or of a feed's template."""
        if glimpse.last is None:
            return None
        pair = self._pair_of(glimpse)
        if pair is None:
            self._unlike.add(glimpse.name)
            return None
        self._tickers[glimpse.name] = Ticker(pair, glimpse.name)
        return self._tickers[glimpse.name]

    def _pair_of(self, glimpse: Glimpse) -> Pair | None:
        read = named.named(glimpse.name)
        if read is not None:
            return read.pair if read.channel in (Channel.TRADES, Channel.AGG_TRADES) else None
        told = {
            name: text
            for name in ("exchange", "pair", "trade_id")
            if glimpse.last is not None and (text := field(glimpse.last, name.encode())) is not None
        }
        pair = named.about(told)
        if pair is None or "trade_id" not in told:
            return None
        return pair if glimpse.name == self._stream_of(pair) else None

    def _stream_of(self, pair: Pair) -> str:
        return self._key_of(Subscription(pair.exchange, Channel.TRADES, pair.name))

    async def _seed(self, ticker: Ticker, glimpse: Glimpse) -> None:
        if not ticker.ms:
            await self._look_back(ticker)
        times = ticker.seeds(glimpse)
        pages = await self._glance.pages([(glimpse.name, str(ms), "+", 1) for ms in times])
        found = [point for page in pages for raw in page if (point := priced(raw)) is not None]
        ticker.spark.seed(found)
        self._show(ticker, self._shown[ticker.stream].rate_per_s)

    async def _look_back(self, ticker: Ticker) -> None:
        """Find the newest trade of a stream that ends with a hole."""
        [found] = await self._glance.newest({ticker.stream: "+"}, _BACK)
        for raw in found:
            if not ticker.ms:
                ticker.traded(raw)

    async def _ask_then(self, due: Sequence[Ticker], glimpses: Mapping[str, Glimpse], now_s: float) -> None:
        """The price of a day ago: of the venue's minutes where they are kept, else of the stream itself."""
        asked: list[tuple[Ticker, tuple[str, str, str, int], bytes]] = []
        for ticker in due:
            self._then_s[ticker.stream] = now_s + _THEN_S
            minutes = self._key_of(Subscription(ticker.pair.exchange, Channel.KLINES, ticker.pair.name, Interval.M1))
            since = str(max(0, ticker.ms - DAY_MS))
            if minutes in glimpses:
                asked.append((ticker, (minutes, since, "+", 1), b"open"))
            elif ticker.stream in glimpses and ticker.wants_then(glimpses[ticker.stream]):
                asked.append((ticker, (ticker.stream, since, "+", 1), b"price"))
        pages = await self._glance.pages([wanted for _, wanted, _ in asked])
        for (ticker, _, name), page in zip(asked, pages, strict=True):
            ticker.then(priced(page[0], name) if page else None)


def _states(counters: Sequence[Counters]) -> dict[Pair, _State]:
    """The state of pairs whose trades are not live, as their ingesters tell."""
    found: dict[Pair, _State] = {}
    for one in counters:
        for fact in one.unwell:
            if fact.channel in (Channel.TRADES, Channel.AGG_TRADES) and fact.state in _STATES:
                found[Pair(fact.exchange, fact.pair)] = _State(fact.state, fact.note)
    return found
