"""Consumers: what to read, what to keep of it, where to write it."""

import socket
from collections.abc import Mapping
from typing import Any, cast

from cryptostream import registry
from cryptostream.bus import history
from cryptostream.bus.connect import Bus
from cryptostream.bus.consume import Group
from cryptostream.bus.keys import of_pair
from cryptostream.config import Config
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.pipeline import Pipeline
from cryptostream.errors import ConfigError
from cryptostream.model.instrument import Channel, Interval
from cryptostream.model.ports import Sink, Transform
from cryptostream.transforms import where


def consumer(config: Config, name: str, on: Bus) -> Pipeline:
    """The pipeline of one consumer: its name is its group, its filter the transform. Raises ConfigError."""
    told = config.consumers[name]
    clock = SystemClock()
    patterns = [pattern for read in told.read for pattern in _patterns(read)]
    source = Group(on, patterns, group=name, consumer=socket.gethostname(), clock=clock)
    return Pipeline(name, source, [_sink(name, wanted) for wanted in told.write], transform=_filter(told.where))


def _patterns(read: str) -> list[str]:
    """Streams as a consumer names them: a channel is all its pairs, a pair all its channels, else a key or a glob.

    >>> _patterns("trades"), _patterns("klines:1m"), _patterns("BTCUSDT")
    (['trades:*'], ['klines:*:1m'], ['*:BTCUSDT', '*:BTCUSDT:*', '*:{BTCUSDT}', '*:{BTCUSDT}:*'])
    >>> _patterns("trades:BTC*"), _patterns("trades:BTCUSDT")
    (['trades:BTC*'], ['trades:BTCUSDT'])
    """
    channel, _, rest = read.partition(":")
    if channel == Channel.KLINES and rest in set(Interval):
        return [f"{channel}:*:{rest}"]
    if rest or history.is_glob(read):
        return [read]
    return [f"{read}:*"] if read in set(Channel) else of_pair(read)


def _sink(consumer: str, wanted: Mapping[str, Any]) -> Sink:
    [(name, params)] = wanted.items()
    try:
        return cast(Sink, registry.load("sinks", name)(**params))
    except TypeError as error:
        problem = str(error).partition("() ")[2] or str(error)
        raise ConfigError(f"consumers.{consumer}.write: {name} {problem}") from error


def _filter(text: str | None) -> Transform | None:
    if text is None:
        return None
    holds = where.compile(text)
    return lambda entry: (entry,) if holds(where.facts(entry)) else ()
