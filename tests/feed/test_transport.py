"""Both transports against peers good and bad: the same frames, the same errors, nothing left behind."""

import asyncio
import gc
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.utils import accept_key

from cryptostream.feed.transport import Closed, Refused, Socket, transport

MAX_FRAME = 100_000

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]


@pytest.fixture(params=["websockets", "picows"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "picows":
        pytest.importorskip("picows")
    return str(request.param)


@pytest.fixture(scope="module", autouse=True)
def only_our_own_garbage() -> Iterator[None]:
    """Keep what was there before out of the collections below: they take a millisecond then."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
async def nothing_is_left_behind(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()  # futures complain of errors nobody looked at when they are collected
    records = caplog.get_records("call") + caplog.get_records("teardown")
    assert [each.getMessage() for each in records if each.name == "asyncio" and each.levelno > logging.INFO] == []


@asynccontextmanager
async def bare_peer(talk: Talk) -> AsyncIterator[str]:
    """A TCP server that reads the request, then does as it likes. Yields its address."""
    talks: list[asyncio.Task[None] | None] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.current_task())
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line for line in request.splitlines() if line.lower().startswith("sec-websocket-key: "))
        try:
            await talk(reader, writer, key.partition(": ")[2])
        finally:
            writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(5):
            await asyncio.gather(*filter(None, talks))


@asynccontextmanager
async def good_peer(talk: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[str]:
    """A well-behaved websocket server. Yields its address."""
    async with serve(talk, "127.0.0.1", 0, compression=None, close_timeout=1, ping_interval=None) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@asynccontextmanager
async def opened(kind: str, url: str) -> AsyncIterator[tuple[Socket, list[bytes]]]:
    """A socket and the frames that have arrived, in a list that grows while `closed` is awaited."""
    frames: list[bytes] = []
    ours = await transport(kind)(url, frames.extend, max_frame=MAX_FRAME)
    try:
        yield ours, frames
    finally:
        async with asyncio.timeout(2):
            await ours.close()


async def ending(kind: str, url: str) -> tuple[int, list[bytes]]:
    """Open, read to the end: the close code and the frames up to it."""
    async with opened(kind, url) as (ours, frames), asyncio.timeout(5):
        with pytest.raises(Closed) as caught:
            await ours.closed()
    return caught.value.code, frames


def upgraded(key: str) -> bytes:
    answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return f"{answer}Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode()


def after_upgrade(*frames: bytes) -> Talk:
    """Shake hands, send these bytes, leave when the other side says a word or leaves."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        writer.write(upgraded(key) + b"".join(frames))
        await left(reader, 1)

    return talk


async def left(reader: asyncio.StreamReader, count: int = -1) -> None:
    with suppress(ConnectionResetError):
        await reader.read(count)


def answers(text: str) -> Talk:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: str) -> None:
        writer.write(text.replace("\n", "\r\n").encode())

    return talk


async def hangs(reader: asyncio.StreamReader, _: asyncio.StreamWriter, __: str) -> None:
    await left(reader)


OK_PAGE = answers("HTTP/1.1 200 OK\nContent-Length: 2\n\nhi")
MOVED = answers("HTTP/1.1 301 Moved Permanently\nLocation: ws://127.0.0.1:1/\nContent-Length: 0\n\n")
PATIENCE = answers("HTTP/1.1 429 Too Many Requests\nRetry-After: 7\nContent-Length: 0\n\n")
UNAVAILABLE = answers("HTTP/1.1 503 Service Unavailable\nContent-Length: 0\n\n")
WRONG_ACCEPT = answers(
    "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: bm8=\n\n"
)

REFUSALS = {
    "a page": (OK_PAGE, 200),
    "a redirect": (MOVED, 301),
    "a plea for patience": (PATIENCE, 429),
    "unavailable": (UNAVAILABLE, 503),
}
BROKEN = {
    "closes without an answer": answers(""),
    "closes within an answer": answers("HTTP/1.1 101 Switching"),
    "answers garbage": answers("\0\1\2 so much for the handshake\n\n"),
    "answers with the wrong key": WRONG_ACCEPT,
    "hangs": hangs,
}
BREACHES = {
    "an unknown opcode": b"\x83\x01x",
    "a masked frame": b"\x81\x81\0\0\0\0x",
    "a long ping": b"\x89\x7e\x00\x80" + bytes(128),
    "a continuation of nothing": b"\x80\x01x",
    "a message within a message": b"\x01\x01x\x81\x01y",
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_an_http_answer_is_a_refusal_with_its_status(kind: str, case: str) -> None:
    talk, status = REFUSALS[case]
    async with bare_peer(talk) as url:
        with pytest.raises(Refused) as caught:
            await transport(kind)(url, print, max_frame=MAX_FRAME)
    assert (caught.value.status, caught.value.retry_after_s) == (status, 7.0 if status == 429 else None)


async def test_a_redirect_is_not_followed(kind: str) -> None:
    visits: list[str] = []

    async def elsewhere(connection: ServerConnection) -> None:
        visits.append(str(connection.id))

    async with good_peer(elsewhere) as target:
        moved = answers(f"HTTP/1.1 301 Moved Permanently\nLocation: {target}\nContent-Length: 0\n\n")
        async with bare_peer(moved) as url:
            with pytest.raises(Refused, match="301"):
                await transport(kind)(url, print, max_frame=MAX_FRAME)
    assert visits == []


@pytest.mark.parametrize("case", BROKEN)
async def test_a_broken_handshake_is_an_os_error(kind: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"cryptostream.feed.with_{kind}.OPEN_TIMEOUT_S", 0.2)
    async with bare_peer(BROKEN[case]) as url:
        with pytest.raises(OSError, match=r"no websocket there: .|no answer within 0\.2 s"):
            await transport(kind)(url, print, max_frame=MAX_FRAME)


async def test_a_connect_that_is_cancelled_leaves_no_socket(kind: str) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    frames: list[bytes] = []

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        asked.set()
        await go_on.wait()
        await after_upgrade(b"\x81\x01x")(reader, writer, key)

    async with bare_peer(late) as url:
        opening = asyncio.ensure_future(transport(kind)(url, frames.extend, max_frame=MAX_FRAME))
        await asked.wait()
        opening.cancel()
        await asyncio.wait([opening])
        go_on.set()
    assert opening.cancelled()
    assert frames == []


@pytest.mark.parametrize("case", BREACHES)
async def test_a_breach_of_the_protocol_ends_the_connection(kind: str, case: str) -> None:
    async with bare_peer(after_upgrade(BREACHES[case], b"\x81\x01z")) as url:
        assert await ending(kind, url) == (1002, [])


async def test_a_fragmented_message_is_handed_over_once_and_whole(kind: str) -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.send("alone")
        await connection.send(["one ", "", "two ", "three"])
        await connection.send([b"raw ", b"bytes"])

    async with good_peer(talk) as url:
        assert await ending(kind, url) == (1000, [b"alone", b"one two three", b"raw bytes"])


async def test_a_ping_between_fragments_is_answered_and_does_not_split_them(kind: str) -> None:
    pongs: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        writer.write(upgraded(key) + b"\x01\x02ab" + b"\x89\x01p")
        pongs.append((await reader.readexactly(7))[:1])
        writer.write(b"\x80\x01c" + b"\x88\x00")
        await left(reader, 1)

    async with bare_peer(talk) as url:
        assert await ending(kind, url) == (1005, [b"abc"])
    assert pongs == [b"\x8a"]


TOO_BIG = {
    "one frame": ["x" * (MAX_FRAME + 1)],
    "fragments": [["x" * (MAX_FRAME // 2)] * 3],
    "the last fragment": [["x" * MAX_FRAME, "x"]],
}


@pytest.mark.parametrize("case", TOO_BIG)
async def test_a_message_too_big_ends_the_connection_with_1009(kind: str, case: str) -> None:
    told: list[int | None] = []

    async def talk(connection: ServerConnection) -> None:
        await connection.send("y" * MAX_FRAME)
        for message in TOO_BIG[case]:
            await connection.send(message)
        await connection.wait_closed()
        told.append(connection.close_code)

    async with good_peer(talk) as url:
        code, frames = await ending(kind, url)
    assert (code, frames) == (1009, [b"y" * MAX_FRAME])
    assert told == [1009]


async def test_a_frame_too_big_is_not_handed_over_although_it_arrives(kind: str) -> None:
    """Its body comes in a second segment, while the connection is being ended."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        writer.write(upgraded(key) + b"\x81\x7f" + struct.pack("!Q", MAX_FRAME + 1))
        await reader.readexactly(1)  # the close
        writer.write(b"x" * (MAX_FRAME + 1) + b"\x81\x01z")

    async with bare_peer(talk) as url:
        assert await ending(kind, url) == (1009, [])


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 3001, 4999])
async def test_a_close_code_is_told_as_it_is(kind: str, code: int) -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.close(code, "enough")

    async with good_peer(talk) as url, opened(kind, url) as (ours, _):
        with pytest.raises(Closed, match=f"closed with {code} enough"):
            await ours.closed()
        for call in (ours.ping(), ours.send("too late"), ours.closed()):
            with pytest.raises(Closed, match=str(code)):
                await call


async def test_a_connection_that_is_reset_is_closed_with_1006(kind: str) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        writer.write(upgraded(key) + b"\x81\x01x")
        await writer.drain()
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with bare_peer(talk) as url:
        code, _ = await ending(kind, url)
    assert code == 1006


async def test_a_connection_that_ends_without_a_word_is_closed_with_1006(kind: str) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        writer.write(upgraded(key) + b"\x81\x01x")

    async with bare_peer(talk) as url:
        assert await ending(kind, url) == (1006, [b"x"])


async def test_a_ping_returns_with_its_pong(kind: str) -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with good_peer(talk) as url, opened(kind, url) as (ours, _), asyncio.timeout(5):
        await ours.ping()
        await asyncio.gather(ours.ping(), ours.ping())


async def test_a_ping_is_told_when_the_connection_ends_meanwhile(kind: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        writer.write(upgraded(key))
        await reader.readexactly(6)  # the ping

    async with bare_peer(talk) as url, opened(kind, url) as (ours, _), asyncio.timeout(5):
        with pytest.raises(Closed, match="1006"):
            await ours.ping()


async def test_what_is_sent_arrives_and_a_close_says_1000(kind: str) -> None:
    heard: list[str | bytes] = []
    codes: list[int | None] = []

    async def talk(connection: ServerConnection) -> None:
        heard.extend([message async for message in connection])
        codes.append(connection.close_code)

    async with good_peer(talk) as url, opened(kind, url) as (ours, _):
        await ours.send("subscribe")
        await ours.close()
        await ours.close()
    assert (heard, codes) == (["subscribe"], [1000])


async def test_a_close_does_not_wait_for_a_peer_that_never_answers(kind: str) -> None:
    """`opened` closes within two seconds or fails."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        writer.write(upgraded(key))
        await left(reader)

    async with bare_peer(talk) as url, opened(kind, url):
        pass


async def test_an_error_of_the_reader_is_not_swallowed(kind: str) -> None:
    def fail(_: bytes) -> None:
        raise ZeroDivisionError("a bug of ours")

    async with bare_peer(after_upgrade(b"\x81\x01x")) as url:
        ours = await transport(kind)(url, fail, max_frame=MAX_FRAME)
        with pytest.raises(ZeroDivisionError):
            await ours.closed()
        await ours.close()
