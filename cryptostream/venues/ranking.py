"""Ranked coins and a venue's instruments in, pairs to follow out; every coin that is left out says why.

A ranking knows coins by their tickers, a venue knows instruments by theirs, and thousands of coins share a ticker. So
a pair is always looked up among the venue's instruments, never glued together, the higher ranked coin has the first
claim on a base, and where both prices are known they have to agree.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from enum import StrEnum
from math import isfinite

import msgspec

from cryptostream.model.instrument import Instrument

STABLECOINS = frozenset(
    "USDT USDC FDUSD TUSD BUSD DAI USDP PAX UST USDE USDS USD1 USDD GUSD SUSD LUSD HUSD FRAX PYUSD RLUSD XUSD "  # noqa: SIM905
    "BFUSD EUR EURI AEUR EURC EURS EURT".split()
)
"""Coins that trade flat against a dollar or a euro: a slot spent on one shows nothing."""
WRAPPED = frozenset(
    "WBTC WETH STETH WSTETH WEETH EETH EZETH RSETH RETH CBETH WBETH CBBTC HBTC BTCB LBTC JITOSOL MSOL BNSOL "  # noqa: SIM905
    "JUPSOL WBNB CETH CUSDC CUSDT CDAI".split()
)
"""Coins that are another coin in a wrapper, staked or lent."""
PRICE_TOLERANCE = 0.10
"""How far apart the prices of ranking and venue may be, as a share of the venue's, before it is another coin."""

_DOLLAR = "USDT"
_DOLLARS = frozenset({_DOLLAR, "USDC", "FDUSD", "BUSD", "TUSD", "USD"})
_UNITS = (("1000", 1_000), ("1M", 1_000_000), ("1000000", 1_000_000))


class Reason(StrEnum):
    """Why a coin gave no pair."""

    NO_PAIR = "no pair"
    NOT_TRADABLE = "not tradable"
    EXCLUDED = "excluded"
    PRICE_DIFFERS = "price differs"
    TAKEN = "taken"


class Coin(msgspec.Struct, frozen=True, kw_only=True):
    """One coin of a ranking; `id` is the ranking's own and the only name that is unique. `price` is in dollars."""

    id: str
    symbol: str
    name: str = ""
    price: float | None = None
    rank: int | None = None
    market_cap: float | None = None


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """A pair worth following. A pair that is there because it always is has no rank; `price` is in dollars."""

    pair: str
    rank: int | None = None
    coin: str = ""
    price: float | None = None
    note: str = ""


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A coin that gave no pair; `pair` is the nearest it came to one."""

    coin: str
    rank: int | None
    reason: Reason
    pair: str = ""
    price: float | None = None
    note: str = ""


class Mapped(msgspec.Struct, frozen=True):
    """What a ranking comes to on one venue, both in the order of the ranking."""

    pairs: tuple[Ranked, ...]
    dropped: tuple[Dropped, ...]


def map_coins(
    coins: Iterable[Coin],
    instruments: Iterable[Instrument],
    prices: Mapping[str, float],
    *,
    quote: str = _DOLLAR,
    limit: int,
    exclude: Iterable[str] = (),
    aliases: Mapping[str, str] | None = None,
) -> Mapped:
    """The first `limit` coins that trade against `quote`, and why those between them do not.

    `prices` are the venue's last prices by its own symbol; a coin is not checked where either price is missing.
    `exclude` names bases, pairs or coin ids. `aliases` give a venue's base for a coin id; an alias is tried before the
    coin's own ticker. A base in units (1000SATS) is taken only where the prices confirm it.
    """
    claims = _Claims(_Market(instruments, prices, quote.upper()), exclude, aliases or {})
    dropped: list[Dropped] = []
    for coin in _unique(coins):
        if len(claims.granted) >= limit:
            break
        verdict = claims.hear(coin)
        if isinstance(verdict, Dropped):
            dropped.append(verdict)
    return Mapped(tuple(claims.granted.values()), tuple(dropped))


class _Market:
    """One venue's instruments against one quote, and what a dollar is in that quote."""

    def __init__(self, instruments: Iterable[Instrument], prices: Mapping[str, float], quote: str) -> None:
        self._listed = {(listed.base.upper(), listed.quote.upper()): listed for listed in instruments}
        self._prices = prices
        self._quote = quote
        self._dollars_per_quote = self._rate()

    def find(self, base: str) -> Instrument | None:
        return self._listed.get((base, self._quote))

    def dollars(self, instrument: Instrument) -> float | None:
        """The last price in dollars, None where it is not known."""
        price = self._price(instrument)
        if price is None or self._dollars_per_quote is None:
            return None
        return price * self._dollars_per_quote

    def _rate(self) -> float | None:
        if self._quote in _DOLLARS:
            return 1.0
        if (direct := self._price(self._listed.get((self._quote, _DOLLAR)))) is not None:
            return direct
        inverse = self._price(self._listed.get((_DOLLAR, self._quote)))
        return None if inverse is None else 1 / inverse

    def _price(self, instrument: Instrument | None) -> float | None:
        price = None if instrument is None else self._prices.get(instrument.symbol)
        return price if price is not None and price > 0 and isfinite(price) else None


