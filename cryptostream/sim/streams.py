"""The live streams of the market: each one knows when it has something to say next, and says it in any time unit.

`due_us` is the time of the next event; `take` gives what has happened up to a time and moves on. A stream begins when
somebody subscribes to it: what was traded before is not told again.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from cryptostream.model.instrument import Interval
from cryptostream.sim import frames
from cryptostream.sim.candles import CandleMaker
from cryptostream.sim.market import Trades
from cryptostream.sim.protocol import StreamName, stream_name

KLINE_CADENCE_US = 2_000_000
SECOND_CADENCE_US = 1_000_000
_CATCH_UP = 2_000
"""Trades that a long candle may add up at a time while it catches up: about ten milliseconds of work."""
_BREATH_US = 10_000


class Event(Protocol):
    """Something that happened, ready to be told."""

    def payload(self, unit_us: int) -> bytes: ...


class Stream(Protocol):
    """One stream of events. `pair` is what faults are aimed at."""

    pair: str
    due_us: int

    def take(self, until_us: int) -> Sequence[Event]: ...


class _Told:
    """An event whose words are made once per time unit, for all who listen."""

    __slots__ = ("_make", "_words")

    def __init__(self, make: Callable[[int], bytes]) -> None:
        self._make = make
        self._words: dict[int, bytes] = {}

    def payload(self, unit_us: int) -> bytes:
        words = self._words.get(unit_us)
        if words is None:
            words = self._words[unit_us] = self._make(unit_us)
        return words


class TradeStream:
    """`<symbol>@trade`: every trade, as it happens."""

    def __init__(self, market: Trades, pair: str, now_us: int) -> None:
        self.pair, self._market = pair, market
        self._next_id = market.last_id(pair, now_us - frames.EVENT_DELAY_US) + 1
        self.due_us = self._due(now_us)

    def take(self, until_us: int) -> list[Event]:
        last = self._market.last_id(self.pair, until_us - frames.EVENT_DELAY_US)
        taken = self._market.trades(self.pair, self._next_id, last)
        events: list[Event] = [_Told(partial(frames.trade, self.pair, trade)) for trade in taken]
        self._next_id = max(self._next_id, last + 1)
        self.due_us = self._due(until_us)
        return events

    def _due(self, now_us: int) -> int:
        coming = next(self._market.trades(self.pair, self._next_id, self._next_id), None)
        # A trade that does not exist (a hole) leaves nothing to wait for: look again a little later.
        return coming.time_us + frames.EVENT_DELAY_US if coming else now_us + _BREATH_US


class AggregateStream:
    """`<symbol>@aggTrade`: what each taker order took at one price."""

    def __init__(self, market: Trades, pair: str, now_us: int) -> None:
        self.pair, self._market = pair, market
        self._next_id = market.last_aggregate_id(pair, now_us - frames.EVENT_DELAY_US) + 1
        self.due_us = now_us

    def take(self, until_us: int) -> list[Event]:
        last = self._market.last_aggregate_id(self.pair, until_us - frames.EVENT_DELAY_US)
        taken = self._market.aggregates(self.pair, self._next_id, last)
        events: list[Event] = [_Told(partial(frames.aggregate, self.pair, made)) for made in taken]
        self._next_id = max(self._next_id, last + 1)
        coming = next(self._market.aggregates(self.pair, self._next_id, self._next_id), None)
        self.due_us = coming.time_us + frames.EVENT_DELAY_US if coming else until_us + _BREATH_US
        return events


class KlineStream:
    """`<symbol>@kline_<interval>`: the candle when it has changed, every two seconds (every second for `1s`), and once
    more when it has closed.
    """

    def __init__(self, market: Trades, name: StreamName, pair: str, interval: Interval, now_us: int) -> None:
        self.pair, self._interval = pair, interval
        self._maker = CandleMaker(market, pair, interval, now_us, name.shift_us)
        self._cadence_us = SECOND_CADENCE_US if interval is Interval.S1 else KLINE_CADENCE_US
        self._told_count = 0
        self.due_us = now_us

    def take(self, until_us: int) -> list[Event]:
        told: list[Event] = []
        while self._maker.advance(until_us, _CATCH_UP):
            ends_us = self._maker.candle.end_us + frames.EVENT_DELAY_US
            if ends_us > until_us:
                told += self._update(until_us)
                self.due_us = min(self._next_cadence(until_us), ends_us)
                return told
            told += self._closed()
        self.due_us = until_us + _BREATH_US
        return told

    def _update(self, at_us: int) -> list[Event]:
        candle = self._maker.candle
        if candle.count == self._told_count or at_us >= candle.end_us:
            return []
        self._told_count = candle.count
        return [_Words(self._words(at_us, closed=False))]

    def _closed(self) -> list[Event]:
        candle = self._maker.candle
        words = self._words(candle.end_us + frames.EVENT_DELAY_US, closed=True) if candle.close_e8 else None
        self._maker.next()
        self._told_count = 0
        return [_Words(words)] if words else []

    def _words(self, at_us: int, *, closed: bool) -> dict[int, bytes]:
        """Both time units at once: the candle goes on changing after this."""
        return {
            unit_us: frames.kline(
                self.pair, self._interval, self._maker.candle, at_us=at_us, closed=closed, unit_us=unit_us
            )
            for unit_us in (frames.MILLISECOND_US, frames.MICROSECOND_US)
        }

    def _next_cadence(self, now_us: int) -> int:
        return (now_us // self._cadence_us + 1) * self._cadence_us


class _Words:
    """An event that was put into words when it happened."""

    __slots__ = ("_words",)

    def __init__(self, words: dict[int, bytes]) -> None:
        self._words = words

    def payload(self, unit_us: int) -> bytes:
        return self._words[unit_us]


def open_stream(market: Trades, pairs: Mapping[str, str], name: str, now_us: int) -> Stream | None:
    """The stream of this name from now on; None where there is no such pair or kind of stream.

    `pairs` maps the symbols as streams spell them, in lower case, to the pairs of the market.
    """
    asked = stream_name(name)
    pair = pairs.get(asked.symbol) if asked else None
    if asked is None or pair is None:
        return None
    if asked.kind == "trade":
        return TradeStream(market, pair, now_us)
    if asked.kind == "aggTrade":
        return AggregateStream(market, pair, now_us)
    assert asked.interval is not None  # noqa: S101  # a kline always has one: see stream_name
    return KlineStream(market, asked, pair, asked.interval, now_us)
