"""Records and events: the same facts twice, as text on their way to a stream and as numbers where mathematics begins.

A *record* is what travels from a venue to an entry. Its prices are the venue's own decimal text and it is built once
per trade, so it holds nothing that an entry does not. An *event* is a reading of an entry, with floats, for whoever
computes. Times are UTC; `ts` counts microseconds since the epoch, klines' `open_time` and `close_time` milliseconds.
"""

from typing import Literal, NewType

import msgspec

from cryptostream.model.instrument import Interval, Subscription

Micros = NewType("Micros", int)
Side = Literal["buy", "sell"]


class TradeRecord(msgspec.Struct, frozen=True, gc=False):
    """One execution as the venue told it; `side` is the aggressor's."""

    subscription: Subscription
    price: str
    qty: str
    ts: Micros
    side: Side
    trade_id: int
    raw_json: str = ""


class KlineRecord(msgspec.Struct, frozen=True, gc=False):
    """One state of a venue's candle; `closed` when final. `ts` is the time of the event, not of the candle."""

    subscription: Subscription
    open_time: int
    close_time: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    quote_volume: str
    trades: int
    taker_buy_volume: str
    taker_buy_quote_volume: str
    closed: bool
    ts: Micros
    raw_json: str = ""


class GapRecord(msgspec.Struct, frozen=True, gc=False):
    """A stretch of trades that never came: ids `gap_from` to `gap_to`, both missing. `ts` is the trade before it."""

    subscription: Subscription
    gap_from: int
    gap_to: int
    cause: str
    ts: Micros


class DeadLetter(msgspec.Struct, frozen=True):
    """A frame nobody could read, set aside: where it came from, why, and its beginning."""

    source: str
    reason: str
    frame: str
    size: int
    ts: Micros
    subscription: None = None


Record = TradeRecord | KlineRecord | GapRecord | DeadLetter


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One execution, read from an entry."""

    entry_id: str
    exchange: str
    pair: str
    price: float
    qty: float
    ts: Micros
    side: Side
    trade_id: int


class Kline(msgspec.Struct, frozen=True, gc=False):
    """One state of a venue's candle, read from an entry."""

    entry_id: str
    exchange: str
    pair: str
    interval: Interval
    open_time: int
    close_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trades: int
    taker_buy_volume: float
    taker_buy_quote_volume: float
    closed: bool
    ts: Micros


class Gap(msgspec.Struct, frozen=True, gc=False):
    """A stretch that is missing from a stream, read from its entry."""

    entry_id: str
    exchange: str
    pair: str
    gap_from: int
    gap_to: int
    cause: str
    ts: Micros


Event = Trade | Kline | Gap


class Entry(msgspec.Struct, frozen=True):
    """One entry of a stream as Redis holds it; `fields` keep their order and their text."""

    stream: str
    entry_id: str
    fields: dict[str, str]
