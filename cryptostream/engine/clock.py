"""The only file that reads the machine's clock or sleeps."""

import asyncio
import time


class SystemClock:
    """The machine's own time."""

    def now_ns(self) -> int:
        return time.time_ns()  # noqa: TID251

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)  # noqa: TID251
