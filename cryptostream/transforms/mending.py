"""A stream with holes in, the same stream without them out: filled with what was fetched, or told as gaps.

Ids of entries have to rise, so a hole cannot be filled in place: what comes out belongs into a new stream, or behind
the newest entry of the old one.
"""

from collections.abc import Sequence
from typing import Protocol

from cryptostream.model import codec
from cryptostream.model.events import Entry, GapRecord, KlineRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Subscription
from cryptostream.model.intervals import closes, count, following, preceding
from cryptostream.transforms.audit.trades import ids_of, time_of, whole

CAUSE = "unfillable"


class Mender(Protocol):
    """One stream repaired. Ask `missing` before each `take`, and give `fill` what was fetched; `end` it.

    Entries come in the order of their ids; one that is not above those before is left out.
    """

    filled: int
    """Facts that were missing and are there now."""
    unfilled: int
    """Ids that are missing still, all told by gap entries."""
    left_out: int
    """Entries that were there before, or cannot be read."""

    def missing(self, entry: Entry | None = None) -> tuple[int, int] | None:
        """The ids to fetch before an entry goes on; before none, those that gaps at the stream's end tell of."""

    def fill(self, records: Sequence[Record]) -> list[Entry]:
        """What was fetched, in the order of its ids, as entries; what it leaves out is a gap."""

    def take(self, entry: Entry) -> list[Entry]:
        """An entry at its place, behind a gap for whatever before it was not filled. Gaps are told when they end."""

    def end(self) -> list[Entry]:
        """The gap that the stream ends with, where it does."""


class Trades(Mender):
    """Trades with contiguous ids. Entry ids are made anew, for an entry's time depends on those before it.

    `newest` and `ms`, where they are given, are the id and the time of the entry to go on after.
    """

    def __init__(self, subscription: Subscription, stream: str, *, newest: int | None = None, ms: int = 0) -> None:
        self.filled = self.unfilled = self.left_out = 0
        self.newest = newest
        self._subscription = subscription
        self._stream = stream
        self._ms = ms
        self._ts = Micros(ms * 1000)
        self._told = (-1, CAUSE)
        """Up to where the stream itself says that ids are missing, and why."""

    def missing(self, entry: Entry | None = None) -> tuple[int, int] | None:
        told = None if entry is None or entry.fields.get("kind") == "gap" else ids_of(entry.fields)
        last = self._told[0] if entry is None else -1 if told is None else told[0] - 1
        return (self.newest + 1, last) if self.newest is not None and last > self.newest else None

    def fill(self, records: Sequence[Record]) -> list[Entry]:
        made: list[Entry] = []
        for trade in records:
            if isinstance(trade, TradeRecord) and (self.newest is None or trade.trade_id > self.newest):
                made += self._gap_up_to(trade.trade_id - 1)
                made.append(self._placed(trade.trade_id, trade.ts, codec.fields(trade)))
                self.filled += 1
        return made

    def take(self, entry: Entry) -> list[Entry]:
        told, ts = ids_of(entry.fields), time_of(entry.fields.get("ts", ""))
        if told is None or ts is None:
            self.left_out += 1
            return []
        first, last = told
        if entry.fields.get("kind") == "gap":
            self._told = (max(last, self._told[0]), entry.fields.get("cause", CAUSE))
            if self.newest is None:
                self.newest, self._ts = first - 1, Micros(ts)
            return []
        if self.newest is not None and first <= self.newest:
            self.left_out += 1
            return []
        return [*self._gap_up_to(first - 1), self._placed(first, ts, entry.fields)]

    def end(self) -> list[Entry]:
        return self._gap_up_to(self._told[0])

    def _placed(self, number: int, ts: int, fields: dict[str, str]) -> Entry:
        self.newest, self._ts, self._told = number, Micros(ts), (self._told[0], CAUSE)
        self._ms = max(self._ms, ts // 1000)
        return Entry(self._stream, f"{self._ms}-{number}", fields)

    def _gap_up_to(self, last: int) -> list[Entry]:
        if self.newest is None or last <= self.newest:
            return []
        first, self.newest = self.newest + 1, last
        self.unfilled += last - first + 1
        gap = GapRecord(self._subscription, first, last, self._told[1], self._ts)
        self._ms = self._ms or self._ts // 1000
        return [Entry(self._stream, f"{self._ms}-{first}", codec.fields(gap))]


class Klines(Mender):
    """Closed klines of one interval, window after window; updates of windows that have not closed go on as they are.

    `newest`, where it is given, is the open time of the window to go on after.
    """

    def __init__(self, subscription: Subscription, stream: str, *, newest: int | None = None) -> None:
        if subscription.interval is None:
            raise ValueError(f"{subscription} has no interval")
        self.filled = self.unfilled = self.left_out = 0
        self.newest = newest
        self._subscription = subscription
        self._interval = subscription.interval
        self._stream = stream
        self._updated = ""
        self._told = (-1, CAUSE)

    def missing(self, entry: Entry | None = None) -> tuple[int, int] | None:
        last = self._told[0] if entry is None else self._before(entry)
        if self.newest is None or last <= self.newest:
            return None
        return following(self._interval, self.newest), last

    def fill(self, records: Sequence[Record]) -> list[Entry]:
        made: list[Entry] = []
        for kline in records:
            if not isinstance(kline, KlineRecord) or not kline.closed:
                continue
            if self.newest is None or kline.open_time > self.newest:
                made += self._gap_up_to(preceding(self._interval, kline.open_time))
                made.append(self._closed(kline.open_time, codec.fields(kline)))
                self.filled += 1
        return made

    def take(self, entry: Entry) -> list[Entry]:
        if entry.fields.get("kind") == "gap":
            first, last = ids_of(entry.fields) or (0, -1)
            self._told = (max(last, self._told[0]), entry.fields.get("cause", CAUSE))
            self.newest = preceding(self._interval, first) if self.newest is None and last >= first else self.newest
            return []
        opened = whole(entry.fields.get("open_time", ""))
        if opened is None or (self.newest is not None and opened <= self.newest) or entry.entry_id == self._updated:
            self.left_out += 1
            return []
        gap = self._gap_up_to(preceding(self._interval, opened))
        if entry.fields.get("closed") == "true":
            return [*gap, self._closed(opened, entry.fields)]
        self._updated = entry.entry_id
        return [*gap, Entry(self._stream, entry.entry_id, entry.fields)]

    def end(self) -> list[Entry]:
        return self._gap_up_to(self._told[0])

    def _before(self, entry: Entry) -> int:
        """The last window that has to be there before an entry."""
        opened = None if entry.fields.get("kind") == "gap" else whole(entry.fields.get("open_time", ""))
        return -1 if opened is None else preceding(self._interval, opened)

    def _closed(self, opened: int, fields: dict[str, str]) -> Entry:
        self.newest, self._told = opened, (self._told[0], CAUSE)
        return Entry(self._stream, f"{closes(self._interval, opened)}-1", fields)

    def _gap_up_to(self, last: int) -> list[Entry]:
        """Stands where the closed kline of its last window would."""
        if self.newest is None or last <= self.newest:
            return []
        first, self.newest = following(self._interval, self.newest), last
        self.unfilled += count(self._interval, first, following(self._interval, last))
        gap = GapRecord(self._subscription, first, last, self._told[1], Micros((first - 1) * 1000))
        return [Entry(self._stream, f"{closes(self._interval, last)}-1", codec.fields(gap))]
