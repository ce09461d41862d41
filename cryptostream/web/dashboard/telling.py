"""What one browser is told: what has changed, one message after the other, and the whole where one may be missing."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

Message = dict[str, Any]
Wish = Mapping[str, Any]


class Watched(Protocol):
    """What a browser sees of something that changes."""

    def forget(self) -> None:
        """The browser has nothing: the next message tells it everything."""

    async def message(self) -> Message:
        """What has changed since the last message; empty where nothing has."""


class Telling:
    """A message with `anew` as `all` begins from nothing; the browser asks for one where it has missed another."""

    def __init__(self, watched: Watched, send: Callable[[Message], None]) -> None:
        self._watched = watched
        self._send = send
        self._is_known = False
        self._one_by_one = asyncio.Lock()

    def forget(self) -> None:
        """The browser has missed something: the next message is the whole."""
        self._is_known = False

    async def tell(self, change: Callable[[], None] | None = None) -> None:
        """Tell what has changed, after a `change` of what is watched. What cannot be told comes with the next whole."""
        async with self._one_by_one:
            if change is not None:
                change()
            was_known, self._is_known = self._is_known, False
            if not was_known:
                self._watched.forget()
            message = await self._watched.message()
            if not was_known:
                message = {**message, "anew": "all"}
            if message:
                self._send(message)
            self._is_known = True
