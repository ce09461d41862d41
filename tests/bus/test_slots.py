"""Where commands go in a cluster, and how those that are sent on keep their order; no cluster needed."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import hiredis
import pytest
from redis.exceptions import AskError, MovedError

from cryptostream.bus.address import Node
from cryptostream.bus.resp import command
from cryptostream.bus.slots import Slots, key_of, routed, slot_of
from cryptostream.errors import BusUnavailable

A, B, C = (Node("10.0.0.1", port) for port in (1, 2, 3))
HALVES = [[0, 8191, [b"10.0.0.1", 1, b"id"]], [8192, 16383, [b"10.0.0.1", 2, b"id"], [b"10.0.0.1", 3, b"id"]]]

KEYS = {
    "the second word": (("XADD", "trades:BTCUSDT", "*", "a", "1"), "trades:BTCUSDT"),
    "nothing after it": (("XLEN", "s"), "s"),
    "the third word of XINFO": (("XINFO", "STREAM", "s"), "s"),
    "the third word of XGROUP": (("XGROUP", "CREATE", "s", "g", "0"), "s"),
    "a command of one word": (("PING",), ""),
    "characters of several bytes": (("XLEN", "trades:币"), "trades:币"),
    "characters of several bytes, third word": (("XINFO", "STREAM", "币"), "币"),
    "line ends in the key": (("XLEN", "a\r\n$1\r\nb"), "a\r\n$1\r\nb"),
}


@pytest.mark.parametrize(("words", "key"), KEYS.values(), ids=KEYS.keys())
def test_the_key_of_a_packed_command_is_found(words: tuple[str, ...], key: str) -> None:
    assert key_of(command(*words)) == key


def test_a_hash_tag_alone_decides_about_the_slot() -> None:
    assert slot_of("{BTC}:a") == slot_of("{BTC}:b") == slot_of("BTC")
    assert slot_of("{}a") != slot_of("{}b")


class Told:
    """What nodes say about the slots; a node that is not among them is silent."""

    def __init__(self, **replies: Any) -> None:
        self.replies = replies
        self.asked: list[int] = []

    async def __call__(self, node: Node) -> Any:
        self.asked.append(node.port)
        if f"n{node.port}" not in self.replies:
            raise BusUnavailable("silent")
        return self.replies[f"n{node.port}"]


async def learnt(told: Told, *nodes: Node) -> Slots:
    slots = Slots("redis+cluster://h", nodes, told)
    await slots.learn()
    return slots


async def test_each_slot_has_the_master_that_a_node_names() -> None:
    slots = await learnt(Told(n1=HALVES), A)
    assert [slots.master(slot) for slot in (0, 8191, 8192, 16383)] == [A, A, B, B]
    assert slots.masters() == [A, B]


async def test_a_node_that_is_silent_or_knows_nothing_is_passed_over() -> None:
    told = Told(n2=[], n3=HALVES)
    slots = await learnt(told, A, B, C)
    assert (told.asked, slots.master(0)) == ([1, 2, 3], A)


async def test_the_node_that_answered_last_is_asked_first() -> None:
    told = Told(n3=HALVES)
    slots = await learnt(told, A, B, C)
    await slots.learn()
    assert told.asked == [1, 2, 3, 3]


async def test_nodes_that_were_learnt_are_asked_when_those_of_the_url_have_gone() -> None:
    told = Told(n1=HALVES)
    slots = await learnt(told, A)
    told.replies = {"n3": HALVES}
    await slots.learn()
    assert told.asked == [1, 1, 2, 3]


async def test_nodes_that_all_are_silent_can_be_waited_for() -> None:
    with pytest.raises(BusUnavailable, match="silent"):
        await learnt(Told(), A, B)


async def test_a_slot_that_nobody_serves_can_be_waited_for() -> None:
    slots = await learnt(Told(n1=HALVES[:1]), A)
    with pytest.raises(BusUnavailable, match=r"no node of redis\+cluster://h serves slot 9000"):
        slots.master(9000)


@pytest.mark.parametrize("nameless", [b"", None, b"?"])
async def test_a_node_that_does_not_know_its_own_name_is_where_it_was_asked(nameless: bytes | None) -> None:
    slots = await learnt(Told(n1=[[0, 16383, [nameless, 7, b"id"]]]), A)
    assert slots.master(0) == Node("10.0.0.1", 7)


async def test_what_is_doubted_is_learnt_again_and_only_then() -> None:
    told = Told(n1=HALVES)
    slots = await learnt(told, A)
    await slots.known()
    assert told.asked == [1]
    slots.doubt()
    await slots.known()
    assert told.asked == [1, 1]


class Nodes:
    """Nodes that answer by a rule and note what reached them, `?` before what was asked with ASKING."""

    def __init__(self, rule: Any) -> None:
        self.rule = rule
        self.seen: dict[Node, list[str]] = {}

    async def __call__(self, node: Node, places: Sequence[int], asking: Collection[int]) -> Sequence[Any]:
        asked = [f"{'?' if place in asking else ''}{place}" for place in places]
        self.seen.setdefault(node, []).extend(asked)
        return [self.rule(node, word) for word in asked]


def error(text: str) -> hiredis.ReplyError:
    return hiredis.ReplyError(text)


async def test_replies_come_in_the_order_of_the_commands_from_wherever_they_come() -> None:
    nodes = Nodes(lambda node, word: f"{word}@{node.port}".encode())
    replies = await routed(await learnt(Told(n1=HALVES), A), [1, 9000, 2, 9001, 1], nodes)
    assert replies == [b"0@1", b"1@2", b"2@1", b"3@2", b"4@1"]
    assert nodes.seen == {A: ["0", "2", "4"], B: ["1", "3"]}


async def test_what_was_moved_is_sent_on_in_its_order_and_known_from_then_on() -> None:
    nodes = Nodes(lambda node, word: error("MOVED 1 10.0.0.1:3") if node == A and word not in "0" else b"ok")
    slots = await learnt(Told(n1=HALVES), A)
    assert await routed(slots, [1, 1, 1, 9000, 1], nodes) == [b"ok"] * 5
    assert nodes.seen == {A: ["0", "1", "2", "4"], B: ["3"], C: ["1", "2", "4"]}
    assert (slots.master(1), slots.master(2)) == (C, A)


async def test_what_has_to_be_asked_for_is_asked_for_once_and_nothing_is_learnt_from_it() -> None:
    nodes = Nodes(lambda node, word: error("ASK 1 10.0.0.1:3") if node == A else b"ok")
    slots = await learnt(Told(n1=HALVES), A)
    assert await routed(slots, [1, 1], nodes) == [b"ok", b"ok"]
    assert nodes.seen == {A: ["0", "1"], C: ["?0", "?1"]}
    assert slots.master(1) == A


async def test_the_first_that_comes_back_decides_for_the_rest_of_its_slot() -> None:
    answers = {"0": b"ok", "1": error("ASK 1 10.0.0.1:3"), "2": error("MOVED 1 10.0.0.1:2")}
    nodes = Nodes(lambda node, word: answers[word] if node == A else b"ok")
    await routed(await learnt(Told(n1=HALVES), A), [1, 1, 1], nodes)
    assert nodes.seen == {A: ["0", "1", "2"], C: ["?1", "?2"]}


async def test_slots_may_go_different_ways_at_once() -> None:
    ways = {"0": error("ASK 1 10.0.0.1:3"), "1": error("MOVED 2 10.0.0.1:3"), "2": error("MOVED 3 10.0.0.1:2")}
    nodes = Nodes(lambda node, word: ways[word] if node == A else f"{word}@{node.port}".encode())
    assert await routed(await learnt(Told(n1=HALVES), A), [1, 2, 3], nodes) == [b"?0@3", b"1@3", b"2@2"]


async def test_the_errors_of_redis_py_are_read_like_raw_ones() -> None:
    ways = {"0": AskError("1 10.0.0.1:3", status_code="ASK"), "1": MovedError("2 10.0.0.1:3", status_code="MOVED")}
    nodes = Nodes(lambda node, word: ways[word] if node == A else b"ok")
    slots = await learnt(Told(n1=HALVES), A)
    await routed(slots, [1, 2], nodes)
    assert nodes.seen[C] == ["?0", "1"]
    assert (slots.master(1), slots.master(2)) == (A, C)


async def test_other_refusals_are_replies() -> None:
    refusal = error("TRYAGAIN Multiple keys request during rehashing of slot")
    assert await routed(await learnt(Told(n1=HALVES), A), [1], Nodes(lambda node, word: refusal)) == [refusal]


async def test_being_sent_to_and_fro_ends_as_something_to_wait_for() -> None:
    nodes = Nodes(lambda node, word: error(f"MOVED 1 10.0.0.1:{3 - node.port}"))
    with pytest.raises(BusUnavailable, match="from node to node"):
        await routed(await learnt(Told(n1=HALVES), A), [1], nodes)


async def test_nodes_work_at_the_same_time_and_the_first_failure_ends_the_rest() -> None:
    both = asyncio.Barrier(2)
    cut: list[Node] = []

    async def send(node: Node, places: Sequence[int], asking: Collection[int]) -> Sequence[Any]:
        await both.wait()
        if node == A:
            raise ConnectionError("gone")
        try:
            await asyncio.Event().wait()
        finally:
            cut.append(node)
        return []

    with pytest.raises(ConnectionError, match="gone"):
        await routed(await learnt(Told(n1=HALVES), A), [1, 9000], send)
    assert cut == [B]
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
