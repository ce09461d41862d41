"""The websocket of `picows`: https://picows.readthedocs.io/. It speaks of frames, so fragments are joined here."""

import asyncio
import logging
from collections import deque

from picows import (
    WSCloseCode,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSProtocolError,
    WSTransport,
    ws_connect,
)

from cryptostream.feed.transport import HEADERS, OPEN_TIMEOUT_S, Closed, OnFrames, Refused, tls

_DATA = (WSMsgType.TEXT, WSMsgType.BINARY)
_UNHEARD = logging.getLogger("cryptostream.picows")  # what it says there, `Closed` says to our own log
_UNHEARD.addHandler(logging.NullHandler())
_UNHEARD.propagate = False


class _Socket(WSListener):
    def __init__(self, on_frames: OnFrames, max_frame: int) -> None:
        super().__init__()
        self.abandoned = False
        self._on_frames = on_frames
        self._read: list[bytes] = []
        self._max_frame = max_frame
        self._joined: bytearray | None = None
        self._pongs: deque[asyncio.Future[None]] = deque()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        if self.abandoned:  # cancelling `ws_connect` does not stop its handshake
            self._hang_up()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if transport.is_close_frame_sent:
            return  # the library reads on, even the body of a frame it found too big
        if frame.msg_type in _DATA and frame.fin and self._joined is None:
            self._read.append(frame.get_payload_as_bytes())
        else:
            self._hand_over()  # what came before is whole, whatever this is
            self._other(frame)
        if frame.last_in_buffer:
            self._hand_over()

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002
        self._hand_over()
        for pong in self._pongs:
            if not pong.done():
                pong.set_exception(self._ending())
        self._pongs.clear()

    async def send(self, text: str) -> None:
        self._check_open()
        self._transport.send(WSMsgType.TEXT, text.encode())

    async def ping(self) -> None:
        self._check_open()
        pong = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self._transport.send_ping()
        await pong

    async def closed(self) -> None:
        try:
            await self._transport.wait_disconnected()
        except WSProtocolError as error:
            raise self._ending() from error
        raise self._ending()

    async def close(self) -> None:
        self._hang_up()
        await asyncio.gather(self._transport.wait_disconnected(), return_exceptions=True)

    def _hand_over(self) -> None:
        if self._read:
            frames, self._read = self._read, []
            self._on_frames(frames)

    def _other(self, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            self._hang_up()
        elif kind == WSMsgType.PONG:
            self._ponged()
        elif kind != WSMsgType.PING:  # pings are answered by the library
            self._join(frame)

    def _join(self, frame: WSFrame) -> None:
        """RFC 6455, section 5.4. The library closes with the code of what is raised here."""
        if (frame.msg_type == WSMsgType.CONTINUATION) != (self._joined is not None):
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "fragments out of order")
        whole = self._joined = self._joined or bytearray()
        whole += frame.get_payload_as_bytes()
        if len(whole) > self._max_frame:
            raise WSProtocolError(WSCloseCode.MESSAGE_TOO_BIG, "message too big")
        if frame.fin:
            self._joined = None
            self._read.append(bytes(whole))

    def _ponged(self) -> None:
        while self._pongs:
            pong = self._pongs.popleft()
            if not pong.done():
                pong.set_result(None)

    def _hang_up(self) -> None:
        """Say goodbye, unless that was done, and go without waiting for the peer."""
        if not self._transport.is_close_frame_sent:
            self._transport.send_close(WSCloseCode.OK)
        self._transport.disconnect(graceful=False)

    def _check_open(self) -> None:
        if self._transport.is_disconnected or self._transport.is_close_frame_sent:
            raise self._ending()

    def _ending(self) -> Closed:
        """What the peer said, else what we said, else that nobody said anything."""
        said = self._transport.close_handshake
        seen = said and (said.recv or said.sent)
        if not seen:
            return Closed(1006, "the connection was lost")
        code = int(seen.code)  # type: ignore[call-overload]  # an int, also where no enum knows it; 0 is no code
        return Closed(code or 1005, seen.reason or "")


async def connect(url: str, on_frames: OnFrames, *, max_frame: int) -> _Socket:
    """See `transport.Connect`. Frames are handed over as soon as they arrive."""
    socket = _Socket(on_frames, max_frame)
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await _open(url, socket, max_frame)
    except WSHandshakeError as error:
        if error.response is not None and error.response.status != 101:
            raise Refused(int(error.response.status), error.response.headers) from error
        raise ConnectionError(f"no websocket there: {error}") from error
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {OPEN_TIMEOUT_S:g} s") from error
    return socket


async def _open(url: str, socket: _Socket, max_frame: int) -> None:
    try:
        _, listener = await ws_connect(
            lambda: socket,
            url,
            ssl_context=tls(url),
            websocket_handshake_timeout=OPEN_TIMEOUT_S,
            max_frame_size=max_frame,
            extra_headers=HEADERS,
            max_redirects=0,
            logger_name=_UNHEARD,
        )
    except asyncio.CancelledError:
        socket.abandoned = True
        raise
    if listener is None:  # so it is returned when the peer goes away without an answer
        raise ConnectionError("no websocket there: the connection was lost during the handshake")
