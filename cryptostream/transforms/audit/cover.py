"""Which ids of a stream are accounted for: seen, told to be missing, or neither, which is a hole."""

from bisect import bisect_right
from enum import Enum, auto
from typing import Protocol

from cryptostream.transforms.audit.report import Spans


class Place(Enum):
    """Where an id falls, given those before it."""

    NEXT = auto()
    """In its order: right after the one before, or the first at all."""
    BEHIND_HOLE = auto()
    """Higher than the one after the one before: a hole lies between."""
    LATE = auto()
    """It belongs further up: into a hole, which is smaller now, or before the first."""
    AGAIN = auto()
    """It was there before."""
    IN_GAP = auto()
    """A gap entry said that it is missing."""


class Steps(Protocol):
    """How one id leads to the next."""

    def after(self, number: int) -> int: ...

    def before(self, number: int) -> int: ...

    def count(self, first: int, last: int) -> int:
        """How many ids there are from one to another, both included."""


class ByOne:
    """Ids that are each the one before plus one."""

    def after(self, number: int) -> int:
        return number + 1

    def before(self, number: int) -> int:
        return number - 1

    def count(self, first: int, last: int) -> int:
        return last - first + 1


class Cover:
    """Ids from a first one on. Its memory grows with the holes and gaps it is told of, not with the ids.

    Past `SPANS_KEPT` holes or gaps further ones are counted; a late id that belongs into one of those counts as one
    that was there before. Where ids only rise (`contiguous` False) there are no holes.
    """

    def __init__(self, holes: Spans, gaps: Spans, *, contiguous: bool, steps: Steps | None = None) -> None:
        self.first: int | None = None
        self.top: int | None = None
        """The highest id accounted for."""
        self._holes = holes
        self._gaps = gaps
        self._contiguous = contiguous
        self._steps = steps or ByOne()

    def place(self, number: int) -> Place:
        """Take in the id of a trade."""
        if self.top is None or self.first is None:
            self.first = self.top = number
            return Place.NEXT
        if number > self.top:
            place = self._opens_hole(self.top, number)
            self.top = number
            return place
        if number < self.first:
            self._begins_at(number, self.first)
            return Place.LATE
        if _span_with(self._gaps.first, number) is not None:
            return Place.IN_GAP
        missing = self._closes(number) or (not self._contiguous and number < self.top)
        return Place.LATE if missing else Place.AGAIN

    def gap(self, first: int, last: int) -> bool:
        """Take in a gap entry; False where it tells of ids that are accounted for already."""
        if self.first is None or self.top is None:
            self.first, self.top = first, self._steps.before(first)
        below = self.top
        self._opens_hole(below, first)
        if last > below:
            start = max(first, self._steps.after(below))
            self._gaps.add(start, last, self._steps.count(start, last))
            self.top = last
        return first > below

    def _begins_at(self, number: int, instead_of: int) -> None:
        """The stream reaches further down than we knew."""
        self.first = number
        first, last = self._steps.after(number), self._steps.before(instead_of)
        if self._contiguous and first <= last:
            self._holes.add_below(first, last, self._steps.count(first, last))

    def _opens_hole(self, below: int, above: int) -> Place:
        first, last = self._steps.after(below), self._steps.before(above)
        if last < first or not self._contiguous:
            return Place.NEXT
        self._holes.add(first, last, self._steps.count(first, last))
        return Place.BEHIND_HOLE

    def _closes(self, number: int) -> bool:
        """Whether the id lay in a hole, which it divides."""
        holes = self._holes
        index = _span_with(holes.first, number)
        if index is None:
            return False
        first, last = holes.first[index]
        pieces = ((first, self._steps.before(number)), (self._steps.after(number), last))
        left = [span for span in pieces if span[0] <= span[1]]
        holes.first[index : index + 1] = left
        holes.count += len(left) - 1
        holes.ids -= 1
        return True


def _span_with(spans: list[tuple[int, int]], number: int) -> int | None:
    """The index of the span that holds a number; spans are sorted and apart."""
    index = bisect_right(spans, (number, 1 << 64)) - 1
    return index if index >= 0 and spans[index][0] <= number <= spans[index][1] else None
