"""The only buffer between sockets and the bus: it hands over all that has come since it was last asked."""

import asyncio
from collections.abc import Sequence

from cryptostream.model.events import GapRecord, Record, TradeRecord
from cryptostream.model.instrument import Subscription


class Inbox:
    """Records from every connection, at most `limit`; what comes beyond is dropped, counted, and left as a gap.

    Batches grow by themselves: while the reader is busy, records gather here.
    """

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        self._limit = limit
        self._records: list[Record] = []
        self._holes: dict[Subscription, GapRecord] = {}
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._records)

    def put(self, records: Sequence[Record]) -> None:
        """Take records in; never waits."""
        if self._holes or len(self._records) + len(records) > self._limit:
            self._drop(records)
        else:
            self._records.extend(records)
        if self._waiting is not None:
            self._wake()

    def close(self) -> None:
        """No more will come: `take` hands over the rest, then nothing."""
        self._closed = True
        self._wake()

    async def take(self) -> list[Record]:
        """Wait for records and return them all; an empty list means closed and empty."""
        while not self._records and not self._holes and not self._closed:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        taken, self._records = self._records, []
        taken.extend(self._holes.values())
        self._holes = {}
        return taken

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _drop(self, records: Sequence[Record]) -> None:
        self.dropped += len(records)
        for record in records:
            if isinstance(record, TradeRecord):
                hole = self._holes.get(record.subscription)
                self._holes[record.subscription] = _grown(hole, record)


def _grown(hole: GapRecord | None, record: TradeRecord) -> GapRecord:
    if hole is None:
        return GapRecord(record.subscription, record.trade_id, record.trade_id, "inbox full", record.ts)
    first, last = min(hole.gap_from, record.trade_id), max(hole.gap_to, record.trade_id)
    return GapRecord(record.subscription, first, last, "inbox full", hole.ts)
