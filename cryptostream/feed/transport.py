"""A websocket that calls back: whole frames in, control messages out. Two libraries, one shape.

`websockets` is always there; `picows` (extra `fast`) hands frames over at a tenth of the CPU. Both answer the server's
pings by themselves.
"""

import importlib.util
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from cryptostream import __version__
from cryptostream.errors import ConfigError

OnFrames = Callable[[Sequence[bytes]], None]
OPEN_TIMEOUT_S = 10.0
HEADERS = {"User-Agent": f"cryptostream/{__version__}"}


class Closed(Exception):
    """The connection is over: `code` as the peer gave it, 1006 where it just went away."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with {code}{f' {reason}' if reason else ''}")
        self.code = code


class Refused(Exception):
    """The handshake was answered with an HTTP status instead of a websocket."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(f"HTTP {status} on the handshake")
        self.status = status
        after = str(headers.get("Retry-After", "")).strip()
        self.retry_after_s = float(after) if after.isdecimal() and len(after) < 8 else None


class Socket(Protocol):
    """One open websocket."""

    async def send(self, text: str) -> None:
        """Send one text frame. Raises Closed."""

    async def ping(self) -> None:
        """Send a ping and wait for its pong. Raises Closed."""

    async def closed(self) -> None:
        """Wait for the end of the connection. Raises Closed, always."""

    async def close(self) -> None:
        """Close with 1000; does not wait long for the peer."""


class Connect(Protocol):
    """Open a websocket whose text and binary frames go to `on_frames`, all of one read together where that is known.

    Raises Refused for an HTTP answer, OSError (TimeoutError, ssl.SSLError) for a peer out of reach.
    """

    async def __call__(self, url: str, on_frames: OnFrames, *, max_frame: int) -> Socket: ...


def transport(wanted: str) -> Connect:
    """The way to connect: `websockets`, `picows`, or `auto` for picows where it is installed.

    Raises ConfigError for picows where it is not.
    """
    installed = importlib.util.find_spec("picows") is not None
    if wanted == "picows" and not installed:
        raise ConfigError("feed.transport is picows, which is not installed", hint="pip install 'cryptostream[fast]'")
    if wanted == "websockets" or not installed:
        from cryptostream.feed import with_websockets

        return with_websockets.connect
    from cryptostream.feed import with_picows

    return with_picows.connect


def tls(url: str) -> ssl.SSLContext | None:
    """A checking TLS context for `wss://`; None for `ws://`, which config allows on loopback alone."""
    return ssl.create_default_context() if url.startswith("wss://") else None
