"""Klines in, the same klines out: every closed one once, in the order of their windows; what is missing is known.

House rules:
* A *line* is one subscription's klines. It waits for one window to close; the updates of that window pass, its closed
  kline passes and moves the line on, whatever is told of earlier windows is a duplicate.
* A kline of a later window proves that all before it have ended. While one of them has not been told closed there is
  a *hole*: closed klines of later windows are held, in bounds; of updates, mere states, only the newest is kept.
* What leaves a line has ever higher entry ids (`<close time>-1` closed, `<min(event, close time)>-0` an update). An
  update that would not stand above what left before is outdated: it says nothing new and a stream has no place for it.
* What was told live is remembered until its window is done with: a fetched row that knows of fewer trades is stale.
* Nobody here knows the time. Who fetches says what it is and decides when to give up; what is given up leaves as a
  gap.
"""

from collections.abc import Sequence
from decimal import Decimal

from cryptostream.model.events import DeadLetter, GapRecord, KlineRecord, Micros, Record
from cryptostream.model.instrument import Interval, Subscription
from cryptostream.model.intervals import closes, count, following, opens, preceding

_NONE = -1
_LETTER_CHARACTERS = 4096
_REMEMBERED = 256
"""Windows of a line whose newest update is remembered; of more the oldest is forgotten, long finished anywhere."""


class _Line:
    """One subscription: the window it waits for, and what is held behind the hole.

    `top` is the first window that is not known to have ended, `floor_ms` the millisecond an update has to be above.
    `told` has, of every window that is not done with, the most trades an update told of, and their volume.
    """

    __slots__ = ("expected", "floor_ms", "held", "interval", "told", "top", "ts", "update")

    def __init__(self, interval: Interval) -> None:
        self.interval = interval
        self.expected = self.top = self.floor_ms = _NONE
        self.ts = Micros(0)
        self.held: dict[int, KlineRecord] = {}
        self.told: dict[int, tuple[int, str]] = {}
        self.update: KlineRecord | None = None

    @property
    def has_hole(self) -> bool:
        return self.top > self.expected

    def closed(self, window: int) -> None:
        """A window is done with: told closed, or lost."""
        self.expected = following(self.interval, window)
        self.floor_ms = max(self.floor_ms, self.expected - 1)
        while self.told and (oldest := next(iter(self.told))) < self.expected:
            del self.told[oldest]

    def remember(self, update: KlineRecord) -> None:
        """The most that was told of a window."""
        window = update.open_time
        if update.trades >= self.told.get(window, (0, ""))[0]:
            self.told[window] = update.trades, update.volume
        if len(self.told) > _REMEMBERED:
            del self.told[next(iter(self.told))]


