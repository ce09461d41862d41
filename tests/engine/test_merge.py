"""Merging recordings: by time, stable, lazy."""

import random
from collections.abc import Iterator
from itertools import count

import pytest

from cryptostream.engine.merge import merge


class Listed:
    """An input in memory that tells when it is opened and how far it was read."""

    def __init__(self, name: str, *items: tuple[int, str]) -> None:
        self.name = name
        self.starts = items[0][0] if items else 0
        self.items = items
        self.opened = False
        self.read = 0

    def __iter__(self) -> Iterator[tuple[int, str]]:
        self.opened = True
        for item in self.items:
            self.read += 1
            yield item


CASES = {
    "no input": ([], ""),
    "one empty input": ([Listed("a")], ""),
    "one input": ([Listed("a", (1, "x"), (2, "y"))], "xy"),
    "interleaved": ([Listed("a", (1, "p"), (3, "r")), Listed("b", (2, "q"), (4, "s"))], "pqrs"),
    "ties go by name": ([Listed("b", (1, "q")), Listed("a", (1, "p"))], "pq"),
    "a whole tie of one input stays together": ([Listed("b", (1, "r")), Listed("a", (1, "p"), (1, "q"))], "pqr"),
    "equal names": ([Listed("a", (1, "p"), (2, "q")), Listed("a", (1, "r"))], "prq"),
    "an empty one among others": ([Listed("a"), Listed("b", (5, "x"))], "x"),
}


@pytest.mark.parametrize(("inputs", "expected"), CASES.values(), ids=CASES)
def test_items_come_in_order_of_time(inputs: list[Listed], expected: str) -> None:
    assert "".join(item for _, item in merge(inputs)) == expected


def test_a_clock_that_steps_back_keeps_the_order_of_its_input() -> None:
    stepped = Listed("a", (10, "p"), (4, "q"), (11, "s"))
    other = Listed("b", (10, "r"), (12, "t"))

    assert list(merge([stepped, other])) == [(10, "p"), (10, "q"), (10, "r"), (11, "s"), (12, "t")]


def test_the_order_does_not_depend_on_how_the_inputs_are_listed() -> None:
    chance = random.Random(7)
    inputs = [Listed(name, *[(at, f"{name}{at}") for at in sorted(chance.choices(range(9), k=20))]) for name in "abcd"]
    expected = list(merge(inputs))

    for _ in range(5):
        chance.shuffle(inputs)
        assert list(merge(inputs)) == expected
    assert len(expected) == 80


def test_an_input_is_opened_when_its_start_is_reached() -> None:
    early, late = Listed("a", (1, "p"), (2, "q"), (9, "s")), Listed("b", (8, "r"))
    merged = merge([early, late])

    assert [next(merged), next(merged)] == [(1, "p"), (2, "q")]
    assert not late.opened
    assert next(merged) == (8, "r")


def test_endless_inputs_are_read_one_item_at_a_time() -> None:
    class Endless:
        name, starts = "endless", 0

        def __iter__(self) -> Iterator[tuple[int, str]]:
            return ((at, "x") for at in count())

    ended = Listed("ended", (3, "y"))
    merged = merge([Endless(), ended])

    assert [next(merged) for _ in range(6)] == [(0, "x"), (1, "x"), (2, "x"), (3, "y"), (3, "x"), (4, "x")]
