"""Entries as streams hold them, for the tests of databases."""

import json

from cryptostream.model.codec import iso
from cryptostream.model.events import Entry

START_MS = 1_731_605_400_000  # 2024-11-14T17:30:00Z


def trade(number: int, pair: str = "BTCUSDT", **fields: str) -> Entry:
    """One trade, three milliseconds after the one before it."""
    ms = START_MS + 3 * number
    told = {
        "exchange": "binance",
        "pair": pair,
        "price": f"{45_000 + number}.50000000",
        "qty": "0.12300000",
        "ts": iso(ms * 1000),
        "side": "buy" if number % 2 else "sell",
        "trade_id": str(number),
        "raw_json": json.dumps({"t": number, "quote": 'a"b\\c\td'}),
    }
    return Entry(f"trades:{pair}", f"{ms}-{number}", told | fields)


def kline(number: int, *, closed: bool = True) -> Entry:
    """One candle of a minute."""
    opened = START_MS + 60_000 * number
    told = {
        "exchange": "binance",
        "pair": "BTCUSDT",
        "interval": "1m",
        "open_time": str(opened),
        "close_time": str(opened + 59_999),
        "open": "1.10",
        "high": "1.30",
        "low": "1.00",
        "close": "1.20",
        "volume": "10.00",
        "quote_volume": "12.0",
        "trades": "7",
        "taker_buy_volume": "5.00",
        "taker_buy_quote_volume": "6.0",
        "closed": "true" if closed else "false",
        "ts": iso((opened + 60_000) * 1000),
    }
    return Entry("klines:BTCUSDT:1m", f"{opened + 59_999}-{int(closed)}", told)


def gap(first: int, last: int) -> Entry:
    """Trades that never came."""
    ms = START_MS + 3 * (first - 1)
    told = {
        "kind": "gap",
        "exchange": "binance",
        "pair": "BTCUSDT",
        "gap_from": str(first),
        "gap_to": str(last),
        "cause": "unfillable",
        "ts": iso(ms * 1000),
    }
    return Entry("trades:BTCUSDT", f"{ms}-{first}", told)


def signal(number: int, **fields: str) -> Entry:
    """An opinion about the trade of that number."""
    caused_by = trade(number)
    told = {
        "strategy": "momentum",
        "pair": "BTCUSDT",
        "side": "buy",
        "price": caused_by.fields["price"],
        "strength": "0.7",
        "reason": "rsi below 30",
        "ts": caused_by.fields["ts"],
        "rsi": "28.4",
    }
    return Entry("signals:momentum:BTCUSDT", caused_by.entry_id, told | fields)