class Candles:
    """The klines of a feed, line by line. `hold_max` bounds the closed klines held over all lines."""

    def __init__(self, *, hold_max: int = 10_000) -> None:
        self.duplicates = 0
        """Klines of windows that had been told closed before."""
        self.outdated = 0
        """Updates that a newer state has made worthless."""
        self.misfits = 0
        """Klines of windows that cannot be, set aside as dead letters."""
        self.let_go = 0
        """Closed klines that found no room, and were or will be fetched."""
        self.held = 0
        self._hold_max = hold_max
        self._lines: dict[Subscription, _Line] = {}

    def __len__(self) -> int:
        """How many lines are followed."""
        return len(self._lines)

    def receive(self, records: Sequence[Record]) -> Sequence[Record]:
        """What may go on now: of the records, and of what was held for them. Others than klines pass untouched."""
        for place, record in enumerate(records):
            if type(record) is KlineRecord:
                ready = list(records[:place])
                for other in records[place:]:
                    ready += self._take(other) if isinstance(other, KlineRecord) else (other,)
                return ready
        return records

    def seed(self, wanted: Subscription, last_open_ms: int) -> None:
        """A line goes on with the first window that opens after a time: what a stream held at the start."""
        self.forget(wanted)
        line = self._line(wanted)
        line.closed(opens(line.interval, last_open_ms))

    def rewind(self, wanted: Subscription, last_open_ms: int) -> None:
        """What was released of windows that open after a time is lost further on: all of it is missing again."""
        line = self._lines.get(wanted)
        if line is None:
            return
        first = following(line.interval, opens(line.interval, last_open_ms))
        if first >= line.expected:  # a line that has released nothing yet can have lost nothing
            return
        line.top = max(line.top, line.expected)
        line.expected = first

    def expected(self, wanted: Subscription) -> int | None:
        """The window whose closed kline goes on next; None before the first kline of a line."""
        line = self._lines.get(wanted)
        return None if line is None or line.expected == _NONE else line.expected

    def newest(self, wanted: Subscription) -> tuple[int | None, Micros]:
        """The window before the one a line waits for, None before its first kline, and the time of its newest kline."""
        line = self._lines.get(wanted)
        if line is None or line.expected == _NONE:
            return None, Micros(0)
        return preceding(line.interval, line.expected), line.ts

    def waiting(self, wanted: Subscription) -> tuple[int, int] | None:
        """The first hole of a line, by its first and last window; None where nothing is known to be missing."""
        line = self._lines.get(wanted)
        if line is None or not line.has_hole:
            return None
        return line.expected, preceding(line.interval, min(line.held, default=line.top))

    def missing(self, wanted: Subscription, until: int) -> int:
        """How many windows before one a line has neither released nor holds."""
        line = self._lines.get(wanted)
        if line is None or not _NONE < line.expected < until:
            return 0
        return count(line.interval, line.expected, until) - sum(window < until for window in line.held)

    def is_stale(self, row: KlineRecord) -> bool:
        """Whether a fetched row has fewer trades, or less volume, than an update has told of its window."""
        line = self._lines.get(row.subscription)
        if line is None or (told := line.told.get(row.open_time)) is None:
            return False
        trades, volume = told
        return row.trades < trades or Decimal(row.volume) < Decimal(volume)

    def holding(self, wanted: Subscription) -> int:
        """How many closed klines of a line wait for missing ones."""
        line = self._lines.get(wanted)
        return len(line.held) if line else 0

    def top(self, wanted: Subscription) -> int | None:
        """The first window of a line that is not known to have ended: up to it a line knows what is missing."""
        line = self._lines.get(wanted)
        return None if line is None or line.expected == _NONE else max(line.top, line.expected)

    def holes(self) -> list[Subscription]:
        """The lines that wait for a window although a later one was told of."""
        return [wanted for wanted, line in self._lines.items() if line.has_hole]

    def due(self, now_ms: int, grace_ms: int) -> list[Subscription]:
        """The lines whose window ended more than a grace ago, by the venue's time, and was not told closed."""
        ended_ms = now_ms - grace_ms
        return [
            wanted
            for wanted, line in self._lines.items()
            if line.expected != _NONE and closes(line.interval, line.expected) < ended_ms
        ]

    def give_up(self, wanted: Subscription, cause: str) -> list[Record]:
        """All that a line waits for is lost: gaps, and the klines between them and after them; it goes on."""
        top = self.top(wanted)
        return [] if top is None else self.skip(wanted, cause, top)

    def skip(self, wanted: Subscription, cause: str, until: int) -> list[Record]:
        """What is missing of a line before a window is lost: gaps, and what may go on between them and behind them."""
        line, ready = self._lines.get(wanted), list[Record]()
        while line is not None and _NONE < line.expected < until:
            ready.append(_gap(wanted, line, min((until, *line.held)), cause))
            ready += self._release(line)
        return ready

    def forget(self, wanted: Subscription) -> None:
        """A line that is followed no longer."""
        line = self._lines.pop(wanted, None)
        if line is not None:
            self.held -= len(line.held)

    def _line(self, wanted: Subscription) -> _Line:
        line = self._lines.get(wanted)
        if line is None:
            assert wanted.interval is not None, f"{wanted} has no interval"  # noqa: S101 - klines always have one
            line = self._lines[wanted] = _Line(wanted.interval)
        return line

    def _take(self, record: KlineRecord) -> Sequence[Record]:
        if reason := _misfit(record):
            self.misfits += 1
            return (_letter(record, reason),)
        line, window = self._line(record.subscription), record.open_time
        if line.expected == _NONE:
            line.expected = window
        if window >= line.expected and not record.closed:
            line.remember(record)
        if window == line.expected:
            return self._release(line, record) if record.closed else self._pass(line, record)
        if window < line.expected or window in line.held:
            self.duplicates += 1
        else:
            self._keep(line, record)
        return ()

    def _keep(self, line: _Line, record: KlineRecord) -> None:
        """A kline of a later window waits; of updates only the newest, and none that its closed kline has overtaken."""
        line.top = max(line.top, following(line.interval, record.open_time) if record.closed else record.open_time)
        if record.closed:
            self._hold(line, record)
        elif line.update is None or _ms(record) > _ms(line.update):
            self.outdated += line.update is not None
            line.update = record
        else:
            self.outdated += 1

    def _hold(self, line: _Line, record: KlineRecord) -> None:
        if self.held >= self._hold_max:
            self.let_go += 1
            return
        line.held[record.open_time] = record
        self.held += 1

    def _pass(self, line: _Line, update: KlineRecord) -> Sequence[Record]:
        ms = _ms(update)
        if ms <= line.floor_ms:
            self.outdated += 1
            return ()
        line.floor_ms, line.ts = ms, update.ts
        return (update,)

    def _release(self, line: _Line, closed: KlineRecord | None = None) -> list[Record]:
        """The closed kline a line waited for, all that is held and waits for nothing any more, the newest state."""
        ready: list[Record] = []
        while closed is not None or (closed := self._unheld(line)) is not None:
            line.closed(closed.open_time)
            line.ts = closed.ts
            ready.append(closed)
            closed = None
        if line.update is not None and line.update.open_time <= line.expected:
            update, line.update = line.update, None
            ready += self._pass(line, update)
        return ready

    def _unheld(self, line: _Line) -> KlineRecord | None:
        record = line.held.pop(line.expected, None)
        self.held -= record is not None
        return record


def _ms(update: KlineRecord) -> int:
    """The milliseconds of an update's entry id."""
    return min(update.ts // 1000, update.close_time)


def _gap(wanted: Subscription, line: _Line, until: int, cause: str) -> GapRecord:
    """The gap from the window a line waits for up to another one, for which it waits now."""
    first, last = line.expected, preceding(line.interval, until)
    line.closed(last)
    return GapRecord(wanted, first, last, cause, Micros((first - 1) * 1000))


def _misfit(record: KlineRecord) -> str:
    """Why a kline cannot be: later windows would wait for it in vain, or stand in its place."""
    interval, window = record.subscription.interval, record.open_time
    if window * 1000 > record.ts:
        return f"a kline from before its window, which opens at {window}"
    if interval is None or opens(interval, window) != window or closes(interval, window) != record.close_time:
        return f"no {interval} kline lasts from {window} to {record.close_time}"
    return ""


def _letter(record: KlineRecord, reason: str) -> DeadLetter:
    frame = record.raw_json or f"kline of {record.subscription}"
    return DeadLetter(str(record.subscription), reason, frame[:_LETTER_CHARACTERS], len(frame), record.ts)
