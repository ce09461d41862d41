"""Record <-> entry fields <-> event, derived from the Structs: a new kind needs no code here.

An entry's fields are the record's in the order they are declared, after `exchange`, `pair` and, for klines, `interval`.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, cast, get_type_hints

import msgspec

from cryptostream.errors import DataQuality
from cryptostream.model.events import Event, Gap, GapRecord, Kline, Ledger, Micros, Record, Signal, Trade
from cryptostream.model.instrument import Channel, Subscription

_EVENTS: dict[str, type[Event]] = {Channel.TRADES: Trade, Channel.AGG_TRADES: Trade, Channel.KLINES: Kline}
_MARKERS: dict[type[Record], dict[str, str]] = {GapRecord: {"kind": "gap"}}
_NOT_WRITTEN = ("subscription", "filled")
_OF_SIGNALS = ("strategy", "pair", "side", "price", "strength", "reason", "ts")


@lru_cache(maxsize=1024)  # most trades share their millisecond with another
def iso(ts: int) -> str:
    """Microseconds since the epoch as the stream writes them.

    >>> iso(1731605400123000)
    '2024-11-14T17:30:00.123000'
    """
    seconds, micros = divmod(ts, 1_000_000)
    return f"{_second(seconds)}.{micros:06d}"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def micros(text: str) -> Micros:
    """Microseconds since the epoch from the stream's own time text.

    >>> micros("2024-11-14T17:30:00.123000")
    1731605400123000

    Raises ValueError for text that is not a time.
    """
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    seconds = int(moment.replace(microsecond=0).timestamp())
    return Micros(seconds * 1_000_000 + moment.microsecond)


def fields(record: Record) -> dict[str, str]:
    """The fields of the entry a record becomes, in their order; one that stands at its default is left out."""
    made = {**_MARKERS.get(type(record), {}), **_source(record.subscription)}
    for name, default, write in _writers(type(record)):
        value = getattr(record, name)
        if value != default:
            made[name] = write(value)
    return made


@lru_cache(maxsize=10_000)
def _source(source: Subscription | Ledger | None) -> dict[str, str]:
    if source is None:
        return {}
    if isinstance(source, Ledger):
        return {"exchange": source.exchange}
    named = {"exchange": source.exchange, "pair": source.pair}
    return {**named, "interval": source.interval} if source.interval else named


@cache
def _writers(kind: type[Record]) -> tuple[tuple[str, Any, Callable[[Any], str]], ...]:
    hints = get_type_hints(kind)
    return tuple(
        (field.name, field.default, _writer(hints[field.name]))
        for field in msgspec.structs.fields(kind)
        if field.name not in _NOT_WRITTEN
    )


def _writer(hint: Any) -> Callable[[Any], str]:
    if hint is Micros:
        return iso
    if hint is bool:
        return lambda value: "true" if value else "false"
    return str


def signal_fields(signal: Signal) -> dict[str, str]:
    """The fields of the entry that a signal becomes: the contract's seven, and the indicators behind it by their names.

    >>> told = Signal("buy", values={"rsi": 28.5}, strategy="rsi", pair="BTCUSDT", price=0.0000001, ts=Micros(0))
    >>> list(signal_fields(told).values())
    ['rsi', 'BTCUSDT', 'buy', '0.0000001', '1.0', '', '1970-01-01T00:00:00.000000', '28.5']
    """
    told = [getattr(signal, name) for name in _OF_SIGNALS]
    texts = [iso(value) if name == "ts" else _text(value) for name, value in zip(_OF_SIGNALS, told, strict=True)]
    fields = dict(zip(_OF_SIGNALS, texts, strict=True))
    return fields | {name: repr(value) for name, value in signal.values.items() if name not in fields}


def _text(value: object) -> str:
    return decimal(value) if isinstance(value, float) else str(value)


def decimal(value: float) -> str:
    """A number in its fewest digits, never as 1e-07.

    >>> decimal(0.0000001), decimal(45123.5)
    ('0.0000001', '45123.5')
    """
    return f"{Decimal(repr(value)):f}"


def event(stream: str, entry_id: str, entry: Mapping[str, str]) -> Event | None:
    """Read an entry with floats; None for a stream of a kind that is not market data.

    Raises DataQuality for an entry of a known kind whose fields do not fit.
    """
    kind = Gap if entry.get("kind") == "gap" else _EVENTS.get(channel_of(stream, entry))
    if kind is None and not all(name in entry for name in _OF_SIGNALS):
        return None
    told: dict[str, object] = {**entry, "entry_id": entry_id}
    if kind is None:
        kind, told["values"] = Signal, {name: text for name, text in entry.items() if name not in _OF_SIGNALS}
    try:
        read = msgspec.convert({**told, "ts": micros(entry["ts"])}, kind, strict=False)
    except (KeyError, ValueError) as error:
        raise DataQuality(f"entry {entry_id} of {stream} is not a {kind.__name__.lower()}: {error}") from error
    return cast(Event, read)


def channel_of(stream: str, entry: Mapping[str, str]) -> str:
    """The channel an entry belongs to: by its own fields, so that renamed streams are read too.

    >>> channel_of("anything", {"trade_id": "1", "price": "2", "qty": "3"})
    'trades'
    """
    if "open_time" in entry:
        return Channel.KLINES.value
    if "trade_id" in entry:
        return Channel.TRADES.value
    return stream.partition(":")[0]
