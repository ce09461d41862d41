"""Binance spot: its frames, its subscriptions, its REST calls.

Sources: binance/binance-spot-api-docs (web-socket-streams.md, rest-api.md). House rules of this venue:
* Trade ids are contiguous per pair, so an id that is not the last one plus one is news. Times are not: most trades
  share their millisecond with the one before.
* A SUBSCRIBE to a stream that does not exist is acknowledged like any other, so symbols are checked against
  exchangeInfo.
* Replies to control messages are never wrapped in `stream`/`data`, and data can arrive before the reply.
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from cryptostream.errors import BadFrame, UsageError
from cryptostream.model.events import KlineRecord, Micros, Record, Side, TradeRecord
from cryptostream.model.instrument import Channel, Instrument, Interval, Subscription, check_symbol
from cryptostream.model.text import is_amount, is_positive
from cryptostream.venues.base import Limits, Notice, Request

_LIMITS = Limits(
    streams_per_connection=1024,
    control_per_s=4,  # 5 are allowed, and pongs count
    control_bytes=4096,
    connects=60,  # 300 are allowed; other programs share our address
    connects_window_s=300,
)
_FIRST_MICROS = 100_000_000_000_000
"""Times at or above are microseconds: as milliseconds they would lie beyond the year 5000."""
_YEAR_10000 = 253_402_300_800_000_000

_Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Time = Annotated[int, Meta(gt=0, lt=_YEAR_10000)]


class _Trade(msgspec.Struct, tag_field="e", tag="trade", gc=False):
    # {"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000",
    #  "T":1723161255342,"m":true,"M":true}
    event_time: _Time = field(name="E")
    symbol: str = field(name="s")
    trade_id: _Id = field(name="t")
    price: str = field(name="p")
    qty: str = field(name="q")
    time: _Time = field(name="T")
    buyer_is_maker: bool = field(name="m")


class _AggTrade(msgspec.Struct, tag_field="e", tag="aggTrade", gc=False):
    # {"e":"aggTrade","E":1633998523963,"s":"NKNUSDT","a":15683430,"p":"0.35280000","q":"58.00000000",
    #  "f":19862790,"l":19862790,"T":1633998523963,"m":false,"M":true}
    event_time: _Time = field(name="E")
    symbol: str = field(name="s")
    trade_id: _Id = field(name="a")
    price: str = field(name="p")
    qty: str = field(name="q")
    time: _Time = field(name="T")
    buyer_is_maker: bool = field(name="m")


class _Candle(msgspec.Struct, gc=False):
    open_time: _Time = field(name="t")
    close_time: _Time = field(name="T")
    symbol: str = field(name="s")
    interval: str = field(name="i")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    close: str = field(name="c")
    volume: str = field(name="v")
    quote_volume: str = field(name="q")
    trades: _Id = field(name="n")
    taker_buy_volume: str = field(name="V")
    taker_buy_quote_volume: str = field(name="Q")
    closed: bool = field(name="x")


class _Kline(msgspec.Struct, tag_field="e", tag="kline"):
    # {"e":"kline","E":1733561824006,"s":"BTCUSDT","k":{"t":1733561823000,"T":1733561823999,"s":"BTCUSDT","i":"1s",
    #  "f":4222889129,"L":4222889132,"o":"99512.02000000","c":"99512.02000000","h":"99512.02000000",
    #  "l":"99512.01000000","v":"0.00701000","n":4,"x":true,"q":"697.57925570","V":"0.00656000","Q":"652.79885120"}}
    event_time: _Time = field(name="E")
    symbol: str = field(name="s")
    candle: _Candle = field(name="k")


class _Shutdown(msgspec.Struct, tag_field="e", tag="serverShutdown"):
    event_time: _Time = field(name="E")


_Event = _Trade | _AggTrade | _Kline | _Shutdown


class _Envelope(msgspec.Struct, gc=False):
    stream: str
    data: _Event


class _Reply(msgspec.Struct):
    id: int | str | None = None
    result: Any = msgspec.UNSET
    code: int | None = None
    msg: str = ""
    error: Any = None


class _Loose(msgspec.Struct):
    """Any other JSON object, as far as we need to tell a frame that is not ours from one that is broken."""

    e: Any = None
    stream: Any = None
    data: Any = None
    u: Any = None
    lastUpdateId: Any = None  # noqa: N815


_envelope = msgspec.json.Decoder(_Envelope).decode
_event = msgspec.json.Decoder(_Event).decode
_reply = msgspec.json.Decoder(_Reply).decode
_loose = msgspec.json.Decoder(_Loose).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_OURS = ("trade", "aggTrade", "kline")


class BinanceSession:
    """One combined-stream conversation: subscribe in batches, match replies by id, read trades and klines.

    With no subscriptions it reads the frames of any stream, which is what a replay wants.
    """

    def __init__(
        self, url: str, subscriptions: Sequence[Subscription] = (), *, name: str = "binance", raw_json: bool = True
    ) -> None:
        self.url = url
        self.subscriptions = tuple(subscriptions)
        self._event_time = 0
        self.ignored = 0
        self.notices: list[Notice] = []
        self._name = name
        self._raw_json = raw_json
        self._by_stream = {stream_name(wanted): wanted for wanted in self.subscriptions}
        self._open_to_all = not self.subscriptions
        self._ids = count(1)
        self._asked: dict[int, tuple[str, ...]] = {}

    def hello(self) -> list[str]:
        """SUBSCRIBE messages for every stream, each below the venue's size limit."""
        self._asked.clear()
        return [self._ask("SUBSCRIBE", batch) for batch in _batches(tuple(self._by_stream), _LIMITS.control_bytes)]

    def unanswered(self) -> Sequence[str]:
        """Streams whose SUBSCRIBE has no reply yet."""
        return [stream for streams in self._asked.values() for stream in streams]

    def receive(self, frame: bytes, received_at: int) -> Sequence[Record]:  # noqa: ARG002
        """Records of one frame, in its order; control replies and other streams' events give none.

        Raises BadFrame for a frame that is broken, or whose numbers are not finite, positive decimals.
        """
        try:
            wrapped = _envelope(frame)
        except _UNREADABLE:
            return self._receive_bare(frame)
        subscription = self._by_stream.get(wrapped.stream)
        if subscription is None:
            return self._receive_unknown(wrapped.stream, wrapped.data, frame)
        return _RECORDS[type(wrapped.data)](self, subscription, wrapped.data, frame)

    @property
    def event_time(self) -> Micros:
        """Time of the newest event, microseconds since the epoch; 0 before the first."""
        return _micros(self._event_time)

    def _closing(self, *_: object) -> Sequence[Record]:
        self.notices.append(Notice("closing", "the venue announced a shutdown"))
        return ()

    def _trade(self, subscription: Subscription, event: _Trade | _AggTrade, frame: bytes) -> Sequence[Record]:
        if event.symbol != subscription.pair:
            raise BadFrame(f"{event.symbol} in the stream of {subscription.pair}")
        price, qty = event.price, event.qty
        if not (is_positive(price) and is_positive(qty)):
            raise BadFrame(f"price {price[:40]!r}, qty {qty[:40]!r} of trade {event.trade_id}")
        self._event_time = event.event_time
        side: Side = "sell" if event.buyer_is_maker else "buy"
        raw = self._raw(frame) if self._raw_json else ""
        return (TradeRecord(subscription, price, qty, _micros(event.time), side, event.trade_id, raw),)

    def _kline(self, subscription: Subscription, event: _Kline, frame: bytes) -> Sequence[Record]:
        candle = event.candle
        if candle.symbol != subscription.pair or candle.interval != subscription.interval:
            raise BadFrame(f"{candle.symbol} {candle.interval} in the stream of {subscription}")
        if not all(map(is_positive, (candle.open, candle.high, candle.low, candle.close))):
            raise BadFrame(f"prices of the kline of {subscription} at {candle.open_time}")
        if not all(map(is_amount, (candle.volume, candle.quote_volume))) or not all(
            map(is_amount, (candle.taker_buy_volume, candle.taker_buy_quote_volume))
        ):
            raise BadFrame(f"volumes of the kline of {subscription} at {candle.open_time}")
        self._event_time = event.event_time
        record = KlineRecord(
            subscription,
            _millis(candle.open_time),
            _millis(candle.close_time),
            candle.open,
            candle.high,
            candle.low,
            candle.close,
            candle.volume,
            candle.quote_volume,
            candle.trades,
            candle.taker_buy_volume,
            candle.taker_buy_quote_volume,
            candle.closed,
            self.event_time,
            self._raw(frame) if self._raw_json else "",
        )
        return (record,)

    def _raw(self, frame: bytes) -> str:
        try:
            return str(frame, "utf-8")
        except UnicodeDecodeError as error:
            raise BadFrame(f"not UTF-8: {error.reason}") from error

    def _receive_unknown(self, stream: str, event: _Event, frame: bytes) -> Sequence[Record]:
        if isinstance(event, _Shutdown):  # announced to all, subscribed by none
            return self._closing()
        if not self._open_to_all:
            self.ignored += 1
            return ()
        subscription = self._by_stream[stream] = _subscription(stream, event, self._name)
        return _RECORDS[type(event)](self, subscription, event, frame)

    def _receive_bare(self, frame: bytes) -> Sequence[Record]:
        """A frame without a readable envelope: a raw stream's event, a reply, somebody else's event, or garbage."""
        try:
            event = _event(frame)
        except _UNREADABLE:
            return self._receive_other(frame)
        if isinstance(event, _Shutdown):
            return self._closing()
        stream = _stream_of(event)
        subscription = self._by_stream.get(stream)
        if subscription is None:
            return self._receive_unknown(stream, event, frame)
        return _RECORDS[type(event)](self, subscription, event, frame)

    def _receive_other(self, frame: bytes) -> Sequence[Record]:
        try:
            reply, loose = _reply(frame), _loose(frame)
        except _UNREADABLE as error:
            raise BadFrame(str(error) or type(error).__name__) from error
        if reply.result is not msgspec.UNSET or reply.code is not None or reply.error is not None:
            self._answered(reply)
            return ()
        if _is_somebody_elses(loose):
            self.ignored += 1
            return ()
        raise BadFrame(_reason(frame))

    def _answered(self, reply: _Reply) -> None:
        streams = self._asked.pop(reply.id, ()) if isinstance(reply.id, int) else ()
        error = reply.error if isinstance(reply.error, dict) else {"code": reply.code, "msg": reply.msg}
        if reply.code is None and reply.error is None:
            self.notices.append(Notice("acknowledged", f"request {reply.id}", streams))
        else:
            self.notices.append(Notice("refused", f"code {error.get('code')}: {error.get('msg')}", streams))

    def _ask(self, method: str, streams: tuple[str, ...]) -> str:
        number = next(self._ids)
        self._asked[number] = streams
        return _request(method, streams, number)


