"""What can be asked of a venue: an instrument, a channel, an interval, and the subscription that joins them."""

import re
from enum import StrEnum
from typing import NamedTuple, Self

import msgspec

from cryptostream.errors import UsageError

DEFAULT_VENUE = "binance"
"""The exchange whose name may be left out."""
_SYMBOL = re.compile(r"[\w.\-]{1,32}", re.UNICODE)


class Channel(StrEnum):
    """The kinds of data a venue can be asked for."""

    TRADES = "trades"
    AGG_TRADES = "agg_trades"
    KLINES = "klines"


class Interval(StrEnum):
    """The length of a kline; `1M` is a calendar month, `1w` starts on Monday 00:00 UTC."""

    S1 = "1s"
    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"
    D3 = "3d"
    W1 = "1w"
    MO1 = "1M"


class Pair(NamedTuple):
    """A pair of an exchange, as people write it: `BTCUSDT`, `kraken:BTCUSD`."""

    exchange: str
    name: str

    @classmethod
    def of_key(cls, key: str) -> Self:
        """A pair by its `key`."""
        exchange, _, name = key.partition(":")
        return cls(exchange, name)

    @property
    def key(self) -> str:
        """Its name with its exchange, whichever that is."""
        return f"{self.exchange}:{self.name}"

    def __str__(self) -> str:
        return self.name if self.exchange == DEFAULT_VENUE else self.key


class Instrument(msgspec.Struct, frozen=True):
    """One thing that trades on a venue: `symbol` is the venue's own name, `pair` ours."""

    symbol: str
    base: str
    quote: str
    tradable: bool = True

    @property
    def pair(self) -> str:
        return (self.base + self.quote).upper()


class Subscription(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """One stream of one venue: the whole identity of the data in it."""

    exchange: str
    channel: Channel
    pair: str
    interval: Interval | None = None

    def __str__(self) -> str:
        return f"{self.exchange} {self.channel}:{self.pair}" + (f":{self.interval}" if self.interval else "")


class Wanted(msgspec.Struct, frozen=True, order=True):
    """A channel as people write it: `trades`, `klines:1m`."""

    channel: Channel
    interval: Interval | None = None

    def __str__(self) -> str:
        return f"{self.channel}:{self.interval}" if self.interval else str(self.channel)


def parse_channel(text: str) -> Wanted:
    """Read `trades`, `agg_trades` or `klines:<interval>`.

    >>> parse_channel("klines:1m")
    Wanted(channel=<Channel.KLINES: 'klines'>, interval=<Interval.M1: '1m'>)

    Raises UsageError for anything else.
    """
    name, _, interval = text.strip().partition(":")
    if name not in set(Channel):
        raise UsageError(f'unknown channel "{name}"', hint=f"known: {', '.join(Channel)}; klines as klines:1m")
    if name != Channel.KLINES:
        if interval:
            raise UsageError(f'channel "{name}" has no interval, got "{text}"')
        return Wanted(Channel(name))
    if interval not in set(Interval):
        raise UsageError(f'unknown kline interval "{interval}" in "{text}"', hint=f"known: {', '.join(Interval)}")
    return Wanted(Channel.KLINES, Interval(interval))


def parse_pair(text: str) -> Pair:
    """Read a pair, in any case.

    >>> parse_pair("btcusdt"), str(parse_pair("kraken:BTCUSD"))
    (Pair(exchange='binance', name='BTCUSDT'), 'kraken:BTCUSD')

    Raises UsageError for anything else.
    """
    exchange, colon, name = text.rpartition(":")
    return Pair(check_symbol(exchange).lower() if colon else DEFAULT_VENUE, check_symbol(name).upper())


def check_symbol(text: str) -> str:
    """Return a symbol that is safe in a key, a path and a terminal: letters and digits of any script plus `._-`.

    >>> check_symbol("币安人生USDT")
    '币安人生USDT'

    Raises UsageError for anything else.
    """
    if not _SYMBOL.fullmatch(text) or ".." in text:
        raise UsageError(f"not a symbol: {text[:40]!a}", hint="letters, digits and ._- only, at most 32")
    return text
