"""What a consumer has in its hands: the events of one slice, how far they are handled, and who has them how long."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from cryptostream.bus.group.read import Slice
from cryptostream.errors import DataQuality
from cryptostream.model import reading
from cryptostream.model.events import Entry, Event, Gap
from cryptostream.model.ports import Clock

OnGap = Callable[[Gap], Any]
"""Told of what is missing: a function, plain or async."""


class Failed(NamedTuple):
    """An entry that could not be handled, and why."""

    entry: Entry
    error: Exception


class Hand:
    """A slice as events. `done` of them are handled, counted from the first; the one after those may be at work.

    An event that is not of a row, the gap before them, stands first.
    """

    __slots__ = ("done", "events", "gaps", "rows", "settled", "stream", "trouble")

    def __init__(self, given: Slice) -> None:
        events, trouble = reading.events(given.stream, given.rows)
        gap = [_read(given.gap)] if given.gap is not None else []
        self.stream: str = given.stream
        self.rows = given.rows
        self.events: list[Event | Entry] = gap + events if gap else events
        self.trouble: DataQuality | None = trouble
        """What is wrong with the row after the events."""
        self.gaps = len(gap)
        self.done = 0
        self.settled = 0

    def settle(self) -> list[str]:
        """The ids of what was handled since this was asked last."""
        start, self.settled = self.settled, self.done
        return [row[0] for row in self.rows[max(0, start - self.gaps) : max(0, self.done - self.gaps)]]

    def entry(self, place: int) -> Entry | None:
        """The entry behind an event; None for a gap that has none."""
        return reading.entry(self.stream, self.rows[place - self.gaps]) if place >= self.gaps else None

    def unreadable(self) -> Failed | None:
        """The row after the events, where that cannot be read."""
        entry = self.entry(len(self.events)) if self.trouble is not None else None
        return Failed(entry, self.trouble) if entry is not None and self.trouble is not None else None

    def cut(self) -> None:
        """Hand over nothing after the event at work."""
        del self.events[self.done + 1 :]
        self.trouble = None

    def let_go(self) -> None:
        """All is handled. Its memory is what the next read uses, while it is still in the core's cache."""
        self.rows.clear()
        self.events.clear()


def _read(gap: Entry) -> Event | Entry:
    [event] = reading.events(
        gap.stream, [[gap.entry_id, [text for pair in gap.fields.items() for text in pair]]]
    ).events
    return event


class AtWork(Protocol):
    """Events, of which the one at `done` is at work while there is one."""

    stream: str
    events: list[Event | Entry]
    done: int

    def entry(self, place: int) -> Entry | None:
        """The entry behind an event; None for a gap that has none."""


class _At(NamedTuple):
    hand: AtWork | None
    done: int


class Watch:
    """Says who has had one event for longer than `deadline_s`; asked now and then, from any thread."""

    def __init__(self, clock: Clock, deadline_s: float) -> None:
        self.who = ""
        self.hand: Hand | None = None
        self.kept: AtWork | None = None
        """What those that remember have, after the others."""
        self._clock = clock
        self._deadline_s = deadline_s
        self._at = _At(None, 0)
        self._since_s = 0.0

    def trouble(self) -> str:
        """Empty while there is none."""
        now_s = self._clock.monotonic()
        hand = self.kept or self.hand
        if hand is None or hand.done >= len(hand.events):
            self._at = _At(None, 0)
            return ""
        if self._at.hand is not hand or self._at.done != hand.done:
            self._at, self._since_s = _At(hand, hand.done), now_s
        spent_s = now_s - self._since_s
        if spent_s < self._deadline_s:
            return ""
        entry = hand.entry(hand.done)
        which = entry.entry_id if entry else "a gap"
        return f"{self.who} has been at {which} of {hand.stream} for {spent_s:.0f} s"


async def tell(on_gap: OnGap, gap: Gap) -> None:
    """Call it, and wait for it if it is async."""
    answer = on_gap(gap)
    if inspect.isawaitable(answer):
        await answer
