"""Connections that last, on real sockets: what they carry, what cuts them, how they end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cryptostream.engine.clock import SystemClock
from cryptostream.web import kept, server
from cryptostream.web.server import LASTING, Endpoint, listening

HEAD = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
LONG = b"Content-Length: 100000\r\n\r\n"
SOON_S = 0.2
_CLOCK = SystemClock()


class Inside:
    """Answers `ok`, with a flood under /flood, with events for ever under /events, and echoes on a websocket."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        try:
            await (self._echo(receive, send) if scope["type"] == "websocket" else self._answer(scope, receive, send))
        finally:
            self.ended.append(scope["path"])

    async def _live(self, receive: Receive, send: Send) -> None:
        for which in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{which}.complete"})
            self.ended.append(which)

    async def _echo(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        lasts = {"/flood": self._repeated(b"x" * 2**20, 0), "/events": self._repeated(b":\n\n", 0.01)}
        body = lasts.get(scope["path"])
        await (StreamingResponse(body) if body else Response(b"ok"))(scope, receive, send)

    async def _repeated(self, body: bytes, every_s: float) -> AsyncIterator[bytes]:
        while True:
            yield body
            await _CLOCK.sleep(every_s)


@contextlib.asynccontextmanager
async def serving(inside: Inside | None = None) -> AsyncIterator[int]:
    """An endpoint that answers inside, and is cancelled at the end as a command does it; gives its port."""
    endpoint = Endpoint(inside or Inside(), listening("127.0.0.1", 0), LASTING)
    running = asyncio.ensure_future(endpoint())
    try:
        yield int(endpoint.url.rpartition(":")[2])
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@contextlib.asynccontextmanager
async def opened(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether one more request gets its answer."""
    writer.write(HEAD % b"")
    return (await asyncio.wait_for(reader.readuntil(b"\r\n\r\nok"), 5)).startswith(b"HTTP/1.1 200")


async def is_cut(reader: asyncio.StreamReader) -> bool:
    """Whether the other side ends it, within what is much more than it should take."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), 5) is not None
    return True


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not so():
            await _CLOCK.sleep(0.01)


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_S", "IDLE_S", "READ_S"):
        monkeypatch.setattr(kept, name, SOON_S)


async def test_one_connection_serves_several_requests() -> None:
    async with serving() as port, opened(port) as (reader, writer):
        assert [await answered(reader, writer) for _ in range(3)] == [True] * 3


@pytest.mark.row(36)
@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(
    ("before", "slowly"),
    [(0, HEAD[:-2] % b"" + b"X: "), (1, HEAD[:-2] % b"" + b"X: "), (1, HEAD[:-2] % b"events" + LONG), (1, b"")],
    ids=["a first head", "a next head", "a body", "nothing"],
)
async def test_who_sends_slowly_is_cut(before: int, slowly: bytes) -> None:
    async with serving() as port:
        async with opened(port) as (reader, writer):
            assert [await answered(reader, writer) for _ in range(before)] == [True] * before
            trickling = asyncio.ensure_future(_trickled(writer, slowly))
            assert await is_cut(reader)
            trickling.cancel()
        async with opened(port) as fresh:
            assert await answered(*fresh)


async def _trickled(writer: asyncio.StreamWriter, first: bytes) -> None:
    writer.write(first)
    while first:
        writer.write(b"x")
        await _CLOCK.sleep(SOON_S / 20)


@pytest.mark.row(36)
@pytest.mark.usefixtures("_hasty")
async def test_who_reads_is_served_on_and_who_does_not_is_cut() -> None:
    inside = Inside()
    async with serving(inside) as port, opened(port) as (reader, writer), opened(port) as (_, deaf):
        deaf.write(HEAD % b"flood")
        writer.write(HEAD % b"events")
        await until(lambda: "/flood" in inside.ended)
        for _ in range(5):
            await asyncio.wait_for(reader.readuntil(b":\n\n"), 5)
        assert inside.ended == ["startup", "/flood"]


@pytest.mark.row(36)
@pytest.mark.parametrize("bound", ["CONNECTIONS", "CONNECTIONS_EACH"])
async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(kept, bound, 2)
    async with serving() as port, opened(port) as first, opened(port), opened(port) as third:
        assert await is_cut(third[0])
        assert await answered(*first)


async def test_a_websocket_lasts_and_its_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "HEAD_S", 0.05)
    async with serving() as port, connect(f"ws://127.0.0.1:{port}/ws", proxy=None) as socket:
        await _CLOCK.sleep(0.15)
        await socket.send("x" * 60_000)
        assert await socket.recv() == "x" * 60_000
        await socket.send("x" * 70_000)
        assert await _closed(socket) == 1009


async def test_the_end_tells_sockets_and_waits_for_no_stream() -> None:
    inside = Inside()
    began_s = _CLOCK.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        async with serving(inside) as port:
            socket = await stack.enter_async_context(connect(f"ws://127.0.0.1:{port}/ws", proxy=None))
            reader, writer = await stack.enter_async_context(opened(port))
            writer.write(HEAD % b"events")
            await reader.readuntil(b":\n\n")
        assert await _closed(socket) == 1012
        await until(lambda: set(inside.ended) == {"startup", "/ws", "/events", "shutdown"})
    assert _CLOCK.monotonic() - began_s < 3


async def _closed(socket: ClientConnection) -> int | None:
    """The code that the other side closes with."""
    with contextlib.suppress(ConnectionClosed):
        await socket.recv()
    return socket.close_code


def test_a_port_that_is_taken_names_what_it_was_for() -> None:
    taken = listening("127.0.0.1", 0)
    with taken, pytest.raises(server.PortTaken, match="so that the API cannot be served there") as caught:
        listening("127.0.0.1", taken.getsockname()[1], server.SITE)
    assert "--port 0" in caught.value.hint
