"""Several recordings, each in its own order, as one in order of time."""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush, heapreplace
from typing import Generic, Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Input(Protocol[T_co]):
    """Items with their times, in the order they are to keep."""

    @property
    def name(self) -> str:
        """What breaks a tie between inputs."""

    @property
    def starts(self) -> int:
        """The time of the first item, known before the input is opened."""

    def __iter__(self) -> Iterator[tuple[int, T_co]]: ...


def merge(inputs: Iterable[Input[T]]) -> Iterator[tuple[int, T]]:
    """All items of all inputs by time, read one at a time; an input is opened when its start is reached.

    The times that come out never fall. An input keeps its own order whatever its clock did: where its time steps
    back, the latest time before stands. Items of equal time go by the name of their input.
    """
    by_name = sorted(inputs, key=lambda one: one.name)
    waiting = sorted(enumerate(by_name), key=lambda ranked: ranked[1].starts, reverse=True)
    heap: list[_Opened[T]] = []
    while waiting or heap:
        while waiting and (not heap or waiting[-1][1].starts <= heap[0].at):
            opened = _Opened(*waiting.pop())
            if opened.advance():
                heappush(heap, opened)
        if heap:
            first = heap[0]
            yield first.at, first.item
            _settle(heap, first)


class _Opened(Generic[T]):
    """An input that has been opened, with the item that comes next."""

    item: T

    def __init__(self, rank: int, opened: Input[T]) -> None:
        self.at = opened.starts
        self._rank = rank
        self._rest = iter(opened)

    def advance(self) -> bool:
        """Hold the next item; False at the end."""
        following = next(self._rest, None)
        if following is None:
            return False
        self.at, self.item = max(self.at, following[0]), following[1]
        return True

    def __lt__(self, other: "_Opened[T]") -> bool:
        return (self.at, self._rank) < (other.at, other._rank)


def _settle(heap: list[_Opened[T]], first: _Opened[T]) -> None:
    if first.advance():
        heapreplace(heap, first)
    else:
        heappop(heap)
