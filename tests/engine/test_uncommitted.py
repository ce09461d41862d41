"""Entries that wait for their sinks, against the obvious way to keep them."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.engine.uncommitted import Uncommitted
from cryptostream.model.events import Entry


def entries(*names: str) -> list[Entry]:
    """`entries("a:1", "b:1")`: entries 1-0 of the streams a and b."""
    made = (name.partition(":") for name in names)
    return [Entry(stream, f"{number}-0", {"x": "y"}) for stream, _, number in made]


def names(found: Sequence[Entry]) -> list[str]:
    return [f"{entry.stream}:{entry.entry_id.removesuffix('-0')}" for entry in found]


def held(*names: str) -> dict[str, str]:
    return {entry.stream: entry.entry_id for entry in entries(*names)}


def waiting(*given: str) -> Uncommitted:
    made = Uncommitted()
    made.add(entries(*given))
    return made


def safe(of: Uncommitted, *by: Mapping[str, str]) -> list[str]:
    return [name for page in of.safe(by) for name in names(page)]


def test_what_no_sink_holds_is_safe() -> None:
    made = waiting("a:1", "a:2", "b:1")
    assert safe(made, {}) == ["a:1", "a:2", "b:1"]
    assert (made.count, safe(made, {})) == (0, [])


def test_of_each_stream_what_comes_before_the_first_held_one_is_safe() -> None:
    made = waiting("a:1", "a:2", "b:1", "a:3")
    assert safe(made, held("a:2")) == ["a:1", "b:1"]
    assert made.count == 2
    assert safe(made, {}) == ["a:2", "a:3"]


def test_the_first_of_several_sinks_counts() -> None:
    made = waiting("a:1", "a:2", "a:3", "a:4")
    assert safe(made, held("a:4"), held("a:3")) == ["a:1", "a:2"]
    assert safe(made, held("a:4"), {}) == ["a:3"]


def test_the_order_is_that_of_delivery_not_of_ids() -> None:
    """What a dead member left is claimed after newer ones were read."""
    made = waiting("a:8", "a:9")
    made.add(entries("a:3", "a:4"))
    assert safe(made, held("a:3")) == ["a:8", "a:9"]


def test_an_id_is_not_found_within_another() -> None:
    made = Uncommitted()
    made.add([Entry("a", "11-1", {}), Entry("a", "1-1", {})])
    assert [entry.entry_id for page in made.safe([{"a": "1-1"}]) for entry in page] == ["11-1"]


def test_what_is_held_and_was_never_seen_keeps_all_of_its_stream() -> None:
    assert safe(waiting("a:1", "b:1"), held("a:7")) == ["b:1"]


def test_a_gap_keeps_its_fields_for_its_source_to_know_it_again() -> None:
    gap = Entry("a", "2-0", {"kind": "gap", "cause": "trimmed"})
    made = Uncommitted()
    made.add([*entries("a:1"), gap])
    assert [entry for page in made.safe([{}]) for entry in page] == [Entry("a", "1-0", {}), gap]


def test_what_waits_already_is_not_fresh() -> None:
    made = waiting("a:1", "a:2", "b:2")
    again = entries("a:1", "a:2", "a:3", "b:1", "c:1")
    assert names(made.fresh(again)) == ["a:3", "b:1", "c:1"]


def test_what_was_let_go_is_fresh_again() -> None:
    made = waiting("a:1", "a:2")
    made.fresh(entries("a:1"))
    safe(made, held("a:2"))
    assert names(made.fresh(entries("a:1", "a:2"))) == ["a:1"]


@pytest.mark.parametrize(("most", "crowded"), [(0, []), (1, ["a", "b"]), (2, ["a"]), (3, [])])
def test_streams_of_which_too_many_wait_are_crowded(most: int, crowded: list[str]) -> None:
    assert list(waiting("a:1", "b:1", "a:2", "b:2", "a:3").crowded(most)) == crowded


def test_of_too_many_in_all_the_largest_stream_is_crowded() -> None:
    made = Uncommitted(most=3)
    made.add(entries("a:1", "b:1", "b:2"))
    assert list(made.crowded(0)) == []
    made.add(entries("a:2", "a:3"))
    assert list(made.crowded(0)) == ["a"]


ids = st.lists(st.sampled_from([f"{stream}:{number}" for stream in "ab" for number in range(8)]), max_size=6)


@given(st.lists(st.tuples(ids, st.sampled_from([f"{stream}:{number}" for stream in "ab" for number in range(8)]))))
def test_it_agrees_with_a_plain_list(rounds: list[tuple[list[str], str]]) -> None:
    made, plain = Uncommitted(), list[str]()
    for delivered, first_held in rounds:
        fresh = [name for name in dict.fromkeys(delivered) if name not in plain]
        assert names(made.fresh(entries(*dict.fromkeys(delivered)))) == fresh
        made.add(entries(*fresh))
        plain += fresh
        let_go = [name for name in plain if name[0] != first_held[0]]
        if first_held in plain:
            let_go += [name for name in plain[: plain.index(first_held)] if name[0] == first_held[0]]
        assert sorted(safe(made, held(first_held))) == sorted(let_go)
        plain = [name for name in plain if name not in let_go]
        assert made.count == len(plain)
