"""The tables of docs/configuration.md as the schema makes them: `python tests/config/reference.py` prints them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from cryptostream.config import Config
from cryptostream.config.env import plain_names
from cryptostream.config.settings import env_name, leaves, section_in

_BELOW = {
    "feeds": "feeds[].<venue>",
    "venues": "venues.<venue>",
    "consumers": "consumers.<name>",
    "alerts": "alerts.<name>",
}


def settings(section: type[BaseModel] = Config, before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting there is, those in lists and mappings too."""
    for name, field in section.model_fields.items():
        inner = section_in(field.annotation)
        name = field.alias or name
        if inner is not None:
            yield from settings(inner, f"{before}{_BELOW.get(name, name)}.")
        elif before + name != "feeds[].<venue>.venue":
            yield before + name, field


def rows() -> list[str]:
    """One line of the table for each setting."""
    return [f"| `{path}` | {_default(field)} | {field.description}{_range(field)} |" for path, field in settings()]


def plain_rows() -> list[str]:
    """One line of the table for each plain name."""
    return [f"| `{name}` | `{path}` |" for name, path, _ in plain_names()]


def env_rows() -> list[str]:
    """The variable of each setting with a fixed name."""
    return [f"`{env_name(path)}`" for path, _ in leaves()]


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if field.is_required():
        return "needed"
    return "" if default in (None, [], {}) or isinstance(default, Path) else f"`{_written(default, field)}`"


def _written(default: Any, field: FieldInfo) -> str:
    value = TypeAdapter(Annotated[field.annotation, field.description, *field.metadata]).dump_python(default)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _range(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return f" One of {', '.join(get_args(field.annotation))}."
    ends = {type(part): part for part in field.metadata}
    least, most = ends.get(annotated_types.Ge), ends.get(annotated_types.Le)
    return f" {least.ge:,} to {most.le:,}." if least and most else ""


if __name__ == "__main__":
    print("## Settings\n\n| setting | default | |\n|---|---|---|", *rows(), sep="\n")
    print("\n## Plain names\n\n| variable | setting |\n|---|---|", *plain_rows(), sep="\n")
