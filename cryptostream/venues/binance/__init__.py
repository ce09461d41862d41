"""Binance spot: its frames, its conversation, its REST calls.

Sources: binance/binance-spot-api-docs (web-socket-streams.md, rest-api.md).
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import field

from cryptostream.errors import BadFrame
from cryptostream.model.events import KlineRecord, TradeRecord
from cryptostream.model.instrument import Channel, Instrument, Subscription
from cryptostream.model.text import is_positive
from cryptostream.venues.base import Limits, Request, Rule
from cryptostream.venues.binance import candles, rest
from cryptostream.venues.binance.frames import UNREADABLE, stream_name
from cryptostream.venues.binance.session import BinanceSession

__all__ = ["Binance", "BinanceSession", "stream_name"]

_LIMITS = Limits(
    streams_per_connection=1024,
    control_per_s=4,  # 5 are allowed, and pongs count
    control_bytes=4096,
    connects=60,  # 300 are allowed; other programs share our address
    connects_window_s=300,
)


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

    def session(self, subscriptions: Sequence[Subscription]) -> BinanceSession:
        """One conversation about just these subscriptions."""
        return BinanceSession(
            f"{self.ws_url}/stream{self._query}",
            subscriptions,
            name=self.name,
            control_bytes=_LIMITS.control_bytes,
            raw_json=self._raw_json,
        )

    def replay(self) -> BinanceSession:
        """A session that reads recorded frames of any stream, combined or raw."""
        return self.session(())

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

    def rule(self, channel: Channel) -> Rule:
        """Ids of trades and of aggregates are the one before plus one."""
        return Rule.NONE if channel is Channel.KLINES else Rule.CONTIGUOUS

    def trades_request(self, wanted: Subscription, first_id: int, limit: int = 1000) -> Request | None:
        """Trades from an id on (weight 25; aggregates 4). The mirror of public data has no trades by id: None."""
        return rest.trades_request(self.rest_url, wanted, first_id, limit)

    def trades(self, wanted: Subscription, payload: bytes, received_at: int) -> list[TradeRecord]:
        """The trades of such an answer in the order of ids. Raises BadFrame."""
        return rest.trades(wanted, payload, received_at, raw_json=self._raw_json)

    def newest_at_once(self, channel: Channel) -> int:
        """Twenty symbols of trades weigh 2 and twenty-one 40; aggregates can be asked for one by one."""
        return rest.NEWEST_AT_ONCE[channel]

    def newest_request(self, wanted: Sequence[Subscription]) -> Request:
        """The newest ids of subscriptions of one channel (weight 2 up to 20 symbols, 40 beyond; of aggregates 4)."""
        return rest.newest_request(self.rest_url, wanted)

    def newest(self, wanted: Sequence[Subscription], payload: bytes) -> dict[Subscription, int]:
        """The newest ids of such an answer, without those who did not trade for a day. Raises BadFrame."""
        return rest.newest(wanted, payload)

    def klines_request(self, wanted: Subscription, first_open_ms: int, limit: int = 1000) -> Request:
        """Klines from an open time on (weight 2)."""
        return candles.klines_request(self.rest_url, wanted, first_open_ms, limit)

    def klines(self, wanted: Subscription, payload: bytes, received_at: int) -> list[KlineRecord]:
        """The klines of such an answer by time. Raises BadFrame."""
        return candles.klines(wanted, payload, received_at, raw_json=self._raw_json)


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
    except UNREADABLE as error:
        raise BadFrame(str(error)) from error
