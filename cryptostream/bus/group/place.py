"""Where a member of a group stands in one stream, and what of the rows it was sent is to be handed over. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from cryptostream.bus.group import trimmed
from cryptostream.bus.group.read import NEW, Row, Slice
from cryptostream.bus.history import BEGINNING
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry

_LAST = (1 << 64) - 1


@dataclass(slots=True, eq=False)
class Place:
    """One stream: first what was given to us before and not acknowledged (from `BEGINNING`), then what is `NEW`."""

    stream: str
    at: str = BEGINNING
    handed: str = BEGINNING
    """The newest entry that was handed over."""
    acked: str = BEGINNING
    """The newest one that was acknowledged."""
    newest: Row | None = None
    """The row that was handed over last."""
    seen: Row | None = None
    """The same when the stream was last looked at."""
    added: int = 0
    """How many entries the stream had seen then; fewer later on mean that it was begun anew."""
    is_doubtful: bool = True
    """Entries may have been trimmed before they were read, so the next read has to look."""
    is_full: bool = True
    """There may be more of it than fits into a read, so that it is read in turns with others."""
    turn: int = 0
    """When it had its turn: those with less have waited longer."""
    is_counted: bool = False
    """Whether the server's count of what the group read is known to be right: see `trimmed.py`."""
    is_again: bool = False
    """What was handed over may be sent again, for the line was lost; it is in somebody's hands or acknowledged."""
    claimed: set[str] = field(default_factory=set)
    """What was taken over from others, and is to be handed over though it is older than what was."""
    vanished: list[str] = field(default_factory=list)
    """Of that, in order, what had been trimmed."""
    taken: set[str] = field(default_factory=set)
    """Claimed entries that are in somebody's hands: older than what was acknowledged, not acknowledged themselves."""
    suspects: set[str] = field(default_factory=set)
    """Entries that a process may have died of."""
    stuck: str = BEGINNING
    """The entry that was rejected last."""
    tries: int = 0
    """How often in a row that was."""
    rests_until_s: float = 0.0
    is_anew: bool = False
    """The stream was begun again; what it had that was not read went with it."""
    is_gone: bool = False
    """The stream or its group is not there."""
    is_dry: bool = False
    """There was nothing new when it was read last."""

    @property
    def is_alone(self) -> bool:
        """Whether the next entry is handed over by itself, so that what becomes of it is its own doing."""
        return self.at != NEW and (bool(self.suspects) or parse_id(self.at) < parse_id(self.stuck))

    def is_through(self, until: str | None) -> bool:
        """Whether all up to an id, or all there is, was handed over, and nothing is to be handed over again."""
        reached = until is not None and parse_id(self.handed) >= parse_id(until)
        return self.is_gone or (self.at == NEW and (reached or (self.is_dry and not self.is_full)))

    def is_to_come(self, entry_id: str) -> bool:
        """Whether a pending entry was not handed over yet."""
        return entry_id in self.claimed or parse_id(entry_id) > parse_id(self.handed)

    def doubt(self) -> None:
        """The line was lost: what it held is among the pending, beside what is in somebody's hands."""
        self.at, self.is_again, self.is_doubtful, self.is_counted = BEGINNING, True, True, False

    def reread(self) -> None:
        """Hand over again whatever is not acknowledged."""
        self.at, self.handed, self.is_again, self.is_doubtful = BEGINNING, BEGINNING, False, True

    def back_to(self, entry_id: str) -> None:
        """Hand over again from this pending entry on."""
        self.tries = self.tries + 1 if entry_id == self.stuck else 1
        self.stuck = entry_id
        self.at = self.handed = before(entry_id)

    def pass_over(self, entry_id: str) -> None:
        """Hand over again what comes after this entry, which is done with."""
        self.at = self.handed = entry_id

    def claim(self, ids: Sequence[str], gone: Sequence[str]) -> None:
        """These entries of others are ours now; of those that are gone only the ids are left."""
        taken = [*ids, *gone]
        if not taken:
            return
        self.claimed.update(taken)
        self.vanished = sorted([*self.vanished, *gone], key=parse_id)
        first = before(min(taken, key=parse_id))
        if self.at == NEW or parse_id(first) < parse_id(self.at):
            self.at = first

    def acknowledged(self, ids: Sequence[str]) -> None:
        """These were handled, and by the order in which they are, all before them."""
        self.taken.difference_update(ids)
        if parse_id(ids[-1]) > parse_id(self.acked):
            self.acked = ids[-1]

    def take_new(self, rows: list[Row], count: int) -> tuple[list[Row], list[str]]:
        """What of new rows is to be handed over, and the ids of those that had been acknowledged before."""
        self.is_doubtful = self.is_full = len(rows) >= count
        done: list[str] = []
        if self.is_again and rows:
            rows = [row for row in rows if self._is_wanted(row[0], done)]
            self.is_again = not rows
        if rows:
            self._hand(rows)
        return rows, done

    def take_old(self, rows: list[Row]) -> tuple[list[Slice], list[str], int]:
        """Slices of rows that were pending, the ids to acknowledge, and how many entries had been trimmed.

        Those come without their fields; each stretch of them is a gap before the row that follows it.
        """
        rows = self._with_vanished(rows)
        slices: list[Slice] = []
        done: list[str] = []
        missing: list[str] = []
        lost = 0
        wanted = [row for row in rows if self._is_wanted(row[0], done)]
        for is_there, some in groupby(wanted, key=lambda row: row[1] is not None):
            run = list(some)
            if not is_there:
                missing = [row[0] for row in run]
                done += missing
                lost += len(missing)
                continue
            slices.append(Slice(self.stream, run, self._gap(missing, run[0]), redelivered=True))
            self._hand(run)
            missing = []
        if missing:
            slices.append(Slice(self.stream, [], self._gap(missing, None), redelivered=True))
        return slices, done, lost

    def _with_vanished(self, rows: list[Row]) -> list[Row]:
        """What was sent, and in its place what was trimmed before it was taken over; moves on."""
        self.at = rows[-1][0] if rows else NEW
        if not rows:
            self.suspects.clear()
        if not self.vanished:
            return rows
        upto = bisect_right(self.vanished, parse_id(self.at), key=parse_id) if rows else len(self.vanished)
        gone, self.vanished = self.vanished[:upto], self.vanished[upto:]
        return sorted([*rows, *([entry_id, None] for entry_id in gone)], key=lambda row: parse_id(row[0]))

    def _is_wanted(self, entry_id: str, done: list[str]) -> bool:
        """Whether a row that was sent is to be handed over; adds it to `done` where it was acknowledged before."""
        if entry_id in self.claimed:
            self.claimed.discard(entry_id)
            self.taken.add(entry_id)
            return True
        place = parse_id(entry_id)
        if place > parse_id(self.handed):
            return True
        if self.is_again and place <= parse_id(self.acked) and entry_id not in self.taken:
            done.append(entry_id)
        return False

    def _hand(self, rows: list[Row]) -> None:
        self.newest = rows[-1]
        if parse_id(rows[-1][0]) > parse_id(self.handed):
            self.handed = rows[-1][0]

    def _gap(self, missing: Sequence[str], after: Row | None) -> Entry | None:
        if not missing:
            return None
        return trimmed.gap(self.stream, len(missing), before=self.newest, after=after, missing=missing)


def before(entry_id: str) -> str:
    """The id right before another one.

    >>> before("5-1"), before("5-0"), before("0-0")
    ('5-0', '4-18446744073709551615', '0-0')
    """
    ms, sequence = parse_id(entry_id)
    if sequence:
        return f"{ms}-{sequence - 1}"
    return f"{ms - 1}-{_LAST}" if ms else BEGINNING
