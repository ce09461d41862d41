"""One session on one socket, once: connect, say hello, hand frames over, notice silence, say why it ended."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptostream import logs
from cryptostream.engine.clock import within
from cryptostream.engine.stats import FeedStats
from cryptostream.errors import BadFrame, CryptostreamError
from cryptostream.feed.door import Door
from cryptostream.feed.gate import Gate, why
from cryptostream.feed.transport import Closed, Connect, Refused, Socket
from cryptostream.model.events import DeadLetter, Micros, Record
from cryptostream.model.instrument import Subscription
from cryptostream.model.ports import Clock
from cryptostream.venues.base import Limits, Session

_TICK_S = 0.5
_SAMPLE_BYTES = 4096
_TOO_LARGE = 1009
_log = logs.get("feed")


class OnRaw(Protocol):
    """Who keeps raw frames; `control` marks the answers to what we sent. Raises CryptostreamError to end the feed."""

    def __call__(self, received_at: int, frame: bytes, *, control: bool) -> None: ...


@dataclass(frozen=True)
class Shared:
    """What all conversations of a feed have in common."""

    connect: Connect
    limits: Limits
    gate: Gate
    door: Door
    stats: FeedStats
    clock: Clock
    max_frame: int
    on_raw: OnRaw | None = None


class _Ended(Exception):
    """A socket is of no use any more: one of the few reasons that are counted, and what happened."""

    def __init__(self, reason: str, cause: str) -> None:
        super().__init__(cause)
        self.reason = reason


class Conversation:
    """One session's socket, from the handshake to its end.

    It is `opened`, then perhaps `acknowledged` (every subscription was), and at last `over`; `closing` says that the
    venue announced its end. `unheard` are those of the `awaited` subscriptions of which nothing came yet. `on_change`
    is called when any of these has changed, `on_lost` first if it is over by itself: then `reason` is one of
    unreachable, refused, closed, "too large", shutdown, silent and unanswered, and `cause` tells more.
    """

    def __init__(
        self,
        session: Session,
        shared: Shared,
        *,
        on_change: Callable[[], None],
        on_lost: Callable[["Conversation"], None],
        awaited: Iterable[Subscription] = (),
    ) -> None:
        self.session = session
        self.group = tuple(session.subscriptions)
        self.opened = self.acknowledged = self.closing = self.over = False
        self.opened_at = 0.0
        self.received_at = 0
        self.unheard = set(awaited)
        self.refused: dict[Subscription, str] = {}
        """Subscriptions that the venue does not take, and what it says about them."""
        self.reason = self.cause = ""
        self.error: Exception | None = None
        """What kept it from being opened."""
        self._shared = shared
        self._on_change = on_change
        self._on_lost = on_lost
        self._words: deque[str] = deque()
        self._more_words = asyncio.Event()
        self._failed = asyncio.Event()
        self._failure: CryptostreamError | None = None

    @property
    def age_s(self) -> float:
        """Seconds since it was opened; none if it never was."""
        return self._shared.clock.monotonic() - self.opened_at if self.opened else 0.0

    async def run(self) -> None:
        """Open the socket and converse until it ends. Raises what the keeper of raw frames raises."""
        try:
            socket = await within(self._shared.clock, self._shared.gate.left_s, self._open())
        except (OSError, Refused) as error:
            self._unreached(error)
            return
        try:
            self._begin()
            await self._live(socket)
        finally:
            self.leave("stopped")
            await socket.close()

    def leave(self, cause: str) -> None:
        """From now on it is over for us; whoever runs it cancels that. Says why, unless it had ended by itself."""
        if self.opened and not self.over:
            self._finish("", cause)

    def resubscribe(self, wanted: Collection[Subscription]) -> None:
        """Ask the venue again for subscriptions that it acknowledged and does not serve."""
        self._words += self.session.resubscribe(wanted)
        self._more_words.set()

    def count_ignored(self) -> None:
        """Move the session's count of frames that are not ours into the feed's."""
        self._shared.stats.ignored_messages += self.session.ignored
        self.session.ignored = 0

    async def _open(self) -> Socket:
        return await self._shared.connect(self.session.url, self._on_frames, max_frame=self._shared.max_frame)

    def _unreached(self, error: Exception) -> None:
        self._shared.stats.connection_errors += 1
        self.error, self.over = error, True
        self.reason, self.cause = "refused" if isinstance(error, Refused) else "unreachable", why(error)
        _log.warning("feed.unreachable", url=self.session.url, why=self.cause)
        self._on_lost(self)
        self._on_change()

    def _begin(self) -> None:
        shared = self._shared
        shared.gate.connected = self.opened = True
        shared.stats.active_connections += 1
        self.opened_at = shared.clock.monotonic()
        self._words += self.session.hello()
        self.acknowledged = not self.session.unanswered()
        shared.door.tell("connected", url=self.session.url, count=len(self.group))
        self._on_change()

    async def _live(self, socket: Socket) -> None:
        jobs = (socket.closed(), self._speak(socket), self._watch(socket), self._fail())
        try:
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    group.create_task(job)
        except* (Closed, _Ended) as ends:
            self._ended(ends.exceptions[0])

    def _ended(self, end: BaseException) -> None:
        if self.over:
            return  # it was left; what its socket says now is no news
        self._shared.stats.connection_errors += 1
        if isinstance(end, _Ended):
            reason = end.reason
        elif isinstance(end, Closed) and end.code == _TOO_LARGE:
            reason = "too large"
        else:
            reason = "shutdown" if self.closing else "closed"
        self._finish(reason, str(end))

    def _finish(self, reason: str, cause: str) -> None:
        self.reason, self.cause, self.over = reason, cause, True
        self._shared.stats.active_connections -= 1
        self.count_ignored()
        self._shared.door.tell("disconnected", url=self.session.url, cause=cause, expected=not reason)
        if reason:
            self._on_lost(self)
        self._on_change()

    async def _speak(self, socket: Socket) -> None:
        """Say what there is to say no faster than the venue reads, and expect an answer to every word."""
        limits, sleep = self._shared.limits, self._shared.clock.sleep
        while True:
            while self._words:
                await socket.send(self._words.popleft())
                await sleep(1 / limits.control_per_s)
            await sleep(limits.ack_s)
            if self._words:
                continue  # what was not said yet cannot have been answered
            if unanswered := self.session.unanswered():
                cause = f"{len(unanswered)} subscriptions without an answer in {limits.ack_s:g} s"
                raise _Ended("unanswered", cause)
            self._more_words.clear()
            await self._more_words.wait()

    async def _watch(self, socket: Socket) -> None:
        """Notice a half-open socket: silence, then a ping that nobody answers."""
        limits = self._shared.limits
        seen, silent_s = self.received_at, 0.0
        while True:
            await self._shared.clock.sleep(_TICK_S)
            silent_s = silent_s + _TICK_S if self.received_at == seen else 0.0
            seen = self.received_at
            if silent_s >= limits.idle_s:
                await self._ping(socket, silent_s)
                silent_s = 0.0

    async def _ping(self, socket: Socket, silent_s: float) -> None:
        pong_s = self._shared.limits.pong_s
        try:
            await within(self._shared.clock, pong_s, socket.ping())
        except TimeoutError:
            raise _Ended("silent", f"nothing heard for {silent_s + pong_s:g} s, not even a pong") from None

    async def _fail(self) -> None:
        await self._failed.wait()
        assert self._failure is not None  # noqa: S101 - it is what was waited for
        raise self._failure

    def _on_frames(self, frames: Sequence[bytes]) -> None:
        """Read all frames of one read of the socket: one time, one hand-over to the door."""
        shared, session = self._shared, self.session
        shared.stats.total_messages += len(frames)
        self.received_at = received_at = shared.clock.now_ns()
        if shared.on_raw is None:
            records = session.receive_all(frames, received_at, self._dead_letter)
        else:
            records = [record for frame in frames for record in self._kept(frame, received_at, shared.on_raw)]
        if session.notices:
            self._hear()
        if not records:
            return
        if self.unheard:
            self._heard(records)
        shared.door.receive(records, received_at)

    def _heard(self, records: Sequence[Record]) -> None:
        self.unheard.difference_update(record.subscription for record in records)
        if not self.unheard:
            self._on_change()

    def _kept(self, frame: bytes, received_at: int, on_raw: OnRaw) -> Sequence[Record]:
        """Read one frame and hand it to the tape; a tape that fails ends the feed rather than record with holes."""
        heard = len(self.session.notices)
        made = self.session.receive_all((frame,), received_at, self._dead_letter)
        try:
            on_raw(received_at, frame, control=not made and len(self.session.notices) > heard)
        except CryptostreamError as error:
            self._failure = error
            self._failed.set()
        return made

    def _dead_letter(self, frame: bytes, error: BadFrame) -> DeadLetter:
        self._shared.stats.error_messages += 1
        sample = frame[:_SAMPLE_BYTES].decode("utf-8", "backslashreplace")
        return DeadLetter(self.session.url, str(error), sample, len(frame), Micros(self.received_at // 1000))

    def _hear(self) -> None:
        for notice in self.session.notices:
            if notice.kind == "refused":
                _log.error("feed.refused", streams=notice.streams, why=notice.detail)
                self.refused.update(dict.fromkeys(notice.subscriptions, notice.detail))
            elif notice.kind == "closing":
                _log.info("feed.closing", url=self.session.url, why=notice.detail)
                self.closing = True
        self.session.notices.clear()
        self.acknowledged = not self.session.unanswered()
        self._on_change()
