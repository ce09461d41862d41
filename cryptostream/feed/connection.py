"""One session on one socket, again and again: connect, say hello, hand frames over, notice silence, begin anew."""

import asyncio
from collections.abc import Sequence
from math import inf
from random import Random
from typing import Protocol

from cryptostream import logs
from cryptostream.engine.backoff import Budget, backoff
from cryptostream.engine.clock import within
from cryptostream.engine.stats import FeedStats
from cryptostream.errors import BadFrame, CryptostreamError, VenueUnavailable
from cryptostream.feed.inbox import Inbox
from cryptostream.feed.transport import Closed, Connect, Refused, Socket
from cryptostream.model.events import DeadLetter, Micros, Record
from cryptostream.model.ports import Clock
from cryptostream.venues.base import Limits, Session

_TICK_S = 0.5
_SAMPLE_BYTES = 4096
_BANNED_S = {429: 60.0, 418: 120.0}
_log = logs.get("feed")


class OnRaw(Protocol):
    """Who keeps raw frames; `control` marks the answers to what we sent. Raises CryptostreamError to end the feed."""

    def __call__(self, received_at: int, frame: bytes, *, control: bool) -> None: ...


class Gate:
    """What all connections to one venue share: the connect budget of our address, and how long we are shut out."""

    def __init__(self, limits: Limits, clock: Clock, *, connect_timeout_s: float) -> None:
        self.budget = Budget(limits.connects, limits.connects_window_s)
        self.connected = False
        self._clock = clock
        self._not_before = 0.0
        self._reason = "no answer in time"
        self._give_up_at = clock.monotonic() + connect_timeout_s

    async def passed(self) -> None:
        """Wait until another attempt is allowed."""
        await self._clock.sleep(self.budget.take(self._clock.monotonic()))
        while (left_s := self._not_before - self._clock.monotonic()) > 0:  # somebody may be told meanwhile to wait
            await self._clock.sleep(left_s)

    @property
    def left_s(self) -> float:
        """Seconds until the start is given up; without end once anybody was connected."""
        return inf if self.connected else max(0.0, self._give_up_at - self._clock.monotonic())

    def shut(self, for_s: float) -> None:
        """Let nobody through for a while: the venue said so."""
        self._not_before = max(self._not_before, self._clock.monotonic() + for_s)

    def check(self, error: Exception, url: str) -> None:
        """Give up at the start: at once where the venue forbids us, after the time-out where it does not answer."""
        self._reason = str(error) or self._reason  # the last try is cut short by the time-out, and says nothing
        if self.connected:
            return
        if isinstance(error, Refused) and error.status == 403:
            hint = "its firewall refuses this address; the venue may not serve this country"
            raise VenueUnavailable(f"{url} answers 403 to the handshake", hint=hint) from error
        if not self.left_s:
            hint = "check the address and the network: cryptostream doctor"
            raise VenueUnavailable(f"no connection to {url}: {self._reason}", hint=hint) from error


