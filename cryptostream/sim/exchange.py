"""The local exchange: a market on a loopback port that speaks the venue's own websocket and REST protocol.

    async with LocalExchange(seed=1, pairs=["BTCUSDT"], rate=20.0) as exchange:
        print(exchange.ws_url, exchange.rest_url)
        exchange.faults.inject("drop@5s")

It is for tests and demonstrations: it trades on while nobody listens, knows every trade it ever made, and goes wrong on
request. One port serves the websocket, REST, CoinGecko and the control paths.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from cryptostream.engine.clock import SystemClock
from cryptostream.errors import Unreachable, UsageError
from cryptostream.model.ports import Clock
from cryptostream.sim import frames
from cryptostream.sim.asking import WEIGHT_PER_MINUTE, Answer
from cryptostream.sim.coingecko import DECOYS, CoinGecko
from cryptostream.sim.faults import Fault, Faults
from cryptostream.sim.front import Asking, Front, refusal, response
from cryptostream.sim.guest import Guest, Watched
from cryptostream.sim.market import Market, SimTrade, Trades, check_rate
from cryptostream.sim.protocol import (
    MAX_CONTROL_BYTES,
    MAX_REQUEST_LINE,
    MAX_STREAMS,
    BadAddress,
    Conversation,
    TooManyStreams,
    address,
)
from cryptostream.sim.publisher import Publisher
from cryptostream.sim.rest import Rest
from cryptostream.sim.shown import Shown
from cryptostream.sim.streams import Stream, open_stream
from cryptostream.sim.tape_market import Tape, TapeStream
from cryptostream.sim.time import ExchangeTime

PAIRS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT")
LIFE_S = 24 * 3_600.0
PING_S, PONG_S = 20.0, 60.0
CONNECTS, CONNECTS_WINDOW_S = 300, 300.0
TICK_S = 0.005
_HOUR_US = 3_600_000_000
_QUIET = logging.getLogger("cryptostream.sim")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


class LocalExchange:
    """A whole exchange on one port of one machine; an async context manager.

    `rate` is trades a second and pair; `speed` makes the exchange's time run faster than the clock (the life of a
    connection runs in the exchange's time too). `opened_us` is when the market opened, before which it has no history;
    by default at the full hour that is `history_s` ago or more. With `tape`, recorded frames are played instead, in
    their own spacing divided by `speed`, from the first subscription on. `skew_s` sets the exchange's clock ahead of
    ours. `connects` handshakes are let in per five minutes; `tick_s` is how often events leave.

    Raises UsageError for a speed or rate out of range, NotFound and DataQuality for a tape; on entry Unreachable where
    the port is taken.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        pairs: Sequence[str] = PAIRS,
        rate: float = 20.0,
        speed: float = 1.0,
        port: int = 0,
        host: str = "127.0.0.1",
        clock: Clock | None = None,
        opened_us: int | None = None,
        history_s: float = 3_600.0,
        tape: Path | None = None,
        skew_s: float = 0.0,
        life_s: float = LIFE_S,
        ping_s: float = PING_S,
        pong_s: float = PONG_S,
        connects: int = CONNECTS,
        weight_per_minute: int = WEIGHT_PER_MINUTE,
        tick_s: float = TICK_S,
    ) -> None:
        if not speed > 0:
            raise UsageError(f"speed must be above 0, got {speed}")
        check_rate(rate)
        self._clock = clock or SystemClock()
        self._host, self.port = host, port
        self._life_s, self._ping_s, self._pong_s, self._tick_s = life_s / speed, ping_s, pong_s, tick_s
        self._connects_limit = connects
        self._tape = Tape(tape) if tape is not None else None
        self.time = ExchangeTime(self._clock, speed=speed, skew_s=skew_s, tape=self._tape)
        self.faults = Faults(seed, self._clock.monotonic)
        self.faults.on_strike = self._strike
        self.market: Market | Tape = self._tape or Market(
            seed,
            tuple(dict.fromkeys((*pairs, *DECOYS))),
            rate=rate,
            opened_us=self._opening_us(history_s) if opened_us is None else opened_us,
        )
        self.pairs = tuple(self._tape.listings) if self._tape else tuple(dict.fromkeys(pairs))
        """What is traded here, without the few pairs that are listed only for discovery to leave out."""
        self._shown: Trades = Shown(self.market, self.faults)
        self._symbols = {pair.lower(): pair for pair in self.market.listings}
        self._publisher = Publisher(self._open_stream, self.faults)
        self._rest = Rest(
            self._shown, self.faults, clock=self._clock, now_us=self.time.now_us, weight_per_minute=weight_per_minute
        )
        coingecko = CoinGecko(self.market.listings, price_e8=self._rest.price_e8, now_us=self.time.now_us)
        self._front = Front(self._rest, coingecko, self.faults, clock=self._clock, stats=self.stats)
        self._guests: set[Guest] = set()
        self.attempts: deque[float] = deque(maxlen=10_000)
        """When each websocket handshake was tried, refused ones too, in seconds of the monotonic clock."""
        self.connects = 0
        """Websocket connections accepted since the start."""
        self._listening: Server | None = None
        self._servers: list[Server] = []
        self._running: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup | None = None

    def _opening_us(self, history_s: float) -> int:
        return (self.time.now_us() - round(history_s * 1_000_000)) // _HOUR_US * _HOUR_US

    # What a test wants to know.

    @property
    def ws_url(self) -> str:
        return f"ws://{self._address}"

    @property
    def rest_url(self) -> str:
        return f"http://{self._address}"

    @property
    def coingecko_url(self) -> str:
        return f"http://{self._address}/coingecko/api/v3"

    @property
    def control_url(self) -> str:
        return f"http://{self._address}/sim/faults"

    @property
    def _address(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._host, self._host)  # noqa: S104  # only read, never bound
        return f"{host}:{self.port}"

    @property
    def connections(self) -> int:
        """Websocket connections that are served now; half-open ones are not."""
        return sum(guest.live for guest in self._guests)

    @property
    def requests(self) -> Sequence[Asking]:
        """The latest 10,000 REST requests, oldest first."""
        return tuple(self._front.log)

    def sent(self, pair: str) -> range:
        """The ids traded up to now, whether anybody listened or not."""
        return range(self.market.first_id(pair), self.market.last_id(pair, self.time.now_us()) + 1)

    def trades(self, pair: str, first: int, last: int) -> Iterator[SimTrade]:
        """The truth about a stretch of ids: what was traded, without the ids that a `hole` fault took away."""
        return self._shown.trades(pair, first, last)

    def halt(self) -> None:
        """Stop trading now. What was traded until now is still told, so that a test can compare to the last trade."""
        self.time.halt()

    def stats(self) -> dict[str, Any]:
        """Counts, as `/sim/stats` tells them."""
        return {
            "connections": self.connections,
            "connects": self.connects,
            "attempts": len(self.attempts),
            "streams": self._publisher.streams,
            "events_sent": self._publisher.sent,
            "rest_requests": len(self._front.log),
            "weight_used": self._rest.budget.used,
        }

    # Its life.

    async def __aenter__(self) -> Self:
        await self._listen()
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._running is not None  # noqa: S101  # set on the way in
        self._front.closing = True
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        for guest in self._guests:
            if guest.frozen or guest.wire.transport.get_write_buffer_size():
                guest.wire.transport.abort()
        for server in self._servers:
            server.close()
            await server.wait_closed()

    async def _listen(self) -> None:
        try:
            self._listening = await serve(
                self._serve,
                self._host,
                self.port,
                process_request=self._request,
                create_connection=Watched,
                compression=None,
                open_timeout=120,  # a `slow` REST answer is part of the handshake to this library
                ping_interval=None,
                close_timeout=2,
                max_size=1024 * 1024,
                server_header=None,
                logger=_QUIET,
            )
        except OSError as error:
            message = f"cannot listen on {self._host}:{self.port}: {error.strerror or error}"
            raise Unreachable(message, hint="--port 0 takes a free port") from error
        self.port = self._listening.sockets[0].getsockname()[1]
        self._servers.append(self._listening)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as self._group:
            while True:
                self.faults.strike()
                await self._open_or_shut()
                self._publisher.tick(self.time.told_us())
                self._look_after(self._clock.monotonic())
                await self._clock.sleep(self._tick_s)

    async def _open_or_shut(self) -> None:
        """Listen, unless a `refuse` fault says that nobody does. Open connections stay."""
        refused = self.faults.holding("refuse") is not None
        if refused and self._listening is not None:
            self._listening.server.close()
            self._listening = None
        elif not refused and self._listening is None:
            await self._listen()

    def _look_after(self, now_s: float) -> None:
        """Pings, pongs, limits and the end of life of every connection."""
        mute = self.faults.holding("nopings") is not None
        thawed = self.faults.holding("halfopen") is None
        for guest in list(self._guests):
            if guest.frozen:
                if thawed and guest.thaws:
                    guest.drop()
            elif guest.live:
                self._check(guest, now_s, mute=mute)

    def _check(self, guest: Guest, now_s: float, *, mute: bool) -> None:
        if guest.too_many:
            self._close(guest, 1008, "Too many requests")
        elif guest.unanswered_s(now_s) >= self._pong_s:
            self._close(guest, 1008, "Pong timeout")
        elif now_s >= min(guest.opened_s + self._life_s, guest.dies_s):
            self._close(guest, 1001, "")
        else:
            guest.ping_if_due(now_s, mute=mute)
            guest.write()

    def _close(self, guest: Guest, code: int, reason: str) -> None:
        guest.closing = True
        if self._group is not None:
            self._group.create_task(guest.wire.close(code, reason))

    # Who comes in.

    async def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer plain HTTP, or let a websocket in by answering nothing."""
        if len(request.path) > MAX_REQUEST_LINE - len("GET  HTTP/1.1"):
            return response(Answer.json({"code": -1000, "msg": "URI too long"}, 414))
        path = urlsplit(request.path).path
        if path in ("/ws", "/stream") or path.startswith(("/ws/", "/stream/")):
            return self._refused(request)
        answer = await self._front.answer(request)
        if answer is None:
            connection.transport.abort()
            return response(Answer(503, b""))
        return answer

    def _refused(self, request: Request) -> Response | None:
        """Why a websocket is not let in; None when it is."""
        now_s = self._clock.monotonic()
        recent = sum(now_s - at_s < CONNECTS_WINDOW_S for at_s in self.attempts)
        self.attempts.append(now_s)
        if fault := self.faults.state("handshake"):
            return response(refusal(fault.number("status"), fault.option("retry_after")))
        if recent >= self._connects_limit:
            return response(refusal(429, str(int(CONNECTS_WINDOW_S))))
        try:
            asked = address(request.path)
        except BadAddress as error:
            return response(Answer.json({"code": -1000, "msg": str(error)}, 400))
        if len(asked.streams) > MAX_STREAMS:
            return response(Answer.json({"code": -1000, "msg": "too many streams"}, 400))
        return None

    async def _serve(self, wire: ServerConnection) -> None:
        assert isinstance(wire, Watched) and wire.request is not None  # noqa: S101  # see _listen
        self.connects += 1
        if self.faults.state("accept_close"):
            wire.transport.abort()
            return
        guest = Guest(wire, Conversation(address(wire.request.path)), self._clock, ping_s=self._ping_s)
        self._guests.add(guest)
        if self.faults.holding("halfopen"):
            guest.freeze(thaws=True)
        self._subscribe(guest, guest.conversation.streams)
        try:
            with suppress(ConnectionClosed):
                await self._converse(guest)
        finally:
            self._publisher.leave(guest, list(guest.conversation.streams))
            self._guests.discard(guest)

    async def _converse(self, guest: Guest) -> None:
        async for message in guest.wire:
            if not guest.live:
                continue
            text = message if isinstance(message, str) else message.decode(errors="replace")
            if len(text.encode()) > MAX_CONTROL_BYTES:
                self._close(guest, 3001, "illegal request")
                continue
            self._hear(guest, text)

    def _hear(self, guest: Guest, text: str) -> None:
        before = dict(guest.conversation.streams)
        try:
            reply = guest.conversation.answer(text)
        except TooManyStreams:
            self._close(guest, 1008, "Too many streams")
            return
        guest.say(reply.encode())
        self._publisher.leave(guest, before.keys() - guest.conversation.streams.keys())
        self._subscribe(guest, [name for name in guest.conversation.streams if name not in before])

    def _subscribe(self, guest: Guest, names: Iterable[str]) -> None:
        self._publisher.listen(guest, names)
        if self._publisher.streams:
            self.time.start()

    def _open_stream(self, name: str) -> Stream | None:
        if self._tape is None:
            return open_stream(self._shown, self._symbols, name, self.time.now_us())
        recorded = self._tape.frames.get(name)
        return TapeStream(recorded, self.time.now_us()) if recorded else None

    # What goes wrong at once.

    def _strike(self, fault: Fault) -> None:
        for guest in self._struck(fault.number("only")):
            if fault.kind == "drop":
                guest.drop()
            elif fault.kind == "close":
                self._close(guest, fault.number("code"), fault.option("reason"))
            elif fault.kind == "halfopen":
                guest.freeze(thaws=fault.for_s is not None)
            elif fault.kind == "shutdown":
                self._announce_end(guest, fault.duration_s("lead"))

    def _struck(self, only: int) -> list[Guest]:
        """Live connections, oldest first; `only` so many of them, by lot."""
        live = sorted((guest for guest in self._guests if guest.live), key=lambda guest: guest.opened_s)
        while 0 < only < len(live):
            live.pop(self.faults.pick(len(live)))
        return live

    def _announce_end(self, guest: Guest, lead_s: float) -> None:
        payload = frames.server_shutdown(self.time.now_us(), guest.conversation.unit_us)
        guest.say(frames.combined("!serverShutdown", payload) if guest.conversation.combined else payload)
        guest.dies_s = self._clock.monotonic() + lead_s
