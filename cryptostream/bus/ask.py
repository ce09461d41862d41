"""A question to the bus, and our own error where it cannot answer."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from cryptostream.bus.connect import Bus
from cryptostream.bus.translate import translate


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
