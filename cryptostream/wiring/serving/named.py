"""Which pair a stream is about, by its name; and names from outside, checked before they become keys."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from cryptostream.bus.keys import DEFAULT_VENUE
from cryptostream.errors import UsageError
from cryptostream.model.instrument import check_symbol
from cryptostream.strategies.names import is_label

_STREAM = re.compile(r"[\w.\-:{}*?]{1,160}", re.UNICODE)
_CHANNELS = ("trades", "agg_trades", "klines", "signals")


class Pair(NamedTuple):
    """A pair of an exchange, as people write it: `BTCUSDT`, `kraken:BTCUSD`."""

    exchange: str
    name: str

    def __str__(self) -> str:
        return self.name if self.exchange == DEFAULT_VENUE else f"{self.exchange}:{self.name}"


class Named(NamedTuple):
    """What a stream's name says: `of` is a kline's interval, or the strategy of signals."""

    channel: str
    pair: Pair
    of: str = ""


@lru_cache(maxsize=10_000)
def named(stream: str) -> Named | None:
    """Read the name of a stream of the contract; None for any other.

    >>> named("trades:BTCUSDT"), named("klines:kraken:{BTCUSD}:1m")
    (Named(channel='trades', pair=Pair(exchange='binance', name='BTCUSDT'), of=''), \
Named(channel='klines', pair=Pair(exchange='kraken', name='BTCUSD'), of='1m'))
    >>> named("signals:macd_rsi:BTCUSDT").of, named("events:binance")
    ('macd_rsi', None)
    """
    channel, *parts = stream.split(":")
    of = ""
    if channel in ("klines", "signals") and len(parts) > 1:
        of = parts.pop(-1 if channel == "klines" else 0)
    if channel not in _CHANNELS or not 1 <= len(parts) <= 2 or bool(of) != (channel in ("klines", "signals")):
        return None
    venue = parts[0] if len(parts) == 2 else DEFAULT_VENUE
    return Named(channel, Pair(venue, parts[-1].removeprefix("{").removesuffix("}")), of)


def pair(text: str) -> Pair:
    """A pair as somebody asks for it. Raises UsageError.

    >>> pair("btcusdt"), pair("kraken:BTCUSD")
    (Pair(exchange='binance', name='BTCUSDT'), Pair(exchange='kraken', name='BTCUSD'))
    """
    venue, colon, name = text.rpartition(":")
    return Pair(check_symbol(venue).lower() if colon else DEFAULT_VENUE, check_symbol(name).upper())


def strategy(text: str) -> str:
    """The name of a strategy's signals. Raises UsageError."""
    if not is_label(text):
        raise UsageError(f"not the name of a strategy: {text[:80]!a}", hint="letters, digits and _.- only, at most 64")
    return text


def pattern(text: str) -> str:
    """The name of a stream, or a glob. Raises UsageError.

    >>> pattern("trades:*USDT")
    'trades:*USDT'
    """
    if _STREAM.fullmatch(text) is None:
        raise UsageError(f"not a stream: {text[:80]!a}", hint="as in trades:BTCUSDT or trades:*")
    return text


def about(told: Mapping[str, str]) -> Pair | None:
    """The pair that an entry is about, by its own fields."""
    return Pair(told["exchange"], told["pair"]) if "exchange" in told and "pair" in told else None
