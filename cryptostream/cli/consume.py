"""`cryptostream consume`: streams to wherever they are wanted, each entry at least once, as members of a group."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import consuming, render
from cryptostream.cli.command import Call, command
from cryptostream.cli.render import Output
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import UsageError
from cryptostream.model.duration import seconds
from cryptostream.model.times import moment
from cryptostream.registry import did_you_mean
from cryptostream.strategies.names import label

if TYPE_CHECKING:
    from cryptostream.config import Config

_CONFIGURED = "they stand in the configuration; --group NAME makes a consumer of these options alone"


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the command line says of a consumer of its own."""

    words: Sequence[str]
    start: str | None
    where: str | None
    sink: str | None
    out: str | None
    strategies: Sequence[str] = ()
    params: Sequence[str] = ()
    bars: str | None = None
    symbols: Sequence[str] = ()

    def group(self, given: str | None) -> str | None:
        """The group it is called by: the strategy's name unless told; None where the configuration has it all."""
        if given is None and len(self.strategies) > 1:
            raise UsageError("several strategies, and no name for what they are together", hint="--group NAME")
        return given or next((label(name) for name in self.strategies), None)

    def consumer(self, group: str | None) -> dict[str, Any] | None:
        """The consumer in the shape of the configuration; None where that one is to say what is consumed.

        Raises UsageError.
        """
        if group is None:
            self._refuse_own()
            return None
        if not self.strategies and (self.params or self.bars):
            raise UsageError("--param and --bars are for strategies", hint="--strategy macd_rsi")
        own = {"start": self._start(), "where": self.where, "bars": self.bars}
        return {
            group: {
                "read": self._read(),
                "write": ["bus", "console"] if self.strategies and self.sink is None else [self._write()],
                "strategies": [{name: self._params(name)} for name in self.strategies],
                **{name: value for name, value in own.items() if value is not None},
            }
        }

    def _refuse_own(self) -> None:
        given: dict[str, Any] = {"--from": self.start, "--where": self.where, "--sink": self.sink, "--out": self.out}
        given |= {"--symbols": self.symbols or None, "--param": self.params or None, "--bars": self.bars}
        if wrong := [name for name, value in given.items() if value is not None]:
            raise UsageError(f"{', '.join(wrong)} without --group", hint=_CONFIGURED)

    def _read(self) -> list[str]:
        """The streams; trades of the symbols, and of all pairs where nobody says."""
        words = [part for word in self.words for part in word.split(",") if part]
        pairs = [part.upper() for word in self.symbols for part in word.split(",") if part]
        if not words and not pairs and not self.strategies:
            raise UsageError("names no stream", hint="one as in trades:BTCUSDT, or trades, or 'trades:*'")
        return [*words, *(f"trades:{pair}" for pair in pairs)] or ["trades"]

    def _params(self, name: str) -> dict[str, Any]:
        """What one of the strategies is told. Raises UsageError for a range, and for what is nobody's."""
        from cryptostream.backtest.sweep import parse_param

        told: dict[str, Any] = {}
        for text in self.params:
            param = parse_param(text)
            owner, _, own = param.name.rpartition(".")
            if len(param.values) > 1:
                raise UsageError(f"{text} has several values", hint="a sweep is for backtest-stream")
            if not owner and len(self.strategies) > 1:
                raise UsageError(f"whose is {own}?", hint=f"--param {label(name)}.{text}")
            if owner not in ("", *map(label, self.strategies)):
                raise UsageError(f'"{owner}" is none of the strategies', hint=f"--param {label(name)}.{own}=...")
            if owner in ("", label(name)):
                told[own] = param.values[0]
        return told

    def _start(self) -> str | None:
        """The place; one that counts from now is made a time, for a configuration has no now."""
        if self.start is None or not self.start.startswith("-"):
            return self.start
        return str(moment(self.start, SystemClock().now_ns()))

    def _write(self) -> dict[str, dict[str, str]] | str:
        from cryptostream import wiring

        sink = self.sink or "console"
        param = wiring.place_param(sink)
        if self.out is None:
            return sink
        if not param:
            raise UsageError(f"--out goes with a sink that writes a file, and {sink} does not")
        return {sink: {param: self.out}}


