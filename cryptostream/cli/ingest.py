"""`cryptostream ingest`: live market data from an exchange to the bus."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show pairs and connections; connect nowhere.")] = False,
    no_raw: Annotated[bool, typer.Option("--no-raw", help="Leave raw_json out of the entries.")] = False,
    connect_timeout: Annotated[str | None, typer.Option(help="Give up at the start after this long.")] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print the plan.")] = Output.AUTO,
) -> int:
    """Take live market data from an exchange to Redis Streams.

    Without --symbols or --top it follows what the configuration's feeds name.
    """
    config = call.settings(
        feeds=_feeds(exchange, symbols, top, channels),
        bus__raw_json=False if no_raw else None,
        bus__connect_timeout=connect_timeout,
    )
    give_up_at = SystemClock().monotonic() + config.bus.connect_timeout
    plans = await _plans(config, give_up_at)
    if dry_run:
        render.rows([row for planned in plans for row in _rows(planned)], output)
        return 0
    return await _run(
        config,
        plans,
        sink,
        give_up_at=give_up_at,
        duration_s=seconds(duration) if duration else None,
        max_messages=max_messages,
        record=record,
    )


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


async def _plans(config: "Config", give_up_at: float) -> list["Plan"]:
    from cryptostream import wiring

    if not config.feeds:
        raise UsageError("nothing to ingest", hint="name pairs: cryptostream ingest --symbols BTCUSDT,ETHUSDT")
    return [await wiring.plan(config, feed, give_up_at) for feed in config.feeds]


def _rows(planned: "Plan") -> list[dict[str, Any]]:
    return [
        {
            "exchange": planned.venue.name,
            "connection": number,
            "url": session.url,
            "streams": len(session.subscriptions),
            "pairs": ",".join(dict.fromkeys(wanted.pair for wanted in session.subscriptions)),
        }
        for number, session in enumerate(planned.sessions)
    ]


async def _run(
    config: "Config",
    plans: Sequence["Plan"],
    to: To,
    *,
    give_up_at: float,
    duration_s: float | None,
    max_messages: int | None,
    record: Path | None,
) -> int:
    from cryptostream import wiring
    from cryptostream.cli.printer import Printer
    from cryptostream.cli.status import Ticker
    from cryptostream.engine.runtime import Companion, Runtime

    clock = SystemClock()
    async with AsyncExitStack() as opened:
        bus = await opened.enter_async_context(wiring.bus(config)) if to is To.BUS else None
        sink_of = (lambda stats: wiring.publisher(config, bus, stats=stats)) if bus else Printer
        stage = await opened.enter_async_context(
            wiring.ingest(config, plans, sink_of, give_up_at=give_up_at, record=record, limit=max_messages)
        )
        counting = [wiring.Counting(bus, stage)] if bus else []
        companions: list[Companion] = [*counting, Ticker(clock, stage.read)]
        code = await Runtime(stage.pipelines, clock=clock, companions=companions, duration_s=duration_s).run()
        for last in counting:
            await last.write()
        if code == 0:
            stage.check()
        return code
