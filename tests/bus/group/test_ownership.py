"""Who of a group reads which streams, where that does not change."""

import subprocess
import sys

import pytest

from cryptostream.bus.group.ownership import EVERYTHING, Shard
from cryptostream.errors import UsageError

STREAMS = [f"trades:P{number}USDT" for number in range(1000)]


async def test_everything_is_ours_and_may_be_anybody_elses() -> None:
    assert await EVERYTHING.mine(STREAMS) == STREAMS
    assert not EVERYTHING.exclusive


async def test_each_stream_is_in_exactly_one_of_the_shards() -> None:
    shards = [set(await Shard(index, of=4).mine(STREAMS)) for index in (1, 2, 3, 4)]
    assert sorted(stream for shard in shards for stream in shard) == sorted(STREAMS)
    assert all(Shard(index, of=4).exclusive for index in (1, 2, 3, 4))


async def test_shards_are_about_equal() -> None:
    sizes = [len(await Shard(index, of=4).mine(STREAMS)) for index in (1, 2, 3, 4)]
    assert min(sizes) > 200


def test_a_stream_is_in_the_same_shard_in_every_process() -> None:
    code = (
        "from cryptostream.bus.group.ownership import Shard\n"
        "print([Shard(i, of=3).holds('trades:人') for i in (1, 2, 3)])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[False, False, True]\n"


async def test_one_shard_of_one_holds_everything() -> None:
    assert await Shard.parse("1/1").mine(STREAMS) == STREAMS


@pytest.mark.parametrize(
    "text", ["", "1", "/", "1/", "/4", "0/4", "5/4", "1/0", "-1/4", "a/b", "1/4/2", "1 / 4", "²/4"]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Shard.parse(text)


def test_a_shard_is_shown_as_it_is_written() -> None:
    assert str(Shard.parse("3/16")) == "3/16"