@command("consume")
async def consume(
    call: Call,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|STREAM",
            help="Consumers and alerts of the configuration, all unless named; with --group streams: trades, BTCUSDT.",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option("--group", "-g", help="Consume streams as this group; the configuration's consumers rest."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="PLACE", help="Where a new group begins: new, earliest, an entry id, a time."),
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="FILTER", help="Only what this holds for.")] = None,
    sink: Annotated[str | None, typer.Option(help="Where to; console unless said. See: list sinks.")] = None,
    out: Annotated[str | None, typer.Option(metavar="PATH", help="The file or folder that the sink writes.")] = None,
    strategy: Annotated[
        list[str] | None, typer.Option("--strategy", help="Make signals of it; several are repeated.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="NAME=VALUE", help="Of the strategy: rsi_period=7.")
    ] = None,
    bars: Annotated[str | None, typer.Option(help="What trades become for strategies; 1m unless said.")] = None,
    symbols: Annotated[list[str] | None, typer.Option("--symbols", "-s", help="Trades of these pairs.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop after what is there now.")] = False,
    until_idle: Annotated[
        str | None, typer.Option(metavar="5s", help="Stop when nothing has come for this long.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after N entries.")] = None,
    duration: Annotated[str | None, typer.Option(help="Stop after this long: 30s, 5m.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Entries taken from each stream at a time.")] = None,
    shard: Annotated[str | None, typer.Option(metavar="1/4", help="Read only this share of the streams.")] = None,
    ownership: Annotated[str | None, typer.Option(metavar="compete|lease", help="Who reads which streams.")] = None,
    name: Annotated[str | None, typer.Option(help="This member's name in the group.")] = None,
    archive: Annotated[
        str | None, typer.Option(metavar="DIR", help="Read what was recorded there first, when --from is in the past.")
    ] = None,
    fail_on_gap: Annotated[
        bool, typer.Option("--fail-on-gap", help="End with 6 once entries were trimmed before they were read.")
    ] = False,
    health_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Where health is served; 0 takes a free one.")
    ] = None,
    requests: Annotated[
        bool, typer.Option("--requests", help="Run what `strategies start` asks for, where nothing is configured too.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be read; read nothing.")] = False,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print the plan.")] = Output.AUTO,
) -> int:
    """Read streams as a group and write them where they are wanted; what was not finished is read again.

    What is written to files and databases is there once, also after kill -9.
    """
    from cryptostream import wiring

    told = Told(
        words=words or [],
        start=start,
        where=where,
        sink=sink,
        out=out,
        strategies=strategy or (),
        params=param or (),
        bars=bars,
        symbols=symbols or (),
    )
    group = told.group(group)
    loaded = call.load(
        consumers=told.consumer(group),
        consume__batch=batch,
        consume__shard=shard,
        consume__ownership=ownership,
        consume__name=name,
        consume__archive=archive,
        consume__health_port=health_port,
    )
    chosen = [group] if group else _named(told.words, loaded.config, or_none=requests)
    names = [name for name in chosen if name in loaded.config.consumers]
    alerts = [] if group else [name for name in chosen if name in loaded.config.alerts]
    until = wiring.Until(idle_s=seconds(until_idle) if until_idle else None, once=once, entries=count)
    if requests and until != wiring.Until():
        raise UsageError("--requests waits for them, and --once, --until-idle and --count end", hint="leave one out")
    async with wiring.bus(loaded.config) as bus:
        if dry_run or once:
            planned = await consuming.plan(loaded.config, names, bus)
        if dry_run:
            render.rows(planned, output)
            return 0
        lasts_s = seconds(duration) if duration else None
        return await consuming.run(
            loaded, names, bus, until, alerts=alerts, duration_s=lasts_s, fail_on_gap=fail_on_gap
        )


def _named(words: Sequence[str], config: "Config", *, or_none: bool) -> list[str]:
    """The consumers and alerts of the configuration that are meant, all unless named. Raises UsageError."""
    known = list(dict.fromkeys((*config.consumers, *config.alerts)))
    if not known and not (or_none and not words):
        hint = "ad hoc: cryptostream consume trades --group NAME; to run what is asked for: --requests"
        raise UsageError("the configuration names no consumers", hint=hint)
    for word in words:
        if word not in known:
            hint = did_you_mean(word, known) or f"a stream? add --group NAME; known: {', '.join(known)}"
            raise UsageError(f'no consumer "{word}" in the configuration', hint=hint)
    return list(dict.fromkeys(words)) or known
