"""Entries as the API shows them; what does not fit its shape was written by somebody else, and is left out."""

from collections.abc import Mapping
from math import isfinite
from typing import get_args

from pydantic import ValidationError

from cryptostream.bus.glance import Raw, entry
from cryptostream.model.events import Entry
from cryptostream.web import shown
from cryptostream.wiring.serving.named import Named, Pair
from cryptostream.wiring.serving.times import utc

_OF_SIGNALS = ("strategy", "exchange", "pair", "side", "price", "strength", "reason", "ts")
_OPINIONS = frozenset(get_args(shown.Opinion))
_SIDES = frozenset(get_args(shown.Side))


def trade(stream: str, raw: Raw) -> shown.Trade | None:
    """A trade, or a hole."""
    found = entry(stream, raw)
    told = found.fields
    if told.get("kind") != "gap" and told.get("side") not in _SIDES:
        return None
    try:
        return shown.Trade.model_validate(
            {
                "id": found.entry_id,
                "kind": "gap" if told.get("kind") == "gap" else "trade",
                **{name: told[name] for name in _OF_TRADES if name in told},
                "ts": utc(told["ts"]),
            }
        )
    except (KeyError, ValidationError):
        return None


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
                "price": told["price"],
                "strength": told["strength"],
                "reason": told.get("reason", ""),
                "ts": utc(told["ts"]),
                "values": _numbers({name: text for name, text in told.items() if name not in _OF_SIGNALS}),
            }
        )
    except (KeyError, ValidationError):
        return None


def indicators(pair: Pair, told: Mapping[str, str]) -> shown.Indicators | None:
    """The hash of a pair's latest values, whose other fields are `<strategy>.<name>`."""
    values: dict[str, dict[str, float]] = {}
    for key, number in _numbers({name: text for name, text in told.items() if "." in name}).items():
        strategy, _, name = key.rpartition(".")
        values.setdefault(strategy, {})[name] = number
    try:
        return shown.Indicators.model_validate(
            {
                "exchange": pair.exchange,
                "pair": pair.name,
                "interval": told["interval"],
                "ts": utc(told["ts"]),
                "price": told["price"],
                "values": values,
            }
        )
    except (KeyError, ValidationError):
        return None


def _numbers(told: Mapping[str, str]) -> dict[str, float]:
    """Those that are numbers, and finite: JSON has no word for others."""
    found = {}
    for name, text in told.items():
        try:
            number = float(text)
        except ValueError:
            continue
        if isfinite(number):
            found[name] = number
    return found
