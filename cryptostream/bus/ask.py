"""A question to the bus, and our own error where it cannot answer."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import RedisError

from cryptostream.bus.translate import translate
from cryptostream.engine.backoff import backoff
from cryptostream.errors import BusUnavailable
from cryptostream.model.ports import Clock

if TYPE_CHECKING:
    from cryptostream.bus.connect import Bus


T = TypeVar("T")


@contextmanager
def asking(bus: "Bus", key: str = "") -> Iterator[None]:
    """Around calls of redis-py: what they raise leaves as BusUnavailable or BusRefused; `key` is what was asked."""
    try:
        yield
    except (RedisError, OSError, RuntimeError) as error:  # uvloop's, for a transport that is gone
        raise translate(error, bus.url, key=key) from error


async def insist(work: Callable[[], Awaitable[T]], clock: Clock, within_s: float) -> T:
    """The answer to a question that may be asked again: until there is one, or so many seconds have passed.

    Raises BusUnavailable then, and BusRefused at once.
    """
    deadline_s = clock.monotonic() + within_s
    for delay_s in backoff(Random(), base_s=0.1, cap_s=1.0, floor_s=0.05):  # noqa: S311 - jitter, not a secret
        heed_cancellation()
        try:
            return await work()
        except BusUnavailable:
            if clock.monotonic() + delay_s >= deadline_s:
                raise
        await clock.sleep(delay_s)
    raise AssertionError("unreachable")


def heed_cancellation() -> None:
    """Raise CancelledError in a task that was cancelled; loops over calls of redis-py ask once a round.

    redis-py sends by asyncio.wait_for, which before Python 3.12 may return its result and forget the cancellation:
    https://github.com/python/cpython/issues/86296
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
