"""Entries as the API shows them; what does not fit its shape was written by somebody else, and is left out."""

import re
from collections.abc import Mapping
from math import isfinite
from typing import get_args

from pydantic import ValidationError

from cryptostream.bus.glance import Raw, entry
from cryptostream.model.events import Entry
from cryptostream.model.instrument import Pair
from cryptostream.web import shown
from cryptostream.wiring.serving.named import Named
from cryptostream.wiring.serving.times import utc

_OF_SIGNALS = ("strategy", "exchange", "pair", "side", "price", "strength", "reason", "ts")
_OPINIONS = frozenset(get_args(shown.Opinion))
_SIDES = frozenset(get_args(shown.Side))
_NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?", re.ASCII)


def trade(stream: str, raw: Raw) -> shown.Trade | None:
    """A trade, or a hole."""
    found = entry(stream, raw)
    told = found.fields
    if told.get("kind") != "gap" and not _is_trade(told):
        return None
    try:
        return shown.Trade.model_validate(
            {
                "id": found.entry_id,
                "kind": "gap" if told.get("kind") == "gap" else "trade",
                **{name: told[name] for name in _OF_TRADES if name in told},
                "ts": utc(told.get("ts")),
            }
        )
    except ValidationError:
        return None


def _is_trade(told: Mapping[str, str]) -> bool:
    return told.get("side") in _SIDES and None not in (number(told.get("price")), number(told.get("qty")))


_OF_TRADES = ("exchange", "pair", "price", "qty", "side", "trade_id", "gap_from", "gap_to", "cause")


def signal(stream: Named, raw: Raw) -> shown.Signal | None:
    """A signal; its exchange is in its stream's name alone."""
    found: Entry = entry("", raw)
    told = found.fields
    if told.get("side") not in _OPINIONS:
        return None
    try:
        return shown.Signal.model_validate(
            {
                "id": found.entry_id,
                "strategy": told["strategy"],
                "exchange": stream.pair.exchange,
                "pair": told["pair"],
                "side": told["side"],
                "price": number(told["price"]),
                "strength": number(told["strength"]),
                "reason": told.get("reason", ""),
                "ts": utc(told.get("ts")),
                "values": _numbers({name: text for name, text in told.items() if name not in _OF_SIGNALS}),
            }
        )
    except (KeyError, ValidationError):
        return None


def indicators(pair: Pair, told: Mapping[str, str]) -> shown.Indicators | None:
    """The hash of a pair's latest values, whose other fields are `<strategy>.<name>`."""
    values: dict[str, dict[str, float]] = {}
    for key, value in _numbers({name: text for name, text in told.items() if "." in name}).items():
        strategy, _, name = key.rpartition(".")
        values.setdefault(strategy, {})[name] = value
    try:
        return shown.Indicators.model_validate(
            {
                "exchange": pair.exchange,
                "pair": pair.name,
                "interval": told["interval"],
                "ts": utc(told.get("ts")),
                "price": number(told["price"]),
                "values": values,
            }
        )
    except (KeyError, ValidationError):
        return None


def number(text: str | None) -> str | None:
    """The text of a number, finite: JSON has no word for others; None for any other text.

    >>> number("45123.50000000"), number("nan"), number("1e999"), number("<b>")
    ('45123.50000000', None, None, None)
    """
    is_one = text is not None and _NUMBER.fullmatch(text) is not None and isfinite(float(text))
    return text if is_one else None


def _numbers(told: Mapping[str, str]) -> dict[str, float]:
    """Those that are numbers."""
    return {name: float(text) for name, text in told.items() if number(text) is not None}
