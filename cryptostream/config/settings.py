"""The schema as a list of settings: for hints, for the names in the environment, for the docs."""

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, Secret, SecretStr
from pydantic.fields import FieldInfo

from cryptostream.config.schema import Config
from cryptostream.config.tree import Path


def section_at(path: Path) -> type[BaseModel] | None:
    """The section a path leads to, None where it leads to a single value."""
    section: type[BaseModel] | None = Config
    for name in path:
        field = field_of(section, name)
        section = section if field is None else section_in(field.annotation)
    return section


def field_of(section: type[BaseModel] | None, name: str | int) -> FieldInfo | None:
    """The setting of that name; None for a place in a list, and for a key that people choose."""
    return None if section is None else section.model_fields.get(str(name))


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a setting is, or that its list or mapping is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_in(part))), None)


def is_secret(path: Path, *kinds: type) -> bool:
    """Whether a path leads to a setting of one of these kinds, without any to one that must not be shown."""
    section: type[BaseModel] | None = Config
    for name in path:
        field = field_of(section, name)
        if field is not None and _holds(field.annotation, kinds or (Secret, SecretStr)):
            return True
        section = section if field is None else section_in(field.annotation)
    return False


def _holds(annotation: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(annotation, type):
        return issubclass(annotation, kinds)
    return any(_holds(part, kinds) for part in get_args(annotation))


def leaves(section: type[BaseModel] = Config, before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting that has a fixed name, dotted: those of the sections, not those in lists and mappings."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{before}{name}.")
        else:
            yield before + name, field


def env_name(path: str) -> str:
    """The environment variable of a setting.

    >>> env_name("bus.maxlen")
    'CRYPTOSTREAM_BUS__MAXLEN'
    """
    return "CRYPTOSTREAM_" + path.replace(".", "__").upper()


@cache
def env_names() -> tuple[str, ...]:
    """The environment variables of all settings with a fixed name."""
    return tuple(env_name(path) for path, _ in leaves())
