"""`cryptostream list`: what there is to choose from."""

from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from typing import Annotated, Any, cast

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command
from cryptostream.cli.render import Output
from cryptostream.errors import CryptostreamError

_WIRING = frozenset({"input_values", "input_indicator", "input_modifier", "input_sampling"})
"""What a library's indicators are wired together with, which is not for a configuration."""


class What(StrEnum):
    """The kinds of things that can be listed."""

    VENUES = "venues"
    CHANNELS = "channels"
    SINKS = "sinks"
    STRATEGIES = "strategies"
    INDICATORS = "indicators"


@command("list")
def list_(
    call: Call,  # noqa: ARG001 - every command has one
    what: Annotated[What, typer.Argument(help="venues, channels, sinks, strategies or indicators.")],
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print it.")] = Output.AUTO,
) -> None:
    """List what a configuration can name: exchanges, channels, sinks, strategies, indicators."""
    listed = {
        What.VENUES: _venues,
        What.CHANNELS: _channels,
        What.SINKS: _sinks,
        What.STRATEGIES: _strategies,
        What.INDICATORS: _indicators,
    }
    render.rows(listed[what](), output)


def _venues() -> list[dict[str, Any]]:
    from cryptostream import registry

    made = [registry.load("venues", name) for name in registry.names("venues")]
    return [
        {
            "venue": venue.name,
            "websocket": venue.ws_url,
            "rest": venue.rest_url,
            "streams_per_connection": venue.limits.streams_per_connection,
        }
        for venue in made
    ]


def _channels() -> list[dict[str, Any]]:
    from cryptostream.model.instrument import Channel, Interval

    told = {
        Channel.TRADES: "every execution",
        Channel.AGG_TRADES: "executions of one order at one price as one",
        Channel.KLINES: f"the venue's candles: klines:<interval>, one of {', '.join(Interval)}",
    }
    return [{"channel": channel.value, "what": told[channel]} for channel in Channel]


def _sinks() -> list[dict[str, Any]]:
    from cryptostream import registry

    return [{"sink": name, "what": registry.summary("sinks", name)} for name in registry.names("sinks")]


def _strategies() -> list[dict[str, Any]]:
    from cryptostream import registry
    from cryptostream.strategies.loading import make

    return [_told("strategy", each, registry.load("strategies", each), make) for each in registry.names("strategies")]


def _indicators() -> list[dict[str, Any]]:
    from cryptostream.indicators import making

    return [_told("indicator", each, _kind(each), making.make) for each in making.names()]


def _kind(indicator: str) -> type:
    """The class of an indicator; a library's own stands for what we make of it."""
    from cryptostream import registry
    from cryptostream.indicators import making, talipp

    if indicator.startswith(talipp.PREFIX):
        kind: type = getattr(import_module("talipp.indicators"), indicator.removeprefix(talipp.PREFIX))
        return kind
    return making.OWN.get(indicator) or cast(type, registry.load("indicators", indicator))


def _told(column: str, name: str, kind: type, make: Callable[[str], Any]) -> dict[str, Any]:
    """Its first words, its parameters, and its warm-up with their defaults."""
    from cryptostream.strategies.loading import params

    what = (kind.__doc__ or "").strip().partition("\n")[0]
    given = " ".join(str(param) for param in params(kind) if param.name not in _WIRING)
    return {column: name, "what": what, "parameters": given, "warm_up": _warm_up(name, make)}


def _warm_up(name: str, make: Callable[[str], Any]) -> int | None:
    """None where it has to be told something first, or cannot tell."""
    try:
        warm_up: int | None = make(name).warm_up
    except CryptostreamError:
        return None
    return warm_up
