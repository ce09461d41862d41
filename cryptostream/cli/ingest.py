"""`cryptostream ingest`: live market data from an exchange to the bus."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command
from cryptostream.cli.live import Wish, asks_for_health, live
from cryptostream.cli.render import Output
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import UsageError
from cryptostream.model.duration import seconds

if TYPE_CHECKING:
    from cryptostream.config import Config
    from cryptostream.wiring import Plan


class To(StrEnum):
    """Where entries go."""

    BUS = "bus"
    STDOUT = "stdout"


@command("ingest")
async def ingest(
    call: Call,
    symbols: Annotated[
        list[str] | None, typer.Option("--symbols", "-s", help="BTCUSDT,ETHUSDT; repeat it, or @file.")
    ] = None,
    top: Annotated[int | None, typer.Option("--top", min=1, max=2000, help="The biggest coins, by discovery.")] = None,
    channels: Annotated[str | None, typer.Option(help="trades, agg_trades, klines:1m; with commas.")] = None,
    exchange: Annotated[str, typer.Option(help="Whose market. See: cryptostream list venues.")] = "binance",
    duration: Annotated[str | None, typer.Option(help="Stop after this long: 30s, 5m.")] = None,
    max_messages: Annotated[int | None, typer.Option(min=1, help="Stop after so many entries.")] = None,
    sink: Annotated[To, typer.Option(help="Where entries go.")] = To.BUS,
    record: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep every raw frame there too.")] = None,
    fail_on_gap: Annotated[
        bool, typer.Option("--fail-on-gap", help="End with 6 as soon as missing trades cannot be had.")
    ] = False,
    health_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Where health is served; 0 takes a free port.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let a refreshed list of pairs change by more than half.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a bus that deletes streams when its memory is full.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show pairs and connections; connect nowhere.")] = False,
    no_raw: Annotated[bool, typer.Option("--no-raw", help="Leave raw_json out of the entries.")] = False,
    connect_timeout: Annotated[str | None, typer.Option(help="Give up at the start after this long.")] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print the plan.")] = Output.AUTO,
) -> int:
    """Take live market data from an exchange to Redis Streams.

    Without --symbols or --top it follows what the configuration's feeds name.
    """
    from cryptostream import wiring

    loaded = call.load(
        feeds=_feeds(exchange, symbols, top, channels),
        bus__raw_json=False if no_raw else None,
        bus__connect_timeout=connect_timeout,
        ingest__health_port=health_port,
    )
    config = loaded.config
    if not config.feeds:
        raise UsageError("nothing to ingest", hint="name pairs: cryptostream ingest --symbols BTCUSDT,ETHUSDT")
    wish = Wish(
        to_stdout=sink is To.STDOUT,
        duration_s=seconds(duration) if duration else None,
        max_messages=max_messages,
        record=record,
        fail_on_gap=fail_on_gap,
        force=force,
        strict=strict,
        health=asks_for_health(loaded),
    )
    give_up_at = SystemClock().monotonic() + config.bus.connect_timeout
    async with wiring.plans(config, give_up_at) as plans:
        if dry_run:
            render.rows([row for planned in plans for row in _rows(config, planned)], output)
            return 0
        return await live(config, plans, wish, give_up_at=give_up_at)


def _feeds(
    exchange: str, symbols: Sequence[str] | None, top: int | None, channels: str | None
) -> list[dict[str, Any]] | None:
    """The one feed that the flags describe, None where they name no symbols and the configuration decides."""
    if not symbols and top is None:
        if channels:
            raise UsageError("--channels goes with --symbols or --top")
        return None
    feed: dict[str, Any] = {"channels": channels or "trades"}
    if symbols:
        feed["symbols"] = ",".join(symbols)
    if top is not None:
        feed["discover"] = {"top": top}
    return [{exchange: feed}]


def _rows(config: "Config", planned: "Plan") -> list[dict[str, Any]]:
    from cryptostream.feed.regroup import regroup

    venue, pairs = planned.venue, config.feed.pairs_per_connection
    groups = regroup((), planned.subscriptions, pairs=pairs, streams=venue.limits.streams_per_connection)
    return [
        {
            "exchange": venue.name,
            "connection": number,
            "url": venue.session(group).url,
            "streams": len(group),
            "pairs": ",".join(dict.fromkeys(wanted.pair for wanted in group)),
        }
        for number, group in enumerate(groups)
    ]
