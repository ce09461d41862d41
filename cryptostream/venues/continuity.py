"""Trades in, the same trades out in the order of their ids, each once; what is missing is known.

House rules:
* A *line* is one subscription's trades. Its rule is the venue's: ids that are contiguous, ids that only rise, or none.
* On a contiguous line the id after the newest one released goes on at once, a lower one is a duplicate. A higher one
  opens a *gap*: it and all that follow are held until the missing ids have come, from wherever.
* What is held is bounded over all lines together. A trade for which there is no room is let go and becomes one more
  missing id: it will be fetched like the others, so a full buffer costs work and never a trade.
* An id may be a lie. Far ahead it opens a gap that nobody can fill, while the line trades on below it: `in_step` counts
  that, and whoever fetches may disbelieve. Far below, in step, it says that what went before was the lie, or that the
  venue counts anew: the line goes on from there.
* Nobody here knows the time. Who fetches decides when to give up; what is given up leaves as a gap.
"""

from collections.abc import Callable, Iterable, Sequence

from cryptostream.model.events import DeadLetter, GapRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.venues.base import Rule
from cryptostream.venues.line import NONE, Line, OpenGap

__all__ = ["Continuity", "OpenGap"]

_RECORD_BYTES = 200
"""What a held trade weighs beside its frame."""
_LETTER_CHARACTERS = 4096
_FAR_BELOW = 10_000
_IN_STEP = 20
"""Live trades in a row, that far below a line that says nothing else, after which the line goes on with them."""


