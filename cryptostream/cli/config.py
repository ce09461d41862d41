"""`cryptostream config`: what is set and where, whether it holds, and what could be set."""

import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, app, command
from cryptostream.errors import UsageError

if TYPE_CHECKING:
    from cryptostream.config import Loaded

group = typer.Typer(
    name="config",
    help="Show and check the configuration.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(group)

_INDENT = "  "
_PLACE = 40
"""The column that sources are written at, where a line leaves room."""


class Form(StrEnum):
    """How a configuration is written: `auto` is YAML on a terminal and JSON on a pipe."""

    AUTO = "auto"
    YAML = "yaml"
    JSON = "json"


@command("show", group=group)
def show(
    call: Call,
    sources: Annotated[bool, typer.Option("--sources", help="Say where each value comes from.")] = False,
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="Show secrets too; on a terminal only.")] = False,
    output: Annotated[Form, typer.Option("-o", "--output", help="How to print it.")] = Form.AUTO,
) -> None:
    """Print the whole configuration as the other commands see it, defaults filled in, secrets masked."""
    if show_secrets and not sys.stdout.isatty():
        raise UsageError("--show-secrets shows them on a terminal only, never to a pipe or a file")
    loaded = call.load()
    settings = loaded.plain(reveal=show_secrets)
    if output is Form.YAML or (output is Form.AUTO and sys.stdout.isatty()):
        for line in _yaml(settings, loaded if sources else None):
            _print(*line)
    else:
        render.answer(_with_sources(settings, loaded) if sources else settings)


@command("validate", group=group)
def validate(call: Call) -> None:
    """Check the configuration: exit 0, or 78 with every mistake and its place."""
    loaded = call.load()
    read = ", ".join(str(path) for path in loaded.files) or "no file"
    feeds, consumers = len(loaded.config.feeds), len(loaded.config.consumers)
    render.note(f"ok: {read}; feeds: {feeds}, consumers: {consumers}, bus: {loaded.config.bus.url}")


@command("schema", group=group)
def schema(call: Call) -> None:  # noqa: ARG001 - every command has one
    """Print the JSON Schema of the configuration file, for editors and other tools."""
    from cryptostream.config import Config

    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    render.answer({**dialect, **Config.model_json_schema(), "title": "cryptostream.yaml"})


def _with_sources(value: Any, loaded: "Loaded", path: str = "") -> Any:
    """The same settings with `{value, source}` for each of them; a list of plain values is one."""
    if isinstance(value, dict) and value:
        return {key: _with_sources(inner, loaded, _join(path, key)) for key, inner in value.items()}
    if isinstance(value, list) and not _is_flat(value):
        return [_with_sources(inner, loaded, f"{path}[{number}]") for number, inner in enumerate(value)]
    return {"value": value, "source": loaded.origin(path)}


def _yaml(value: Any, loaded: "Loaded | None", path: str = "", lead: str = "") -> Iterator[tuple[str, str, str]]:
    """Lines of YAML in three parts: what leads to a value, the value, and where it comes from."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for number, (key, inner) in enumerate(items):
        below = _join(path, key) if isinstance(value, dict) else f"{path}[{key}]"
        opening = (lead if number == 0 else _blank(lead)) + (f"{_scalar(key)}:" if isinstance(value, dict) else "-")
        if not isinstance(inner, dict | list) or not inner or _is_flat(inner):
            yield opening, _scalar(inner), loaded.origin(below) if loaded else ""
        elif isinstance(value, dict):
            yield opening, "", ""
            yield from _yaml(inner, loaded, below, _blank(lead) + _INDENT)
        else:
            yield from _yaml(inner, loaded, below, f"{opening} ")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _blank(lead: str) -> str:
    return " " * len(lead)


def _is_flat(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(inner, dict | list) for inner in value)


def _scalar(value: Any) -> str:
    """One value, or a list of such, on one line of YAML."""
    import yaml

    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=sys.maxsize)
    return text.removesuffix("\n").removesuffix("\n...")


def _print(opening: str, value: str, source: str) -> None:
    from rich.text import Text

    line = Text.assemble((render.safe(opening), "cyan"), " " if value else "", render.safe(value))
    if source:
        line.append(" " * max(2, _PLACE - len(line)) + f"# {render.safe(source)}", "dim")
    render.out().print(line, soft_wrap=True)
