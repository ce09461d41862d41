"""What to listen to, venue by venue, and which streams it ends in."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from cryptostream.bus.keys import stream_key
from cryptostream.config.lists import Channels, Symbol, Symbols
from cryptostream.config.quantities import Whole
from cryptostream.config.section import Section, keys
from cryptostream.config.words import got, unknown, wrong
from cryptostream.model.instrument import Channel, Subscription, Wanted
from cryptostream.registry import names

_PLACEHOLDERS = ("exchange", "channel", "pair", "interval")
_RESERVED = ("dlq:", "stats:", "events:", "signals:")
_KEY_TEXT = re.compile(r"[^\s{}*?\[\]\\\x00-\x1f\x7f-\x9f]{1,200}")


class Discover(Section):
    """Pairs that are found instead of named."""

    top: Whole = Field(200, ge=1, le=2000, description="How many pairs, by the market value of their coins.")
    quote: Symbol = Field("USDT", description="What the pairs are traded against.")


class FeedConfig(Section):
    """What to listen to on one venue; written as one item, `<venue>: {...}`."""

    venue: str = Field(description="The venue.")
    symbols: Symbols = Field([], description="Pairs: a list, `BTCUSDT,ETHUSDT`, or `@file`.")
    channels: Channels = Field(
        default_factory=lambda: [Wanted(Channel.TRADES)],
        min_length=1,
        description="`trades`, `agg_trades`, `klines:<interval>`.",
        json_schema_extra={"default": [str(Channel.TRADES)]},
    )
    discover: Discover | None = Field(None, description="Find pairs by discovery, beside any that are named.")
    key: str | None = Field(
        None, description="Another name for the streams, with {pair}, {exchange}, {channel}, {interval} in it."
    )

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "venue" in value:
            return value
        if len(value) != 1:
            raise wrong(f"should be one venue with its settings, as in binance: {{...}}, got {keys(value)}")
        ((venue, settings),) = value.items()
        if settings is not None and not isinstance(settings, Mapping):
            raise wrong(f"the settings of a venue should be a mapping, got {got(settings)}")
        return {**(settings or {}), "venue": venue}

    @model_serializer(mode="wrap")
    def _wrap(self, inner: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written = inner(self)
        return {written.pop("venue"): written}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        inner = handler.resolve_ref_schema(handler(core))
        settings = {**inner, "properties": {name: of for name, of in inner["properties"].items() if name != "venue"}}
        del settings["required"]
        return {
            "type": "object",
            "description": inner["description"],
            "properties": dict.fromkeys(names("venues"), settings),
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }

    @field_validator("venue")
    @classmethod
    def _known(cls, venue: str) -> str:
        return check_venue(venue)

    @field_validator("key")
    @classmethod
    def _makes_keys(cls, key: str | None, info: ValidationInfo) -> str | None:
        if key is None:
            return None
        used = re.findall(r"\{([^{}]*)\}", key)
        for name in used:
            if name not in _PLACEHOLDERS:
                raise wrong(unknown("placeholder", name, _PLACEHOLDERS))
        if not _KEY_TEXT.fullmatch(re.sub(r"\{\w+\}", "x", key)):
            raise wrong("should be text without spaces, control characters, * ? [ ] \\ and single braces")
        if key.replace("{interval}", "").startswith(_RESERVED):  # a channel without one leaves nothing there
            raise wrong(f"should not begin with {', '.join(_RESERVED)}: these names have a meaning of their own")
        if "pair" not in used and (info.data.get("discover") or len(info.data.get("symbols", ())) > 1):
            raise wrong("should have {pair} in it, since the feed has more than one pair")
        return key

    @model_validator(mode="after")
    def _has_pairs(self) -> "FeedConfig":
        if not self.symbols and self.discover is None:
            raise wrong("names no pairs; give it symbols: [BTCUSDT] or discover: {top: 200}")
        return self

    def streams(self) -> Iterator[tuple[str, str]]:
        """The keys it is known to write and what goes in there; discovered pairs stand as one, by their quote."""
        found = [f"<{self.discover.quote} pairs>"] if self.discover else []
        for pair in [*self.symbols, *found]:
            for wanted in self.channels:
                source = Subscription(self.venue, wanted.channel, pair, wanted.interval)
                yield stream_key(source, self.key), str(wanted)


def check_venue(name: str) -> str:
    """Return the name of a venue that is registered."""
    if name not in (known := names("venues")):
        raise wrong(unknown("venue", name, known))
    return name


def clashes(feeds: Sequence[FeedConfig]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Streams that would be written twice, each with the number of the later feed."""
    taken: dict[str, tuple[int, str]] = {}
    for number, feed in enumerate(feeds):
        for key, what in feed.streams():
            first, there = taken.setdefault(key, (number, what))
            if first != number:
                yield (number,), f'the stream "{key}" is written by feeds[{first}] already'
            elif there != what:
                yield (number,), f'the stream "{key}" would hold both {there} and {what}; put {{channel}} in its key'
