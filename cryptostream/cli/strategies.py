"""`cryptostream strategies`: which run and which could, and to start, stop and set them while their process runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, app, command
from cryptostream.cli.consumers import Form, running, wish
from cryptostream.cli.render import Output
from cryptostream.errors import UsageError

if TYPE_CHECKING:
    from cryptostream.bus.admin import ConsumerRow

family = typer.Typer(
    name="strategies",
    help="Strategies at work: list, start, stop, set their parameters.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(family)

_COLUMNS = ("strategy", "kind", "state", "consumer", "process", "reads", "bars", "parameters", "started_by", "why")

StrategyName = Annotated[str, typer.Argument(metavar="NAME", help="A strategy that runs, as its signals are called.")]


@command("list", group=family)
async def list_(
    call: Call,
    installed: Annotated[bool, typer.Option("--installed", help="Also those that could be started.")] = False,
    output: Form = Output.AUTO,
) -> None:
    """List the strategies that run now or are stopped, with their parameters."""
    found = await running(call)
    rows = [row for process, one in found for row in _rows(process, one)]
    if installed:
        rows += _installed({row["kind"] for row in rows})
    if render.chosen(output) is Output.TABLE:
        rows = [{**row, "reads": ", ".join(row["reads"]), "parameters": _words(row["parameters"])} for row in rows]
    render.rows(rows, output, columns=_COLUMNS)
    if not rows:
        render.note("no strategy runs; start one: cryptostream strategies start macd_rsi")


@command("start", group=family)
async def start(
    call: Call,
    strategy: Annotated[
        str, typer.Argument(metavar="STRATEGY", help="An installed one, or the name of one that was stopped.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="What its signals and its group are called; its own name unless said.")
    ] = None,
    symbols: Annotated[
        list[str] | None, typer.Option("--symbols", "-s", help="Trades of these pairs; of all unless said.")
    ] = None,
    bars: Annotated[str | None, typer.Option(help="What trades become; 1m unless said.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter: rsi_period=7.")
    ] = None,
    output: Form = Output.AUTO,
) -> int:
    """Have a running `consume` or `run` take on a strategy, from now on and over restarts. Exit 3 if it was refused."""
    wanted = {
        "strategy": strategy,
        "name": name,
        "symbols": [part for word in symbols or () for part in word.split(",") if part],
        "bars": bars,
        "parameters": _parameters(param or ()),
    }
    return await wish(call, "start", wanted, output)


@command("stop", group=family)
async def stop(
    call: Call,
    name: StrategyName,
    remove: Annotated[
        bool, typer.Option("--remove", help="Forget that it was started; its signals and its group stay.")
    ] = False,
    output: Form = Output.AUTO,
) -> int:
    """Have a strategy rest, also after a restart; `start` lets it go on where it was. Exit 3 if that was refused."""
    return await wish(call, "stop", {"name": name, "remove": remove}, output)


@command("set", group=family)
async def set_(
    call: Call,
    name: StrategyName,
    params: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="Its parameters: rsi_period=7.")],
    output: Form = Output.AUTO,
) -> int:
    """Give a strategy other parameters: it begins anew, warmed up. The others stay. Exit 3 if one was refused."""
    return await wish(call, "parameters", {"name": name, "parameters": _parameters(params)}, output)


def _parameters(told: Sequence[str]) -> dict[str, Any]:
    """Parameters as they were typed. Raises UsageError for several values, and for what is none."""
    from cryptostream.backtest.sweep import parse_param

    found: dict[str, Any] = {}
    for text in told:
        param = parse_param(text)
        if len(param.values) > 1:
            raise UsageError(f"{text} has several values", hint="a sweep is for backtest-stream")
        found[param.name] = param.values[0]
    return found


def _rows(process: str, one: "ConsumerRow") -> list[dict[str, Any]]:
    return [
        {
            "strategy": label,
            "kind": kind,
            "state": one.state,
            "consumer": one.name,
            "process": process,
            "reads": one.reads,
            "bars": one.bars,
            "parameters": one.parameters.get(label, {}),
            "started_by": one.started_by,
            "why": one.why,
        }
        for label, kind in one.strategies.items()
    ]


def _installed(running: set[str]) -> list[dict[str, Any]]:
    """What is installed and runs nowhere."""
    from cryptostream import registry
    from cryptostream.strategies.loading import REQUIRED, params

    rows = []
    for name in registry.names("strategies"):
        if name not in running:
            known = params(registry.load("strategies", name))
            given = {each.name: None if each.default is REQUIRED else each.default for each in known}
            told = {"strategy": name, "kind": name, "state": "installed", "reads": [], "parameters": given}
            rows.append({**dict.fromkeys(_COLUMNS), **told})
    return rows


def _words(parameters: dict[str, Any]) -> str:
    return " ".join(f"{name}={'' if value is None else value}" for name, value in parameters.items())
