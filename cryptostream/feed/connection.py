"""A group of subscriptions that stays followed: retried with back-off, replaced before it ends, never left early.

A conversation is replaced when it is old, when the venue announces its end, and when the group changes: a second one
is opened beside it, and it is left only once the second has heard what it did. Both go through the same door, so the
overlap shows nowhere.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import inf
from random import Random

from cryptostream import logs
from cryptostream.engine.backoff import backoff
from cryptostream.engine.clock import within
from cryptostream.feed.conversation import Conversation, Shared
from cryptostream.feed.regroup import Group
from cryptostream.model.instrument import Subscription
from cryptostream.venues.base import Session

_APART_S = 0.25
_FIRST_FRAMES_S = 10.0
_LARGE_FRAMES, _LARGE_FRAMES_S = 3, 300.0
_log = logs.get("feed")


class Connection:
    """Keeps a group followed. `active` names those of its subscriptions that spoke lately.

    `on_open` is told what a socket just opened follows, `on_over` what one did that is over, and `on_too_large` that
    frames beyond the limit end this connection again and again.
    """

    def __init__(
        self,
        group: Group,
        shared: Shared,
        *,
        session: Callable[[Sequence[Subscription]], Session],
        random: Random,
        rotate_after_s: float,
        active: Callable[[Group], Iterable[Subscription]],
        on_open: Callable[[Group], None],
        on_over: Callable[[Group], None],
        on_too_large: Callable[["Connection"], None],
    ) -> None:
        self.group = group
        self._shared = shared
        self._session = session
        self._random = random
        self._rotate_after_s = rotate_after_s
        self._active = active
        self._on_open, self._on_over, self._on_too_large = on_open, on_over, on_too_large
        self._conversations: dict[Conversation, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._delays = backoff(random)
        next(self._delays)
        self._not_before = 0.0
        self._too_large: deque[float] = deque(maxlen=_LARGE_FRAMES)

    @property
    def url(self) -> str:
        """Where it connects to."""
        return self._session(self.group).url

    @property
    def conversations(self) -> Sequence[Conversation]:
        """Those on an open socket, the oldest first: one, or two while it is replaced."""
        return [each for each in self._conversations if each.opened and not each.over]

    @property
    def refused(self) -> dict[Subscription, str]:
        """Subscriptions that the venue does not take, and what it says about them."""
        return {wanted: why for each in self._conversations for wanted, why in each.refused.items()}

    async def run(self) -> None:
        """Converse until cancelled. Raises VenueUnavailable only while the venue was never reached."""
        async with asyncio.TaskGroup() as tasks:
            current = await self._opened(tasks, ())
            while True:
                age_s = self._rotate_after_s * (1 - self._random.random() / 10)
                await self._until(partial(self._is_due, current), current.opened_at + age_s)
                current = await self._replaced(tasks, current)

    def move(self, group: Group) -> None:
        """Follow another group from now on, and the present one until then."""
        self.group = group
        self._changed.set()

    def resubscribe(self, wanted: Subscription) -> None:
        """Ask again for one of its subscriptions that the venue does not serve."""
        for conversation in self.conversations[-1:]:
            if wanted in conversation.group:
                conversation.resubscribe([wanted])

    def stop(self) -> None:
        """Say of every socket that it is left; whoever runs it cancels that."""
        for conversation in self._conversations:
            conversation.leave("stopped")

    def _is_due(self, conversation: Conversation) -> bool:
        """Whether a conversation needs a successor, whatever its age."""
        moved = conversation.group != self.group
        return conversation.over or conversation.closing or moved

    async def _replaced(self, tasks: asyncio.TaskGroup, old: Conversation) -> Conversation:
        """The conversation that has taken over from an old one, which is left only then."""
        while True:
            new = await self._opened(tasks, () if old.over else self._active(old.group))
            await self._compared(old, new)
            if not old.over and not new.over:
                self._leave(old)
            if old.over:
                new.unheard.clear()
                return new

    async def _opened(self, tasks: asyncio.TaskGroup, awaited: Iterable[Subscription]) -> Conversation:
        """Open a conversation about the group, however often it takes."""
        while True:
            await self._pause()
            conversation = Conversation(
                self._session(self.group),
                self._shared,
                on_change=self._changed.set,
                on_lost=self._lost,
                awaited=set(awaited).intersection(self.group),
            )
            self._conversations[conversation] = tasks.create_task(self._converse(conversation))
            await self._until(partial(_is_tried, conversation))
            if conversation.error is not None:
                self._shared.gate.failed(conversation.error, conversation.session.url)
            if conversation.opened:
                self._on_open(conversation.group)
                return conversation

    async def _pause(self) -> None:
        """Wait until the back-off and the venue allow another attempt."""
        clock = self._shared.clock
        await clock.sleep(min(self._not_before - clock.monotonic(), self._shared.gate.left_s))
        await self._shared.gate.passed()
        self._not_before = clock.monotonic() + _APART_S

    async def _converse(self, conversation: Conversation) -> None:
        """A conversation's task."""
        try:
            await conversation.run()
        finally:
            del self._conversations[conversation]
            self._on_over(conversation.group)

    def _lost(self, conversation: Conversation) -> None:
        """One that ended by itself is counted, and makes the next one wait; one that was left does not."""
        now = self._shared.clock.monotonic()
        self._count(conversation.reason)
        delay_s = self._delays.send(conversation.age_s)
        self._not_before = now + delay_s
        _log.info("feed.reconnecting", url=conversation.session.url, delay_s=round(delay_s, 2))
        if conversation.reason == "too large":
            self._count_large(now)

    def _count(self, reason: str) -> None:
        stats = self._shared.stats
        stats.reconnects += 1
        stats.reconnects_by[reason] = stats.reconnects_by.get(reason, 0) + 1

    def _count_large(self, now: float) -> None:
        self._too_large.append(now)
        if len(self._too_large) == _LARGE_FRAMES and now - self._too_large[0] <= _LARGE_FRAMES_S:
            self._too_large.clear()
            self._on_too_large(self)

    async def _compared(self, old: Conversation, new: Conversation) -> None:
        """Wait until the new one is served and has heard all it awaits, or long enough, or either is over."""

        def ended() -> bool:
            return old.over or new.over

        await self._until(lambda: ended() or new.acknowledged)
        await self._until(lambda: ended() or not new.unheard, self._shared.clock.monotonic() + _FIRST_FRAMES_S)

    def _leave(self, old: Conversation) -> None:
        moved = old.group != self.group
        cause = "the venue announced its end" if old.closing else "its pairs changed" if moved else "rotated"
        if old.closing:
            self._count("shutdown")
        self._shared.stats.rotations += 1
        old.leave(cause)
        self._conversations[old].cancel()

    async def _until(self, holds: Callable[[], bool], moment: float = inf) -> None:
        """Wait until something holds that a conversation or a move can bring about, or for a moment of the clock."""
        clock = self._shared.clock
        while not holds() and (left_s := moment - clock.monotonic()) > 0:
            self._changed.clear()
            try:
                await within(clock, left_s, self._changed.wait())
            except TimeoutError:
                return


def _is_tried(conversation: Conversation) -> bool:
    return conversation.opened or conversation.over
