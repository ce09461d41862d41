"""The shapes that rooms plug into: where events come from, what is done to them, where they go."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, runtime_checkable

import msgspec

from cryptostream.model.events import Entry, Micros

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


@runtime_checkable
class Gathering(Protocol):
    """A sink whose `write` may only gather entries: those before the first that is `held`, of each stream, are safe.

    It is written to now and then with nothing, so that it can see that time has passed.
    """

    trouble: str
    """Why nothing can be made safe now; empty while it can."""

    def held(self) -> Mapping[str, str]:
        """Of each stream that has any, the id of the first entry, in the order of writing, that is not safe yet."""

    async def flush(self, streams: Collection[str] | None = None) -> None:
        """Make safe what is held of these streams, of all unless told."""


@runtime_checkable
class Rejecting(Protocol):
    """A source that brings an entry again which nobody could handle, and sets it aside after some times."""

    async def reject(self, entry: Entry, error: str) -> None:
        """Nobody could handle the entry, the first of its stream that is not committed; `error` says why."""


@runtime_checkable
class Leaving(Protocol):
    """A source some of whose streams will be another's: sinks make safe what they hold of these, soon."""

    @property
    def leaving(self) -> Collection[str]: ...


class Archive(Protocol):
    """Entries that were recorded, of any number of streams."""

    def streams(self, patterns: Sequence[str]) -> Sequence[str]:
        """The names of the recorded streams that match one of these Redis globs, sorted."""

    def after(self, stream: str, entry_id: str) -> Iterator[list[Entry]]:
        """Pages of what is recorded of a stream above an entry id, each entry once, in the order of their ids."""


class Ownership(Protocol):
    """Which streams a member of a group reads."""

    exclusive: bool
    """Whether nobody else reads what is ours: what others left pending there may be taken over at once."""

    @property
    def leaving(self) -> Collection[str]:
        """Streams that were ours, and are another's once `mine` is asked again: what was read of them is to be safe."""
        return ()

    async def mine(self, streams: Sequence[str]) -> Collection[str]:
        """Those of these streams that are ours from now on; asked again every few seconds."""


class Clock(Protocol):
    """Time from outside: nobody else asks the machine."""

    def now_ns(self) -> int:
        """Wall time, nanoseconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds that never step back, for deadlines and rates."""

    async def sleep(self, delay_s: float) -> None: ...
