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


class TradeRecord(msgspec.Struct, frozen=True, gc=False, tag="trade"):
    """One execution as the venue told it; `side` is the aggressor's. `filled`: fetched later, not seen live."""

    subscription: Subscription
    price: str
    qty: str
    ts: Micros
    side: Side
    trade_id: int
    raw_json: str = ""
    filled: bool = False


class KlineRecord(msgspec.Struct, frozen=True, gc=False, tag="kline"):
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


class GapRecord(msgspec.Struct, frozen=True, gc=False, tag="gap"):
    """A stretch of trades that never came: ids `gap_from` to `gap_to`, both missing. `ts` is the trade before it."""

    subscription: Subscription
    gap_from: int
    gap_to: int
    cause: str
    ts: Micros


class DeadLetter(msgspec.Struct, frozen=True, tag="dead_letter"):
    """A frame nobody could read, set aside: where it came from, why, and its beginning."""

    source: str
    reason: str
    frame: str
    size: int
    ts: Micros
    subscription: None = None


class Ledger(msgspec.Struct, frozen=True, cache_hash=True):
    """Where a venue's ledger is kept; stands in a record where a subscription does."""

    exchange: str


class LedgerRecord(msgspec.Struct, frozen=True, tag="ledger"):
    """One line of a venue's ledger: what happened to the quality of its data. What does not apply is left out.

    `event` is one of LEDGER_EVENTS, `channel` as people write it (`trades`, `klines:1m`), `gap_from` and `gap_to` are
    ids (of klines: open times), `count` says how many, `seconds` how long.
    """

    subscription: Ledger
    event: str
    ts: Micros
    pair: str = ""
    channel: str = ""
    cause: str = ""
    url: str = ""
    gap_from: int | None = None
    gap_to: int | None = None
    count: int | None = None
    seconds: float | None = None
    ingester: str = ""
    group: str = ""


LEDGER_EVENTS = (
    "connected",
    "disconnected",
    "gap_opened",
    "gap_filled",
    "gap_unfillable",
    "stale",
    "resumed",
    "spooling",
    "drained",
    "overflow",
    "bus_reset",
    "pairs_changed",
    "trimmed",
)

Record = TradeRecord | KlineRecord | GapRecord | DeadLetter | LedgerRecord


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
    count: int | None = None
    """How many entries are missing, where that is known and is not the number of ids: a reader came too late."""


class Bar(msgspec.Struct, frozen=True, gc=False):
    """What traded of a pair in one stretch: built from its trades, or a venue's closed kline.

    `entry_id` is the entry that closed it, and `ts` that entry's time: the first trade past a time bar's boundary, the
    trade that filled a tick, volume or dollar bar, the closed kline. `interval` is as people write it (`1m`,
    `tick:100`). `open_time` and `close_time` are milliseconds: a window's first and last, or those of the first and
    last trade. `gap`: trades are missing inside, or right before or after it.
    """

    entry_id: str
    exchange: str
    pair: str
    interval: str
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
    gap: bool
    ts: Micros


Opinion = Literal["buy", "sell", "exit"]


class Signal(msgspec.Struct, frozen=True, gc=False):
    """A strategy's opinion, not an order. A strategy gives the first four; its desk fills in the rest.

    `values` are the indicators behind it, `strength` lies in 0 to 1, `price` is the close of the bar or the price of
    the trade that caused it, `entry_id` that of the entry that did. `buy` while short means: turn around.
    """

    side: Opinion
    strength: float = 1.0
    reason: str = ""
    values: dict[str, float] = {}
    strategy: str = ""
    pair: str = ""
    price: float = 0.0
    ts: Micros = Micros(0)
    entry_id: str = ""


Event = Trade | Kline | Gap | Signal


class Entry(msgspec.Struct, frozen=True):
    """One entry of a stream as Redis holds it; `fields` keep their order and their text."""

    stream: str
    entry_id: str
    fields: dict[str, str]


class Output(msgspec.Struct, frozen=True):
    """An entry that a consumer writes because of another one: a signal, a bar.

    Its id is that of the entry it comes from unless told, so that Redis refuses it the second time.
    """

    stream: str
    fields: dict[str, str]
    entry_id: str = ""


class Latest(msgspec.Struct, frozen=True):
    """A Redis hash that a consumer keeps up to date beside its stream; gone `ttl_s` seconds after its last write."""

    key: str
    fields: dict[str, str]
    ttl_s: float
