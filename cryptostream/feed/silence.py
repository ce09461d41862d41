"""A stream that says nothing is not believed: the venue is asked whether its pair trades.

House rules:
* Nothing is done per trade. Every few seconds each line's newest id is looked at; a line whose id rose has spoken, and
  how it usually spaces its trades is learnt from that.
* A line that has been silent far beyond its usual spacing, or has said nothing yet on a new socket, is asked about:
  many lines in one request, one request a channel every few seconds. What the venue knows and we do not is a gap.
* If the venue's newest id moves on twice while the stream says nothing, the stream is stale: it is told, and subscribed
  again until it speaks.
* A line that is quiet because its pair is quiet is asked about ever more seldom.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from cryptostream import logs
from cryptostream.engine.stats import FeedStats
from cryptostream.errors import BadFrame, CryptostreamError
from cryptostream.feed.door import Door
from cryptostream.feed.pages import Ask
from cryptostream.feed.rest import Paused, Refused
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.model.ports import Clock
from cryptostream.venues.base import Venue
from cryptostream.venues.continuity import Continuity

_LOOK_S = 2.0
_FIRST_FRAME_S = 5.0
_SPACINGS = 20
"""Silence of as many usual spacings is remarkable."""
_WEIGHT_OF_NEW = 0.2
_AGAIN_S = 5.0
"""When to ask again where the stream was found behind: what was on its way has come by then."""
_LONGEST_S, _LONGEST_STALE_S = 300.0, 60.0
_AWAY_S, _LONGEST_AWAY_S = 10.0, 60.0
_MOVES = 2
_log = logs.get("feed")


class _Line:
    """What is known of one stream: the newest id seen, when it rose, what the venue said, when to ask next."""

    def __init__(self, newest: int, now_s: float) -> None:
        self.newest = newest
        """The newest id that came or is known to be missing; -1 before the first."""
        self.known = -1
        """The newest id by the venue's own word: fetching it is not speaking."""
        self.spoke_s = now_s
        self.spacing_s: float | None = None
        self.ask_at_s = now_s + _FIRST_FRAME_S
        self.quiet_s = 0.0
        self.moves = 0
        """How often the venue has moved on since the stream spoke."""
        self.stale_since_s: float | None = None
        self.resubscribe_at_s = now_s
        self.resubscribe_wait_s = _AGAIN_S
        self.alone = False
        """Has to be asked about alone: a request that named it was refused."""

    def look(self, newest: int, now_s: float, silent_after_s: float) -> bool:
        """Whether it has spoken since the last look."""
        before, self.newest = max(self.newest, self.known), newest
        if newest <= before:
            return False
        if before >= 0:
            self._learn((now_s - self.spoke_s) / (newest - before))
        self.spoke_s = now_s
        self.quiet_s, self.moves = 0.0, 0
        self.ask_at_s = now_s + max(silent_after_s, _SPACINGS * (self.spacing_s or 0.0))
        return True

    def told(self, newest: int | None, now_s: float, silent_after_s: float) -> None:
        """Take in the venue's word, None where it has none, and when to ask next."""
        before = max(self.newest, self.known)
        if newest is not None and newest > before:
            self.known = newest
            self.moves += before >= 0
            self.ask_at_s = now_s + _AGAIN_S
        else:
            self.quiet_s = min(max(silent_after_s, 2 * self.quiet_s), _LONGEST_S)
            self.ask_at_s = now_s + self.quiet_s

    def _learn(self, spacing_s: float) -> None:
        old = spacing_s if self.spacing_s is None else self.spacing_s
        self.spacing_s = old + _WEIGHT_OF_NEW * (spacing_s - old)


