"""The websocket of `picows`: https://picows.readthedocs.io/. It speaks of frames, so fragments are joined here."""

import asyncio
from collections import deque

from picows import WSCloseCode, WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect

from cryptostream.feed.transport import HEADERS, OPEN_TIMEOUT_S, Closed, OnFrame, Refused, tls

_DATA = (WSMsgType.TEXT, WSMsgType.BINARY)


class _Socket(WSListener):
    def __init__(self, on_frame: OnFrame, max_frame: int) -> None:
        super().__init__()
        self._on_frame = on_frame
        self._max_frame = max_frame
        self._fragments: list[bytes] = []
        self._pongs: deque[asyncio.Future[None]] = deque()
        self._end: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind in _DATA and frame.fin:
            self._on_frame(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            self._finish(_closed(frame.get_payload_as_bytes()))
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif kind == WSMsgType.PONG:
            self._ponged()
        elif kind != WSMsgType.PING:  # pings are answered by the library
            self._join(frame.get_payload_as_bytes(), last=frame.fin)

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002
        self._finish(Closed(1006, "the connection was lost"))

    async def send(self, text: str) -> None:
        if self._end.done():
            raise self._end.result()
        self._transport.send(WSMsgType.TEXT, text.encode())

    async def ping(self) -> None:
        if self._end.done():
            raise self._end.result()
        pong = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self._transport.send_ping()
        await pong

    async def closed(self) -> None:
        raise await asyncio.shield(self._end)

    async def close(self) -> None:
        if not self._end.done():
            self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect()
            await self._transport.wait_disconnected()

    def _join(self, part: bytes, *, last: bool) -> None:
        self._fragments.append(part)
        if sum(map(len, self._fragments)) > self._max_frame:
            self._finish(Closed(1009, "message too big"))
            self._transport.send_close(WSCloseCode.MESSAGE_TOO_BIG)
            self._transport.disconnect()
        elif last:
            whole, self._fragments = b"".join(self._fragments), []
            self._on_frame(whole)

    def _ponged(self) -> None:
        while self._pongs:
            pong = self._pongs.popleft()
            if not pong.done():
                pong.set_result(None)

    def _finish(self, closed: Closed) -> None:
        if not self._end.done():
            self._end.set_result(closed)
        for pong in self._pongs:
            if not pong.done():
                pong.set_exception(closed)
        self._pongs.clear()


async def connect(url: str, on_frame: OnFrame, *, max_frame: int) -> _Socket:
    """See `transport.Connect`. Frames are handed over as soon as they arrive."""
    try:
        socket = _Socket(on_frame, max_frame)
        await ws_connect(
            lambda: socket,
            url,
            ssl_context=tls(url),
            websocket_handshake_timeout=OPEN_TIMEOUT_S,
            max_frame_size=max_frame,
            extra_headers=HEADERS,
            max_redirects=0,
        )
    except WSHandshakeError as error:
        if error.response is not None and error.response.status != 101:
            raise Refused(int(error.response.status), error.response.headers) from error
        raise ConnectionError(f"no websocket there: {error}") from error
    return socket


def _closed(payload: bytes) -> Closed:
    """A close frame's code and reason: RFC 6455, section 5.5.1. Venues use codes that no enum knows."""
    if len(payload) < 2:
        return Closed(1005)
    return Closed(int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "replace"))
