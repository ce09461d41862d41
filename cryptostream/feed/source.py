"""The live source: every connection of one venue, one inbox, batches of records."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from random import Random
from types import TracebackType
from typing import Self

from cryptostream.engine.stats import FeedStats
from cryptostream.feed.connection import Connection, Gate, OnRaw
from cryptostream.feed.inbox import Inbox
from cryptostream.feed.transport import Connect
from cryptostream.model.events import Record
from cryptostream.model.ports import Batch, Clock
from cryptostream.venues.base import Limits, Session


class Feed:
    """A source of records from live sessions; never waits for whoever reads it.

    `tapes` names, for each session, who sees its raw frames. Raises VenueUnavailable, in an exception group, if no
    session reaches the venue within `connect_timeout_s`.
    """

    def __init__(
        self,
        sessions: Sequence[Session],
        *,
        connect: Connect,
        limits: Limits,
        clock: Clock,
        random: Random | None = None,
        inbox_max: int = 200_000,
        max_frame: int = 4 << 20,
        connect_timeout_s: float = 30.0,
        tapes: Sequence[OnRaw | None] = (),
    ) -> None:
        self.inbox = Inbox(inbox_max)
        self._stats = FeedStats()
        self._gate = Gate(limits, clock, connect_timeout_s=connect_timeout_s)
        self.connections = [
            Connection(
                session,
                connect=connect,
                limits=limits,
                gate=self._gate,
                inbox=self.inbox,
                stats=self._stats,
                clock=clock,
                random=random or Random(),  # noqa: S311 - jitter, not a secret
                max_frame=max_frame,
                on_raw=tape,
            )
            for session, tape in zip(sessions, tapes or [None] * len(sessions), strict=True)
        ]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def reached(self) -> bool:
        """Whether any connection was ever made."""
        return self._gate.connected

    @property
    def stats(self) -> FeedStats:
        """The counters, brought up to date."""
        stats = self._stats
        stats.total_messages = sum(connection.frames for connection in self.connections)
        stats.ignored_messages = sum(connection.session.ignored for connection in self.connections)
        stats.dropped = self.inbox.dropped
        newest = max(self.connections, key=lambda c: c.received_at, default=None)
        if newest is not None and newest.session.event_time:
            stats.lag_ms = newest.received_at / 1e6 - newest.session.event_time / 1e3
        return stats

    async def __aenter__(self) -> Self:
        self._group = await asyncio.TaskGroup().__aenter__()
        self._tasks = [self._group.create_task(connection.run()) for connection in self.connections]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        await self._group.__aexit__(kind, error, trace)

    async def batches(self) -> AsyncIterator[Batch[Record]]:
        """All that has arrived since the last batch, until stopped."""
        while records := await self.inbox.take():
            yield Batch(records)

    async def commit(self, batch: Batch[Record]) -> None:
        """Nothing to do: a venue cannot be told."""

    def stop(self) -> None:
        """Leave every socket; what was received is still handed over."""
        for task in self._tasks:
            task.cancel()
        self.inbox.close()