_RECORDS: dict[type[_Event], Callable[..., Sequence[Record]]] = {
    _Trade: BinanceSession._trade,
    _AggTrade: BinanceSession._trade,
    _Kline: BinanceSession._kline,
    _Shutdown: BinanceSession._closing,
}
"""What makes records of each kind of event. A table, since isinstance on a Struct goes through abc."""


class Binance:
    """Binance spot as a venue. `time_unit` is what the websocket is asked for: millisecond or microsecond."""

    name = "binance"
    limits = _LIMITS
    ws_url = "wss://stream.binance.com:9443"
    rest_url = "https://api.binance.com"
    weight_header = "X-MBX-USED-WEIGHT-1M"
    weight_per_minute = 6000

    def __init__(
        self,
        *,
        ws_url: str | None = None,
        rest_url: str | None = None,
        time_unit: str = "millisecond",
        raw_json: bool = True,
    ) -> None:
        self.ws_url = (ws_url or self.ws_url).rstrip("/")
        self.rest_url = (rest_url or self.rest_url).rstrip("/")
        self._query = "?timeUnit=MICROSECOND" if time_unit == "microsecond" else ""
        self._raw_json = raw_json

    def sessions(self, subscriptions: Sequence[Subscription], pairs_per_connection: int = 50) -> list[BinanceSession]:
        """One session for each `pairs_per_connection` pairs, none above the venue's streams per connection."""
        by_pair: dict[str, list[Subscription]] = {}
        for wanted in dict.fromkeys(subscriptions):
            by_pair.setdefault(wanted.pair, []).append(wanted)
        planned: list[list[Subscription]] = []
        pairs = 0
        for group in by_pair.values():
            if (
                not planned
                or pairs == pairs_per_connection
                or len(planned[-1]) + len(group) > _LIMITS.streams_per_connection
            ):
                planned.append([])
                pairs = 0
            planned[-1].extend(group)
            pairs += 1
        return [self._session(group) for group in planned]

    def replay(self) -> BinanceSession:
        """A session that reads recorded frames of any stream, combined or raw."""
        return self._session(())

    def instruments_request(self) -> Request:
        """All symbols: exchangeInfo (weight 20)."""
        return Request(url=f"{self.rest_url}/api/v3/exchangeInfo", params={"showPermissionSets": "false"}, weight=20)

    def instruments(self, payload: bytes) -> list[Instrument]:
        """Instruments of an exchangeInfo answer; tradable means TRADING and allowed on spot. Raises BadFrame."""
        return [
            Instrument(
                symbol=listed.symbol,
                base=listed.base,
                quote=listed.quote,
                tradable=listed.status == "TRADING" and listed.spot,
            )
            for listed in _decode(_exchange_info, payload).symbols
        ]

    def prices_request(self) -> Request:
        """Last price of every symbol (weight 4)."""
        return Request(url=f"{self.rest_url}/api/v3/ticker/price", weight=4)

    def prices(self, payload: bytes) -> dict[str, float]:
        """Last price by symbol. Raises BadFrame."""
        return {row.symbol: float(row.price) for row in _decode(_prices, payload) if is_positive(row.price)}

    def time_request(self) -> Request:
        """The venue's clock (weight 1)."""
        return Request(url=f"{self.rest_url}/api/v3/time")

    def server_time(self, payload: bytes) -> int:
        """The venue's clock in milliseconds since the epoch. Raises BadFrame."""
        told: _ServerTime = _decode(_server_time, payload)
        return told.time

    def _session(self, subscriptions: Sequence[Subscription]) -> BinanceSession:
        return BinanceSession(
            f"{self.ws_url}/stream{self._query}", subscriptions, name=self.name, raw_json=self._raw_json
        )


