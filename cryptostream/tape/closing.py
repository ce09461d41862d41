"""What takes files to the disk, one after the other in a thread of its own, as often as the disk wants to be asked."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Self

from cryptostream import logs
from cryptostream.engine.backoff import backoff
from cryptostream.engine.clock import within
from cryptostream.model.ports import Clock
from cryptostream.tape.gather import Part

_log = logs.get("recorder")


class Closer:
    """Finishes files in their order; one that fails goes to the end of the line and is tried again, with back-off."""

    def __init__(self, done: Callable[[Part, int], None], clock: Clock) -> None:
        """`done` is called with each file that is in its place, and how many of its entries were new."""
        self.trouble = ""
        """Why the disk takes nothing now; empty while it does."""
        self.failures = 0
        self._done = done
        self._clock = clock
        self._parts: deque[Part] = deque()
        self._wanted = asyncio.Event()
        self._hurried = asyncio.Event()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the file that is being written come to its end; begin no other."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):  # `check` has told it, or another one is on its way
            await self._task
        await asyncio.to_thread(self._thread.shutdown)

    def add(self, part: Part) -> None:
        """Have a file finished."""
        self._parts.append(part)
        self._wanted.set()

    def hurry(self) -> None:
        """Try again now what failed."""
        self._hurried.set()

    def check(self) -> None:
        """Raise what nobody expected, if that has happened."""
        if self._task.done():
            self._task.result()

    async def change(self) -> None:
        """Return once a file was tried. Raises like `check`."""
        self.check()
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({changed, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        self.check()

    async def _work(self) -> None:
        delays = backoff(Random())  # noqa: S311 - jitter
        while True:
            while not self._parts:
                self._wanted.clear()
                await self._wanted.wait()
            try:
                await self._finish(self._parts[0])
                delays = backoff(Random())  # noqa: S311
            except OSError as error:
                self._parts.rotate(-1)
                self._note(f"cannot write to {self._parts[-1].folder}: {error.strerror or error}")
                await self._pause(next(delays))

    async def _finish(self, part: Part) -> None:
        new = await asyncio.get_running_loop().run_in_executor(self._thread, part.finish)
        self._parts.popleft()
        self._done(part, new)
        self._note("")

    def _note(self, trouble: str) -> None:
        if trouble and not self.trouble:
            _log.warning("recorder.stalled", reason=trouble)
        if self.trouble and not trouble:
            _log.info("recorder.resumed", failures=self.failures)
        self.failures = self.failures + 1 if trouble else self.failures
        self.trouble = trouble
        self._changed.set()
        self._changed = asyncio.Event()

    async def _pause(self, delay_s: float) -> None:
        self._hurried.clear()
        with suppress(TimeoutError):
            await within(self._clock, delay_s, self._hurried.wait())
