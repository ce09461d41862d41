"""What may be read: channels, pairs, streams and globs, and the few words that stand for many streams."""

import re
from typing import Annotated

from pydantic import AfterValidator

from cryptostream.config.lists import parse_wanted
from cryptostream.config.words import got, wrong
from cryptostream.model.instrument import Channel

KINDS = frozenset({*Channel, "signals", "events"})
"""What a consumer may read by a word alone: every stream whose name begins with it."""
_STREAM = re.compile(r"[^\s\x00-\x1f\x7f-\x9f]{1,200}")


def check_stream(text: str) -> str:
    """A channel, a pair in capitals, a stream or a glob; the last two have a `:` or a wildcard in them."""
    if text in KINDS:
        return text
    if not _STREAM.fullmatch(text):
        raise wrong(f"not the name of a stream: {got(text)}")
    name, _, rest = text.partition(":")
    is_channel = text != text.upper() and (not rest or (name == Channel.KLINES and ":" not in rest))
    if is_channel and text != Channel.KLINES and not re.search(r"[*?\[]", text):
        parse_wanted(text)
    return text


Stream = Annotated[str, AfterValidator(check_stream)]
