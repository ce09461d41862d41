"""Whom to tell of what: rules over entries, and the targets that are told."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, field_validator

from cryptostream.bus.keys import of_pair
from cryptostream.config.lists import listed
from cryptostream.config.quantities import Duration, between
from cryptostream.config.reading import KINDS, Stream
from cryptostream.config.section import Section
from cryptostream.config.targets import Target
from cryptostream.config.words import got, told, wrong
from cryptostream.model.duration import spelled
from cryptostream.model.globs import compiled
from cryptostream.transforms import where
from cryptostream.transforms.alerts import Rate, parse_rate


def _rate(value: Any) -> Any:
    if isinstance(value, Rate):
        return value
    if not isinstance(value, str):
        raise wrong(f"should be so many in so long, as in 5/1m, got {got(value)}")
    return told(parse_rate, value)


def _targets(value: Any) -> Any:
    return [value] if isinstance(value, dict) else listed(value)


class AlertConfig(Section):
    """What to tell, and whom."""

    read: Annotated[list[Stream], BeforeValidator(listed)] = Field(
        ["signals", "events"],
        min_length=1,
        description="Where to look: `signals`, `events` (the ledger of what happened to the data), channels, streams, "
        "globs.",
    )
    when: str = Field(description='What is worth telling: `strategy == "macd_rsi" and strength > 0.8`.')
    to: Annotated[list[Target], BeforeValidator(_targets)] = Field(
        min_length=1, max_length=20, description="Targets: `log`, `stream`, `webhook`, `mail`."
    )
    at_most: Annotated[
        Rate,
        BeforeValidator(_rate),
        PlainSerializer(str, return_type=str),
        WithJsonSchema({"type": "string", "examples": ["5/1m"]}),
    ] = Field(
        Rate(30, 60.0),
        description="How many in any window of so long, by the entries' time; the rest is counted, and told with the "
        "next.",
    )
    max_age: Annotated[Duration, between(0, 30 * 86_400, spelled)] = Field(
        3600.0, description="How old an entry may be that is still told; 0s: as old as it likes. 0s to 30d."
    )

    @field_validator("when")
    @classmethod
    def _condition(cls, text: str) -> str:
        told(where.compile, text)
        return text


def mistakes(alerts: Mapping[str, AlertConfig]) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """What is wrong with some rules together, each with its place: alerts that would cause alerts for ever."""
    for writer, rule in alerts.items():
        for number, target in enumerate(rule.to):
            if target.stream is None:
                continue
            for reader, other in alerts.items():
                if _reads(other, target.stream.name):
                    why = f'writes to "{target.stream.name}", which alerts.{reader} reads: each alert would cause more'
                    yield ("alerts", writer, "to", number), why
                    break


def _reads(rule: AlertConfig, stream: str) -> bool:
    return any(compiled(pattern).fullmatch(stream) for read in rule.read for pattern in _globs(read))


def _globs(read: str) -> list[str]:
    if read in KINDS:
        return [f"{read}:*"]
    return [read] if re.search(r"[:*?\[]", read) else [read, *of_pair(read)]
