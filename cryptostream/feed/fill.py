"""One line's missing trades: fetched page by page until the line waits for nothing, or given up.

House rules:
* Pages are asked for a few at a time and handed over in the order of ids, so that the venue's weight limit is what a
  long fill runs at, not the way to the venue and back.
* An empty page says nothing: a venue's database may be behind its streams. A page that leaves ids out and has later
  ones says that they do not exist; said twice, it is believed.
* The deadline is time in which none of the missing trades could be had although they were asked for. Waiting for the
  weight budget, or for room further on, is not counted.
* An id far ahead is believed once the venue knows others up there, or once its successors came. While the line trades
  on in step below it and the venue knows nothing of it, it is a lie.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from cryptostream import logs
from cryptostream.engine.stats import FeedStats
from cryptostream.feed.door import Door
from cryptostream.feed.rest import Paused, Unanswered
from cryptostream.feed.tradepages import PAGE, Absent, Page, TradePages
from cryptostream.model.events import GapRecord, Record
from cryptostream.model.instrument import Subscription
from cryptostream.model.ports import Clock
from cryptostream.venues.continuity import Continuity, OpenGap

_AHEAD = 4
"""Pages of one line that are asked for at once."""
_AGAIN_S, _LONGEST_AGAIN_S = 1.0, 8.0
_ROOM_S = 0.1
_LATE_S = 2.0
"""How long missing trades may still come by themselves where they cannot be asked for."""
_DOUBTS = 2
_IN_STEP, _IN_STEP_UNASKED = 3, 20
"""Live trades in step below an id that say it is a lie: where the venue does not know it, and where it says nothing."""
_PROGRESS_S = 10.0
_HOLE = "hole at the venue"
_log = logs.get("feed")


class GapSettings(Protocol):
    """What is done about missing trades: when they are asked for, when given up, how many are fetched at most."""

    @property
    def deadline_s(self) -> float: ...

    @property
    def grace_s(self) -> float: ...

    @property
    def max_events(self) -> int: ...


class Fill:
    """The filling of one line, from when it lacks something until it waits for nothing."""

    def __init__(
        self,
        wanted: Subscription,
        pages: TradePages,
        continuity: Continuity,
        door: Door,
        *,
        room: Callable[[], bool],
        clock: Clock,
        settings: GapSettings,
        stats: FeedStats,
    ) -> None:
        self._wanted = wanted
        self._pages = pages
        self._continuity = continuity
        self._door = door
        self._room = room
        self._clock = clock
        self._settings = settings
        self._stats = stats
        self._cause = "not asked for yet"
        self._starved_s = 0.0
        self._troubles = 0
        self._doubts = 0
        self._complained = False
        self._lie = ""
        self._absent = Absent()
        self._reached: tuple[OpenGap | None, int] = None, 0
        self._from = self._to = self._missing = self._filled = self._lost = 0
        self._began_s = self._told_s = clock.monotonic()

    async def run(self) -> None:
        """Return once the line waits for nothing, or is followed no longer; swapped neighbours heal unsaid."""
        await self._clock.sleep(self._settings.grace_s)
        gap = self._gap
        if gap is None:
            return
        self._tell_opened(gap)
        while (gap := self._gap) is not None:
            self._note(gap)
            await self._step(gap)
        self._tell_closed()

    @property
    def _gap(self) -> OpenGap | None:
        return self._continuity.gap(self._wanted)

    async def _step(self, gap: OpenGap) -> None:
        refusal = self._pages.refusal(self._wanted)
        patience_s = min(self._settings.deadline_s, _LATE_S) if refusal else self._settings.deadline_s
        if not self._room():
            await self._clock.sleep(_ROOM_S)
        elif self._starved_s >= patience_s:
            self._give_up()
            if self._gap is not None:  # it did not fit in
                await self._clock.sleep(_ROOM_S)
        elif refusal:
            self._cause = refusal
            await self._starve(_ROOM_S)
        elif not self._doubtful(gap) or await self._confirm(gap):
            await self._fetch(gap)

    def _doubtful(self, gap: OpenGap) -> bool:
        """Whether a hole is larger than what is fetched, and so only the id behind it says that it is one."""
        return gap.end - gap.first > self._settings.max_events

    async def _confirm(self, gap: OpenGap) -> bool:
        """Ask whether the venue knows the newest part of a hole, and let go of the rest if so.

        False where it could not say.
        """
        end = gap.end
        first = end - max(1, self._settings.max_events)
        page = await self._pages.get(self._wanted, first, min(PAGE, end - first))
        if page.trouble is not None:
            await self._look_again(page)
            return False
        known = any(row.trade_id >= first for row in page.rows)
        if known and self._gap is gap and gap.end == end:
            most = self._settings.max_events
            self._lose(self._continuity.skip(self._wanted, f"only the newest {most:,} are fetched", keep=most))
            self._take(page)
        return self._gap is gap

    async def _fetch(self, gap: OpenGap) -> None:
        pages = await self._pages.get_all(self._wanted, self._plan(gap))
        for page in pages:
            self._take(page)
            await self._clock.sleep(0)  # sockets have their turn
        self._skip_absent()
        await self._look_again(pages[0])

    def _plan(self, gap: OpenGap) -> list[tuple[int, int]]:
        """The pages to ask for: first id and limit. One where nothing came last time, or nothing may be there."""
        most = 1 if self._troubles or self._doubtful(gap) else _AHEAD
        plan, first = list[tuple[int, int]](), gap.first
        while len(plan) < most and first <= gap.top:
            plan.append((first, min(PAGE, gap.top - first + 1)))
            first = gap.missing_from(first + PAGE)
        return plan

    def _take(self, page: Page) -> None:
        gap = self._gap
        if gap is None or not page.rows:
            return
        self._absent.look(page, self._clock.monotonic())
        before = gap.missing
        # What lies above `top` comes live; it would count as a duplicate there.
        self._door.receive([row for row in page.rows if row.trade_id <= gap.top])
        came = max(0, before - gap.missing)
        self._filled += came
        self._stats.filled += came

    def _skip_absent(self) -> None:
        for gap in self._holes():
            last = self._absent.until(gap.first)
            if last is None:
                self._absent.forget_below(gap.first)
                return
            self._lose(self._continuity.skip(self._wanted, _HOLE, keep=max(0, gap.end - 1 - last)))

    async def _look_again(self, page: Page) -> None:
        """Wait as long as it takes before asking again makes sense, unless something came and more is there."""
        gap = self._gap
        if gap is None or self._disbelieve_if(gap, page):
            return
        absent_s = self._absent.wait_s(gap.first, self._clock.monotonic())
        if page.trouble is not None:
            await self._starve(self._delay_s(page, page.trouble))
        elif absent_s is not None:
            self._cause = _HOLE
            await self._starve(absent_s)
        elif page.ends_before(gap.end):
            self._cause = "the venue does not have them yet"
            await self._starve(self._delay_s(page, None))
        elif gap.first <= page.first:  # it came, and there was no room for it
            await self._clock.sleep(_AGAIN_S)

    def _delay_s(self, page: Page, trouble: Exception | None) -> float:
        """How long to wait after a page that brought nothing: as the venue says, else ever longer."""
        again_s: float = min(_AGAIN_S * 2**self._troubles, _LONGEST_AGAIN_S)
        self._troubles += 1
        if trouble is None:
            return again_s
        self._cause = str(trouble)
        if not self._complained:
            self._complained = True
            _log.warning("feed.gap_waits", pair=self._wanted.pair, first=page.first, why=self._cause)
        if isinstance(trouble, Unanswered):
            self._starved_s += trouble.tried_s
        return trouble.delay_s if isinstance(trouble, Paused) else again_s

    async def _starve(self, delay_s: float) -> None:
        """Wait, which counts; no longer than until the deadline."""
        delay_s = max(0.0, min(delay_s, self._settings.deadline_s - self._starved_s))
        await self._clock.sleep(delay_s)
        self._starved_s += delay_s

    def _disbelieve_if(self, gap: OpenGap, page: Page) -> bool:
        """Set aside what is held if it is a lie: the line trades on below it, and the venue twice did not know it."""
        if page.trouble is not None:
            doubt = gap.in_step >= _IN_STEP_UNASKED
        else:
            doubt = gap.in_step >= _IN_STEP and page.ends_before(gap.end)
        self._doubts = self._doubts + 1 if doubt and not gap.vouched else 0
        if self._doubts < _DOUBTS:
            return False
        self._disbelieve(gap)
        return True

    def _disbelieve(self, gap: OpenGap) -> None:
        self._lie = f"trade {gap.end} does not exist, the one before it is {gap.first - 1}"
        _log.warning("feed.trade_disbelieved", pair=self._wanted.pair, why=self._lie)
        self._door.release(self._continuity.disbelieve(self._wanted, self._lie, str(self._wanted)))

    def _give_up(self) -> None:
        """All that is missing, but for what only a lone id far ahead says."""
        for gap in self._holes():
            if self._doubtful(gap) and not gap.vouched:
                self._disbelieve(gap)
            else:
                self._lose(self._continuity.skip(self._wanted, self._cause))

    def _holes(self) -> Iterator[OpenGap]:
        """The line at each of its holes, for as long as letting go of one brings it on to the next.

        It does not where there is no room for what waited behind a hole: then the line is back at it.
        """
        at = -1
        while (gap := self._gap) is not None and gap.first > at:
            at = gap.first
            yield gap

    def _lose(self, records: list[Record]) -> None:
        """Let gaps go on, and what waited behind them; said and counted only where there was room for it."""
        self._door.release(records)
        gap, lost = self._gap, [record for record in records if isinstance(record, GapRecord)]
        if gap is not None and lost and gap.first <= lost[0].gap_from:
            return
        for record in lost:
            count = record.gap_to - record.gap_from + 1
            self._lost += count
            self._stats.gaps_unfillable += 1
            self._stats.missing += count
            self._tell("gap_unfillable", record.gap_from, record.gap_to, count, cause=record.cause)

    def _note(self, gap: OpenGap) -> None:
        """See whether the line has come on, and say from time to time how much there is to do."""
        if (gap, gap.first) != self._reached:
            self._starved_s, self._troubles = 0.0, 0
            self._reached = gap, gap.first
        self._from = min(self._from, gap.first)
        if not self._doubtful(gap):
            self._to = max(self._to, gap.end - 1)
        now_s = self._clock.monotonic()
        if now_s >= self._told_s + _PROGRESS_S:
            self._told_s = now_s
            _log.info("feed.gap_filling", pair=self._wanted.pair, filled=self._filled, left=gap.missing)

    def _tell_opened(self, gap: OpenGap) -> None:
        self._from, self._to = gap.hole
        self._missing = gap.missing
        self._stats.gaps_opened += 1
        self._tell("gap_opened", self._from, self._to, self._missing)

    def _tell_closed(self) -> None:
        gap, _ = self._reached
        if gap is None or (gap.first <= gap.top and not self._lie):  # followed no longer
            return
        if self._lie:
            self._to, count = max(self._from, gap.first - 1), self._filled
        else:
            count = self._filled or self._missing - self._lost
        if count > 0 or self._lie:
            self._stats.gaps_filled += 1
            self._tell("gap_filled", self._from, self._to, count, cause=self._lie)

    def _tell(self, event: str, first: int, last: int, count: int, *, cause: str = "") -> None:
        seconds = None if event == "gap_opened" else round(self._clock.monotonic() - self._began_s, 3)
        self._door.tell(
            event, subscription=self._wanted, cause=cause, gap_from=first, gap_to=last, count=count, seconds=seconds
        )
