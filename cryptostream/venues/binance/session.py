"""One conversation with Binance: subscribe in batches, match replies by id, read trades and klines.

House rules of this venue:
* Trade ids are contiguous per pair, so an id that is not the last one plus one is news. Times are not: most trades
  share their millisecond with the one before.
* A SUBSCRIBE to a stream that does not exist is acknowledged like any other, so symbols are checked against
  exchangeInfo.
* Replies to control messages are never wrapped in `stream`/`data`, and data can arrive before the reply.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import Any

import msgspec

from cryptostream.errors import BadFrame, UsageError
from cryptostream.model.events import KlineRecord, Micros, Record, Side, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription, check_symbol
from cryptostream.model.text import MAX_DIGITS, are_positive, is_amount, is_positive
from cryptostream.venues.base import Notice, OnBad, each
from cryptostream.venues.binance import frames
from cryptostream.venues.binance.frames import (
    AHEAD_NS,
    FIRST_MICROS,
    AggTrade,
    Event,
    Kline,
    Shutdown,
    Trade,
    micros,
    millis,
    stream_name,
)

_NOT_PLAIN = (*frames.UNREADABLE, ValueError)
_read_envelope: Callable[[bytes], Any] = frames.envelope
_KINDS: dict[Channel, type[Event]] = {Channel.TRADES: Trade, Channel.AGG_TRADES: AggTrade, Channel.KLINES: Kline}


class _Expected:
    """What a stream carries, and how to read it: one lookup a frame."""

    __slots__ = ("kind", "pair", "read", "subscription", "trades")

    def __init__(self, subscription: Subscription, read: Callable[..., Record]) -> None:
        self.subscription = subscription
        self.kind = _KINDS[subscription.channel]
        self.trades: Any = None if subscription.channel is Channel.KLINES else self.kind
        self.pair = subscription.pair
        self.read = read


class BinanceSession:
    """A combined-stream conversation. With no subscriptions it reads the frames of any stream, as a replay wants.

    `control_bytes` is the size that no control message may reach.
    """

    def __init__(
        self, url: str, subscriptions: Sequence[Subscription] = (), *, name: str, control_bytes: int, raw_json: bool
    ) -> None:
        self.url = url
        self.subscriptions = tuple(subscriptions)
        self.ignored = 0
        self.notices: list[Notice] = []
        self._event_time = 0
        self._name = name
        self._control_bytes = control_bytes
        self._raw_json = raw_json
        self._expected = {stream_name(wanted): self._expect(wanted) for wanted in self.subscriptions}
        self._open_to_all = not self.subscriptions
        self._ids = count(1)
        self._asked: dict[int, tuple[str, ...]] = {}

    @property
    def event_time(self) -> Micros:
        """Time of the newest event, microseconds since the epoch; 0 before the first."""
        return micros(self._event_time)

    def hello(self) -> list[str]:
        """SUBSCRIBE messages for every stream, each below the venue's size limit."""
        self._asked.clear()
        return [self._ask("SUBSCRIBE", batch) for batch in _batches(tuple(self._expected), self._control_bytes)]

    def resubscribe(self, wanted: Collection[Subscription]) -> list[str]:
        """UNSUBSCRIBE and SUBSCRIBE messages for some of the streams, each below the venue's size limit."""
        streams = [name for name, expected in self._expected.items() if expected.subscription in wanted]
        return [
            self._ask(method, batch)
            for batch in _batches(streams, self._control_bytes)
            for method in ("UNSUBSCRIBE", "SUBSCRIBE")
        ]

    def unanswered(self) -> Sequence[str]:
        """Streams whose SUBSCRIBE or UNSUBSCRIBE has no reply yet."""
        return [stream for streams in self._asked.values() for stream in streams]

    def receive(self, frame: bytes, received_at: int) -> Sequence[Record]:
        """Records of one frame, in its order; control replies and other streams' events give none.

        Raises BadFrame for a frame that is broken, whose numbers are not finite, positive decimals, whose event does
        not belong into its stream, or whose time is more than a day ahead of `received_at`.
        """
        try:
            wrapped = frames.envelope(frame)
        except frames.UNREADABLE:
            return self._receive_bare(frame, received_at)
        event = wrapped.data
        expected = self._expected.get(wrapped.stream)
        if expected is None or type(event) is not expected.kind:
            return self._receive_unexpected(wrapped.stream, event, frame, received_at)
        return (expected.read(expected.subscription, event, frame, received_at),)

    def receive_all(self, frames: Sequence[bytes], received_at: int, on_bad: OnBad) -> list[Record]:
        """The hot path: a trade that is plainly good is read here, what `receive` says of it without its calls.

        Anything else, and whatever is wrong with it, is the business of `receive`.
        """
        made: list[Record] = []
        take, envelope, expected_of, with_raw = made.append, _read_envelope, self._expected.get, self._raw_json
        latest = (received_at + AHEAD_NS) // 1000
        for frame in frames:
            try:
                wrapped = envelope(frame)
                event = wrapped.data
                expected = expected_of(wrapped.stream)
                if expected is not None and type(event) is expected.trades and event.symbol == expected.pair:
                    price, qty, ts = event.price, event.qty, event.time
                    if ts < FIRST_MICROS:
                        ts *= 1000
                    digits = (price + qty).replace(".", "")
                    if (
                        digits.isdigit()
                        and digits.isascii()
                        and len(digits) < MAX_DIGITS
                        and float(price) > 0.0
                        and float(qty) > 0.0
                        and ts <= latest
                    ):
                        raw = str(frame, "utf-8") if with_raw else ""
                        self._event_time = event.event_time
                        side: Side = "sell" if event.buyer_is_maker else "buy"
                        take(TradeRecord(expected.subscription, price, qty, ts, side, event.trade_id, raw))
                        continue
            except _NOT_PLAIN:
                pass
            made += each(self, (frame,), received_at, on_bad)
        return made

    def _expect(self, subscription: Subscription) -> _Expected:
        return _Expected(subscription, self._kline if subscription.channel is Channel.KLINES else self._trade)

    def _trade(
        self, subscription: Subscription, event: Trade | AggTrade, frame: bytes, received_at: int
    ) -> TradeRecord:
        if event.symbol != subscription.pair:
            raise BadFrame(f"{event.symbol} in the stream of {subscription.pair}")
        price, qty, ts = event.price, event.qty, micros(event.time)
        if not are_positive(price, qty):
            raise BadFrame(f"price {price[:40]!r}, qty {qty[:40]!r} of trade {event.trade_id}")
        if ts * 1000 > received_at + AHEAD_NS:
            raise BadFrame(f"trade {event.trade_id} is from the future")
        self._event_time = event.event_time
        side: Side = "sell" if event.buyer_is_maker else "buy"
        raw = self._raw(frame) if self._raw_json else ""
        return TradeRecord(subscription, price, qty, ts, side, event.trade_id, raw)

    def _kline(self, subscription: Subscription, event: Kline, frame: bytes, received_at: int) -> KlineRecord:
        candle = event.candle
        if candle.symbol != subscription.pair or candle.interval != subscription.interval:
            raise BadFrame(f"{candle.symbol} {candle.interval} in the stream of {subscription}")
        if not all(map(is_positive, (candle.open, candle.high, candle.low, candle.close))):
            raise BadFrame(f"prices of the kline of {subscription} at {candle.open_time}")
        volumes = (candle.volume, candle.quote_volume, candle.taker_buy_volume, candle.taker_buy_quote_volume)
        if not all(map(is_amount, volumes)):
            raise BadFrame(f"volumes of the kline of {subscription} at {candle.open_time}")
        if micros(event.event_time) * 1000 > received_at + AHEAD_NS:
            raise BadFrame(f"a kline of {subscription} is from the future")
        self._event_time = event.event_time
        return KlineRecord(
            subscription,
            millis(candle.open_time),
            millis(candle.close_time),
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

    def _raw(self, frame: bytes) -> str:
        try:
            return str(frame, "utf-8")
        except UnicodeDecodeError as error:
            raise BadFrame(f"not UTF-8: {error.reason}") from error

    def _receive_unexpected(self, stream: str, event: Event, frame: bytes, received_at: int) -> Sequence[Record]:
        """An event that its stream's name did not promise: an announcement, a stream new to us, or a broken frame."""
        if isinstance(event, Shutdown):  # announced to all, subscribed by none
            self.notices.append(Notice("closing", "the venue announced a shutdown"))
            return ()
        if stream in self._expected or stream != frames.stream_of(event):
            raise BadFrame(f"an event of {frames.stream_of(event)[:60]!r} in the stream {stream[:60]!r}")
        if not self._open_to_all:
            self.ignored += 1
            return ()
        expected = self._expected[stream] = self._expect(_subscription(event, self._name))
        return (expected.read(expected.subscription, event, frame, received_at),)

    def _receive_bare(self, frame: bytes, received_at: int) -> Sequence[Record]:
        """A frame without a readable envelope: a raw stream's event, a reply, somebody else's event, or garbage."""
        try:
            event = frames.event(frame)
        except frames.UNREADABLE as error:
            return self._receive_other(frame, error)
        stream = "" if isinstance(event, Shutdown) else frames.stream_of(event)
        expected = self._expected.get(stream)
        if expected is None:
            return self._receive_unexpected(stream, event, frame, received_at)
        return (expected.read(expected.subscription, event, frame, received_at),)

    def _receive_other(self, frame: bytes, reason: Exception) -> Sequence[Record]:
        try:
            other = frames.other(frame)
        except frames.UNREADABLE as error:
            raise BadFrame(str(error) or type(error).__name__) from error
        if other.is_reply:
            self._answered(other)
        elif other.is_somebody_elses:
            self.ignored += 1
        else:
            raise BadFrame(_reason(frame) if other.stream else str(reason))
        return ()

    def _answered(self, reply: frames.Other) -> None:
        streams = self._asked.pop(reply.id, ()) if isinstance(reply.id, int) else ()
        error = reply.error if isinstance(reply.error, dict) else {"code": reply.code, "msg": reply.msg}
        if reply.code is None and reply.error is None:
            self.notices.append(Notice("acknowledged", f"request {reply.id}", streams))
        else:
            refused = tuple(self._expected[stream].subscription for stream in streams)
            self.notices.append(Notice("refused", f"code {error.get('code')}: {error.get('msg')}", streams, refused))

    def _ask(self, method: str, streams: tuple[str, ...]) -> str:
        number = next(self._ids)
        self._asked[number] = streams
        return _request(method, streams, number)


def _subscription(event: Trade | AggTrade | Kline, exchange: str) -> Subscription:
    """What a recorded stream is, by its event."""
    try:
        pair = check_symbol(event.symbol)
        if isinstance(event, Kline):
            return Subscription(exchange, Channel.KLINES, pair, Interval(event.candle.interval))
    except (UsageError, ValueError) as error:
        raise BadFrame(str(error)) from error
    return Subscription(exchange, Channel.TRADES if isinstance(event, Trade) else Channel.AGG_TRADES, pair)


def _reason(frame: bytes) -> str:
    """Why a frame that has an envelope cannot be read."""
    try:
        frames.envelope(frame)
    except frames.UNREADABLE as error:
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
