"""Who of a group reads which streams: everybody all of them, or each member its share, by the streams' names.

A share is found by a hash that is the same in every process and in every version, so that whoever starts with the
same `--shard 1/4` reads the same streams. Members that come and go by themselves share by `lease.py`.
"""

from binascii import crc32
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from cryptostream.errors import UsageError
from cryptostream.model.ports import Ownership

_FORM = 'a shard is one of so many, as in "1/4"'


class Everything(Ownership):
    """Every stream is ours, and may be anybody else's too."""

    exclusive = False

    async def mine(self, streams: Sequence[str]) -> Collection[str]:
        """All of them."""
        return streams


EVERYTHING = Everything()


@dataclass(frozen=True)
class Shard(Ownership):
    """The part `index` of `of` equal parts of all streams, counted from 1; a stream is in one part and stays there.

    >>> shards = [Shard(index, of=4) for index in (1, 2, 3, 4)]
    >>> [shard.holds("trades:BTCUSDT") for shard in shards]
    [False, False, False, True]
    """

    index: int
    of: int
    exclusive = True

    @classmethod
    def parse(cls, text: str) -> Self:
        """A shard as people write it. Raises UsageError.

        >>> Shard.parse("1/4")
        Shard(index=1, of=4)
        """
        index, slash, of = text.partition("/")
        if not (slash and _is_number(index) and _is_number(of)):
            raise UsageError(f'"{text}" is no shard', hint=_FORM)
        shard = cls(int(index), int(of))
        if not 1 <= shard.index <= shard.of:
            raise UsageError(f'there is no shard "{text}"', hint=_FORM + ", from 1/4 to 4/4")
        return shard

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def holds(self, stream: str) -> bool:
        """Whether a stream is in this part."""
        return crc32(stream.encode()) % self.of == self.index - 1

    async def mine(self, streams: Sequence[str]) -> Collection[str]:
        """Those whose names fall into this part."""
        return [stream for stream in streams if self.holds(stream)]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 7