class Connection:
    """Keeps one session alive. `on_raw` sees every frame as it was received."""

    def __init__(
        self,
        session: Session,
        *,
        connect: Connect,
        limits: Limits,
        gate: Gate,
        inbox: Inbox,
        stats: FeedStats,
        clock: Clock,
        random: Random,
        max_frame: int,
        on_raw: OnRaw | None = None,
    ) -> None:
        self.session = session
        self.received_at = 0
        self._connect = connect
        self._limits = limits
        self._gate = gate
        self._inbox = inbox
        self._stats = stats
        self._clock = clock
        self._random = random
        self._max_frame = max_frame
        self._on_raw = on_raw
        self._frames = 0
        self._leaving = asyncio.Event()
        self._failure: CryptostreamError | None = None

    async def run(self) -> None:
        """Converse until cancelled. Raises VenueUnavailable only while the venue was never reached."""
        delays = backoff(self._random)
        next(delays)
        while True:
            await self._gate.passed()
            healthy_s = await self._converse()
            delay_s = min(delays.send(healthy_s), self._gate.left_s)
            self._stats.reconnects += 1
            _log.info("feed.reconnecting", url=self.session.url, delay_s=round(delay_s, 2))
            await self._clock.sleep(delay_s)

    async def _converse(self) -> float:
        """One socket's life; returns how many seconds it lasted."""
        try:
            socket = await within(self._clock, self._gate.left_s, self._open())
        except (OSError, Refused) as error:
            self._failed(error)
            return 0.0
        started = self._clock.monotonic()
        self._gate.connected = True
        self._stats.active_connections += 1
        _log.info("feed.connected", url=self.session.url, streams=len(self.session.subscriptions))
        try:
            await self._live(socket)
        finally:
            self._stats.active_connections -= 1
            await socket.close()
        return self._clock.monotonic() - started

    async def _open(self) -> Socket:
        return await self._connect(self.session.url, self._on_frames, max_frame=self._max_frame)

    async def _live(self, socket: Socket) -> None:
        self._leaving.clear()
        jobs = (socket.closed(), self._subscribe(socket), self._watch(socket), self._leave())
        try:
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    group.create_task(job)
        except* (Closed, TimeoutError) as group_error:
            cause = str(group_error.exceptions[0])
            self._stats.connection_errors += 1
            _log.warning("feed.disconnected", url=self.session.url, cause=cause)

    async def _subscribe(self, socket: Socket) -> None:
        """Say hello no faster than the venue reads, and expect an answer to every word."""
        for message in self.session.hello():
            await socket.send(message)
            await self._clock.sleep(1 / self._limits.control_per_s)
        await self._clock.sleep(self._limits.ack_s)
        if unanswered := self.session.unanswered():
            raise TimeoutError(f"{len(unanswered)} subscriptions without an answer in {self._limits.ack_s:g} s")

    async def _watch(self, socket: Socket) -> None:
        """Notice a half-open socket: silence, then a ping that nobody answers."""
        seen, silent_s = self._frames, 0.0
        while True:
            await self._clock.sleep(_TICK_S)
            silent_s = silent_s + _TICK_S if self._frames == seen else 0.0
            seen = self._frames
            if silent_s >= self._limits.idle_s:
                await self._ping(socket, silent_s)
                silent_s = 0.0

    async def _ping(self, socket: Socket, silent_s: float) -> None:
        try:
            await within(self._clock, self._limits.pong_s, socket.ping())
        except TimeoutError:
            raise TimeoutError(f"nothing heard for {silent_s + self._limits.pong_s:g} s, not even a pong") from None

    async def _leave(self) -> None:
        await self._leaving.wait()
        if self._failure is not None:
            raise self._failure
        raise Closed(1000, "the venue is about to close")

    def _on_frames(self, frames: Sequence[bytes]) -> None:
        """Read all frames of one read of the socket: one time, one hand-over to the inbox."""
        self._frames += len(frames)
        self.received_at = received_at = self._clock.now_ns()
        receive, notices = self.session.receive, self.session.notices
        records: list[Record] = []
        for frame in frames:
            try:
                made = receive(frame, received_at)
            except BadFrame as error:
                made = (self._dead_letter(frame, str(error)),)
            records += made
            if self._on_raw is not None:
                self._keep(received_at, frame, control=not made and bool(notices))
            if notices:
                self._hear()
        if records:
            self._inbox.put(records)

    def _keep(self, received_at: int, frame: bytes, *, control: bool) -> None:
        """Hand a frame to the tape; one that fails ends the feed rather than record with holes."""
        assert self._on_raw is not None  # noqa: S101 - asked by the only caller
        try:
            self._on_raw(received_at, frame, control=control)
        except CryptostreamError as error:
            self._failure = error
            self._leaving.set()

    def _dead_letter(self, frame: bytes, reason: str) -> DeadLetter:
        self._stats.error_messages += 1
        sample = frame[:_SAMPLE_BYTES].decode("utf-8", "backslashreplace")
        return DeadLetter(self.session.url, reason, sample, len(frame), Micros(self.received_at // 1000))

    def _hear(self) -> None:
        for notice in self.session.notices:
            if notice.kind == "refused":
                _log.error("feed.refused", streams=notice.streams, why=notice.detail)
            elif notice.kind == "closing":
                _log.info("feed.closing", url=self.session.url, why=notice.detail)
                self._leaving.set()
        self.session.notices.clear()

    def _failed(self, error: Exception) -> None:
        self._stats.connection_errors += 1
        _log.warning("feed.unreachable", url=self.session.url, why=str(error) or type(error).__name__)
        if isinstance(error, Refused) and error.status in _BANNED_S:
            self._gate.shut(error.retry_after_s or _BANNED_S[error.status])
        self._gate.check(error, self.session.url)

    @property
    def frames(self) -> int:
        """Frames received since the start."""
        return self._frames
