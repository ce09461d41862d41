"""A venue's other end in virtual time: sockets that a test lets speak, fall silent, end or never come about."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptostream.engine.clock import SystemClock
from cryptostream.feed.transport import Closed, OnFrames, Refused

elapse = SystemClock().sleep
"""Let so many seconds pass."""
_START_NS = int(datetime(2024, 11, 14, 17, 30, tzinfo=UTC).timestamp()) * 10**9


class LoopClock:
    """The time of an event loop, which `looptime` lets pass at once."""

    def now_ns(self) -> int:
        return _START_NS + round(self.monotonic() * 1e9)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, delay_s: float) -> None:
        await elapse(delay_s)


class Wire:
    """One socket that was opened. It answers control messages and pings while it is `answering` and `ponging`."""

    def __init__(self, wires: "Wires", on_frames: OnFrames) -> None:
        self.on_frames = on_frames
        self.opened_at = wires.clock.monotonic()
        self.ended_at: float | None = None
        self.said: list[tuple[float, dict[str, object]]] = []
        self.pings: list[float] = []
        self._wires = wires
        self._end: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()

    @property
    def open(self) -> bool:
        return self.ended_at is None and not self._end.done()

    @property
    def streams(self) -> list[str]:
        """What it was asked for, as the venue names it."""
        return [str(stream) for _, word in self.said for stream in word["params"]]  # type: ignore[attr-defined]

    def frames(self, *frames: object) -> None:
        """The venue says something, all of it at once."""
        self.on_frames([json.dumps(frame).encode() for frame in frames])

    def trade(self, *ids: int, pair: str = "BTCUSDT") -> None:
        """The venue tells of trades that happen now."""
        self.frames(*(self._trade(pair, trade_id) for trade_id in ids))

    def _trade(self, pair: str, trade_id: int) -> object:
        ms = self._wires.clock.now_ns() // 10**6
        data = {"e": "trade", "E": ms, "s": pair, "t": trade_id, "p": "1.0", "q": "2.0", "T": ms, "m": True, "M": True}
        return {"stream": f"{pair.lower()}@trade", "data": data}

    def shutdown(self) -> None:
        """The venue announces that it will close."""
        self.frames({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1770123456789}})

    def end(self, code: int = 1006) -> None:
        """The connection is over."""
        if not self._end.done():
            self._end.set_result(Closed(code))

    async def send(self, text: str) -> None:
        word = json.loads(text)
        self.said.append((self._wires.clock.monotonic(), word))
        if self._wires.answering:
            self.frames({"result": None, "id": word["id"]})

    async def ping(self) -> None:
        self.pings.append(self._wires.clock.monotonic())
        if not self._wires.ponging:
            await asyncio.Event().wait()

    async def closed(self) -> None:
        raise await asyncio.shield(self._end)

    async def close(self) -> None:
        self.ended_at = self._wires.clock.monotonic()


class Wires:
    """Every attempt to connect, in order: when it was made, and the socket that came of it."""

    def __init__(self, *, answering: bool = True, ponging: bool = True) -> None:
        self.clock = LoopClock()
        self.answering, self.ponging = answering, ponging
        self.attempts: list[float] = []
        self.opened: list[Wire] = []
        self.refusal: Exception | None = None
        """What the next attempts meet."""
        self.cutting = False
        """Whether the next sockets are over as soon as they are open."""

    def __getitem__(self, place: int) -> Wire:
        return self.opened[place]

    @property
    def open(self) -> Sequence[Wire]:
        return [wire for wire in self.opened if wire.open]

    async def connect(self, url: str, on_frames: OnFrames, *, max_frame: int) -> Wire:
        """A `transport.Connect`."""
        self.attempts.append(self.clock.monotonic())
        if self.refusal is not None:
            raise self.refusal
        self.opened.append(Wire(self, on_frames))
        if self.cutting:
            self.opened[-1].end()
        return self.opened[-1]


def refused(status: int, retry_after: str = "") -> Refused:
    """An answer to the handshake that is no websocket."""
    return Refused(status, {"Retry-After": retry_after} if retry_after else {})
