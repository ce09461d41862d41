"""What clients may say to the websocket and what it answers: addresses, stream names, control messages. No socket."""

import json
import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from cryptostream.model.instrument import Interval
from cryptostream.sim.frames import MICROSECOND_US, MILLISECOND_US

MAX_STREAMS = 1_024
MAX_CONTROL_BYTES = 4_096
MAX_REQUEST_LINE = 8_000
MESSAGES_PER_S = 5

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_UNITS = {"MICROSECOND": MICROSECOND_US, "MILLISECOND": MILLISECOND_US}
_ZONE = re.compile(r"([+-]?)(\d{1,2})(?::([0-5]\d))?")
_ID = re.compile(r"[0-9A-Za-z]{1,36}")


class Address(msgspec.Struct, frozen=True):
    """What a websocket URL asks for: which streams, with or without the envelope, in which time unit."""

    streams: tuple[str, ...] = ()
    combined: bool = False
    unit_us: int = MILLISECOND_US


class BadAddress(ValueError):
    """Not an address of the websocket."""


def address(target: str) -> Address:
    """Read the path and query of a websocket request.

    >>> address("/stream?streams=btcusdt@trade/ethusdt@kline_1m&timeUnit=microsecond").streams
    ('btcusdt@trade', 'ethusdt@kline_1m')
    >>> address("/ws/btcusdt%40trade").combined
    False

    Raises BadAddress for any other path and for an unknown time unit.
    """
    parts = urlsplit(target)
    # A bare "+" in a query means a space; in a stream name it can only have been meant as itself.
    query = parse_qs(parts.query.replace("+", "%2B"))
    unit = query.get("timeUnit", ["MILLISECOND"])[-1].upper()
    if unit not in _UNITS:
        raise BadAddress(f"unknown timeUnit {unit}")
    path = unquote(parts.path)
    if path == "/ws" or path.startswith("/ws/"):
        return Address(_names(path.removeprefix("/ws")), False, _UNITS[unit])
    if path.rstrip("/") == "/stream":
        return Address(_names("/".join(query.get("streams", []))), True, _UNITS[unit])
    raise BadAddress(f"no such path {path}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in text.split("/") if name))


class StreamName(msgspec.Struct, frozen=True):
    """A stream name taken apart: `symbol` is in lower case, `kind` is trade, aggTrade or kline."""

    symbol: str
    kind: str
    interval: Interval | None = None
    shift_us: int = 0


def stream_name(name: str) -> StreamName | None:
    """Take a stream name apart; None for what this exchange does not offer.

    >>> stream_name("btcusdt@kline_1d@+08:00").shift_us // 3_600_000_000
    8
    """
    symbol, _, kind = name.partition("@")
    if kind in ("trade", "aggTrade"):
        return StreamName(symbol, kind)
    word, _, shift = kind.partition("@")
    interval = word.removeprefix("kline_")
    if interval == word or interval not in set(Interval) or (shift and shift != "+08:00"):
        return None
    return StreamName(symbol, "kline", Interval(interval), zone_us(shift) if shift else 0)


def zone_us(text: str) -> int:
    """A distance from UTC such as `+08:00` or `-5`, in microseconds.

    >>> zone_us("-1:30") // 60_000_000
    -90

    Raises ValueError for anything else, and beyond -12 and +14 hours.
    """
    found = _ZONE.fullmatch(text)
    if not found:
        raise ValueError(f"not a time zone: {text}")
    minutes = int(found[2]) * 60 + int(found[3] or 0)
    minutes = -minutes if found[1] == "-" else minutes
    if not -12 * 60 <= minutes <= 14 * 60:
        raise ValueError(f"beyond any time zone: {text}")
    return minutes * 60_000_000


class TooManyStreams(ValueError):
    """More streams than one connection may have."""


class Conversation:
    """What one connection has asked for. `answer` reads a control message, changes that, and gives the exact reply."""

    def __init__(self, asked: Address) -> None:
        self.streams: dict[str, None] = dict.fromkeys(asked.streams)
        self.combined = asked.combined
        self.unit_us = asked.unit_us

    def answer(self, message: str) -> str:
        """Reply to one control message. Raises TooManyStreams, after which the connection has to be closed."""
        try:
            asked = json.loads(message)
        except ValueError:
            return _error(3, "Invalid JSON: expected value at line 1 column 1")
        if not isinstance(asked, dict) or "method" not in asked:
            return _error(2, f"Invalid request: missing field `method` at line 1 column {len(message)}")
        if asked["method"] not in _METHODS:
            return _error(2, _unknown_method(message, asked["method"]))
        if not _id_ok(asked.get("id")):
            return _error(2, "Invalid request: request ID must be an unsigned integer")
        return self._carry_out(asked["method"], asked.get("params"), asked.get("id"))

    def _carry_out(self, method: str, params: Any, request_id: int | str | None) -> str:
        if method == "LIST_SUBSCRIPTIONS":
            return _result(list(self.streams), request_id)
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
                return _error(2, "Invalid request: params must be an array of strings", request_id)
            self._subscribe(params) if method == "SUBSCRIBE" else self._unsubscribe(params)
            return _result(None, request_id)
        return self._property(method, params, request_id)

    def _subscribe(self, names: list[str]) -> None:
        # Whatever does not exist is acknowledged all the same, and stays silent: so does the real exchange.
        self.streams.update(dict.fromkeys(names))
        if len(self.streams) > MAX_STREAMS:
            raise TooManyStreams(f"{len(self.streams)} streams on one connection")

    def _unsubscribe(self, names: list[str]) -> None:
        for name in names:
            self.streams.pop(name, None)

    def _property(self, method: str, params: Any, request_id: int | str | None) -> str:
        expected = 2 if method == "SET_PROPERTY" else 1
        if not isinstance(params, list) or not params or not isinstance(params[0], str):
            return _error(2, "Invalid request: property name must be a string", request_id)
        if len(params) > expected:
            return _error(2, "Invalid request: too many parameters", request_id)
        if params[0] != "combined":
            return _error(0, "Unknown property", request_id)
        if method == "GET_PROPERTY":
            return _result(self.combined, request_id)
        if len(params) < expected or not isinstance(params[1], bool):
            return _error(1, "Invalid value type: expected Boolean", request_id)
        self.combined = params[1]
        return _result(None, request_id)


def _id_ok(request_id: Any) -> bool:
    if request_id is None:
        return True
    if isinstance(request_id, str):
        return _ID.fullmatch(request_id) is not None
    return isinstance(request_id, int) and not isinstance(request_id, bool) and -(2**63) <= request_id < 2**63


def _unknown_method(message: str, method: Any) -> str:
    told = json.dumps(method, ensure_ascii=False)
    column = message.find(told) + len(told)
    names = ", ".join(f"`{name}`" for name in _METHODS)
    return f"Invalid request: unknown variant {method}, expected one of {names} at line 1 column {column}"


def _result(result: Any, request_id: int | str | None) -> str:
    return json.dumps({"result": result, "id": request_id}, ensure_ascii=False, separators=(",", ":"))


def _error(code: int, text: str, request_id: int | str | None = None) -> str:
    told = {"code": code, "msg": text} | ({} if request_id is None else {"id": request_id})
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))