class Silence:
    """Watches the lines of a feed for silence; what it finds missing becomes a gap, what is stale is subscribed again.

    `silent_after_s` is the least silence that is remarkable.
    """

    def __init__(
        self,
        venue: Venue,
        ask: Ask,
        continuity: Continuity,
        door: Door,
        *,
        resubscribe: Callable[[Subscription], None],
        clock: Clock,
        silent_after_s: float,
        stats: FeedStats,
    ) -> None:
        self._venue = venue
        self._ask = ask
        self._continuity = continuity
        self._door = door
        self._resubscribe = resubscribe
        self._clock = clock
        self._silent_after_s = silent_after_s
        self._stats = stats
        self._lines: dict[Channel, dict[Subscription, _Line]] = {
            channel: {} for channel in Channel if venue.newest_at_once(channel)
        }

    def expect(self, subscriptions: Iterable[Subscription]) -> None:
        """These have just been subscribed to: each has to speak soon, or it is asked about."""
        now_s = self._clock.monotonic()
        for wanted in subscriptions:
            lines = self._lines.get(wanted.channel)
            if lines is None:
                continue
            line = lines.setdefault(wanted, _Line(self._newest(wanted), now_s))
            line.ask_at_s = now_s + _FIRST_FRAME_S
            line.quiet_s = 0.0

    def forget(self, subscriptions: Iterable[Subscription]) -> None:
        """These are followed no longer."""
        for wanted in subscriptions:
            self._lines.get(wanted.channel, {}).pop(wanted, None)

    async def run(self) -> None:
        """Watch, for ever."""
        async with asyncio.TaskGroup() as channels:
            for channel in self._lines:
                channels.create_task(self._watch(channel))

    async def _watch(self, channel: Channel) -> None:
        lines, ask_at_s, away_s = self._lines[channel], 0.0, 0.0
        while True:
            await self._clock.sleep(_LOOK_S)
            self._look(lines)
            now_s = self._clock.monotonic()
            due = self._due(channel, now_s) if now_s >= ask_at_s else []
            if not due:
                continue
            try:
                self._hear(lines, due, await self._newest_at_venue(due))
                away_s = 0.0
            except Refused as trouble:
                self._part(lines, due, str(trouble))
            except (CryptostreamError, BadFrame) as trouble:
                if not away_s:
                    _log.info("feed.silence_unchecked", channel=channel, why=str(trouble))
                away_s = min(2 * away_s or _AWAY_S, _LONGEST_AWAY_S)
                ask_at_s = self._clock.monotonic() + (trouble.delay_s if isinstance(trouble, Paused) else away_s)

    def _look(self, lines: dict[Subscription, _Line]) -> None:
        now_s = self._clock.monotonic()
        for wanted, line in list(lines.items()):
            newest = self._newest(wanted)
            if newest < 0 <= line.newest:  # the order of its trades was forgotten: nobody follows it any more
                del lines[wanted]
            elif line.look(newest, now_s, self._silent_after_s) and line.stale_since_s is not None:
                self._door.tell("resumed", subscription=wanted, seconds=round(now_s - line.stale_since_s, 3))
                line.stale_since_s, line.resubscribe_wait_s = None, _AGAIN_S

    def _due(self, channel: Channel, now_s: float) -> list[Subscription]:
        """Whom to ask about now, as many as one request can name."""
        lines = self._lines[channel]
        due = sorted((line.ask_at_s, wanted) for wanted, line in lines.items() if line.ask_at_s <= now_s)
        together = [wanted for _, wanted in due if not lines[wanted].alone]
        return together[: self._venue.newest_at_once(channel)] or [wanted for _, wanted in due[:1]]

    async def _newest_at_venue(self, due: Sequence[Subscription]) -> dict[Subscription, int]:
        payload = await self._ask(self._venue.newest_request(due))
        return dict(self._venue.newest(due, payload))

    def _hear(
        self, lines: dict[Subscription, _Line], due: Sequence[Subscription], newest: dict[Subscription, int]
    ) -> None:
        """What the venue said, about those who have not spoken since it was asked."""
        self._look(lines)
        now_s = self._clock.monotonic()
        for wanted in due:
            line = lines.get(wanted)
            if line is None or line.ask_at_s > now_s:
                continue
            line.alone = line.alone and len(due) > 1
            line.told(newest.get(wanted), now_s, self._silent_after_s)
            if wanted in newest:
                self._continuity.exists(wanted, newest[wanted])
            if line.moves >= _MOVES and now_s >= line.resubscribe_at_s:
                self._revive(wanted, line, now_s)

    def _revive(self, wanted: Subscription, line: _Line, now_s: float) -> None:
        """Subscribe to a stale stream again, ever more seldom until it speaks."""
        if line.stale_since_s is None:
            line.stale_since_s = now_s
            self._stats.stale += 1
            self._door.tell("stale", subscription=wanted, seconds=round(now_s - line.spoke_s, 3))
        line.resubscribe_wait_s = min(2 * line.resubscribe_wait_s, _LONGEST_STALE_S)
        line.ask_at_s = line.resubscribe_at_s = now_s + line.resubscribe_wait_s
        self._resubscribe(wanted)

    def _part(self, lines: dict[Subscription, _Line], due: Sequence[Subscription], why: str) -> None:
        """One bad name spoils a whole request: from now on each of them is asked about alone."""
        later_s = self._clock.monotonic() + (_LONGEST_S if len(due) == 1 else 0.0)
        _log.info("feed.silence_unchecked", pairs=[wanted.pair for wanted in due][:5], why=why)
        for wanted in due:
            if (line := lines.get(wanted)) is not None:
                line.alone, line.ask_at_s = True, later_s

    def _newest(self, wanted: Subscription) -> int:
        """The newest id that a stream has told, whether it goes on already or waits for others; -1 before the first."""
        gap = self._continuity.gap(wanted)
        newest = gap.top if gap is not None else self._continuity.newest(wanted)[0]
        return -1 if newest is None else newest
