"""The loop every command is made of: read a batch, transform it, write it to every sink, commit."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from itertools import accumulate, chain
from typing import Any

from cryptostream import logs
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.handling import Handled, handle
from cryptostream.engine.patience import NotWaitedFor, Patience
from cryptostream.engine.stats import ConsumerFacts, GroupStats
from cryptostream.engine.uncommitted import Uncommitted
from cryptostream.model.events import Entry
from cryptostream.model.ports import Batch, Clock, Gathering, Leaving, Rejecting, Sink, Source, Transform

SLOW_AFTER_S = 5.0
_log = logs.get("engine")


class Pipeline:
    """One source, one transform, some sinks. `limit` ends it after so many events of those that count, to the event.

    A batch is committed once every sink has accepted it, so that a crash repeats and never loses. Where a sink is
    `Gathering` or the source `Rejecting`, events are entries, and each is committed by itself: once no sink holds it
    nor any of its stream before it. What the transform fails on goes back to a Rejecting source, with all that came
    after it in its stream. A transform before a Gathering sink passes entries on or leaves them out.

    `max_held` is how many entries of one stream may wait for the sinks until these have to flush it; 0 is as many as
    there is room for. `until_idle_s` ends it once nothing has come for so long; its source has to give empty batches
    meanwhile, which reach the sinks. A sink that takes `slow_after_s` over one batch is told in `troubles`.

    Stopped, it waits for a sink that works for as long as that takes, and for one that tells a `trouble` only a
    moment, if the source is Rejecting: what is not safe then is not committed, and so comes again.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        sinks: Sequence[Sink],
        *,
        transform: Transform | None = None,
        limit: int | None = None,
        counts: Callable[[Any], bool] = lambda _: True,
        max_held: int = 0,
        until_idle_s: float | None = None,
        slow_after_s: float = SLOW_AFTER_S,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.events = 0
        self.started = False
        """Whether the sinks and the source were opened."""
        self._source = source
        self._rejecting = source if isinstance(source, Rejecting) else None
        self._sinks = sinks
        self._gathering = [sink for sink in sinks if isinstance(sink, Gathering)]
        self._transform = transform
        self._limit = limit
        self._counts = counts
        self._max_held = max_held
        self._until_idle_s = until_idle_s
        self._slow_after_s = slow_after_s
        self._clock = clock or SystemClock()
        self._uncommitted = Uncommitted()
        self._unwritten = 0
        self._busy: tuple[object, float] | None = None
        self._patience = Patience(self._clock, lambda: self._busy is not None and bool(_trouble(self._busy[0])))
        self._opening: asyncio.Task[Any] | None = None
        self._stopped = False

    @property
    def held(self) -> int:
        """Entries that the sinks were given and have not made safe yet."""
        return self._uncommitted.count

    @property
    def troubles(self) -> list[str]:
        """What keeps the sinks from their work now, each by name; empty while all is well. Any thread may ask."""
        told = [(_name(sink), _trouble(sink) or self._slowness(sink)) for sink in self._sinks]
        return [f"{name}: {why}" for name, why in told if why]

    @property
    def trouble(self) -> str:
        """The same in one line."""
        return "; ".join(self.troubles)

    def facts(self, group: GroupStats) -> ConsumerFacts:
        """Where this consumer stands; `group` are the counters of its source. Any thread may ask."""
        return ConsumerFacts(
            name=self.name,
            group=group,
            events=self.events,
            held=self.held,
            started=self.started,
            troubles=self.troubles,
        )

    async def run(self) -> None:
        """Open the sinks, then the source; move batches until the source ends; close in reverse."""
        async with AsyncExitStack() as opened:
            if not await self._open(opened):
                return
            self.started = True
            if self._rejecting is not None:
                await opened.enter_async_context(self._patience)
            batches = self._source.batches()
            opened.push_async_callback(_close, batches)  # left to the loop, it would end beside its source
            with suppress(NotWaitedFor):
                await self._move_all(batches)
            with suppress(NotWaitedFor):
                await self._flush(None)
            await self._commit_what_is_safe()
            self._tell_pending()

    def stop(self) -> None:
        """Read nothing new; what was read is still written and committed. What is being opened is not waited for."""
        self._stopped = True
        self._patience.end()
        self._source.stop()
        if self._opening is not None:
            self._opening.cancel()

    async def _open(self, opened: AsyncExitStack) -> bool:
        """Whether everything is open; False if it was stopped before."""
        self._opening = task = asyncio.current_task()
        try:
            for each in (*self._sinks, self._source):
                await opened.enter_async_context(each)
        except asyncio.CancelledError:
            if task is None or not self._stopped:
                raise
            task.uncancel()
            return False
        finally:
            self._opening = None
        return True

    async def _move_all(self, batches: AsyncIterator[Batch[Any]]) -> None:
        moved_s = self._clock.monotonic()
        async for batch in batches:
            await self._move(batch)
            moved_s = self._clock.monotonic() if batch.events else moved_s
            if self.events == self._limit or self._is_idle(moved_s):
                break

    def _is_idle(self, since_s: float) -> bool:
        return self._until_idle_s is not None and self._clock.monotonic() - since_s >= self._until_idle_s

    async def _move(self, batch: Batch[Any]) -> None:
        if self._gathering or self._rejecting:
            await self._move_entries(batch)
            return
        events = batch.events
        if self._transform is not None:
            events = list(chain.from_iterable(map(self._transform, events)))
        await self._write(events)
        await self._source.commit(batch)

    async def _move_entries(self, batch: Batch[Entry]) -> None:
        """Commit what no sink holds, which may be more or less than the batch; give back what failed."""
        made, done, failed = self._handled(self._uncommitted.fresh(batch.events))
        self._unwritten = len(done)
        await self._write(made)
        self._unwritten = 0
        if self._gathering:
            self._uncommitted.add(done)
            leaving = self._source.leaving if isinstance(self._source, Leaving) else ()
            now = {*self._uncommitted.crowded(self._max_held), *(entry.stream for entry, _ in failed), *leaving}
            await self._flush(now)
            await self._commit_what_is_safe()
        elif done:
            await self._source.commit(batch if len(done) == len(batch.events) else Batch(done, batch.token))
        for entry, error in failed:
            if self._rejecting is None:
                raise error
            await self._rejecting.reject(entry, f"{type(error).__name__}: {error}")

    def _handled(self, entries: Sequence[Entry]) -> Handled:
        if self._transform is None and self._limit is None:
            return Handled(entries, entries)
        left = None if self._limit is None else self._limit - self.events
        return handle(self._transform or _as_it_is, entries, left=left, counts=self._counts)

    async def _write(self, events: Sequence[Any]) -> None:
        if self._limit is not None:
            events = self._up_to(self._limit, events)
        for sink in self._sinks:
            with self._busy_with(sink), self._patience.waiting():
                await sink.write(events)
        self.events += len(events) if self._limit is None else sum(map(self._counts, events))

    def _up_to(self, limit: int, events: Sequence[Any]) -> Sequence[Any]:
        counted = accumulate(map(self._counts, events), initial=self.events)
        return [event for event, before in zip(events, counted, strict=False) if before < limit]

    async def _flush(self, streams: Collection[str] | None) -> None:
        """Have the sinks make safe what they hold of these streams, of all where it is None.

        But for the end, one that cannot is not asked: it tries by itself, and takes no more once it is full.
        """
        for sink in self._gathering if streams or streams is None else ():
            if streams is not None and sink.trouble:
                continue
            with self._busy_with(sink), self._patience.waiting():
                await sink.flush(streams)

    async def _commit_what_is_safe(self) -> None:
        for page in self._uncommitted.safe([sink.held() for sink in self._gathering]):
            await self._source.commit(Batch(page))

    def _tell_pending(self) -> None:
        """Say what was read and not made safe: it stays pending, and whoever reads next is given it again."""
        if self._rejecting is not None and (entries := self._unwritten + self._uncommitted.count):
            _log.warning("engine.left_pending", consumer=self.name, entries=entries, why=self.trouble)

    @contextmanager
    def _busy_with(self, sink: object) -> Iterator[None]:
        began_s = self._clock.monotonic()
        self._busy = sink, began_s
        try:
            yield
        finally:
            self._busy = None
        if (lasted_s := self._clock.monotonic() - began_s) >= self._slow_after_s:
            _log.warning("engine.slow_sink", consumer=self.name, sink=_name(sink), lasted_s=round(lasted_s, 1))

    def _slowness(self, sink: object) -> str:
        """How long a sink has been at one batch, once that is worth telling."""
        busy = self._busy
        if busy is None or busy[0] is not sink:
            return ""
        lasts_s = self._clock.monotonic() - busy[1]
        return f"busy with one batch for {lasts_s:.0f} s" if lasts_s >= self._slow_after_s else ""


def _trouble(sink: object) -> str:
    return getattr(sink, "trouble", "")


async def _close(batches: AsyncIterator[Any]) -> None:
    if isinstance(batches, AsyncGenerator):
        await batches.aclose()


def _name(sink: object) -> str:
    return type(sink).__name__.lower()


def _as_it_is(entry: Entry) -> tuple[Entry, ...]:
    return (entry,)
