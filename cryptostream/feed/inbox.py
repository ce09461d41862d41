"""The only buffer between sockets and the bus: it hands over all that has come since it was last asked."""

import asyncio
from collections.abc import Sequence

from cryptostream.model.events import Record


class Inbox:
    """Records on their way to a pipeline, at most `limit` or one batch that is larger; never waits for its reader.

    Batches grow by themselves: while the reader is busy, records gather here.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._records: list[Record] = []
        self._since_ns = 0
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._records)

    @property
    def roomy(self) -> bool:
        """Whether there is room for more than sockets bring: it is at most half full."""
        return 2 * len(self._records) <= self._limit

    def put(self, records: Sequence[Record], arrived_ns: int) -> bool:
        """Take in what arrived at that time, all of it, or nothing where there is no room: then False.

        An empty inbox has room for a batch of any size, or a line could be filled in vain for ever.
        """
        waiting = self._records
        if not waiting:
            self._since_ns = arrived_ns
        elif len(waiting) + len(records) > self._limit:
            return False
        waiting.extend(records)
        if self._waiting is not None:
            self._wake()
        return True

    def close(self) -> None:
        """No more will come: `take` hands over the rest, then nothing."""
        self._closed = True
        self._wake()

    async def take(self) -> tuple[list[Record], int]:
        """Wait for records; return them all, and when the oldest arrived. No records means closed and empty."""
        while not self._records and not self._closed:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        taken, self._records = self._records, []
        return taken, self._since_ns

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
