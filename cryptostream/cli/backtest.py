"""`cryptostream backtest-stream`: strategies over what is recorded, through the objects that run live."""

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command, finish
from cryptostream.cli.render import Output
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import UsageError
from cryptostream.model.duration import seconds

if TYPE_CHECKING:
    from cryptostream.cli.backtesting import Series
    from cryptostream.cli.origins import Span

_OF_RUNS = (
    *("check_lookahead", "walk", "by", "report", "keep", "trades", "mode"),
    *("cash", "fee_bps", "slippage_bps", "latency", "size", "fill", "long_only"),
)
"""Parameters that say how a run is done, chosen or shown."""


class ModeName(StrEnum):
    """How trades reach the strategies: every mode gives the same signals and fills."""

    AUTO = "auto"
    BARS = "bars"
    EVENTS = "events"


@command("backtest-stream")
def backtest(
    call: Call,
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Streams (trades:BTCUSDT), tapes, Parquet folders, daily CSV files."),
    ],
    strategy: Annotated[
        list[str] | None, typer.Option("--strategy", help="Which; several are repeated. See: list strategies.")
    ] = None,
    consumer: Annotated[
        str | None, typer.Option(help="The strategies and bars of this consumer of the configuration.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUES", help="rsi_period=14; a sweep: rsi_period=7..21:7."),
    ] = None,
    symbols: Annotated[list[str] | None, typer.Option("--symbols", "-s", help="Only these pairs.")] = None,
    bars: Annotated[str | None, typer.Option(help="1m unless said; 90s, tick:100, volume:10, dollar:1e6.")] = None,
    klines: Annotated[bool, typer.Option("--klines", help="The venue's klines, where there are trades too.")] = False,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="By the exchange's time.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="By the exchange's time.")] = None,
    cash: Annotated[float, typer.Option(help="What each strategy begins with, shared out among the pairs.")] = 10_000.0,
    fee_bps: Annotated[float, typer.Option(help="Of what is traded, in basis points.")] = 10.0,
    slippage_bps: Annotated[float, typer.Option(help="How much worse than the trade that fills it.")] = 0.0,
    latency: Annotated[str, typer.Option(metavar="50ms", help="From the signal to the exchange.")] = "0s",
    size: Annotated[str, typer.Option(help='Of each position: "100%" of equity, "1000" quote, "0.25 base".')] = "100%",
    fill: Annotated[str, typer.Option(metavar="next-trade|bar-open", help="What fills an order.")] = "next-trade",
    long_only: Annotated[bool, typer.Option("--long-only", help="Sell only what is held.")] = False,
    mode: Annotated[
        ModeName, typer.Option(help="Bars built by columns, or every trade through the live objects.")
    ] = ModeName.AUTO,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; as many as there are cores.")] = None,
    walk: Annotated[
        str | None, typer.Option(metavar="30d/7d", help="Choose parameters on one stretch, trade the next.")
    ] = None,
    by: Annotated[str, typer.Option(help="The figure that parameters are ranked by.")] = "sharpe",
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a page about it.")] = None,
    keep: Annotated[
        str | None, typer.Option(metavar="NAME", help="Keep it in the data folder, where the dashboard shows it.")
    ] = None,
    trades: Annotated[Path | None, typer.Option(metavar="FILE.parquet", help="Write every round trip.")] = None,
    verify: Annotated[
        str | None, typer.Option(metavar="SIGNALS", help="Compare with the signals that live wrote there; exit 6.")
    ] = None,
    check_lookahead: Annotated[
        bool,
        typer.Option("--check-lookahead", help="Show that no signal knows the future, and what warm-up is needed."),
    ] = False,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print the figures.")] = Output.AUTO,
    watched: Annotated[
        bool, typer.Option("--watched", hidden=True, help="Tell progress as JSON lines on stderr; end when stdin does.")
    ] = False,
) -> int:
    """Run strategies over recorded trades: what they would have signalled, traded, earned.

    The strategies are the objects that run live, fed with the same entries; --verify proves it against what live wrote.
    """
    from cryptostream.backtest.terms import Size, Terms
    from cryptostream.cli import advancing, backtesting, certify, foresee, gathered, keeping, targets, told, walking

    if watched:
        advancing.watched()
    if verify is not None or check_lookahead:
        _refuse_ignored(context, "--check-lookahead" if verify is None else "--verify")
    told.check(report, trades, sources)
    span = _span(since, until)
    wanted = backtesting.Wanted(
        terms=Terms(
            cash=cash,
            fee_bps=fee_bps,
            slippage_bps=slippage_bps,
            latency_ms=seconds(latency) * 1000,
            size=Size.parse(size),
            fill=fill,  # type: ignore[arg-type]  # it says itself what it cannot be
            long_only=long_only,
        ),
        mode=mode.value,
        jobs=jobs or os.cpu_count() or 1,
        by=by,
        source=", ".join(sources),
        start=None if span.since is None else span.since * 1000,
        end=None if span.until is None else span.until * 1000 + 1000,
    )
    config = call.settings()
    kept = keeping.Place.of(config.data_dir, keep) if keep is not None else None
    what = backtesting.combinations(config, strategy or (), consumer, param or (), bars)
    if verify is not None:
        if since is not None:
            raise UsageError("--verify begins where live began, and --since would leave out what came before")
        written = finish(certify.read(config, what.only(), verify))
    with tempfile.TemporaryDirectory(prefix="cryptostream-backtest-") as folder:
        with advancing.advancing("reading") as seen:
            pairs = [word.upper() for word in targets.words_of(symbols)]
            found = finish(gathered.gather(config, sources, span, pairs, Path(folder), seen))
        series = gathered.one_kind(found, klines=klines)
        if verify is not None:
            proof = certify.certify(config, series, what.only(), verify, written=written, end_us=wanted.end)
            with redirect_stdout(sys.stderr):
                certificate = finish(proof)
            render.facts(certificate.facts, output)
            certificate.check()
            return 0
        _check_bars(series, bars)
        if check_lookahead:
            return foresee.run(series, what.only(), wanted, output)
        with redirect_stdout(sys.stderr):  # stdout is for data: what strategies print is none
            made = walking.walk(what, series, walk, wanted) if walk else backtesting.run(what, series, wanted)
    if kept is not None:
        keeping.keep(made, kept)
    told.tell(made, output, report=report, trades=trades)
    return 0


def _refuse_ignored(context: typer.Context, way: str) -> None:
    """Raise UsageError for an option that was typed and says nothing where no run is shown."""
    for name in _OF_RUNS:
        option, source = f"--{name.replace('_', '-')}", context.get_parameter_source(name)
        if option != way and source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"{way} does nothing with {option}", hint=f"leave out one of them: {way} shows no run")


def _check_bars(series: "Sequence[Series]", bars: str | None) -> None:
    interval = getattr(series[0], "interval", "")
    if interval and bars is not None:
        raise UsageError(f"--bars {bars} says nothing: klines are bars of {interval} already", hint="leave it out")


def _span(since: str | None, until: str | None) -> "Span":
    from cryptostream.cli.origins import Span
    from cryptostream.model.times import moment

    now_ns = SystemClock().now_ns()
    span = Span(*(None if text is None else moment(text, now_ns) for text in (since, until)))
    if span.since is not None and span.until is not None and span.since > span.until:
        raise UsageError(f"--since {since} is after --until {until}")
    return span
