"""How far a group has come in what was recorded: the hash `cursor:<group>`, one field for each stream."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from cryptostream.bus.ask import asking
from cryptostream.bus.connect import Bus


class Cursor(NamedTuple):
    """A place in a recorded stream: everything up to `safe` is committed.

    `seam`, once it is known, is where the consumer group takes over: what is recorded up to it is still to be read.
    """

    safe: str
    seam: str = ""

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read the field of a hash.

        >>> Cursor.parse("1731605400123-42"), Cursor.parse("1-2 3-4")
        (Cursor(safe='1731605400123-42', seam=''), Cursor(safe='1-2', seam='3-4'))
        """
        safe, _, seam = text.partition(" ")
        return cls(safe, seam)

    def __str__(self) -> str:
        return f"{self.safe} {self.seam}".rstrip()


class Cursors:
    """The cursors of one group. Every call raises BusUnavailable and BusRefused."""

    def __init__(self, bus: Bus, group: str) -> None:
        self.key = f"cursor:{group}"
        self._bus = bus

    async def get(self, stream: str) -> Cursor | None:
        """Where a stream stands; None where its recording was never begun, or is behind us."""
        with asking(self._bus, self.key):
            found: Any = await self._bus.command.hget(self.key, stream)
        return Cursor.parse(found) if found else None

    async def put(self, cursors: Mapping[str, Cursor]) -> None:
        """Write down where these streams stand."""
        with asking(self._bus, self.key):
            await self._bus.command.hset(self.key, mapping={stream: str(at) for stream, at in cursors.items()})

    async def drop(self, streams: Collection[str]) -> None:
        """Forget streams whose recording has been read."""
        with asking(self._bus, self.key):
            await self._bus.command.hdel(self.key, *streams)
