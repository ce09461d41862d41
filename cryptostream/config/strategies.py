"""Which strategies a consumer runs: a name, or a name with its parameters. `as` gives its signals another name."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from cryptostream.config.sinks import Params
from cryptostream.config.words import got, wrong
from cryptostream.errors import CryptostreamError
from cryptostream.model.instrument import Channel
from cryptostream.strategies import loading
from cryptostream.strategies.names import is_label, label

if TYPE_CHECKING:
    from cryptostream.config.schema import ConsumerConfig

AS = "as"


class Wish(NamedTuple):
    """A strategy that is to run: its name in the configuration, its parameters, what its signals are called."""

    name: str
    params: Mapping[str, Any]
    label: str


def wish(told: Mapping[str, Params]) -> Wish:
    """One item of `strategies` taken apart.

    >>> wish({"macd_rsi": Params({"rsi_period": 7})})
    Wish(name='macd_rsi', params={'rsi_period': 7}, label='macd_rsi')
    >>> wish({"strategies/breakout.py:Breakout": Params({"as": "fast"})}).label
    'fast'
    """
    ((name, given),) = told.items()
    params = {key: value for key, value in given.items() if key != AS}
    return Wish(name, params, str(given.get(AS) or label(name)))


def mistakes(
    consumers: Mapping[str, "ConsumerConfig"], paths: Sequence[Path]
) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """What is wrong with the strategies of some consumers, each with its place."""
    taken: dict[str, str] = {}
    for consumer, told in consumers.items():
        for number, one in enumerate(told.strategies):
            place = ("consumers", consumer, "strategies", number)
            wanted = wish(one)
            if why := _why_not(wanted, paths):
                yield place, why
            elif wanted.label in taken:
                yield (
                    place,
                    f'consumers.{taken[wanted.label]} writes signals of "{wanted.label}" already; use {AS}: NAME',
                )
            taken.setdefault(wanted.label, consumer)


def mixed(read: Sequence[str]) -> str:
    r"""What is wrong with streams that strategies are to read; empty where all are of one kind.

    A pair's signals are one stream, so they are made of one of its streams.

    >>> mixed(["trades:BTCUSDT", "trades:ETH*"]), mixed(["klines:1m", "klines:BTCUSDT:1m"])
    ('', '')
    >>> mixed(["trades", "klines:1m"]), mixed(["BTCUSDT"])  # doctest: +ELLIPSIS
    ('strategies read one kind of stream, and these are klines:1m, trades', 'BTCUSDT is every stream of that pair; ...')
    """
    kinds: set[str] = set()
    for word in read:
        kind, _, rest = word.partition(":")
        if not (rest or kind in set(Channel)) or re.search(r"[*?\[\\]", kind):
            return f"{word} is every stream of that pair; strategies read one kind, as in trades:{word.strip('*:')}"
        kinds.add(f"{kind}:{rest.rpartition(':')[2]}" if kind == Channel.KLINES else kind)
    told = ", ".join(sorted(kinds))
    return f"strategies read one kind of stream, and these are {told}" if len(kinds) > 1 else ""


def _why_not(wanted: Wish, paths: Sequence[Path]) -> str:
    """Why a strategy cannot be made; empty if it can."""
    if not is_label(wanted.label):
        return f"{got(wanted.label)} cannot name a stream of signals; use {AS}: NAME, of letters, digits and ._-"
    try:
        loading.make(wanted.name, wanted.params, paths=paths)
    except CryptostreamError as error:
        return "; ".join(filter(None, (str(error), error.hint)))
    return ""


def _strategy(value: Any) -> dict[str, Params]:
    found = {value: None} if isinstance(value, str) else value
    if not isinstance(found, dict) or len(found) != 1:
        raise wrong("should be a strategy's name, or one name with its parameters: {macd_rsi: {rsi_period: 7}}")
    ((name, given),) = found.items()
    if not isinstance(name, str) or (given is not None and not isinstance(given, dict)):
        raise wrong(f'the parameters of strategy "{name}" should be a mapping, got {got(given)}')
    return {name: Params(given or {})}


Strategy = Annotated[
    dict[str, Any],
    BeforeValidator(_strategy),
    PlainSerializer(lambda told: {name: dict(given) for name, given in told.items()}),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "maxProperties": 1}]}),
]
