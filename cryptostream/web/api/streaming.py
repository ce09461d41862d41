"""Entries as they come, to whoever keeps a connection open: Server-Sent Events, and the same over a websocket.

What was not sent yet waits in a backlog of at most BACKLOG_BYTES, and one batch. A reader that lets it grow further,
or takes nothing for STUCK_S, is cut, and told why where it still takes anything: nobody's slowness costs others
anything. What a reader missed it finds by `/api/v1/trades/{pair}?since=`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from typing import Annotated, Any, cast

import msgspec
from fastapi import APIRouter, Query, Response, WebSocket
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from cryptostream.engine.clock import within
from cryptostream.errors import CryptostreamError, Unreachable, UsageError
from cryptostream.model.events import Entry
from cryptostream.model.ports import Clock
from cryptostream.web import shown
from cryptostream.web.api import asked
from cryptostream.web.api.errors import failure
from cryptostream.web.health import without_addresses
from cryptostream.web.probes import Probes

READERS_MOST = 16
"""Connections that are open at a time, both kinds together."""
BACKLOG_BYTES = 2 * 1024 * 1024
STUCK_S = 10.0
HEARTBEAT_S = 15.0
_RAW = "raw_json"
_LONGEST_REASON = 120  # of the frame that closes a websocket; RFC 6455, 5.5

Frame = Callable[[Entry], bytes]
Deliver = Callable[[Sequence[bytes]], Awaitable[None]]
"""Sends pieces on; nothing is a sign of life."""
Gone = Callable[[], Awaitable[None]]
"""Returns once the reader has left."""
_Raw = Annotated[bool, Query(description="With `raw_json`, the frame as the exchange sent it.")]
_PIECE_BYTES = 64 * 1024
_FAREWELL_S = 1.0
_START = b"retry: 2000\n\n"
_HEARTBEAT = b": nothing new\n\n"
_TOO_SLOW, _STUCK = "cut: too far behind what comes", "cut: nothing was taken for 10 s"
_EXAMPLE = (
    'id: 1731605400123-7\ndata: {"stream":"trades:BTCUSDT","id":"1731605400123-7","fields":{"exchange":"binance",'
    '"pair":"BTCUSDT","price":"45123.50000000","qty":"0.12300000","ts":"2024-11-14T17:30:00.123000","side":"buy",'
    '"trade_id":"7"}}\n\n'
)


def routes(probes: Probes, clock: Clock) -> APIRouter:
    """Both ways to be told."""
    router = APIRouter(tags=["streaming"])
    seats = _Seats()

    @router.get(
        "/api/v1/events",
        summary="Entries as they come, as Server-Sent Events",
        response_class=_Described,
        responses={
            200: {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}}},
            503: {"model": shown.Failure, "description": "The bus is out of reach, or too many read already."},
        },
    )
    async def events(streams: asked.Streams, raw: _Raw = False) -> Response:
        """One event per entry: its id is the entry's, its data the entry with its stream. A comment is sent when
        nothing came for 15 seconds. A reader that is too slow is let go; an event `cut` says so where
        it still takes anything.
        """
        return _Events(_read(probes, streams), raw, seats, clock)

    @router.websocket("/ws")
    async def websocket(socket: WebSocket) -> None:
        await socket.accept()
        query = socket.query_params
        try:
            batches = _read(probes, query.get("streams", ""))
            with seats.one():
                code, why = 1013, await _to_socket(socket, batches, query.get("raw") in ("true", "1"), clock)
        except UsageError as error:
            code, why = 1008, f"{error}; {error.hint}"
        except CryptostreamError as error:
            code, why = 1013, without_addresses(str(error))
        if why:
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(code, why.encode("ascii", "replace")[:_LONGEST_REASON].decode())

    return router


def _read(probes: Probes, streams: str) -> AsyncIterator[Sequence[Entry]]:
    names = asked.streams(streams)
    if not probes.health().redis_connected:
        raise Unreachable("the bus is out of reach", hint="try again in a few seconds")
    return probes.events(names)


class _Described(Response):
    media_type = "text/event-stream"


class _Events(Response):
    """The answer that does not end by itself."""

    def __init__(self, batches: AsyncIterator[Sequence[Entry]], raw: bool, seats: "_Seats", clock: Clock) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.headers["content-type"] = "text/event-stream; charset=utf-8"
        self._batches = batches
        self._raw = raw
        self._seats = seats
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._seats.one():
                await self._answer(receive, send)
        except Unreachable as error:
            await failure(503, str(error), error.hint)(scope, receive, send)

    async def _answer(self, receive: Receive, send: Send) -> None:
        async def deliver(told: Sequence[bytes], *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": b"".join(told) or _HEARTBEAT, "more_body": more})

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await deliver([_START])
        if why := await relay(self._batches, partial(_event, raw=self._raw), deliver, gone, self._clock):
            cut = b"event: cut\ndata: " + msgspec.json.encode({"error": why}) + b"\n\n"
            with suppress(TimeoutError):  # who takes nothing does not hear it either
                await within(self._clock, _FAREWELL_S, deliver([cut], more=False))


async def _to_socket(socket: WebSocket, batches: AsyncIterator[Sequence[Entry]], raw: bool, clock: Clock) -> str:
    async def deliver(told: Sequence[bytes]) -> None:
        try:
            for message in told:
                await socket.send_text(message.decode())
        except (WebSocketDisconnect, RuntimeError):
            raise _Ended("") from None

    async def gone() -> None:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass

    return await relay(batches, partial(message, raw=raw), deliver, gone, clock)


async def relay(
    batches: AsyncIterator[Sequence[Entry]], frame: Frame, deliver: Deliver, gone: Gone, clock: Clock
) -> str:
    """Deliver what comes until the reader is gone or cut; why it was cut, empty where it left by itself."""
    waiting, why = _Backlog(), ""
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_fill(waiting, batches, frame))
            tasks.create_task(_drain(waiting, deliver, clock))
            tasks.create_task(_leave(gone))
    except* _Ended as ended:
        why = str(ended.exceptions[0])
    except* CryptostreamError as errors:
        why = without_addresses(str(errors.exceptions[0]))
    return why


async def _fill(waiting: "_Backlog", batches: AsyncIterator[Sequence[Entry]], frame: Frame) -> None:
    async with aclosing(cast(Any, batches)):
        async for batch in batches:
            waiting.add([frame(entry) for entry in batch])
    raise _Ended("nothing more will come")


async def _drain(waiting: "_Backlog", deliver: Deliver, clock: Clock) -> None:
    while True:
        piece = await waiting.take(clock)
        try:
            await within(clock, STUCK_S, deliver(piece))
        except TimeoutError:
            raise _Ended(_STUCK) from None


async def _leave(gone: Gone) -> None:
    await gone()
    raise _Ended("")


class _Ended(Exception):
    """A reader is served no more; says why, if it has to be told."""


class _Backlog:
    """What came and was not sent."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._news = asyncio.Event()

    def add(self, told: Sequence[bytes]) -> None:
        """Raises _Ended if it has more than its bound already: a batch alone may be larger, and nobody is slow yet."""
        if self._size > BACKLOG_BYTES:
            raise _Ended(_TOO_SLOW)
        self._waiting.extend(told)
        self._size += sum(map(len, told))
        self._news.set()

    async def take(self, clock: Clock) -> list[bytes]:
        """The next piece, once there is one; nothing after HEARTBEAT_S without."""
        try:
            await within(clock, HEARTBEAT_S, self._news.wait())
        except TimeoutError:
            return []
        piece: list[bytes] = []
        size = 0
        while self._waiting and size < _PIECE_BYTES:
            piece.append(self._waiting.popleft())
            size += len(piece[-1])
        self._size -= size
        if not self._waiting:
            self._news.clear()
        return piece


class _Seats:
    """How many read at a time."""

    def __init__(self) -> None:
        self._taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """A place among the readers. Raises Unreachable where there is none."""
        if self._taken >= READERS_MOST:
            raise Unreachable(f"{READERS_MOST} readers are connected already", hint="one may follow many streams")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


def message(entry: Entry, *, raw: bool) -> bytes:
    """An entry as JSON, with its stream and id.

    >>> message(Entry("s", "1-0", {"price": "5", "raw_json": "{}"}), raw=False)
    b'{"stream":"s","id":"1-0","fields":{"price":"5"}}'
    """
    fields = entry.fields if raw else {name: text for name, text in entry.fields.items() if name != _RAW}
    return msgspec.json.encode({"stream": entry.stream, "id": entry.entry_id, "fields": fields})


def _event(entry: Entry, *, raw: bool) -> bytes:
    return b"id: %b\ndata: %b\n\n" % (entry.entry_id.encode(), message(entry, raw=raw))
