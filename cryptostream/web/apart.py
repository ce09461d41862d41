"""Health from a thread with a loop of its own: it is answered although a handler holds up the loop of the program."""

import asyncio
import contextlib
import threading
from concurrent.futures import Future

from cryptostream.web.server import Endpoint

_PATIENCE_S = 2.0


class Apart:
    """Runs an endpoint beside the loop that awaits it; a companion of the runtime. `url` is where it answers."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.url = endpoint.url
        self._endpoint = endpoint

    async def __call__(self) -> None:
        """Answer until cancelled. Raises what ends the endpoint."""
        loop, ended = asyncio.new_event_loop(), Future[None]()
        ended.set_running_or_notify_cancel()  # so that only its own end ends it
        serving = loop.create_task(self._endpoint())
        # A daemon: a program that is cut does not wait for who asks how it is.
        thread = threading.Thread(target=_run, args=(loop, serving, ended), name="health", daemon=True)
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
            loop.run_until_complete(serving)
    except BaseException as error:  # it is for whoever awaits us
        ended.set_exception(error)
    else:
        ended.set_result(None)
