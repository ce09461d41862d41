"""The client for a cluster, without one; `test_cluster.py` has it with real nodes."""

from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NoConnection

from cryptostream.bus.address import Node, parse
from cryptostream.bus.everynode import ClusterClient
from cryptostream.bus.slots import Slots
from cryptostream.testing import ManualClock
from tests.conftest import free_port


async def test_a_node_that_does_not_answer_makes_the_client_learn_anew_and_nothing_is_sent_again() -> None:
    node = Node("127.0.0.1", free_port())
    asked: list[Node] = []

    async def ask(one: Node) -> Any:
        asked.append(one)
        return [[0, 16383, [b"127.0.0.1", node.port, b"id"]]]

    def client_of(one: Node) -> Redis:
        made = {name: value for name, value in parse(f"redis://{one}").options.items() if name != "driver_info"}
        return Redis(**made)

    client = ClusterClient(Slots("redis+cluster://h", [node], ask), client_of, ManualClock())
    for times in (1, 2):
        with pytest.raises(NoConnection):
            await client.xlen("s")
        assert len(asked) == times
    await client.aclose()
