"""Pairs and channels: lists, `A,B`, or `@file`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema

from cryptostream.config.words import got, suggestion, told, wrong
from cryptostream.errors import UsageError
from cryptostream.model.instrument import Channel, Interval, Wanted, check_symbol, parse_channel

MAX_FILE_BYTES = 1 << 20
_CHANNELS = [str(channel) for channel in Channel if channel != Channel.KLINES] + [f"klines:{each}" for each in Interval]


def listed(value: Any) -> Any:
    """`A,B` as a list; whatever else is left for the check."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _symbols(value: Any) -> Any:
    """A list, a comma text, or `@file` among either."""
    found = listed(value)
    return list(expanded(found)) if isinstance(found, list | tuple) else found


def expanded(items: Any) -> Iterator[Any]:
    """Each of a list of words, comma texts and `@file`s by itself. Raises ValueError for a file that is no list."""
    for item in items:
        if isinstance(item, str) and item.startswith("@"):
            yield from _from_file(Path(item[1:]))
        elif isinstance(item, str) and "," in item:
            yield from listed(item)
        else:
            yield item


def _from_file(path: Path) -> list[str]:
    """Pairs from a file: by commas, spaces or lines; `#` begins a comment."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise wrong(f"the file {got(str(path))} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise wrong(f"the file {got(str(path))} is not UTF-8") from error
    if len(content) > MAX_FILE_BYTES:
        raise wrong(f"the file {got(str(path))} is larger than {MAX_FILE_BYTES >> 20} MiB")
    return [word for line in text.splitlines() for word in line.partition("#")[0].replace(",", " ").split()]


def _symbol(value: Any) -> str:
    if not isinstance(value, str):
        raise wrong(f"should be text, got {got(value)}")
    return str(told(check_symbol, value)).upper()


def _wanted(value: Any) -> Wanted:
    if isinstance(value, Wanted):
        return value
    if not isinstance(value, str):
        raise wrong(f"should be a channel as in trades or klines:1m, got {got(value)}")
    return parse_wanted(value)


def parse_wanted(text: str) -> Wanted:
    """`parse_channel` with the nearest word for a mistake."""
    name, _, interval = text.strip().partition(":")
    meant = suggestion(interval, Interval) if name == Channel.KLINES else suggestion(name, Channel)
    try:
        return parse_channel(text)
    except UsageError as error:
        raise wrong("; ".join(filter(None, (str(error), meant or error.hint)))) from error


def _unique(values: list[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


Symbol = Annotated[str, BeforeValidator(_symbol)]
Symbols = Annotated[
    list[Symbol],
    BeforeValidator(_symbols),
    AfterValidator(_unique),
    WithJsonSchema({"type": ["array", "string"], "items": {"type": "string"}}),
]
Channels = Annotated[
    list[
        Annotated[
            InstanceOf[Wanted],
            BeforeValidator(_wanted),
            PlainSerializer(str, return_type=str),
        ]
    ],
    BeforeValidator(listed),
    AfterValidator(_unique),
    WithJsonSchema({"type": ["array", "string"], "items": {"enum": _CHANNELS}}),
]
