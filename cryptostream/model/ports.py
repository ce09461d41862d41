"""The shapes that rooms plug into: where events come from, what is done to them, where they go."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import msgspec

from cryptostream.model.events import Micros

T = TypeVar("T")

Transform = Callable[[Any], Iterable[Any]]


class Batch(msgspec.Struct, Generic[T], frozen=True):
    """What crosses an await: events in order, and the token its source needs to commit them."""

    events: Sequence[T]
    token: Any = None


class Position(msgspec.Struct, frozen=True):
    """Where a stream stands: its newest trade id and that trade's time.

    For klines `last_id` is a time in milliseconds: windows that open after it are wanted.
    """

    last_id: int
    ts: Micros


class Open(Protocol):
    """Something that is opened and closed around its use; what needs neither inherits these."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Source(Open, Protocol):
    """Where batches come from. `stop` ends `batches` once everything already received has been handed over."""

    def batches(self) -> AsyncIterator[Batch[Any]]: ...

    async def commit(self, batch: Batch[Any]) -> None: ...

    def stop(self) -> None: ...


class Sink(Open, Protocol):
    """Where events go. `write` returns once they are safe, so that the source may commit."""

    async def write(self, events: Sequence[Any]) -> None: ...


class Clock(Protocol):
    """Time from outside: nobody else asks the machine."""

    def now_ns(self) -> int:
        """Wall time, nanoseconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds that never step back, for deadlines and rates."""

    async def sleep(self, delay_s: float) -> None: ...