def _unique(coins: Iterable[Coin]) -> Iterator[Coin]:
    """Each coin once: rows repeat where ranks moved between two page requests."""
    seen: set[str] = set()
    for coin in coins:
        if coin.id not in seen:
            seen.add(coin.id)
            yield coin


class _Claims:
    """Which coin got which pair so far: the first that rightly claims one keeps it."""

    def __init__(self, market: _Market, exclude: Iterable[str], aliases: Mapping[str, str]) -> None:
        self.granted: dict[str, Ranked] = {}
        self._market = market
        self._barred = {name.upper() for name in exclude}
        self._aliases = aliases

    def hear(self, coin: Coin) -> Ranked | Dropped:
        """The first pair the coin may have, or the reason against the pair that came nearest."""
        ticker = coin.symbol.upper()
        if self._barred & {ticker, coin.id.upper()}:
            return _drop(coin, Reason.EXCLUDED)
        nearest = _drop(coin, Reason.NO_PAIR)
        for base, unit in _candidates(ticker, self._aliases.get(coin.id)):
            instrument = self._market.find(base)
            verdict = None if instrument is None else self._weigh(coin, instrument, unit)
            if isinstance(verdict, Ranked):
                self.granted[verdict.pair] = verdict
                return verdict
            if verdict is not None and nearest.reason is Reason.NO_PAIR:
                nearest = verdict
        return nearest

    def _weigh(self, coin: Coin, instrument: Instrument, unit: int) -> Ranked | Dropped:
        pair = instrument.pair
        if self._barred & {pair, instrument.base.upper()}:
            return _drop(coin, Reason.EXCLUDED, pair)
        if not instrument.tradable:
            return _drop(coin, Reason.NOT_TRADABLE, pair)
        if pair in self.granted:
            return _drop(coin, Reason.TAKEN, pair)
        return self._compare(coin, pair, self._market.dollars(instrument), unit)

    def _compare(self, coin: Coin, pair: str, dollars: float | None, unit: int) -> Ranked | Dropped:
        if coin.price is None or dollars is None:
            return _grant(coin, pair, "price unchecked") if unit == 1 else _drop(coin, Reason.NO_PAIR)
        theirs = dollars / unit
        if abs(coin.price - theirs) > PRICE_TOLERANCE * theirs:
            return _drop(coin, Reason.PRICE_DIFFERS, pair, f"trades at {theirs:.6g}")
        return _grant(coin, pair, f"{unit:,} coins each" if unit > 1 else "")


def _candidates(ticker: str, alias: str | None) -> Iterator[tuple[str, int]]:
    """Bases a coin may trade under, and how many coins one of it is."""
    units = {ticker: 1} | {prefix + ticker: unit for prefix, unit in _UNITS}
    if alias is not None:
        yield alias.upper(), units.get(alias.upper(), 1)
    yield from units.items()


def _grant(coin: Coin, pair: str, note: str) -> Ranked:
    return Ranked(pair=pair, rank=coin.rank, coin=coin.name or coin.id, price=coin.price, note=note)


def _drop(coin: Coin, reason: Reason, pair: str = "", note: str = "") -> Dropped:
    return Dropped(coin=coin.name or coin.id, rank=coin.rank, reason=reason, pair=pair, price=coin.price, note=note)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between two lists; places count from 1 in the list of now and of before."""

    change: str
    pair: str
    place: int | None = None
    was: int | None = None


def compare(before: Sequence[str], after: Sequence[str]) -> list[Change]:
    """What was added, removed and moved. A pair that others overtook by leaving or arriving has not moved.

    >>> [(made.change, made.pair) for made in compare(["A", "B", "C", "D"], ["A", "D", "C", "X"])]
    [('added', 'X'), ('removed', 'B'), ('moved', 'D')]
    """
    place = {pair: number for number, pair in enumerate(after, 1)}
    was = {pair: number for number, pair in enumerate(before, 1)}
    moved = _moved([pair for pair in was if pair in place], [pair for pair in place if pair in was])
    return [
        *(Change(change="added", pair=pair, place=place[pair]) for pair in place if pair not in was),
        *(Change(change="removed", pair=pair, was=was[pair]) for pair in was if pair not in place),
        *(Change(change="moved", pair=pair, place=place[pair], was=was[pair]) for pair in place if pair in moved),
    ]


def _moved(before: Sequence[str], after: Sequence[str]) -> set[str]:
    """The pairs that do not belong to the stretches both orders share."""
    blocks = SequenceMatcher(a=before, b=after, autojunk=False).get_matching_blocks()
    still = {pair for block in blocks for pair in before[block.a : block.a + block.size]}
    return set(after) - still
