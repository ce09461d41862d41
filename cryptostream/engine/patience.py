"""How long a pipeline that was told to stop waits for a sink in trouble: a moment, where its source keeps all."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from cryptostream.model.ports import Clock

GRACE_S = 2.0
_EVERY_S = 0.1
"""How often to look whether it is worth waiting, once the grace is over."""


class NotWaitedFor(Exception):
    """What a sink was to make safe stays with the source."""


class Patience:
    """Around the work of one task (`async with`): GRACE_S after its `end` what is `waiting` is cancelled if `hopeless`.

    What is merely slow is waited for.
    """

    def __init__(self, clock: Clock, hopeless: Callable[[], bool]) -> None:
        self._clock = clock
        self._hopeless = hopeless
        self._ending = asyncio.Event()
        self._waits = False
        self._cancelled = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        self._watch = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.cancel()
        await asyncio.wait({self._watch})

    def end(self) -> None:
        """The work is to come to its end."""
        self._ending.set()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what need not come to its end. Raises NotWaitedFor where it was cancelled for that."""
        self._waits = True
        try:
            yield
        except asyncio.CancelledError:
            if not self._takes_back():
                raise
            raise NotWaitedFor from None
        finally:
            self._waits = False

    async def _look(self) -> None:
        await self._ending.wait()
        await self._clock.sleep(GRACE_S)
        while True:
            if self._task is not None and self._waits and self._hopeless():
                self._cancelled += 1
                self._task.cancel()
            await self._clock.sleep(_EVERY_S)

    def _takes_back(self) -> bool:
        """Whether nobody but us cancelled it."""
        ours, self._cancelled = self._cancelled, 0
        others = 0
        for _ in range(ours):
            others = self._task.uncancel() if self._task is not None else 0
        return ours > 0 and not others
