"""The same for scripts without asyncio: the consumer lives in a thread of its own, the loop's body in yours."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from cryptostream.client.consumer import BODY, Consumer
from cryptostream.client.hand import Hand, tell
from cryptostream.client.looking import StreamInfo, When
from cryptostream.client.membership import Membership
from cryptostream.engine.stats import GroupStats
from cryptostream.model.events import Entry, Event, Gap

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """A Consumer to be used without `await`; a context manager. What it reads, and when it acknowledges, is the same.

    While the body works, leases are renewed and acknowledgements sent. Of one thread at a time.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None

    def __enter__(self) -> Self:
        """Connect. Raises BusUnavailable, BusRefused, ConfigError."""
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live(ready)), name="cryptostream", daemon=True)
        self._thread.start()
        ready.wait()
        try:
            self._ask(self._consumer.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Acknowledge what is handled, leave the rest pending, and hang up."""
        try:
            self._ask(self._consumer.__aexit__(kind, error, trace))
        finally:
            self._end()

    def __iter__(self) -> Iterator[Event | Entry]:
        """Events, in order within their stream. Each is acknowledged when the next is asked for."""
        for hands in self._reads(one_by_one=True):
            for hand in hands:
                self._consumer._watch.hand = hand
                for hand.done, event in enumerate(hand.events):  # noqa: B020 - others look there for its place
                    if self._consumer._on_gap is not None and type(event) is Gap:
                        self._ask(tell(self._consumer._on_gap, event))
                        continue
                    yield event
                hand.done = len(hand.events)
                if self._consumer._is_stopped:
                    break

    def stop(self) -> None:
        """End the loop after the event at work; what was read beside it stays pending and comes first next time."""
        self._consumer.stop()

    def latest(self, name: str) -> Event | Entry | None:
        """The newest event of a stream, or of a pair's trades; None if there is none."""
        return self._ask(self._consumer.latest(name))

    def stream_info(self, stream: str) -> StreamInfo:
        """How much a stream holds, from where to where, and where its groups stand. Raises NotFound."""
        return self._ask(self._consumer.stream_info(stream))

    def between(self, stream: str, since: When, until: When) -> list[Event | Entry]:
        """What a stream holds of the exchange's time from `since` to `until`, both included, in order."""

        async def whole() -> list[Event | Entry]:
            return [event async for event in self._consumer.between(stream, since, until)]

        return self._ask(whole())

    @property
    def stats(self) -> GroupStats:
        """What was read, acknowledged, redelivered, set aside and lost since reading began."""
        return self._consumer.stats

    @property
    def trouble(self) -> str:
        """Why nothing moves; empty while all is well."""
        return self._consumer.trouble

    def _reads(self, *, one_by_one: bool) -> Iterator[Sequence[Hand]]:
        """What each read gives; it is acknowledged, as far as it is handled, with the next."""
        joined = self._ask(self._consumer._joined(BODY))
        reads = joined.reads(one_by_one=one_by_one)
        hands: Sequence[Hand] = ()
        try:
            while hands := self._ask(_next(joined, reads, hands)):
                yield hands
        finally:
            if self._loop is not None:
                self._ask(_closed(reads))

    async def _live(self, ready: threading.Event) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        ready.set()
        await self._closing.wait()

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None, "with consume(...) as consumer:"  # noqa: S101 - the caller's mistake
        answer = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return answer.result()
        except BaseException:
            answer.cancel()
            raise

    def _end(self) -> None:
        if self._loop is not None and self._closing is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()
        self._loop = None


async def _next(joined: Membership, reads: AsyncGenerator[list[Hand], None], handled: Sequence[Hand]) -> Sequence[Hand]:
    for hand in handled:
        if hand.done == len(hand.events):
            await joined.finish(hand)
    return await anext(reads, None) or ()


async def _closed(reads: AsyncGenerator[Any, None]) -> None:
    await reads.aclose()


def _made_as(made: Callable[P, Consumer]) -> Callable[P, Blocking]:
    def consume(*args: P.args, **kwargs: P.kwargs) -> Blocking:
        return Blocking(made(*args, **kwargs))

    return consume


consume = _made_as(Consumer)
"""A blocking consumer, from the arguments of `Consumer`: `with consume(url, group="g", streams="trades:*") as it:`"""
