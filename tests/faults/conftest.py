"""A rig for each test: on the session's Redis where nobody harms it, on one of its own where it has to die."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.rig import DURABLE, Rig, open_rig
from tests.conftest import RedisServer

Figure = Callable[[str], None]
Rigs = Callable[..., AbstractAsyncContextManager[Rig]]


@pytest.fixture
async def rig(_shared_redis: RedisServer, real_redis_url: str, tmp_path: Path) -> AsyncIterator[Rig]:
    """A market of two pairs, 200 trades a second each, before a Redis that must be left alive."""
    async with open_rig(_shared_redis, tmp_path) as made:
        yield made


@pytest.fixture
def shared_rig(_shared_redis: RedisServer, real_redis_url: str, tmp_path: Path) -> Rigs:
    """The same with another market: `shared_rig(rate=1000.0)`."""

    def opened(**exchange: Any) -> AbstractAsyncContextManager[Rig]:
        return open_rig(_shared_redis, tmp_path, **exchange)

    return opened


@pytest.fixture
def own_rig(redis_server: Callable[..., RedisServer], tmp_path: Path) -> Rigs:
    """A rig with a Redis of its own, which keeps what it acknowledged unless told otherwise: `own_rig(rate=1000.0)`."""

    def opened(*options: str, **exchange: Any) -> AbstractAsyncContextManager[Rig]:
        return open_rig(redis_server(*(options or DURABLE)), tmp_path, **exchange)

    return opened


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Note what was reached: `make chaos` prints it into its row."""
    return lambda text: record_property("figure", text)
