"""A loop that stands still: noticed from another thread, with the code it hangs in."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import FrameSummary
from typing import Any

import pytest
import structlog

from cryptostream.engine import stall
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.pipeline import Pipeline
from cryptostream.engine.stall import Stall
from cryptostream.testing import ListSource

SOON_S = 0.04


def eats_the_cpu(until: Callable[[], bool]) -> None:
    while not until():
        pass


def blocks(until: Callable[[], bool]) -> None:
    never = threading.Event()
    while not until():
        never.wait(0.01)


def told_of(watched: Stall, hangs: Callable[..., None] = blocks) -> str:
    """Hang until that is noticed; what is told of it."""
    told: list[str] = []

    def noticed() -> bool:
        told.append(watched.trouble)
        return bool(told[-1])

    hangs(until=noticed)
    return told[-1]


async def turned(watched: Stall) -> None:
    """Return once the loop is known to turn again."""
    while watched.trouble:
        await SystemClock().sleep(0)


@contextmanager
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.mark.row(29)
@pytest.mark.parametrize("hangs", [eats_the_cpu, blocks])
async def test_the_code_that_hangs_is_named_while_it_does(hangs: Callable[..., None]) -> None:
    async with Stall(after_s=SOON_S) as watched:
        told = told_of(watched, hangs)
    assert re.fullmatch(r"nothing else has run for 0 s because of [<\w>]+, line \d+ of test_stall\.py", told)
    assert watched.count == 1


async def test_it_is_over_once_the_loop_turns() -> None:
    with log() as lines:
        async with Stall(after_s=SOON_S) as watched:
            eats_the_cpu(until=lambda: bool(watched.trouble))
            await turned(watched)
            eats_the_cpu(until=lambda: bool(watched.trouble))
            await turned(watched)
    assert watched.count == 2
    assert [line["event"] for line in lines] == ["engine.stalled", "engine.turns_again"] * 2
    assert "test_stall.py" in lines[0]["frames"]


async def test_a_loop_that_turns_is_left_in_peace() -> None:
    """Also one that waits for something, and one that always has something to do."""
    with log() as lines:
        async with Stall() as watched:
            await SystemClock().sleep(0.1)
            for _ in range(10_000):
                await SystemClock().sleep(0)
    assert (watched.count, watched.trouble, lines) == (0, "", [])


async def test_leaving_ends_its_thread() -> None:
    async with Stall():
        assert "stall" in [thread.name for thread in threading.enumerate()]
    assert "stall" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.row(29)
async def test_a_handler_is_blamed_and_neither_what_it_calls_nor_what_calls_it() -> None:
    told: list[str] = []

    def on_trade(trade: object) -> tuple[object, ...]:
        while not (found := watched.trouble):
            threading.Event().wait(0.01)
        told.append(found)
        return ()

    async with Stall(after_s=SOON_S) as watched:
        await Pipeline("p", ListSource([1]), [], transform=on_trade).run()
    assert "on_trade, line" in told[0]


_HERE, _OURS, _PYTHONS = __file__, stall.__file__, threading.__file__
_INSTALLED = structlog.__file__


@pytest.mark.parametrize(
    ("files", "blamed"),
    [
        ([_PYTHONS, _INSTALLED, _OURS, _HERE, _OURS], _HERE),
        ([_HERE, _PYTHONS, _HERE], _HERE),
        ([_PYTHONS, _OURS, _INSTALLED, _OURS], _INSTALLED),
        ([_PYTHONS, _OURS], _OURS),
        ([_PYTHONS], _PYTHONS),
        (["<frozen importlib._bootstrap>", _OURS], _OURS),
    ],
    ids=["the user's", "the innermost of it", "a package's", "ours", "Python's", "no file"],
)
def test_the_strangest_code_to_us_is_blamed(files: list[str], blamed: str) -> None:
    frames = [FrameSummary(file, line, "f") for line, file in enumerate(files, 1)]
    assert stall._where(frames) == f"f, line {files.index(blamed) + 1} of {Path(blamed).name}"
