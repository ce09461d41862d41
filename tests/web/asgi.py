"""An application asked without a socket, message by message: for answers that do not end by themselves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp

Slowness = Callable[[dict[str, Any]], Awaitable[None]]


class Conversation:
    """One request or websocket; `said` is what came of it so far. `slow` may hold up what is sent."""

    def __init__(self, slow: Slowness | None = None) -> None:
        self.said: list[dict[str, Any]] = []
        self._slow = slow
        self._heard = asyncio.Event()
        self._asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def receive(self) -> dict[str, Any]:
        return await self._asked.get()

    async def send(self, message: Any) -> None:
        if self._slow is not None:
            await self._slow(message)
        self.said.append(message)
        self._heard.set()

    def say(self, **message: Any) -> None:
        self._asked.put_nowait(message)

    async def until(self, told: Callable[["Conversation"], bool]) -> None:
        """Wait until what was said is such."""
        async with asyncio.timeout(10):
            while not told(self):
                self._heard.clear()
                await self._heard.wait()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.said)

    @property
    def ended(self) -> bool:
        return any(one["type"] == "http.response.body" and not one.get("more_body") for one in self.said)

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.said if message["type"] == "websocket.send"]


@asynccontextmanager
async def asked(
    app: ASGIApp, path: str, query: str = "", *, kind: str = "http", slow: Slowness | None = None
) -> AsyncIterator[Conversation]:
    """A request that the application answers meanwhile, cut at the end if it has not ended."""
    talk = Conversation(slow)
    scope = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "ws" if kind == "websocket" else "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1:8000")],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 8000),
        "subprotocols": [],
        "state": {},
    }
    if kind == "websocket":
        talk.say(type="websocket.connect")
    answering = asyncio.ensure_future(app(scope, talk.receive, talk.send))
    try:
        yield talk
    finally:
        talk.say(type=f"{kind}.disconnect", code=1000)
        await asyncio.wait_for(answering, 10)
