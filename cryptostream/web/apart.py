"""Serving from a thread with a loop of its own: it is answered although a handler holds up the loop of the program."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Protocol

_PATIENCE_S = 3.0


class Serves(Protocol):
    """An Endpoint, or whatever has its face."""

    url: str

    def __call__(self) -> Coroutine[Any, Any, None]: ...

    def close(self) -> None: ...


class Apart:
    """Runs an endpoint beside the loop that awaits it; a companion of the runtime. `url` is where it answers."""

    def __init__(self, endpoint: Serves, name: str = "health") -> None:
        self.url = endpoint.url
        self._endpoint = endpoint
        self._name = name

    async def __call__(self) -> None:
        """Answer until cancelled. Raises what ends the endpoint."""
        loop, ended = asyncio.new_event_loop(), Future[None]()
        ended.set_running_or_notify_cancel()  # so that only its own end ends it
        serving = loop.create_task(self._endpoint())
        # A daemon: a program that is cut does not wait for who asks how it is.
        thread = threading.Thread(target=_run, args=(loop, serving, ended), name=self._name, daemon=True)
        thread.start()
        try:
            await asyncio.wrap_future(ended)
        finally:
            with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended by itself
                loop.call_soon_threadsafe(serving.cancel)
            thread.join(_PATIENCE_S)

    def close(self) -> None:
        """Give the address back; for an endpoint that never ran."""
        self._endpoint.close()


def _run(loop: asyncio.AbstractEventLoop, serving: asyncio.Task[None], ended: Future[None]) -> None:
    try:
        with contextlib.closing(loop):
            try:
                loop.run_until_complete(serving)
            finally:
                loop.run_until_complete(_end(asyncio.all_tasks(loop)))
    except BaseException as error:  # it is for whoever awaits us
        ended.set_exception(error)
    else:
        ended.set_result(None)


async def _end(left: set[asyncio.Task[Any]]) -> None:
    """What still hangs on connections that were cut."""
    left.discard(asyncio.current_task())
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
