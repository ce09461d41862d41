"""Saved state comes back as it was, or is refused with what to do."""

from collections import defaultdict, deque
from decimal import Decimal
from math import inf, nan
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cryptostream.bus.connect import connect
from cryptostream.bus.effects.state import Saved, Stored, check_plain, packed
from cryptostream.bus.effects.transact import Effects, Work
from cryptostream.errors import StateRefused
from cryptostream.testing import ManualClock


def stored(state: bytes = packed({"n": 1}), version: bytes = b"1", config: bytes = b"c") -> Stored:
    return Stored.of([b"token", b"5-7", version, config, state, None])


def test_a_state_comes_back_with_the_place_it_goes_up_to() -> None:
    assert stored().saved("trades:A", "g", version="1", config="c") == Saved({"n": 1}, "5-7")


def test_where_nothing_was_saved_there_is_no_state() -> None:
    assert Stored.of([None] * 6).saved("trades:A", "g", version="1", config="c") is None
    assert Stored.of([b"token", None, None, None, None, b"5-7"]).saved("trades:A", "g", version="1", config="c") is None


def test_how_far_the_work_was_done_outlives_the_state() -> None:
    assert Stored.of([None] * 6).reached() == (0, 0)
    assert Stored.of([b"token", None, None, None, None, b"5-17"]).reached() == (5, 17)


def test_numbers_that_json_has_no_word_for_are_kept() -> None:
    found = msgspec.msgpack.decode(packed([inf, -inf, nan, 0.1, 1 << 63]))
    assert repr(found) == repr([inf, -inf, nan, 0.1, 1 << 63])


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (stored(version=b"2"), 'is of version "2", and this is version "1"'),
        (stored(version=b"\x1b[2J\xff"), "is of version"),
        (stored(config=b"other"), "was made with another configuration"),
        (stored(state=b"\xc1"), "cannot be read"),
    ],
)
def test_a_state_of_another_version_or_configuration_is_refused_with_what_to_do(found: Stored, why: str) -> None:
    with pytest.raises(StateRefused, match=why) as refused:
        found.saved("trades:A", "momentum", version="1", config="c")
    assert "cryptostream groups reset momentum --state" in refused.value.hint
    assert "trades:A" in str(refused.value)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"window": deque([1.0])}, r"state\['window'\] is a deque"),
        ([{"a": (1, 2)}], r"state\[0\]\['a'\] is a tuple"),
        ({"price": Decimal("1.5")}, "is a Decimal"),
        ({"seen": {1, 2}}, r"state\['seen'\] is a set"),
        ({"prices": [1.5, Decimal("1.5")]}, r"state\['prices'\]\[1\] is a Decimal"),
        ({"counts": defaultdict(int)}, r"state\['counts'\] is a defaultdict"),
        ({(1, 2): 3}, r"the key \(1, 2\) of state is a tuple"),
    ],
)
def test_what_would_come_back_as_something_else_is_refused_by_name(state: Any, where: str) -> None:
    with pytest.raises(TypeError, match=where):
        check_plain(state)


async def test_a_state_that_ceases_to_be_plain_is_refused_at_the_commit_where_it_does(
    bus_url: str, data_dir: Path, clock: ManualClock
) -> None:
    async with connect(bus_url, data_dir=data_dir, clock=clock) as bus, Effects(bus, "g") as effects:
        await effects.claim(["trades:A"])
        await effects.commit([Work("trades:A", (), (), {"seen": [1]}, "1-1")])
        with pytest.raises(TypeError, match=r"state\['seen'\] is a tuple"):
            await effects.commit([Work("trades:A", (), (), {"seen": (1, 2)}, "1-2")])
        saved = await effects.claim(["trades:A"])
    assert saved == {"trades:A": Saved({"seen": [1]}, "1-1")}
