"""Who hears what: takes what has happened from each stream in order of time, and gives it to whoever subscribed.

Every event is put into words once per form (envelope, time unit) however many listen; what one tick has for one
connection leaves in one write.
"""

import heapq
from collections.abc import Callable, Iterable
from itertools import count

from cryptostream.sim import flaws, frames
from cryptostream.sim.faults import Fault, Faults
from cryptostream.sim.protocol import Conversation
from cryptostream.sim.streams import Event, Stream


class Listener:
    """One connection as the publisher sees it: the form it wants, and the frames that wait to be written."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.outbox: list[bytes] = []
        self.held: dict[str, list[bytes]] = {}
        """Frames of a stream that leave after the next one (fault `swap`)."""

    @property
    def form(self) -> tuple[bool, int]:
        return self.conversation.combined, self.conversation.unit_us


class _Channel:
    """One stream that somebody listens to."""

    __slots__ = ("listeners", "name", "stream")

    def __init__(self, name: str, stream: Stream) -> None:
        self.name, self.stream = name, stream
        self.listeners: dict[Listener, None] = {}


class Publisher:
    """The streams that are listened to, and their listeners."""

    def __init__(self, open_stream: Callable[[str], Stream | None], faults: Faults) -> None:
        self._open_stream = open_stream
        self._faults = faults
        self._channels: dict[str, _Channel] = {}
        self._due: list[tuple[int, int, _Channel]] = []
        self._order = count()
        self._late: list[tuple[int, int, Listener, bytes]] = []
        self.sent = 0
        """Events sent, counted once per listener."""

    @property
    def streams(self) -> int:
        """How many streams are listened to."""
        return len(self._channels)

    def listen(self, listener: Listener, names: Iterable[str]) -> None:
        """From now on, send these streams to the listener; names that do not exist are silent for ever."""
        for name in names:
            channel = self._channels.get(name) or self._open(name)
            if channel is not None:
                channel.listeners[listener] = None

    def leave(self, listener: Listener, names: Iterable[str]) -> None:
        """Stop sending these streams; a stream that nobody hears any more ends."""
        for name in names:
            channel = self._channels.get(name)
            if channel is None:
                continue
            channel.listeners.pop(listener, None)
            listener.held.pop(name, None)
            if not channel.listeners:
                del self._channels[name]

    def tick(self, now_us: int) -> None:
        """Put everything that has happened up to now into the outboxes."""
        while self._due and self._due[0][0] <= now_us:
            _, _, channel = heapq.heappop(self._due)
            if self._channels.get(channel.name) is not channel:
                continue
            # Not beyond what another stream has to say next: events leave in order of time over all streams.
            until_us = min(now_us, self._due[0][0]) if self._due else now_us
            self._tell(channel, channel.stream.take(until_us), now_us)
            self._schedule(channel)
        self._release(now_us)

    def _open(self, name: str) -> _Channel | None:
        stream = self._open_stream(name)
        if stream is None:
            return None
        channel = self._channels[name] = _Channel(name, stream)
        self._schedule(channel)
        return channel

    def _schedule(self, channel: _Channel) -> None:
        heapq.heappush(self._due, (channel.stream.due_us, next(self._order), channel))

    def _tell(self, channel: _Channel, events: Iterable[Event], now_us: int) -> None:
        pair = channel.stream.pair
        if self._faults.holding("silent", pair=pair) or self._faults.holding("break", pair=pair):
            return
        for event in events:
            self.sent += len(channel.listeners)
            if self._faults.flawed:
                for listener in channel.listeners:
                    self._spoil(channel.name, event, listener, self._faults.flaws(pair), now_us)
            else:
                _deliver(channel, event)

    def _spoil(self, name: str, event: Event, listener: Listener, spoiled: list[Fault], now_us: int) -> None:
        """Send one event to one listener through the flaws that hit it."""
        kinds = {fault.kind: fault for fault in spoiled}
        payload = flaws.changed(event.payload(listener.form[1]), spoiled)
        frame = _frame(name, payload, listener)
        text = frames.combined(name, payload) if listener.form[0] else payload
        beside = flaws.beside(text, payload, spoiled, self._faults.pick)
        listener.outbox += (frames.websocket(bad) for bad in beside)
        if "skip" in kinds:
            return
        if "swap" in kinds and name not in listener.held:
            listener.held[name] = [frame]
        elif "late" in kinds:
            self._delay(kinds["late"], listener, frame, now_us)
        else:
            copies = [frame, frame] if "duplicate" in kinds else [frame]
            listener.outbox += [*copies, *listener.held.pop(name, [])]

    def _delay(self, fault: Fault, listener: Listener, frame: bytes, now_us: int) -> None:
        leaves_us = now_us + round(self._faults.part() * fault.duration_s("by") * 1_000_000)
        heapq.heappush(self._late, (leaves_us, next(self._order), listener, frame))

    def _release(self, now_us: int) -> None:
        while self._late and self._late[0][0] <= now_us:
            _, _, listener, frame = heapq.heappop(self._late)
            listener.outbox.append(frame)


def _deliver(channel: _Channel, event: Event) -> None:
    """Give an unspoiled event to all who listen; each form of it is made once."""
    ready: dict[tuple[bool, int], bytes] = {}
    for listener in channel.listeners:
        frame = ready.get(listener.form)
        if frame is None:
            frame = ready[listener.form] = _frame(channel.name, event.payload(listener.form[1]), listener)
        listener.outbox.append(frame)
        if listener.held:
            listener.outbox += listener.held.pop(channel.name, [])


def _frame(name: str, payload: bytes, listener: Listener) -> bytes:
    return frames.websocket(frames.combined(name, payload) if listener.form[0] else payload)
