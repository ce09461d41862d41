"""The websocket of the `websockets` library: https://websockets.readthedocs.io/."""

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from cryptostream.feed.transport import HEADERS, OPEN_TIMEOUT_S, Closed, OnFrames, Refused, tls


class _Socket:
    def __init__(self, connection: ClientConnection, on_frames: OnFrames) -> None:
        self._connection = connection
        self._on_frames = on_frames

    async def send(self, text: str) -> None:
        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def ping(self) -> None:
        try:
            await (await self._connection.ping())
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def closed(self) -> None:
        receive, on_frames = self._connection.recv, self._on_frames
        try:
            while True:
                on_frames((await receive(decode=False),))
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def close(self) -> None:
        await self._connection.close()


class _connect(websockets_connect):  # noqa: N801 - it is called as a function
    """A connect that stays at the address it was given."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def connect(url: str, on_frames: OnFrames, *, max_frame: int) -> _Socket:
    """See `transport.Connect`. Frames are handed over while `closed` is awaited."""
    try:
        connection = await _connect(
            url,
            ssl=tls(url),
            additional_headers=HEADERS,
            user_agent_header=None,
            compression=None,
            max_size=max_frame,
            max_queue=1024,
            ping_interval=None,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=1,
            proxy=None,
        )
    except InvalidStatus as error:
        raise Refused(error.response.status_code, error.response.headers) from error
    except InvalidHandshake as error:
        raise ConnectionError(f"no websocket there: {error}") from error
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {OPEN_TIMEOUT_S:g} s") from error
    return _Socket(connection, on_frames)


def _closed(error: ConnectionClosed) -> Closed:
    seen = error.rcvd or error.sent
    return Closed(seen.code, seen.reason) if seen else Closed(1006, "the connection was lost")
