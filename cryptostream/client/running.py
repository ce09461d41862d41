"""Handlers at work: every event to those who want it, what they raise at brought again, what is done acknowledged."""

import asyncio
from collections.abc import Sequence
from typing import Any

from cryptostream import logs
from cryptostream.bus.outage import Outage
from cryptostream.client.hand import Failed, Hand, OnGap, Watch, tell
from cryptostream.client.handlers import Handler, Handlers
from cryptostream.client.keeping import Keeping, tell_gap_unhandled
from cryptostream.client.membership import Membership
from cryptostream.errors import BusUnavailable
from cryptostream.model.events import Entry, Event, Gap
from cryptostream.model.ports import Clock

_PAUSE_S = 0.2
"""Before a stream is read again that is another's for now, as far as we know."""
_log = logs.get("client")


class Running:
    """Takes what a group reads to the handlers. One that waits may take `deadline_s` seconds for an event."""

    def __init__(
        self,
        member: Membership,
        handlers: Handlers,
        keeping: Keeping | None,
        watch: Watch,
        clock: Clock,
        *,
        deadline_s: float,
        on_gap: OnGap | None,
    ) -> None:
        self._member = member
        self._group = member.group
        self._handlers = handlers
        self._keeping = keeping
        self._watch = watch
        self._clock = clock
        self._deadline_s = deadline_s
        self._on_gap = on_gap
        self._outage = Outage(clock)
        self._unwanted: set[str] = set()

    async def take(self, hands: Sequence[Hand]) -> None:
        """Handle one read. Raises Fenced, StateRefused, BusRefused."""
        failed: dict[str, Failed] = {}
        kept: list[Hand] = []
        for hand in hands:
            if hand.stream in failed:
                continue  # it comes again, after the one that failed
            if self._member.is_stopped:
                break
            if (trouble := await self._call(hand)) is not None:
                failed[hand.stream] = trouble
            if self._keeping is not None and self._handlers.route(hand.stream).factories:
                kept.append(hand)
            else:
                self._group.acknowledge(hand.stream, hand.settle())
        self._watch.hand = None
        if self._keeping is not None and kept and not await self._keep(self._keeping, kept, failed):
            for stream in {hand.stream for hand in kept}:
                failed.pop(stream, None)
        for each in failed.values():
            await self._member.reject(each)

    async def _keep(self, keeping: Keeping, kept: Sequence[Hand], failed: dict[str, Failed]) -> bool:
        """Whether the work of those that remember is done; if not, it is read again."""
        streams = {hand.stream for hand in kept}
        try:
            found, left = await keeping.work(kept, fenced_is_fatal=not self._member.is_leased)
        except BusUnavailable as trouble:
            keeping.forget(streams)
            self._group.reread(streams)
            await self._outage.wait(trouble)
            return False
        self._outage.over()
        failed |= {each.entry.stream: each for each in found}
        if left:  # whoever gets them next begins where they were left, even if it is we
            for stream in left:
                failed.pop(stream, None)
            self._group.reread(left)
            await self._clock.sleep(_PAUSE_S)
        return True

    async def _call(self, hand: Hand) -> Failed | None:
        """Give a hand's events to the functions that want them, up to the first that one of them raises at."""
        route = self._handlers.route(hand.stream)
        if not (route.handlers or route.factories):
            self._tell_unwanted(hand.stream)
        self._watch.hand = hand
        for hand.done, event in enumerate(hand.events):  # noqa: B020 - its place is where others look for it
            try:
                if self._on_gap is not None and type(event) is Gap:
                    await tell(self._on_gap, event)
                    continue
                for handler in route.handlers:
                    self._watch.who = handler.name
                    await self._ask(handler, event) if handler.waits else handler.call(event)
            except Exception as error:  # whatever it is, it is the handler's own
                entry = hand.entry(hand.done)
                if entry is not None:
                    return Failed(entry, error)
                tell_gap_unhandled(hand.stream, error)
        hand.done = len(hand.events)
        return hand.unreadable()

    async def _ask(self, handler: Handler, event: Event | Entry) -> Any:
        try:
            async with asyncio.timeout(self._deadline_s) as limit:
                return await handler.call(event)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(f"{handler.name} took longer than {self._deadline_s:g} s") from error

    def _tell_unwanted(self, stream: str) -> None:
        if stream not in self._unwanted:
            self._unwanted.add(stream)
            _log.warning("consumer.unwanted", stream=stream, why="no handler is registered for it")
