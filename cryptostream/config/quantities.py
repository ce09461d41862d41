"""Switches, numbers, durations and sizes. Each may be written as text, since the environment has nothing else."""

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from cryptostream.config.words import got, told, wrong
from cryptostream.model import duration

_SIZE = re.compile(r"(\d{1,12})\s?(B|KiB|MiB|GiB|kB|KB|MB|GB)?", re.ASCII)
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def _flag(value: Any) -> Any:
    if isinstance(value, bool) or value in ("true", "false"):
        return value in (True, "true")
    raise wrong(f"should be true or false, got {got(value)}")


def _whole(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d{1,18}", value, re.ASCII):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise wrong(f"should be a whole number, got {got(value)}")


def _seconds(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        raise wrong(f"should be a duration as in 30s, 15m or 1h30m, got {got(value)}")
    return float(told(duration.seconds, value))


def _bytes(value: Any) -> int:
    match = _SIZE.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None:
        raise wrong(f"should be a size as in 4MiB, 100MB or 65536, got {got(value)}")
    return int(match[1]) * _UNITS[match[2] or "B"]


def spelled_bytes(size: int) -> str:
    """Write a size so that it reads back to the byte.

    >>> spelled_bytes(4 << 20), spelled_bytes(65537)
    ('4MiB', '65537B')
    """
    unit = next(unit for unit in ("GiB", "MiB", "KiB", "B") if size % _UNITS[unit] == 0)
    return f"{size // _UNITS[unit]}{unit}"


def between(least: float, most: float, spelled: Callable[[Any], str]) -> AfterValidator:
    """A range whose ends are told in the words of its kind."""

    def check(value: Any) -> Any:
        if not least <= value <= most:
            raise wrong(f"should be from {spelled(least)} to {spelled(most)}, got {spelled(value)}")
        return value

    return AfterValidator(check)


Flag = Annotated[bool, BeforeValidator(_flag)]
Whole = Annotated[int, BeforeValidator(_whole)]
Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    PlainSerializer(duration.spelled, return_type=str),
    WithJsonSchema({"type": ["string", "number"], "examples": ["30s", "15m", "1h30m"]}),
]
Size = Annotated[
    int,
    BeforeValidator(_bytes),
    PlainSerializer(spelled_bytes, return_type=str),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["4MiB", "100MB"]}),
]
