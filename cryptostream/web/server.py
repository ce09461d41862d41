"""Uvicorn inside a program that has a loop, signals and an end of its own.

The address is taken before anything else starts, so that a port that somebody has is known at once. What probes
of an operator ask (`BRIEF`) has a connection for each request, heard and answered within DEADLINE_S: who sends or reads
slowly is cut. What people look at (`LASTING`) has the connections of `kept.py`, websockets among them.
"""

import asyncio
import errno
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from cryptostream import logs
from cryptostream.errors import ConfigError
from cryptostream.web.kept import IDLE_S, Kept, KeptSocket

DEADLINE_S = 10.0
CONNECTIONS = 64
"""More at a time are closed unheard."""
_BACKLOG = 64
_GRACE_S = 1
_LARGEST_HEAD = 16_384
_log = logs.get("web")


@dataclass(frozen=True)
class Purpose:
    """What an address is for, in the words of errors."""

    what: str
    if_taken: str
    setting: str


HEALTH = Purpose("health", "another ingester or consumer? --health-port 0 takes a free port", "ingest.health_host")
SITE = Purpose("the API", "another `serve` or `run`? --port 0 takes a free port", "serve.host")


class Endpoint:
    """Answers over HTTP while it runs; a companion of the runtime. `url` is where.

    `taken` is where it listens; it is closed at the end.
    """

    def __init__(self, application: ASGIApp, taken: socket.socket, manner: Mapping[str, Any] | None = None) -> None:
        self._socket = taken
        self._server = _Server(_config(application, BRIEF if manner is None else manner))
        self.url = url(taken)

    async def __call__(self) -> None:
        """Answer until cancelled; then nobody is waited for, but for a moment those whose answer is on its way."""
        _log.info("web.listening", url=self.url)
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            if self._server.started:
                await self._server.shutdown(sockets=[self._socket])
            self.close()

    def close(self) -> None:
        """Give the address back; for an endpoint that never ran."""
        self._socket.close()


class PortTaken(ConfigError):
    """Somebody listens at that port."""


def listening(host: str, port: int, purpose: Purpose = HEALTH) -> socket.socket:
    """A socket that listens already: between binding and listening another program could still get ahead.

    Raises ConfigError for an address that cannot be had, PortTaken for a port that somebody has.
    """
    try:
        family, address = _resolved(host, port)
        taken = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _untaken(error, host, port, purpose) from error
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last one's connections may linger
        taken.bind(address)
        taken.listen(_BACKLOG)
    except OSError as error:
        taken.close()
        raise _untaken(error, host, port, purpose) from error
    return taken


def unless_taken(host: str, port: int, purpose: Purpose = HEALTH, *, asked: bool) -> socket.socket | None:
    """The same; None and a warning where the port is taken and nobody had `asked` for that very one.

    So a second ingester on one machine runs without. Raises ConfigError.
    """
    try:
        return listening(host, port, purpose)
    except PortTaken as error:
        if asked:
            raise
        _log.warning("web.not_served", why=str(error), fix=error.hint)
        return None


def url(taken: socket.socket) -> str:
    """Where a socket answers."""
    host, port = taken.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _resolved(host: str, port: int) -> tuple[int, tuple[object, ...]]:
    """The family and address to bind; of a name's several addresses the IPv4 one, which people type."""
    found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)  # noqa: S104
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, address


def _untaken(error: OSError | UnicodeError, host: str, port: int, purpose: Purpose) -> ConfigError:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return PortTaken(
            f"port {port} of {host or 'every address'} is taken, so that {purpose.what} cannot be served there",
            hint=purpose.if_taken,
        )
    why = (error.strerror if isinstance(error, OSError) else None) or "not a host's name"
    return ConfigError(
        f"{purpose.what} cannot be served on {host!r}, port {port}: {why}", hint=f"see {purpose.setting}"
    )


def _config(application: ASGIApp, manner: Mapping[str, Any]) -> uvicorn.Config:
    config = uvicorn.Config(
        application,
        interface="asgi3",
        log_config=None,
        log_level="critical",  # what matters of it is in our own log
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GRACE_S,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
        **manner,
    )
    config.load()  # it imports, and that is for now rather than for when frames come in
    return config


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the runtime's."""
        yield


class _Connection(H11Protocol):
    """One connection, which has DEADLINE_S from its first byte to its last."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(DEADLINE_S, transport.abort)
        if len(self.connections) > CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """At the end nobody is waited for."""
        self.transport.abort()


BRIEF: Mapping[str, Any] = {"http": _Connection, "ws": "none", "lifespan": "off", "headers": [("connection", "close")]}
LASTING: Mapping[str, Any] = {
    "http": Kept,
    "ws": KeptSocket,
    "lifespan": "on",
    "timeout_keep_alive": int(IDLE_S),
    "ws_max_size": 64 * 1024,
    "ws_per_message_deflate": False,
}
