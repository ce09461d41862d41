"""Which pair a stream is about, by its name; and names from outside, checked before they become keys."""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import NamedTuple

from cryptostream.errors import UsageError
from cryptostream.model.instrument import DEFAULT_VENUE, Pair, parse_pair
from cryptostream.strategies.names import is_label
from cryptostream.web.shown import STREAM

MOST_STREAMS = 2_000
"""Streams that one reader can follow."""
_STREAM = re.compile(STREAM)
_CHANNELS = ("trades", "agg_trades", "klines", "signals")


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
    >>> named("trades:<b>"), named("trades:")
    (None, None)
    """
    channel, *parts = stream.split(":")
    of = ""
    if channel in ("klines", "signals") and len(parts) > 1:
        of = parts.pop(-1 if channel == "klines" else 0)
    if channel not in _CHANNELS or not 1 <= len(parts) <= 2 or bool(of) != (channel in ("klines", "signals")):
        return None
    venue = parts[0] if len(parts) == 2 else DEFAULT_VENUE
    pair = Pair(venue, parts[-1].removeprefix("{").removesuffix("}"))
    return Named(channel, pair, of) if is_askable(pair) else None


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


def check_few(patterns: Sequence[str], there: Iterable[str]) -> None:
    """Raises UsageError where more of the streams that are there match than one reader can follow."""
    matches = re.compile("|".join(map(translate, patterns))).match
    found = sum(matches(name) is not None for name in there)
    if found > MOST_STREAMS:
        raise UsageError(f"{found:,} streams match", hint=f"at most {MOST_STREAMS:,} can be followed at once")


def about(told: Mapping[str, str]) -> Pair | None:
    """The pair that an entry is about, by its own fields."""
    pair = Pair(told.get("exchange", ""), told.get("pair", ""))
    return pair if is_askable(pair) else None


def is_askable(pair: Pair) -> bool:
    """Whether anybody could ask for a pair of which the bus tells."""
    try:
        parse_pair(pair.key)
    except UsageError:
        return False
    return True
