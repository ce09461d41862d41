"""The whole command line: importing a command's file registers it."""

from typing import Annotated

import typer

from cryptostream import __version__
from cryptostream.cli import (
    backtest,
    config,
    consume,
    consumers,
    discover,
    dlq,
    doctor,
    groups,
    health,
    ingest,
    list,  # noqa: A004
    new,
    replay,
    run,
    serve,
    simulate,
    stats,
    strategies,
    streams,
    tail,
    verify,
    watchlist,
)
from cryptostream.cli.command import app

__all__ = [
    "app",
    "backtest",
    "config",
    "consume",
    "consumers",
    "discover",
    "dlq",
    "doctor",
    "groups",
    "health",
    "ingest",
    "list",
    "new",
    "replay",
    "run",
    "serve",
    "simulate",
    "stats",
    "strategies",
    "streams",
    "tail",
    "verify",
    "watchlist",
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cryptostream {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Market data from exchanges to Redis Streams: complete, in order, free of duplicates."""
