"""One client on the websocket: how it is watched, written to, frozen and cut off."""

import math
import socket
import struct
from collections import deque
from collections.abc import Callable

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State

from cryptostream.model.ports import Clock
from cryptostream.sim import frames
from cryptostream.sim.protocol import MESSAGES_PER_S, Conversation
from cryptostream.sim.publisher import Listener

MAX_BACKLOG = 64 * 1024 * 1024
"""Bytes that may wait for a client that does not read, before it is cut."""
_NO_LINGER = struct.pack("ii", 1, 0)  # closing discards what waits and sends RST
_COUNTED = (Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG)


class Watched(ServerConnection):
    """A connection that shows every frame it receives, pings and pongs too, to whoever watches."""

    watch: Callable[[Frame], None] | None = None

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame) and self.watch is not None:
            self.watch(event)
        super().process_event(event)


class Guest(Listener):
    """One client: its conversation, its limits, its life. Times are seconds of the clock."""

    def __init__(self, wire: Watched, conversation: Conversation, clock: Clock, *, ping_s: float) -> None:
        super().__init__(conversation)
        self.wire = wire
        self.frozen = False
        self.thaws = False
        """It is frozen only for as long as the fault lasts."""
        self.closing = False
        self.too_many = False
        """It has sent more messages in a second than it may."""
        self.opened_s = clock.monotonic()
        self.dies_s = math.inf
        """When it is to be closed after a `shutdown`."""
        self._clock = clock
        self._ping_s = ping_s
        self._next_ping_s = self.opened_s + ping_s
        self._pings: dict[bytes, float] = {}
        self._heard: deque[float] = deque(maxlen=MESSAGES_PER_S + 1)
        wire.watch = self._watch

    @property
    def live(self) -> bool:
        return not (self.frozen or self.closing) and self.wire.state is State.OPEN

    def write(self) -> None:
        """Write the outbox at once, past the library: frames were made once for everybody, not per connection."""
        if not self.outbox:
            return
        self.wire.transport.write(b"".join(self.outbox))
        self.outbox.clear()
        if self.wire.transport.get_write_buffer_size() > MAX_BACKLOG:
            self.drop()

    def say(self, payload: bytes) -> None:
        """Send one text frame now."""
        self.outbox.append(frames.websocket(payload))
        self.write()

    def drop(self) -> None:
        """Reset the connection: no close frame, no FIN."""
        self.closing = True
        wire = self.wire.transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.wire.transport.abort()

    def freeze(self, *, thaws: bool) -> None:
        """Go silent and deaf, with the connection left open: nothing is read, so no pong and no FIN comes back."""
        self.frozen, self.thaws = True, thaws
        self.wire.transport.pause_reading()

    def ping_if_due(self, now_s: float, *, mute: bool) -> None:
        """Ping every so often. The payload is the time, and a pong counts only if it copies it."""
        if now_s < self._next_ping_s:
            return
        self._next_ping_s = now_s + self._ping_s
        if mute:
            return
        payload = str(self._clock.now_ns() // 1_000_000).encode()
        self._pings.setdefault(payload, now_s)
        self.outbox.append(bytes((0x89, len(payload))) + payload)

    def unanswered_s(self, now_s: float) -> float:
        """How long the oldest ping has waited for its pong."""
        return now_s - next(iter(self._pings.values())) if self._pings else 0.0

    def _watch(self, frame: Frame) -> None:
        if frame.opcode in _COUNTED:
            now_s = self._clock.monotonic()
            self._heard.append(now_s)
            full = len(self._heard) > MESSAGES_PER_S
            self.too_many = self.too_many or (full and now_s - self._heard[0] < 1.0)
        if frame.opcode is Opcode.PONG and bytes(frame.data) in self._pings:
            self._pings.clear()
