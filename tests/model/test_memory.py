"""What an object remembers comes back into one that was made anew, and what would not is refused by its name."""

from collections import Counter, deque
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pytest

from cryptostream.model.memory import recall, remembered


class Inner:
    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: float | None = None


class Outer:
    def __init__(self) -> None:
        self.count = 0
        self.ring = [0.0, 0.0]
        self.window: deque[float] = deque(maxlen=2)
        self.inner = Inner()
        self.parts = {"a": Inner(), "b": Inner()}
        self.grows: list[int] = []


class Speaks:
    def __init__(self) -> None:
        self.unsaved = object()
        self.seen = 0

    def __getstate__(self) -> dict[str, int]:
        return {"seen": self.seen}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.seen = state["seen"]


def used() -> Outer:
    made = Outer()
    made.count, made.ring[1], made.inner.last, made.parts["b"].last = 3, 2.5, 1.5, 7.0
    made.window.extend([1.0, 2.0, 3.0])
    made.grows += [1, 2, 3]
    return made


def test_an_object_and_those_in_it_come_back_as_they_were() -> None:
    saved, anew = remembered(used()), Outer()
    recall(anew, saved)
    assert remembered(anew) == saved
    assert saved["inner"] == {"last": 1.5}
    assert (anew.window, anew.window.maxlen) == (deque([2.0, 3.0]), 2)
    assert anew.grows == [1, 2, 3]


def test_objects_and_rings_that_were_made_anew_are_filled_and_not_replaced() -> None:
    anew = Outer()
    inner, ring, window = anew.inner, anew.ring, anew.window
    recall(anew, remembered(used()))
    assert anew.inner is inner
    assert anew.ring is ring
    assert anew.window is window


def test_a_memory_is_not_the_object_itself() -> None:
    made = used()
    saved = remembered(made)
    made.ring[0], made.inner.last = 99.0, 99.0
    assert saved["ring"] == [0.0, 2.5]
    assert saved["inner"] == {"last": 1.5}


def test_one_that_says_itself_what_to_save_is_asked() -> None:
    made, anew = Speaks(), Speaks()
    made.seen = 5
    recall(anew, remembered(made))
    assert (remembered(made), anew.seen) == ({"seen": 5}, 5)


class Pair(NamedTuple):
    one: int = 1


class Stack(list[int]):
    pass


class Derived(Inner):
    pass


def test_what_is_inherited_is_remembered_too() -> None:
    made = Derived()
    made.last = 3.0
    made.more = 1  # type: ignore[attr-defined]
    assert remembered(made) == {"last": 3.0, "more": 1}


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        (1, 2),
        1j,
        int,
        np.float64(1.0),
        np.zeros(2),
        Decimal(1),
        datetime(2024, 11, 14, tzinfo=UTC),
        Pair(),
        Counter("a"),
        Stack([1]),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_would_not_come_back_is_refused_by_its_name(value: Any) -> None:
    made = Outer()
    made.grows = value
    with pytest.raises(TypeError, match="grows is a"):
        remembered(made)


def test_the_memory_of_another_kind_of_object_is_refused() -> None:
    with pytest.raises(ValueError, match="not that of a Inner: count, grows, inner, last"):
        recall(Inner(), remembered(used()))