class Continuity:
    """The order of every line of a feed. `on_gap` is told which line has a gap that was not there before.

    `hold_events` and `hold_bytes` bound what is held over all lines.
    """

    def __init__(
        self,
        rule: Callable[[Channel], Rule],
        *,
        on_gap: Callable[[Subscription], None],
        hold_events: int = 100_000,
        hold_bytes: int = 64 << 20,
    ) -> None:
        self.duplicates = 0
        """Live trades that had been released or were held: re-sent, or seen on two sockets."""
        self.held = 0
        self.held_bytes = 0
        self.let_go = 0
        """Trades that found no room, and were or will be fetched."""
        self._rule = rule
        self._on_gap = on_gap
        self._hold_events = hold_events
        self._hold_bytes = hold_bytes
        self._lines: dict[Subscription | object, Line] = {}

    def seed(self, wanted: Subscription, last_id: int, ts: Micros) -> None:
        """A line begins anew after `last_id`, whose trade was at `ts`: what a stream held at the start."""
        self.forget(wanted)
        line = self._line(wanted)
        if line is not None:
            line.expected, line.ts = last_id + 1, ts

    def receive(self, records: Sequence[Record]) -> Sequence[Record]:
        """What may go on now, in the order of ids line by line: of the records, and of what was held for them.

        Whatever is not a trade passes.
        """
        lines = self._lines
        for place, record in enumerate(records):
            line = lines.get(record.subscription)
            # The hot path: nearly every trade is the one after the one before.
            if line is None or type(record) is not TradeRecord or record.trade_id != line.expected:
                ready = list(records[:place])
                for other in records[place:]:
                    ready += self._take(other)
                return ready
            line.expected += 1
            line.ts = record.ts
        return records

    def gap(self, wanted: Subscription) -> OpenGap | None:
        """What a line waits for now."""
        line = self._lines.get(wanted)
        return line.gap if line else None

    def newest(self, wanted: Subscription) -> tuple[int | None, Micros]:
        """The newest id a line has released, None before the first, and the time of its trade."""
        line = self._lines.get(wanted)
        if line is None:
            return None, Micros(0)
        return (None if line.following == NONE else line.following - 1), line.ts

    def exists(self, wanted: Subscription, newest_id: int) -> None:
        """The venue says what its newest trade is: whatever is missing up to it is a gap.

        A line that has seen nothing yet goes on after it.
        """
        line = self._line(wanted)
        if line is None or line.rule is not Rule.CONTIGUOUS:
            return
        if line.gap is not None:
            line.gap.raise_top(newest_id)
        elif line.expected == NONE:
            line.expected = newest_id + 1
        elif newest_id >= line.expected:
            self._open(wanted, line, OpenGap(line.expected, newest_id))

    def rewind(self, wanted: Subscription, last_id: int) -> None:
        """What was released after `last_id` is lost further on: all of it is missing again.

        Where ids only rise nobody can tell what it was: a gap goes ahead of the next trade. Where there are none,
        nothing can be done.
        """
        line, first = self._lines.get(wanted), last_id + 1
        if line is None or line.following <= first:
            return
        if line.gap is not None:
            line.gap.first = first
        elif line.rule is Rule.CONTIGUOUS:
            self._open(wanted, line, OpenGap(first, line.expected - 1))
        else:
            line.lost = first, line.lost[1] if line.lost else line.expected - 1
            line.expected = NONE

    def give_up(self, wanted: Subscription, cause: str) -> list[Record]:
        """All that a line waits for is lost: gaps, and the trades between them and after them; it goes on."""
        ready: list[Record] = []
        while self.gap(wanted) is not None:
            ready += self.skip(wanted, cause)
        return ready

    def skip(self, wanted: Subscription, cause: str, *, keep: int = 0) -> list[Record]:
        """The first hole of a line is lost but for its newest `keep` ids: a gap, and what may go on behind it."""
        line = self._lines.get(wanted)
        if line is None or line.gap is None:
            return []
        first, last = line.gap.hole
        last -= keep
        if last < first:
            return []
        line.gap.first = last + 1
        return [GapRecord(wanted, first, last, cause, line.ts), *self._release(line, line.gap)]

    def disbelieve(self, wanted: Subscription, reason: str, source: str) -> list[DeadLetter]:
        """What a line holds was never traded, as later trades show: it is set aside, and the line goes on.

        Costs no trade if it was one after all: the next one shows that it is missing.
        """
        line = self._lines.get(wanted)
        if line is None or line.gap is None:
            return []
        letters = [_letter(record, reason, source) for _, record in sorted(line.gap.held.items())]
        self._drop(line)
        return letters

    def forget(self, wanted: Subscription) -> None:
        """A line that is followed no longer."""
        line = self._lines.pop(wanted, None)
        if line is not None:
            self._drop(line)

    def _line(self, wanted: Subscription) -> Line | None:
        """The line of a subscription; None for one whose records have no ids to go by."""
        line = self._lines.get(wanted)
        if line is None:
            rule = self._rule(wanted.channel)
            if rule is Rule.NONE:
                return None
            line = self._lines[wanted] = Line(rule)
        return line

    def _take(self, record: Record) -> Iterable[Record]:
        if not isinstance(record, TradeRecord):
            return (record,)
        line = self._line(record.subscription)
        if line is None:
            return (record,)
        if line.gap is not None:
            return self._take_into(line, line.gap, record)
        if line.rule is Rule.MONOTONIC:
            return self._take_rising(line, record)
        if record.trade_id == line.expected or line.expected == NONE:
            line.expected, line.ts = record.trade_id + 1, record.ts
            return (record,)
        if record.trade_id < line.expected:
            return self._take_below(line, record)
        self._open_below(line, record, line.expected)
        return ()

    def _take_rising(self, line: Line, record: TradeRecord) -> Iterable[Record]:
        """A trade where ids only rise: it goes on unless one as high has, and ahead of it what was lost."""
        newest = line.lost[1] if line.lost else line.expected - 1
        if record.trade_id <= newest:
            self.duplicates += not record.filled
            return ()
        lost, ts = line.lost, line.ts
        line.expected, line.ts, line.lost = record.trade_id + 1, record.ts, None
        if lost is None:
            return (record,)
        return (GapRecord(record.subscription, *lost, "lost on the way", ts), record)

    def _take_below(self, line: Line, record: TradeRecord) -> Iterable[Record]:
        """A duplicate; or the newest of a run far below that takes the place of all that went before."""
        if record.filled:
            return ()
        self.duplicates += 1
        trade_id = record.trade_id
        if trade_id != line.run_next or line.expected != line.run_at:
            line.run_first, line.run_at = trade_id, line.expected
        line.run_next = trade_id + 1
        run = line.run_next - line.run_first
        if run < _IN_STEP or trade_id > line.expected - _FAR_BELOW:
            return ()
        self.duplicates -= run
        self._open_below(line, record, line.run_first)
        return ()

    def _open_below(self, line: Line, record: TradeRecord, first: int) -> None:
        """Hold a trade until all from `first` on have come."""
        gap = OpenGap(first, record.trade_id)
        self._hold(gap, record)
        self._open(record.subscription, line, gap)

    def _open(self, wanted: Subscription, line: Line, gap: OpenGap) -> None:
        line.gap, line.expected = gap, NONE
        self._on_gap(wanted)

    def _take_into(self, line: Line, gap: OpenGap, record: TradeRecord) -> Iterable[Record]:
        """A trade of a line that waits: the next one, one more to hold, or one that was there."""
        trade_id = record.trade_id
        if trade_id < gap.first or trade_id in gap.held:
            self.duplicates += not record.filled
            return ()
        gap.raise_top(trade_id)
        if trade_id != gap.first:
            self._hold(gap, record)
            return ()
        gap.in_step += not record.filled
        gap.first += 1
        line.ts = record.ts
        return (record, *self._release(line, gap))

    def _release(self, line: Line, gap: OpenGap) -> list[Record]:
        """What is held and waits for nothing any more; ends the gap where that is all there is."""
        ready: list[Record] = []
        while (record := gap.held.pop(gap.first, None)) is not None:
            self._unhold(record)
            ready.append(record)
            gap.first += 1
            line.ts = record.ts
        if gap.first > gap.top:
            line.gap, line.expected = None, gap.first
        elif gap.first > gap.end:
            gap.find_end()
        return ready

    def _hold(self, gap: OpenGap, record: TradeRecord) -> None:
        if not record.filled:
            gap.in_step = 0
        size = _size(record)
        if self.held >= self._hold_events or self.held_bytes + size > self._hold_bytes:
            self.let_go += 1
            return
        gap.held[record.trade_id] = record
        gap.end = min(gap.end, record.trade_id)
        self.held += 1
        self.held_bytes += size

    def _unhold(self, record: TradeRecord) -> None:
        self.held -= 1
        self.held_bytes -= _size(record)

    def _drop(self, line: Line) -> None:
        """Close the gap of a line and what it holds; it goes on from where it was."""
        if line.gap is not None:
            for record in line.gap.held.values():
                self._unhold(record)
            line.expected, line.gap = line.gap.first, None


def _size(record: TradeRecord) -> int:
    return _RECORD_BYTES + len(record.raw_json)


def _letter(record: TradeRecord, reason: str, source: str) -> DeadLetter:
    frame = record.raw_json or f"trade {record.trade_id} of {record.subscription}"
    return DeadLetter(source, reason, frame[:_LETTER_CHARACTERS], len(frame), record.ts)
