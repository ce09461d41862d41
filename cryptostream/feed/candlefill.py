"""Closed klines that did not come are fetched over REST, whether a later kline shows that they are missing or not.

House rules:
* A closing frame comes late where nobody trades, together with the next trade, or never. So a window is asked for when
  it ended, by the venue's own clock, more than a grace ago.
* A database may be seconds behind the streams; then the row of a window that has just ended is half-finished. A row is
  let in if a later one follows it in the same answer. One that none follows, because nobody trades, is let in when its
  window ended ten seconds ago, by the venue's own clock, and two readings five seconds apart found it the same. Never
  is one that has fewer trades than were told live: it is asked for again.
* Asking is routine. A gap, to the ledger, is more than one window and more than a few seconds late, or is given up.
* So what a lost closing frame would have told comes, where the next window has trades, with the first answer that has
  them too: one to three seconds after the end, or about twice as long as the database lags. Where nobody trades it
  comes ten to twelve seconds after the end, for two requests.
* Only below a kline that was told of is a window given up: soon where the venue answers with later ones alone, after
  the deadline where it does not answer. Where nobody says anything, because a pair has stopped trading or the venue is
  out of reach, nothing is known to be missing; asking goes on, ever more seldom.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec.structs import replace

from cryptostream.engine.stats import FeedStats
from cryptostream.errors import BadFrame, VenueUnavailable
from cryptostream.feed.door import Door
from cryptostream.feed.fill import GapSettings
from cryptostream.feed.pages import PAGE, Ask
from cryptostream.feed.rest import Paused
from cryptostream.feed.venuetime import VenueTime
from cryptostream.model.events import GapRecord, KlineRecord, Micros
from cryptostream.model.instrument import Subscription
from cryptostream.model.intervals import closes, count, following, opens, preceding, shifted
from cryptostream.model.ports import Clock
from cryptostream.venues.base import Venue
from cryptostream.venues.candles import Candles

_LOOK_S = 1.0
_GRACE_MS = 2_000
_SETTLED_MS, _SETTLED_S = 10_000, 5.0
"""How long after its end, and how long unchanged, a row that none follows counts as finished."""
_LATE_MS = 15_000
"""How long after its end a window may come before the ledger hears of it."""
_AT_ONCE = 8
_LONGEST_WAIT_S, _LONGEST_WAIT_IN_HOLE_S = 30.0, 8.0
_ABSENT_S = 5.0
"""How long a venue has to leave a window out, and have later ones, before that is believed."""
_HOLE = "hole at the venue"
_READ_TIME_S, _READ_TIME_SOON_S = 600.0, 5.0


class _Opened:
    """A gap as the ledger was told of it: first and last window, how many are missing, when; and how many are lost."""

    def __init__(self, first: int, last: int, missing: int, at_s: float) -> None:
        self.first, self.last, self.missing, self.at_s = first, last, missing, at_s
        self.lost = 0


class _Line:
    """One subscription that lacks something: when to ask for it, and since when that was in vain.

    `hole` says that a later kline has proven it, `left_out` that the newest answer had later windows alone, `stale`
    that it had a row with less than was told live. `last` is the row that none followed, as it was read `since_s`.
    """

    def __init__(self, wanted: Subscription, ask_at_s: float) -> None:
        assert wanted.interval is not None, f"{wanted} has no interval"  # noqa: S101 - klines always have one
        self.wanted, self.interval = wanted, wanted.interval
        self.hole = self.left_out = self.stale = False
        self.ask_at_s = ask_at_s
        self.vain_since_s: float | None = None
        self.tries = 0
        self.opened: _Opened | None = None
        self.last: KlineRecord | None = None
        self.since_s = 0.0

    def proven(self, ask_at_s: float) -> None:
        """A later kline came: what was asked in vain before, for what may not have existed, does not count."""
        self.hole, self.ask_at_s = True, ask_at_s
        self.moved()

    def moved(self) -> None:
        """Something could be had, or was given up: patience begins anew."""
        self.vain_since_s, self.tries = None, 0

    def unchanged_s(self, last: KlineRecord, asked_at_s: float, now_s: float) -> float:
        """For how long, up to when it was asked for, the row that none follows has been the same in every field."""
        if self.last is None or _facts(self.last) != _facts(last):
            self.last, self.since_s = last, now_s
        return asked_at_s - self.since_s


class CandleFill:
    """Fetches what `candles` miss, one request a line and a few lines at a time, while there is `room` further on.

    `settings.deadline_s` counts from the first question about a hole that brought nothing; of more than
    `settings.max_events` missing windows the older ones are given up as soon as the venue shows newer ones.
    """

    def __init__(
        self,
        venue: Venue,
        ask: Ask,
        candles: Candles,
        door: Door,
        *,
        room: Callable[[], bool],
        clock: Clock,
        settings: GapSettings,
        stats: FeedStats,
    ) -> None:
        self._venue = venue
        self._ask = ask
        self._candles = candles
        self._door = door
        self._room = room
        self._clock = clock
        self._settings = settings
        self._stats = stats
        self._time = VenueTime(venue, ask, clock)
        self._lines: dict[Subscription, _Line] = {}
        self._busy: set[Subscription] = set()

    async def run(self) -> None:
        """Look every second for what is missing, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_time())
            while True:
                self._look()
                for line in self._ready():
                    self._busy.add(line.wanted)
                    group.create_task(self._fill(line))
                await self._clock.sleep(_LOOK_S)

    async def _keep_time(self) -> None:
        """Know about what time it is at the venue, so that windows fall due."""
        while True:
            if len(self._candles):
                with suppress(VenueUnavailable, BadFrame):
                    await self._time.read()
            await self._clock.sleep(_READ_TIME_S if self._time.told_ms else _READ_TIME_SOON_S)

    def _look(self) -> None:
        """Note which lines lack something, and forget those that lack nothing any more."""
        now_s = self._clock.monotonic()
        holes = dict.fromkeys(self._candles.holes())
        lacking = dict.fromkeys((*holes, *self._candles.due(self._time.guess_ms(), _GRACE_MS)))
        for wanted in lacking:
            line = self._lines.setdefault(wanted, _Line(wanted, now_s))
            if wanted not in holes:
                line.hole = False
            elif not line.hole:
                line.proven(now_s + self._settings.grace_s)
        for wanted in sorted(self._lines.keys() - self._busy):
            self._tell_filled(self._lines[wanted])
            if self._lines[wanted].opened is None and wanted not in lacking:
                del self._lines[wanted]

    def _ready(self) -> Sequence[_Line]:
        """The lines to ask for now, longest waiting first."""
        now_s = self._clock.monotonic()
        free = [line for line in self._lines.values() if line.ask_at_s <= now_s and line.wanted not in self._busy]
        free.sort(key=lambda line: (line.ask_at_s, line.wanted))
        return free[: _AT_ONCE - len(self._busy)] if self._room() else []

    async def _fill(self, line: _Line) -> None:
        """Page after page, as long as each brings the line on."""
        try:
            while self._room() and (first := self._lacking(line)) is not None:
                self._tell_late(line, first)
                trouble = await self._page(line, first)
                if self._candles.expected(line.wanted) == first:
                    self._in_vain(line, trouble)
                    return
                line.moved()
        finally:
            self._busy.discard(line.wanted)

    def _lacking(self, line: _Line) -> int | None:
        """The window a line waits for, if it has ended."""
        first = self._candles.expected(line.wanted)
        if first is None or self._candles.waiting(line.wanted) is not None:
            return first
        return first if closes(line.interval, first) + _GRACE_MS < self._time.guess_ms() else None

    async def _page(self, line: _Line, first: int) -> VenueUnavailable | BadFrame | None:
        """Fetch from the first missing window on and let it in; what kept the venue from answering."""
        try:
            if await self._has_ended(line, first):
                await self._may_settle(line)
                kept, asked_at_s = self._kept(line, first), self._clock.monotonic()
                self._receive(line, kept, await self._rows(line, kept), asked_at_s)
        except (VenueUnavailable, BadFrame) as error:
            line.left_out = line.stale = False
            return error
        return None

    async def _has_ended(self, line: _Line, first: int) -> bool:
        """Whether there is anything to ask for, by the venue's clock; then that was read after all that is missing."""
        top = self._candles.top(line.wanted)
        if self._candles.waiting(line.wanted) is None or top is None:
            return await self._time.is_past(closes(line.interval, first) + _GRACE_MS)
        await self._time.is_past(top - 1)
        return True

    async def _may_settle(self, line: _Line) -> None:
        """Know, before it is read again, how long ago the window of a row ended that none followed."""
        if line.last is not None:
            await self._time.is_past(line.last.close_time + _SETTLED_MS)

    def _kept(self, line: _Line, first: int) -> int:
        """The first window to fetch: the oldest missing one, unless that would be too many."""
        until, most = self._until(line), self._settings.max_events
        return first if count(line.interval, first, until) <= most else shifted(line.interval, until, -most)

    async def _rows(self, line: _Line, first: int) -> Sequence[KlineRecord]:
        request = self._venue.klines_request(line.wanted, first, PAGE)
        if request is None:
            raise VenueUnavailable(f"{self._venue.name} cannot be asked for klines")
        payload = await self._ask(request)
        return self._venue.klines(line.wanted, payload, self._time.told_ms * 1_000_000)

    def _receive(self, line: _Line, first: int, rows: Sequence[KlineRecord], asked_at_s: float) -> None:
        """Let the finished klines of a page in, behind a gap if there was more to fetch than may be."""
        expected = self._candles.expected(line.wanted)
        if expected is None or not rows:  # followed no longer, or no such pair any more
            return
        if first > expected:
            self._lose(line, first, f"only the newest {self._settings.max_events:,} are fetched")
        if rows[0].open_time > first and not line.left_out:
            line.moved()  # it answers: another patience begins
        line.left_out = rows[0].open_time > first
        finished = rows if self._is_settled(line, rows[-1], asked_at_s) else rows[:-1]
        fresh = [row for row in finished if not self._candles.is_stale(row)]
        line.stale = len(fresh) < len(finished)
        self._door.receive(fresh)

    def _is_settled(self, line: _Line, last: KlineRecord, asked_at_s: float) -> bool:
        """Whether a row that none follows is finished all the same: long ended, and unchanged for a while."""
        if last.close_time >= self._time.told_ms:  # still open
            return False
        return line.unchanged_s(last, asked_at_s, self._clock.monotonic()) >= _SETTLED_S and last.closed

    def _in_vain(self, line: _Line, trouble: VenueUnavailable | BadFrame | None) -> None:
        """Nothing was to be had: ask later, or give up what is proven to be missing."""
        if not self._room():  # it was had, and found no place
            return
        now_s = self._clock.monotonic()
        if line.vain_since_s is None:
            line.vain_since_s = now_s
        patience_s = min(_ABSENT_S, self._settings.deadline_s) if line.left_out else self._settings.deadline_s
        left_s = line.vain_since_s + patience_s - now_s
        if line.hole and left_s <= 0:
            self._give_up(line, trouble)
            return
        wait_s = min(2.0 ** min(line.tries, 10), _LONGEST_WAIT_IN_HOLE_S if line.hole else _LONGEST_WAIT_S)
        if line.last is not None and not line.hole:  # nobody trades: the row will hardly be followed before it settles
            ended_ms = self._time.guess_ms() - line.last.close_time
            wait_s = max(wait_s, line.since_s + _SETTLED_S - now_s, (_SETTLED_MS + 1 - ended_ms) / 1000)
        if isinstance(trouble, Paused):
            wait_s = max(wait_s, trouble.delay_s)
        line.tries += 1
        line.ask_at_s = now_s + (min(wait_s, left_s) if line.hole else wait_s)

    def _give_up(self, line: _Line, trouble: VenueUnavailable | BadFrame | None) -> None:
        """Patience is over: the first hole is lost where the venue has what comes behind it, else all holes are."""
        hole, top = self._candles.waiting(line.wanted), self._candles.top(line.wanted)
        if hole is None or top is None:
            return
        if line.left_out:
            top = following(line.interval, hole[1])
        line.moved()
        # A kline that claims to be from the future proves nothing: what has not ended is not lost.
        self._lose(line, min(top, self._until(line)), _cause(line, trouble))

    def _until(self, line: _Line) -> int:
        """The first window that has not ended: by the venue's clock, or else as far as anything was told."""
        guess_ms = self._time.guess_ms()
        return opens(line.interval, guess_ms) if guess_ms else self._candles.top(line.wanted) or 0

    # What the ledger hears.

    def _tell_late(self, line: _Line, first: int) -> None:
        """A gap is open where more than one window is missing, the first one for a while."""
        until = self._until(line)
        late_ms = until - following(line.interval, first)
        if line.opened is None and late_ms >= _LATE_MS:
            self._tell_opened(line, first, until)

    def _tell_opened(self, line: _Line, first: int, until: int) -> _Opened:
        last, missing = preceding(line.interval, until), self._candles.missing(line.wanted, until)
        self._stats.gaps_opened += 1
        self._door.tell("gap_opened", subscription=line.wanted, gap_from=first, gap_to=last, count=missing)
        line.opened = _Opened(first, last, missing, self._clock.monotonic())
        return line.opened

    def _tell_filled(self, line: _Line) -> None:
        """All that was missing when the gap was opened has come, but for what was given up."""
        opened, expected = line.opened, self._candles.expected(line.wanted)
        if opened is None or (expected is not None and expected <= opened.last):
            return
        line.opened = None
        found = opened.missing - opened.lost
        if expected is not None and found > 0:
            self._stats.gaps_filled += 1
            self._door.tell(
                "gap_filled",
                subscription=line.wanted,
                gap_from=opened.first,
                gap_to=opened.last,
                count=found,
                seconds=round(self._clock.monotonic() - opened.at_s, 3),
            )

    def _lose(self, line: _Line, until: int, cause: str) -> None:
        """What is missing before a window becomes gaps."""
        first = self._candles.expected(line.wanted)
        if first is None or first >= until:
            return
        opened = line.opened or self._tell_opened(line, first, until)
        records = self._candles.skip(line.wanted, cause, until)
        self._door.release(records)
        for gap in records:
            if isinstance(gap, GapRecord):
                windows = count(line.interval, gap.gap_from, gap.gap_to) + 1
                opened.lost += windows
                self._stats.gaps_unfillable += 1
                self._stats.missing += windows
                self._door.tell(
                    "gap_unfillable",
                    subscription=line.wanted,
                    cause=cause,
                    gap_from=gap.gap_from,
                    gap_to=gap.gap_to,
                    count=windows,
                    seconds=round(self._clock.monotonic() - opened.at_s, 3),
                )


def _cause(line: _Line, trouble: VenueUnavailable | BadFrame | None) -> str:
    if trouble is not None:
        return str(trouble)
    if line.stale:
        return "the venue's kline has fewer trades than it told live"
    return _HOLE if line.left_out else "the venue does not have them"


def _facts(row: KlineRecord) -> KlineRecord:
    """All that a row says of its window, without what the time of its reading makes of it."""
    return replace(row, closed=True, ts=Micros(0))
