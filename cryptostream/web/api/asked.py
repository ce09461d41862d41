"""What may be asked, checked before anything looks for it: pairs, names, streams, times, and what a body may hold."""

import re
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, Field, StringConstraints

from cryptostream.errors import UsageError
from cryptostream.model.instrument import parse_pair
from cryptostream.model.ports import Clock
from cryptostream.model.times import moment
from cryptostream.strategies.names import is_label
from cryptostream.web.shown import MOST, NAME, STREAM, STREAM_LONGEST

STREAMS_MOST = 50
"""Names or globs of one reader."""
_WILDCARDS_MOST = 4  # each one multiplies the work of matching a key
_STREAM = re.compile(STREAM)
_SYMBOL_LONGEST = 65  # a venue's name and a pair's
_DEEPEST = 4
_LONGEST_VALUE = 500


def pair(text: str) -> str:
    """A pair in capitals, behind its venue's name if that is not the default one.

    >>> pair("btcusdt"), pair("kraken:BTCUSD"), pair("binance:BTCUSDT")
    ('BTCUSDT', 'kraken:BTCUSD', 'BTCUSDT')

    Raises UsageError.
    """
    return str(parse_pair(text))


def pairs(texts: Iterable[str]) -> list[str]:
    """Each pair once, in the order they are named. Raises UsageError."""
    return list(dict.fromkeys(map(pair, texts)))


def name(text: str) -> str:
    """What a strategy or a consumer is called. Raises UsageError."""
    if not is_label(text):
        raise UsageError(f"not a name: {text[:40]!a}", hint="letters, digits and ._- only, at most 64")
    return text


def texts(given: Sequence[str]) -> Sequence[str]:
    """Texts without control characters, not too long. Raises UsageError."""
    for text in given:
        if not (0 < len(text) <= _LONGEST_VALUE and text.isprintable()):
            raise UsageError(f"not a text that can be taken: {text[:40]!a}")
    return given


def streams(text: str) -> list[str]:
    """Names and globs of streams, separated by commas.

    >>> streams("trades:BTCUSDT, signals:*")
    ['trades:BTCUSDT', 'signals:*']

    Raises UsageError.
    """
    names = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not names:
        raise UsageError("no stream is named", hint="?streams=trades:BTCUSDT,signals:*")
    if len(names) > STREAMS_MOST:
        raise UsageError(f"{len(names)} streams at once, where {STREAMS_MOST} may be", hint="a glob follows many")
    for one in names:
        if not _STREAM.fullmatch(one) or one.count("*") + one.count("?") > _WILDCARDS_MOST:
            raise UsageError(
                f"not a stream's name: {one[:40]!a}",
                hint=f"letters, digits and :._-{{}}, at most {_WILDCARDS_MOST} of * and ?",
            )
    return names


def span(since: str | None, until: str | None, clock: Clock) -> tuple[int | None, int | None]:
    """Two times as milliseconds. Raises UsageError."""
    now_ns = clock.now_ns()
    first = None if since is None else moment(since, now_ns)
    last = None if until is None else moment(until, now_ns)
    if first is not None and last is not None and first > last:
        raise UsageError("since lies after until")
    return first, last


def parameters(given: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a strategy that are plain: finite numbers, printable texts, and lists of them, not too deep.

    Raises UsageError.
    """
    for key, value in given.items():
        if not re.fullmatch(r"\w{1,64}", key):
            raise UsageError(f"not a parameter's name: {key[:40]!a}")
        if not _is_plain(value, _DEEPEST):
            raise UsageError(f"parameter {key}: neither a finite number, a short text, nor a short list of them")
    return given


def _is_plain(value: Any, deep: int) -> bool:
    if isinstance(value, list | dict):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return deep > 0 and len(value) <= MOST and all(_is_plain(each, deep - 1) for each in inner)
    if isinstance(value, str):
        return len(value) <= _LONGEST_VALUE and value.isprintable()
    return value is None or (abs(value) < 10**40 and isfinite(value))


_PAIR_TOLD = "A pair, such as BTCUSDT; another venue's behind its name: kraken:BTCUSD."
Pair = Annotated[
    str,
    Path(max_length=_SYMBOL_LONGEST, description=_PAIR_TOLD, examples=["BTCUSDT"]),
    AfterValidator(pair),
]
Name = Annotated[str, Path(pattern=NAME, examples=["momentum"])]
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
Since = Annotated[
    str | None, Query(max_length=40, description="From then on: RFC 3339, epoch ms, or -15m.", examples=["-15m"])
]
Until = Annotated[
    str | None, Query(max_length=40, description="Up to then: RFC 3339, epoch ms, or -1m.", examples=["-1m"])
]
Streams = Annotated[
    str,
    Query(
        min_length=1,
        max_length=STREAMS_MOST * STREAM_LONGEST,
        description=f"Names or globs of streams, separated by commas; at most {STREAMS_MOST}.",
        examples=["trades:BTCUSDT,signals:*"],
    ),
]
Symbol = Annotated[str, StringConstraints(min_length=1, max_length=_SYMBOL_LONGEST), AfterValidator(pair)]
Symbols = Annotated[list[Symbol], Field(min_length=1, max_length=MOST)]
