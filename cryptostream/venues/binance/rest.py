"""Binance's trades over REST: what was missed, by id, and which trade is the newest.

Source: binance/binance-spot-api-docs, rest-api.md. Ids of trades and of aggregates are contiguous per symbol. The
answers come from a database that may be seconds behind the streams.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import field

from cryptostream.errors import BadFrame
from cryptostream.model.events import Side, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.model.text import are_positive
from cryptostream.venues.base import Request
from cryptostream.venues.binance.frames import AHEAD_NS, UNREADABLE, Id, Time, micros

_MAX_ROWS = 1000
_MIRRORS = ("data-api.binance.vision",)
"""Hosts of public data only, which know no `historicalTrades`."""
NEWEST_AT_ONCE = {Channel.TRADES: 20, Channel.AGG_TRADES: 1, Channel.KLINES: 0}


class _Trade(msgspec.Struct, gc=False):
    # {"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,
    #  "isBuyerMaker":true,"isBestMatch":true}
    trade_id: Id = field(name="id")
    price: str
    qty: str
    time: Time
    buyer_is_maker: bool = field(name="isBuyerMaker")


class _AggTrade(msgspec.Struct, gc=False):
    # {"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true}
    trade_id: Id = field(name="a")
    price: str = field(name="p")
    qty: str = field(name="q")
    time: Time = field(name="T")
    buyer_is_maker: bool = field(name="m")


class _Ticker(msgspec.Struct, gc=False):
    # {"symbol":"BNBBTC","openPrice":"99.00000000",...,"openTime":1499783499040,"closeTime":1499869899040,
    #  "firstId":28385,"lastId":28460,"count":76}; both ids are -1 where nothing was traded for a day
    symbol: str
    last_id: int = field(name="lastId")


_rows = msgspec.json.Decoder(list[msgspec.Raw])
_row: dict[Channel, msgspec.json.Decoder[Any]] = {
    Channel.TRADES: msgspec.json.Decoder(_Trade),
    Channel.AGG_TRADES: msgspec.json.Decoder(_AggTrade),
}
_agg_trades = msgspec.json.Decoder(list[_AggTrade])
_tickers = msgspec.json.Decoder(list[_Ticker])


def trades_request(rest_url: str, wanted: Subscription, first_id: int, limit: int = _MAX_ROWS) -> Request | None:
    """Trades (weight 25) or aggregates (weight 4) from an id on; None for trades where only a mirror is asked."""
    if wanted.channel is Channel.TRADES and urlsplit(rest_url).hostname in _MIRRORS:
        return None
    name, weight = ("historicalTrades", 25) if wanted.channel is Channel.TRADES else ("aggTrades", 4)
    params = {"symbol": wanted.pair, "fromId": str(first_id), "limit": str(min(limit, _MAX_ROWS))}
    return Request(url=f"{rest_url}/api/v3/{name}", params=params, weight=weight)


def trades(wanted: Subscription, payload: bytes, received_at: int, *, raw_json: bool) -> list[TradeRecord]:
    """The trades of such an answer, checked as those of the websocket; `raw_json` keeps each row as it was sent.

    Raises BadFrame if any row is not a trade, or if their ids do not rise.
    """
    read = _row[wanted.channel].decode
    try:
        made = [_record(wanted, read(raw), raw if raw_json else b"", received_at) for raw in _rows.decode(payload)]
    except UNREADABLE as error:
        raise BadFrame(str(error) or type(error).__name__) from error
    if any(one.trade_id >= following.trade_id for one, following in pairwise(made)):
        raise BadFrame(f"trades of {wanted} out of order")
    return made


def _record(wanted: Subscription, row: _Trade | _AggTrade, raw: msgspec.Raw | bytes, received_at: int) -> TradeRecord:
    ts = micros(row.time)
    if not are_positive(row.price, row.qty):
        raise BadFrame(f"price {row.price[:40]!r}, qty {row.qty[:40]!r} of trade {row.trade_id}")
    if ts * 1000 > received_at + AHEAD_NS:
        raise BadFrame(f"trade {row.trade_id} is from the future")
    side: Side = "sell" if row.buyer_is_maker else "buy"
    return TradeRecord(wanted, row.price, row.qty, ts, side, row.trade_id, str(raw, "utf-8"), True)


def newest_request(rest_url: str, wanted: Sequence[Subscription]) -> Request:
    """The newest ids: of trades from the day's ticker (weight 2 up to 20 symbols, 40 beyond), of one pair's aggregates
    (weight 4).
    """
    if wanted[0].channel is Channel.AGG_TRADES:
        (only,) = wanted
        return Request(url=f"{rest_url}/api/v3/aggTrades", params={"symbol": only.pair, "limit": "1"}, weight=4)
    symbols = msgspec.json.encode([one.pair for one in wanted]).decode()
    return Request(
        url=f"{rest_url}/api/v3/ticker/24hr",
        params={"symbols": symbols, "type": "MINI"},
        weight=2 if len(wanted) <= 20 else 40,
    )


def newest(wanted: Sequence[Subscription], payload: bytes) -> dict[Subscription, int]:
    """The newest ids of such an answer, without those who did not trade for a day. Raises BadFrame."""
    try:
        if wanted[0].channel is Channel.AGG_TRADES:
            rows = _agg_trades.decode(payload)
            return {wanted[0]: rows[-1].trade_id} if rows else {}
        told = {row.symbol: row.last_id for row in _tickers.decode(payload)}
    except UNREADABLE as error:
        raise BadFrame(str(error) or type(error).__name__) from error
    return {one: told[one.pair] for one in wanted if told.get(one.pair, -1) >= 0}
