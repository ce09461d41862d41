"""What tests of commands share: a client of the bus that the command is given."""

from collections.abc import Iterator

import pytest
import redis


@pytest.fixture
def server(bus_url: str) -> Iterator[redis.Redis]:
    """The bus as a plain redis-py sees it, on both engines."""
    with redis.Redis.from_url(bus_url, decode_responses=True, protocol=2) as client:
        yield client
