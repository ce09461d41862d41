"""What Binance sends, as Structs that check as they decode, and the names of its streams.

Source: binance/binance-spot-api-docs, web-socket-streams.md. A real frame stands above the Struct that reads it.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from cryptostream.model.events import Micros
from cryptostream.model.instrument import Channel, Subscription

FIRST_MICROS = 100_000_000_000_000
"""Times at or above are microseconds: as milliseconds they would lie beyond the year 5000."""
_YEAR_10000 = 253_402_300_800_000_000
AHEAD_NS = 86_400_000_000_000
"""How far ahead of our clock an event may be: clocks differ, and one from the far future would outrank all to come."""

Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Time = Annotated[int, Meta(gt=0, lt=_YEAR_10000)]


class Trade(msgspec.Struct, tag_field="e", tag="trade", gc=False):
    # {"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000",
    #  "T":1723161255342,"m":true,"M":true}
    event_time: Time = field(name="E")
    symbol: str = field(name="s")
    trade_id: Id = field(name="t")
    price: str = field(name="p")
    qty: str = field(name="q")
    time: Time = field(name="T")
    buyer_is_maker: bool = field(name="m")


class AggTrade(msgspec.Struct, tag_field="e", tag="aggTrade", gc=False):
    # {"e":"aggTrade","E":1633998523963,"s":"NKNUSDT","a":15683430,"p":"0.35280000","q":"58.00000000",
    #  "f":19862790,"l":19862790,"T":1633998523963,"m":false,"M":true}
    event_time: Time = field(name="E")
    symbol: str = field(name="s")
    trade_id: Id = field(name="a")
    price: str = field(name="p")
    qty: str = field(name="q")
    time: Time = field(name="T")
    buyer_is_maker: bool = field(name="m")


class Candle(msgspec.Struct, gc=False):
    open_time: Time = field(name="t")
    close_time: Time = field(name="T")
    symbol: str = field(name="s")
    interval: str = field(name="i")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    close: str = field(name="c")
    volume: str = field(name="v")
    quote_volume: str = field(name="q")
    trades: Id = field(name="n")
    taker_buy_volume: str = field(name="V")
    taker_buy_quote_volume: str = field(name="Q")
    closed: bool = field(name="x")


class Kline(msgspec.Struct, tag_field="e", tag="kline"):
    # {"e":"kline","E":1733561824006,"s":"BTCUSDT","k":{"t":1733561823000,"T":1733561823999,"s":"BTCUSDT","i":"1s",
    #  "f":4222889129,"L":4222889132,"o":"99512.02000000","c":"99512.02000000","h":"99512.02000000",
    #  "l":"99512.01000000","v":"0.00701000","n":4,"x":true,"q":"697.57925570","V":"0.00656000","Q":"652.79885120"}}
    event_time: Time = field(name="E")
    symbol: str = field(name="s")
    candle: Candle = field(name="k")


class Shutdown(msgspec.Struct, tag_field="e", tag="serverShutdown"):
    event_time: Time = field(name="E")


Event = Trade | AggTrade | Kline | Shutdown


class Envelope(msgspec.Struct, gc=False):
    stream: str
    data: Event


class Other(msgspec.Struct):
    """Any other JSON object, as far as it takes to tell a reply from somebody else's event and from a broken frame."""

    id: int | str | None = None
    result: Any = msgspec.UNSET
    code: int | None = None
    msg: str = ""
    error: Any = None
    e: Any = None
    stream: Any = None
    data: Any = None
    u: Any = None
    lastUpdateId: Any = None  # noqa: N815

    @property
    def is_reply(self) -> bool:
        """Replies to control messages are never wrapped, and are no events."""
        told = self.result is not msgspec.UNSET or self.code is not None or self.error is not None
        return told and self.stream is None and self.data is None and self.e is None

    @property
    def is_somebody_elses(self) -> bool:
        """A well-formed event of a kind that we never ask for."""
        inner = self.data.get("e") if isinstance(self.data, dict) else None
        if isinstance(self.stream, str):
            kind = self.stream.partition("@")[2].partition("_")[0]
            return self.data is not None and kind not in _OURS and inner not in _OURS
        if isinstance(self.e, str):
            return self.e not in _OURS
        return self.u is not None or self.lastUpdateId is not None  # bookTicker and depth snapshots carry no `e`


envelope = msgspec.json.Decoder(Envelope).decode
event = msgspec.json.Decoder(Event).decode
other = msgspec.json.Decoder(Other).decode
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_OURS = ("trade", "aggTrade", "kline")


def stream_name(wanted: Subscription) -> str:
    """The venue's name of a stream; only the symbol is lower-case.

    >>> from cryptostream.model.instrument import Interval
    >>> stream_name(Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.MO1))
    'btcusdt@kline_1M'
    """
    kinds = {Channel.TRADES: "trade", Channel.AGG_TRADES: "aggTrade", Channel.KLINES: f"kline_{wanted.interval}"}
    return f"{wanted.pair.lower()}@{kinds[wanted.channel]}"


def stream_of(event: Trade | AggTrade | Kline) -> str:
    kind = f"kline_{event.candle.interval}" if isinstance(event, Kline) else event.__struct_config__.tag
    return f"{event.symbol.lower()}@{kind}"


def micros(time: int) -> Micros:
    """A time of the venue's in microseconds, whichever unit the connection asked for."""
    # No call of Micros: it costs as much as all the rest.
    return time if time >= FIRST_MICROS else time * 1000  # type: ignore[return-value]


def millis(time: int) -> int:
    """A time of the venue's in milliseconds, whichever unit the connection asked for."""
    return time // 1000 if time >= FIRST_MICROS else time
