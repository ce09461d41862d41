"""`cryptostream new`: a beginning for something of the user's own, with its test."""

import re
from importlib.util import find_spec
from keyword import iskeyword, issoftkeyword
from pathlib import Path
from typing import Annotated

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, app, command
from cryptostream.cli.render import Output
from cryptostream.errors import UsageError

group = typer.Typer(
    name="new",
    help="Begin something of your own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(group)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_IMPORTED = frozenset({"Bar", "Signal", "Sma", "UsageError"})
_NEXT = """
Next:
  pytest {test}
  cryptostream backtest-stream trades:BTCUSDT --strategy {strategy}
or in cryptostream.yaml:
  plugins: {{paths: [{folder}]}}
  consumers:
    {name}: {{read: [trades], bars: 1m, strategies: [{name}.py], write: [bus, console]}}
"""


@command("strategy", group=group)
def strategy(
    call: Call,  # noqa: ARG001 - every command has one
    name: Annotated[str, typer.Argument(help="What its file is called, as Python names things: my_breakout.")],
    folder: Annotated[Path, typer.Option("--dir", help="Where to write it.")] = Path(),
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print what was written.")] = Output.AUTO,
) -> None:
    """Write a strategy that works, and its test, to be made your own."""
    _check(name)
    files = {folder / f"{name}.py": "strategy.py.txt", folder / f"test_{name}.py": "test_strategy.py.txt"}
    for path in files:
        if path.exists():
            raise UsageError(f"{path} is there already", hint="choose another name, or another folder with --dir")
    if (found := find_spec(name)) and found.origin:
        raise UsageError(f'"{name}" is the name of a module that is installed', hint=f"for example: my_{name}")
    folder.mkdir(parents=True, exist_ok=True)
    for path, template in files.items():
        with path.open("x") as file:
            file.write(_filled(template, name))
    written = list(files)
    render.rows(
        [{"file": str(path), "what": what} for path, what in zip(written, ("strategy", "test"), strict=True)], output
    )
    render.hints(_NEXT.format(test=written[1], strategy=_from_here(written[0]), folder=folder.resolve(), name=name))


def class_name(name: str) -> str:
    """A file's name as that of a class.

    >>> class_name("my_breakout"), class_name("MyBreakout"), class_name("rsi2")
    ('MyBreakout', 'MyBreakout', 'Rsi2')
    """
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def _check(name: str) -> None:
    if not _NAME.fullmatch(name) or iskeyword(name) or issoftkeyword(name):
        shown = name[:40]
        raise UsageError(f'"{shown}" cannot name a Python file', hint="letters, digits and _, for example: my_breakout")
    if class_name(name) in _IMPORTED:
        raise UsageError(
            f'"{name}" would be a class {class_name(name)}, which there is', hint=f"for example: my_{name}"
        )
    if name.lower().startswith("test"):
        raise UsageError(f'"{name}" would be taken for a test', hint="for example: my_breakout")


def _filled(template: str, name: str) -> str:
    from importlib.resources import files

    text = files("cryptostream.strategies").joinpath("template", template).read_text()
    return text.replace("{{module}}", name).replace("{{class}}", class_name(name))


def _from_here(path: Path) -> str:
    """A path as a shell takes it, one of this folder begun with a dot."""
    return str(path) if path.is_absolute() or path.parts[0] == ".." else f"./{path}"
