"""What one stream's part of a transaction is, and what a member's transactions have come to."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from cryptostream.bus.effects.hashes import Hash
from cryptostream.model.events import Output


class Work(NamedTuple):
    """What was made of some entries of a stream, in order, and the state after the last of them, plain data.

    `ids` are acknowledged. `upto` is the id up to which the state goes. An output without an id gets that of `upto`.
    `hashes` are brought up to date.
    """

    stream: str
    ids: Sequence[str]
    outputs: Sequence[Output]
    state: Any | None
    upto: str
    hashes: Sequence[Hash] = ()


class EffectsStats(msgspec.Struct):
    """What one member of a group has written since it started."""

    transactions: int = 0
    written: int = 0
    """Output entries."""
    duplicates: int = 0
    """Outputs that were there already."""
    moved: int = 0
    """Outputs that were written above their own ids, since others stood there."""
    late: int = 0
    """Outputs that were not written: their work had been done before, and they were trimmed since or had been moved."""
    fenced: int = 0
    """Works that were refused, since somebody else owns the stream now."""