class _Listed(msgspec.Struct):
    symbol: str
    status: str
    base: str = field(name="baseAsset")
    quote: str = field(name="quoteAsset")
    spot: bool = field(name="isSpotTradingAllowed", default=True)


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Listed]


class _Price(msgspec.Struct):
    symbol: str
    price: str


class _ServerTime(msgspec.Struct):
    time: int = field(name="serverTime")


_exchange_info = msgspec.json.Decoder(_ExchangeInfo)
_prices = msgspec.json.Decoder(list[_Price])
_server_time = msgspec.json.Decoder(_ServerTime)


def _decode(decoder: msgspec.json.Decoder[Any], payload: bytes) -> Any:
    try:
        return decoder.decode(payload)
    except _UNREADABLE as error:
        raise BadFrame(str(error)) from error


def stream_name(wanted: Subscription) -> str:
    """The venue's name of a stream; only the symbol is lower-case.

    >>> stream_name(Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.MO1))
    'btcusdt@kline_1M'
    """
    kinds = {Channel.TRADES: "trade", Channel.AGG_TRADES: "aggTrade", Channel.KLINES: f"kline_{wanted.interval}"}
    return f"{wanted.pair.lower()}@{kinds[wanted.channel]}"


def _stream_of(event: _Trade | _AggTrade | _Kline) -> str:
    kind = f"kline_{event.candle.interval}" if isinstance(event, _Kline) else event.__struct_config__.tag
    return f"{event.symbol.lower()}@{kind}"


