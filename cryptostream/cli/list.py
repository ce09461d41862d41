"""`cryptostream list`: what there is to choose from."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command
from cryptostream.cli.render import Output


class What(StrEnum):
    """The kinds of things that can be listed."""

    VENUES = "venues"
    CHANNELS = "channels"
    SINKS = "sinks"


@command("list")
def list_(
    call: Call,  # noqa: ARG001 - every command has one
    what: Annotated[What, typer.Argument(help="venues, channels or sinks.")],
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print it.")] = Output.AUTO,
) -> None:
    """List the exchanges, channels or sinks that a configuration can name."""
    rows = {What.VENUES: _venues, What.CHANNELS: _channels, What.SINKS: _sinks}[what]()
    render.rows(rows, output)


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
