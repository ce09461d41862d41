"""One request and its answer, with the exchange's own errors, and the weight that requests cost."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from cryptostream.model.ports import Clock
from cryptostream.sim.frames import MILLISECOND_US

WEIGHT_PER_MINUTE = 6_000
_MINUTE_NS = 60_000_000_000
_BAN_S = 120
_PATIENCE = 10
"""Requests over the limit that are answered with 429 before the ban."""
_MAX_ROWS = 1_000


class Answer(msgspec.Struct):
    """What goes back over HTTP."""

    status: int
    body: bytes
    headers: dict[str, str] = {}

    @classmethod
    def json(cls, value: Any, status: int = 200) -> "Answer":
        return cls(status, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


class RestError(Exception):
    """An error as the exchange words it."""

    def __init__(self, code: int, message: str, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.answer = Answer.json({"code": code, "msg": message}, status)
        self.answer.headers = dict(headers or {})


class Budget:
    """The request weight of one minute: 429 beyond it, and 418 for those who do not stop."""

    def __init__(self, clock: Clock, limit: int = WEIGHT_PER_MINUTE) -> None:
        self._clock, self.limit = clock, limit
        self.used = 0
        self._minute = 0
        self._refused = 0
        self._banned_until_ns = 0

    def spend(self, weight: int) -> None:
        """Count a request. Raises RestError with Retry-After when the minute's weight is used up."""
        now_ns = self._clock.now_ns()
        if now_ns < self._banned_until_ns:
            raise self._ban(now_ns)
        if now_ns // _MINUTE_NS != self._minute:
            self._minute, self.used, self._refused = now_ns // _MINUTE_NS, 0, 0
        self.used += weight
        if self.used > self.limit:
            raise self._refuse(now_ns)

    def _refuse(self, now_ns: int) -> RestError:
        self._refused += 1
        if self._refused > _PATIENCE:
            self._banned_until_ns = now_ns + _BAN_S * 1_000_000_000
            return self._ban(now_ns)
        message = (
            f"Too much request weight used; current limit is {self.limit} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API."
        )
        return RestError(-1003, message, 429, {"Retry-After": str(60 - now_ns % _MINUTE_NS // 1_000_000_000)})

    def _ban(self, now_ns: int) -> RestError:
        until_ms = self._banned_until_ns // 1_000_000
        message = (
            f"Way too much request weight used; IP banned until {until_ms}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        )
        left_s = -(-(self._banned_until_ns - now_ns) // 1_000_000_000)
        return RestError(-1003, message, 418, {"Retry-After": str(left_s)})


class Asked:
    """One request: its parameters, read with the exchange's own errors."""

    def __init__(self, query: str, unit_us: int = MILLISECOND_US) -> None:
        self._given = parse_qs(query.replace("+", "%2B"), keep_blank_values=True)
        self.unit_us = unit_us
        for name, values in self._given.items():
            if len(values) > 1:
                raise RestError(-1101, f"Duplicate values for parameter '{name}'.")

    def text(self, name: str) -> str | None:
        return self._given.get(name, [None])[0]

    def needed(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise RestError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        return value

    def number(self, name: str) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        if not value.isdecimal():
            raise RestError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
        return int(value)

    def time_us(self, name: str) -> int | None:
        """A time in milliseconds or microseconds, told apart by its size."""
        value = self.number(name)
        return value * 1_000 if value is not None and value < 10**15 else value

    def limit(self, default: int = 500) -> int:
        limit = self.number("limit")
        return min(_MAX_ROWS, max(1, default if limit is None else limit))

    def symbols(self) -> list[str] | None:
        """`symbol` or `symbols`; None when neither was given."""
        one, many = self.text("symbol"), self.text("symbols")
        if one is not None and many is not None:
            raise RestError(-1128, "Combination of optional parameters invalid.")
        if many is None:
            return None if one is None else [one]
        try:
            return msgspec.json.decode(many, type=list[str])
        except msgspec.MsgspecError as error:
            raise RestError(-1100, "Illegal characters found in parameter 'symbols'.") from error
