"""Connections that serve several requests, stream events or become websockets, and what cuts them.

A new one has HEAD_S for its first request, an idle one IDLE_S for the next, body included: however slowly the bytes
come, they do not buy time (slowloris). Whoever does not read what is sent is cut once nothing has moved for READ_S.
"""

import asyncio
from asyncio import Protocol, TimerHandle, Transport

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEAD_S = 10.0
IDLE_S = 30.0
READ_S = 10.0
CONNECTIONS = 256
"""More at a time are closed unheard."""
CONNECTIONS_EACH = 128
"""The same for one address."""


class _Impatient(Protocol):
    """Cuts a reader that stands still."""

    loop: asyncio.AbstractEventLoop
    transport: Transport
    _stuck: TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unstick()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unstick()
        super().connection_lost(exc)

    def _unstick(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None


class Kept(_Impatient, H11Protocol):
    """One connection that speaks HTTP."""

    _deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect(HEAD_S)
        if len(self.connections) > CONNECTIONS or self._mine() > CONNECTIONS_EACH:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self._expect(None)

    def on_response_complete(self) -> None:
        super().on_response_complete()  # what was sent ahead may have begun another one
        if self.cycle.response_complete or self.cycle.more_body:
            self._expect(IDLE_S)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._expect(None)
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        super().connection_lost(exc)

    def _expect(self, within_s: float | None) -> None:
        """A whole request within that time; None once it is there."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if within_s is None else self.loop.call_later(within_s, self.transport.abort)

    def _mine(self) -> int:
        """How many there are of the address that this one is from."""
        clients = [getattr(one, "client", None) for one in self.connections]
        return sum(bool(client and self.client and client[0] == self.client[0]) for client in clients)


class KeptSocket(_Impatient, WebSocketsSansIOProtocol):
    """One connection that has become a websocket."""