def _subscription(stream: str, event: _Event, exchange: str) -> Subscription:
    """What a recorded stream is, by its event; refuses a name that does not fit what it carries."""
    if isinstance(event, _Shutdown) or stream != _stream_of(event):
        raise BadFrame(f"an event of another kind in the stream {stream[:60]!r}")
    try:
        pair = check_symbol(event.symbol)
        if isinstance(event, _Kline):
            return Subscription(exchange, Channel.KLINES, pair, Interval(event.candle.interval))
    except (UsageError, ValueError) as error:
        raise BadFrame(str(error)) from error
    return Subscription(exchange, Channel.TRADES if isinstance(event, _Trade) else Channel.AGG_TRADES, pair)


def _is_somebody_elses(loose: _Loose) -> bool:
    if isinstance(loose.stream, str):
        kind = loose.stream.partition("@")[2].partition("_")[0]
        return kind not in _OURS and loose.data is not None
    if isinstance(loose.e, str):
        return loose.e not in _OURS
    return loose.u is not None or loose.lastUpdateId is not None  # bookTicker and depth snapshots carry no `e`


def _reason(frame: bytes) -> str:
    try:
        _envelope(frame)
    except _UNREADABLE as error:
        return str(error) or type(error).__name__
    return "not an event of this venue"


def _request(method: str, streams: Sequence[str], number: int) -> str:
    return msgspec.json.encode({"method": method, "params": list(streams), "id": number}).decode()


def _batches(streams: Sequence[str], limit: int) -> list[tuple[str, ...]]:
    """Split streams so that each request stays below the limit in bytes."""
    room = limit - len(_request("UNSUBSCRIBE", (), 2**63 - 1)) - 1
    made: list[list[str]] = []
    used = room
    for stream in streams:
        size = len(stream.encode()) + 3
        if used + size > room:
            made.append([])
            used = 0
        made[-1].append(stream)
        used += size
    return [tuple(batch) for batch in made]


def _micros(time: int) -> Micros:
    # No call of Micros: it costs as much as all the rest.
    return time if time >= _FIRST_MICROS else time * 1000  # type: ignore[return-value]


def _millis(time: int) -> int:
    return time // 1000 if time >= _FIRST_MICROS else time
