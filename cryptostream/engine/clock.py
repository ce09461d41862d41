"""The only file that reads the machine's clock or sleeps."""

import asyncio
import time
from collections.abc import Awaitable
from math import inf
from typing import TypeVar

from cryptostream.model.ports import Clock

T = TypeVar("T")


class SystemClock:
    """The machine's own time."""

    now_ns = staticmethod(time.time_ns)  # noqa: TID251 - bare, for it is asked once a frame

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)  # noqa: TID251


async def within(clock: Clock, limit_s: float, work: Awaitable[T]) -> T:
    """Await work for at most `limit_s` of the clock's seconds, which may be inf.

    Raises TimeoutError and cancels it after that.
    """
    if limit_s == inf:
        return await work
    job, alarm = asyncio.ensure_future(work), asyncio.ensure_future(clock.sleep(limit_s))
    try:
        await asyncio.wait((job, alarm), return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            raise TimeoutError
        return job.result()
    finally:
        job.cancel()
        alarm.cancel()
