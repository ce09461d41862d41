"""Binance's klines over REST: the question, and its answer as the records that the websocket would have given.

Source: binance/binance-spot-api-docs, rest-api.md, "Kline/Candlestick data".
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from cryptostream.errors import BadFrame
from cryptostream.model.events import KlineRecord, Micros
from cryptostream.model.instrument import Subscription
from cryptostream.model.text import is_amount, is_positive
from cryptostream.venues.base import Request
from cryptostream.venues.binance.frames import AHEAD_NS, UNREADABLE, Id, Time, micros, millis

_MAX_ROWS = 1000
_SETTLED_MS = 10_000
"""How long after its end a row that none follows may still be half-finished: the database is behind the streams."""


class _Row(msgspec.Struct, array_like=True, gc=False):
    # [1733561823000,"99512.02000000","99512.02000000","99512.01000000","99512.02000000","0.00701000",1733561823999,
    #  "697.57925570",4,"0.00656000","652.79885120","0"]
    open_time: Time
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time: Time
    quote_volume: str
    trades: Id
    taker_buy_volume: str
    taker_buy_quote_volume: str
    ignored: Any


_rows = msgspec.json.Decoder(list[msgspec.Raw])
_row = msgspec.json.Decoder(_Row)


def klines_request(rest_url: str, wanted: Subscription, first_open_ms: int, limit: int = _MAX_ROWS) -> Request:
    """Klines of a subscription that open at a time or later, oldest first, the one still open included (weight 2)."""
    return Request(
        url=f"{rest_url}/api/v3/klines",
        params={
            "symbol": wanted.pair,
            "interval": str(wanted.interval),
            "startTime": str(first_open_ms),
            "limit": str(min(limit, _MAX_ROWS)),
        },
        weight=2,
    )


def klines(wanted: Subscription, payload: bytes, received_at: int, *, raw_json: bool) -> list[KlineRecord]:
    """The klines of an answer in the order of their windows; `raw_json` keeps each row as it was sent.

    One is closed if a later row follows it, for a database that has a later window has finished the earlier one. The
    last is closed if it ended ten seconds before `received_at` (nanoseconds since the epoch, by the venue's own clock
    where ours may differ): likely finished, and no proof. The `ts` of a closed one is its close time, for a row does
    not tell when it closed; that of the others is `received_at`.

    Raises BadFrame if any row is not a kline that the websocket could have told, or if they are out of order.
    """
    try:
        sent = _rows.decode(payload)
        rows = [_row.decode(raw) for raw in sent]
        texts = [str(raw, "utf-8") if raw_json else "" for raw in sent]
    except UNREADABLE as error:
        raise BadFrame(str(error) or type(error).__name__) from error
    _check(wanted, rows, received_at)
    newest = len(rows) - 1
    return [
        _record(wanted, row, text, received_at, followed=place < newest)
        for place, (row, text) in enumerate(zip(rows, texts, strict=True))
    ]


def _record(wanted: Subscription, row: _Row, text: str, received_at: int, *, followed: bool) -> KlineRecord:
    close_time = millis(row.close_time)
    closed = followed or close_time + _SETTLED_MS < received_at // 1_000_000
    return KlineRecord(
        wanted,
        millis(row.open_time),
        close_time,
        row.open,
        row.high,
        row.low,
        row.close,
        row.volume,
        row.quote_volume,
        row.trades,
        row.taker_buy_volume,
        row.taker_buy_quote_volume,
        closed,
        micros(row.close_time) if closed else Micros(received_at // 1000),
        text,
    )


def _check(wanted: Subscription, rows: Sequence[_Row], received_at: int) -> None:
    for row in rows:
        if not all(map(is_positive, (row.open, row.high, row.low, row.close))):
            raise BadFrame(f"prices of the kline of {wanted} at {row.open_time}")
        if not all(map(is_amount, (row.volume, row.quote_volume, row.taker_buy_volume, row.taker_buy_quote_volume))):
            raise BadFrame(f"volumes of the kline of {wanted} at {row.open_time}")
        if micros(row.open_time) * 1000 > received_at + AHEAD_NS:
            raise BadFrame(f"a kline of {wanted} is from the future")
    if any(micros(one.close_time) >= micros(next_one.open_time) for one, next_one in pairwise(rows)):
        raise BadFrame(f"klines of {wanted} out of order")
