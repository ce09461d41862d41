"""A question to the bus, our own error where it cannot answer, and patience while it is away."""

import asyncio
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from random import Random

from redis.exceptions import RedisError

from cryptostream import logs
from cryptostream.bus.connect import Bus
from cryptostream.bus.translate import translate
from cryptostream.engine.backoff import backoff
from cryptostream.errors import BusUnavailable
from cryptostream.model.ports import Clock

_log = logs.get("bus")


@contextmanager
def asking(bus: Bus, key: str = "") -> Iterator[None]:
    """Around calls of redis-py: what they raise leaves as BusUnavailable or BusRefused; `key` is what was asked."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise translate(error, bus.url, key=key) from error


def heed_cancellation() -> None:
    """Raise CancelledError in a task that was cancelled; loops over calls of redis-py ask once a round.

    redis-py sends by asyncio.wait_for, which before Python 3.12 may return its result and forget the cancellation:
    https://github.com/python/cpython/issues/86296
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class Outage:
    """Waits while the bus is away; told once when it goes and once when it is back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._delays: Generator[float, float | None, None] | None = None

    async def wait(self, trouble: BusUnavailable) -> None:
        if self._delays is None:
            _log.warning("bus.away", reason=str(trouble))
            self._delays = backoff(Random(), base_s=0.5, cap_s=5.0)  # noqa: S311 - jitter, not a secret
        await self._clock.sleep(next(self._delays))

    def over(self) -> None:
        if self._delays is not None:
            _log.info("bus.back")
            self._delays = None
