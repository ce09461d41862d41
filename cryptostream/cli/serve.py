"""`cryptostream serve`: the HTTP API and the dashboard."""

from typing import TYPE_CHECKING, Annotated

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command

if TYPE_CHECKING:
    from cryptostream.config import Config

_YOUNG = 5_000
"""So many new objects are looked through in half a millisecond, which no answer minds."""


@command("serve")
async def serve(
    call: Call,
    host: Annotated[
        str | None, typer.Option(help="Address to serve at; any but this machine's own needs serve.token.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = None,
    no_dashboard: Annotated[bool, typer.Option("--no-dashboard", help="The API alone.")] = False,
) -> None:
    """Serve the HTTP API and the dashboard, until you stop it."""
    from cryptostream.engine.runtime import spare_the_collector
    from cryptostream.wiring import serving

    config = call.settings(serve__host=host, serve__port=port, serve__dashboard=False if no_dashboard else None)
    door = serving.door(config, asked=True)
    assert door is not None  # noqa: S101 - a port that was asked for is taken, or an error
    tell(config, door.url)
    spare_the_collector(young=_YOUNG)
    await door()


def tell(config: "Config", url: str) -> None:
    """Say where to look, and what is not there."""
    from cryptostream.wiring import serving

    if serving.has_dashboard(config):
        render.note(f"dashboard {url}{serving.DASHBOARD}")
    elif config.serve.dashboard:
        render.note("no dashboard: pip install 'cryptostream[dashboard]' adds it")
    render.note(f"API {url}/")
