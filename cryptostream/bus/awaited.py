"""Lines of which something was lost on its way to the bus: what follows is dropped until the lost comes again.

Order is by id, so a record that was dropped cannot be written once a later one of its line was. Whoever drops one
therefore drops all that follow it, has the feed go back to it, and lets the line go on when it is there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cryptostream.bus.pack import Source
from cryptostream.model.events import GapRecord, KlineRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.model.ports import Clock

Rewind = Callable[[Subscription, int], bool | None]
"""Have a line's records after an id come again; for klines it is a time in ms. False: this line's never can."""
_ASK_AGAIN_S = 10.0
"""A line that has gone back sends nothing later than what is awaited; one that does for so long never heard of it."""
_ASK_TIMES = 6
_SILENT_S = 60.0
"""A line of which nothing at all comes for so long may be followed by nobody: it goes on, with a gap if need be."""
_FORGET_S = 3600.0
"""After so long nobody goes on with it from here: whoever follows it anew goes on from where its stream ends."""


@dataclass(slots=True)
class _Lost:
    """A line, its first number that is lost, when and how often that was asked for, when anything of it last came.

    `ts` is the time of the record that held the number.
    """

    wanted: Subscription
    number: int
    asked_s: float
    heard_s: float
    ts: Micros
    asked: int = 1


class Awaited:
    """The lines that wait, each for one number: a trade id, the open time of a kline.

    Where nothing can be had again the line goes on at once, after a gap with this `cause` in the place of the lost; so
    it does where asking has been in vain. A line of which nothing more comes is forgotten in the end.
    """

    def __init__(self, rewind: Rewind | None, *, cause: str, clock: Clock) -> None:
        self.dropped = 0
        """Records that were dropped because an earlier one of their line was lost."""
        self._rewind = rewind
        self._cause = cause
        self._clock = clock
        self._lines: dict[Source, _Lost] = {}
        self._gone: dict[Source, _Lost] = {}

    def __bool__(self) -> bool:
        return bool(self._lines or self._gone)

    def lose(self, records: Iterable[Record]) -> None:
        """These records, in their order, could not be kept."""
        for record in records:
            number = number_of(record)
            if number is not None and isinstance(record.subscription, Subscription):
                self.expect(record.subscription, number, record.ts)

    def expect(self, wanted: Subscription, number: int, ts: Micros) -> bool:
        """A line may not go on before this number is there. False where it never comes."""
        if wanted in self._lines or wanted in self._gone:
            return wanted in self._lines
        now_s = self._clock.monotonic()
        lost = _Lost(wanted, number, now_s, now_s, ts)
        comes = self._ask(lost)
        (self._lines if comes else self._gone)[wanted] = lost
        return comes

    def sift(self, records: Sequence[Record]) -> list[Record]:
        """What may go on: the records of lines that miss nothing, and of each other line from its lost one on."""
        kept: list[Record] = []
        now_s = self._clock.monotonic()
        for record in records:
            wanted = record.subscription
            if wanted in self._lines and self._is_early(record, self._lines[wanted], now_s):
                self.dropped += 1
            elif wanted in self._gone:
                kept += self._after_gap(record, self._gone[wanted])
            else:
                kept.append(record)
        self._forget_silent(now_s)
        return kept

    def clear(self) -> None:
        """Wait for nothing."""
        self._lines.clear()
        self._gone.clear()

    def _ask(self, lost: _Lost) -> bool:
        return self._rewind is not None and self._rewind(lost.wanted, lost.number - 1) is not False

    def _is_early(self, record: Record, lost: _Lost, now_s: float) -> bool:
        """Whether a record has to wait for the lost one; the lost one itself ends the waiting."""
        lost.heard_s = now_s
        number = number_of(record)
        if number is None:
            return True
        if number > lost.number:
            return not self._in_vain(lost, now_s)
        if (record.gap_to if isinstance(record, GapRecord) else number) >= lost.number:
            del self._lines[lost.wanted]
        return False

    def _in_vain(self, lost: _Lost, now_s: float) -> bool:
        """Ask again now and then; whether that was often enough, so that the line goes on."""
        if now_s - lost.asked_s < _ASK_AGAIN_S:
            return False
        if lost.asked >= _ASK_TIMES:
            self._give_up(lost)
            return True
        lost.asked_s = now_s
        lost.asked += 1
        if not self._ask(lost):
            self._give_up(lost)
            return True
        return False

    def _give_up(self, lost: _Lost) -> None:
        self._gone[lost.wanted] = self._lines.pop(lost.wanted)

    def _forget_silent(self, now_s: float) -> None:
        for lost in [lost for lost in self._lines.values() if now_s - lost.heard_s >= _SILENT_S]:
            self._give_up(lost)
        for lost in [lost for lost in self._gone.values() if now_s - lost.heard_s >= _FORGET_S]:
            del self._gone[lost.wanted]

    def _after_gap(self, record: Record, lost: _Lost) -> Sequence[Record]:
        number = number_of(record)
        if number is None:
            return (record,)
        del self._gone[lost.wanted]
        if number <= lost.number or lost.wanted.channel is Channel.KLINES:
            return (record,)
        return (GapRecord(lost.wanted, lost.number, number - 1, self._cause, lost.ts), record)


def number_of(record: Record) -> int | None:
    """What a line is in order by: trade ids, open times of closed klines; None for what may come in any order."""
    if isinstance(record, TradeRecord):
        return record.trade_id
    if isinstance(record, KlineRecord):
        return record.open_time if record.closed else None
    return record.gap_from if isinstance(record, GapRecord) else None
