"""Binance spot: its frames, its conversation, its REST calls.

Sources: binance/binance-spot-api-docs (web-socket-streams.md, rest-api.md).
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import field

from cryptostream.errors import BadFrame
from cryptostream.model.instrument import Instrument, Subscription
from cryptostream.model.text import is_positive
from cryptostream.venues.base import Limits, Request
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
            f"{self.ws_url}/stream{self._query}",
            subscriptions,
            name=self.name,
            control_bytes=_LIMITS.control_bytes,
            raw_json=self._raw_json,
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
    except UNREADABLE as error:
        raise BadFrame(str(error)) from error
