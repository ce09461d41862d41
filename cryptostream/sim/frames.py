"""The words of the exchange: each fact as the JSON text that Binance writes, byte for byte.

`unit_us` is the length of the time unit that was asked for: 1,000 for milliseconds, 1 for microseconds.
"""

import struct

from cryptostream.model.instrument import Interval
from cryptostream.sim.candles import Candle
from cryptostream.sim.market import SimAggregate, SimTrade

MILLISECOND_US, MICROSECOND_US = 1_000, 1
EVENT_DELAY_US = 1_000
"""Time between a trade and its event on the stream: `E - T`."""


def _flag(value: bool) -> str:
    return "true" if value else "false"


def trade(pair: str, trade: SimTrade, unit_us: int) -> bytes:
    sent, matched = (trade.time_us + EVENT_DELAY_US) // unit_us, trade.time_us // unit_us
    return (
        f'{{"e":"trade","E":{sent},"s":"{pair}","t":{trade.id},"p":"{trade.price}","q":"{trade.qty}",'
        f'"T":{matched},"m":{_flag(trade.buyer_is_maker)},"M":true}}'
    ).encode()


def aggregate(pair: str, made: SimAggregate, unit_us: int) -> bytes:
    sent, matched = (made.time_us + EVENT_DELAY_US) // unit_us, made.time_us // unit_us
    return (
        f'{{"e":"aggTrade","E":{sent},"s":"{pair}","a":{made.id},"p":"{made.price}","q":"{made.qty}",'
        f'"f":{made.first_id},"l":{made.last_id},"T":{matched},"m":{_flag(made.buyer_is_maker)},"M":true}}'
    ).encode()


def kline(pair: str, interval: Interval, candle: Candle, *, at_us: int, closed: bool, unit_us: int) -> bytes:
    opened, high, low, close = candle.prices
    volume, quote, buy_volume, buy_quote = candle.volumes
    return (
        f'{{"e":"kline","E":{at_us // unit_us},"s":"{pair}","k":{{'
        f'"t":{candle.open_us // unit_us},"T":{(candle.end_us - 1) // unit_us},"s":"{pair}","i":"{interval.value}",'
        f'"f":{candle.first_id},"L":{candle.last_id},"o":"{opened}","c":"{close}","h":"{high}","l":"{low}",'
        f'"v":"{volume}","n":{candle.count},"x":{_flag(closed)},"q":"{quote}","V":"{buy_volume}","Q":"{buy_quote}",'
        '"B":"0"}}'
    ).encode()


def server_shutdown(at_us: int, unit_us: int) -> bytes:
    return f'{{"e":"serverShutdown","E":{at_us // unit_us}}}'.encode()


def combined(stream: str, payload: bytes) -> bytes:
    return b'{"stream":"' + stream.encode() + b'","data":' + payload + b"}"


def websocket(payload: bytes) -> bytes:
    """A whole text frame of RFC 6455 as a server sends it: final, unmasked, uncompressed."""
    length = len(payload)
    if length < 126:
        return struct.pack("!BB", 0x81, length) + payload
    if length < 65_536:
        return struct.pack("!BBH", 0x81, 126, length) + payload
    return struct.pack("!BBQ", 0x81, 127, length) + payload
