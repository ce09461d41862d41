"""Output entries get ids that Redis takes, and none is written twice."""

import pytest

from cryptostream.bus.effects.outputs import BadOutput, Id, Placing, Wanted, id_of, place
from cryptostream.model.events import Output

MOST = (1 << 64) - 1


def output(entry_id: str = "") -> Output:
    return Output("signals:BTCUSDT", {"side": "buy"}, entry_id)


def wanted(*ids: Id, floor: Id = (0, 0)) -> list[Wanted]:
    return [Wanted(entry_id, output(), floor) for entry_id in ids]


def ids(placing: Placing) -> list[str]:
    return [placed.entry_id for placed in placing.written]


def test_an_output_has_the_id_of_the_entry_it_comes_from_unless_it_has_its_own() -> None:
    assert id_of(output(), "5-7") == (5, 7)
    assert id_of(output("9-1"), "5-7") == (9, 1)


@pytest.mark.parametrize("entry_id", ["*", "5-*", "abc", "0-0", "-1-5", f"{MOST + 1}-0", f"1-{MOST + 1}", "5-6-7"])
def test_an_id_that_redis_would_refuse_is_refused_before_anything_is_written(entry_id: str) -> None:
    with pytest.raises(BadOutput, match="signals:BTCUSDT"):
        id_of(output(entry_id), "5-7")


def test_an_output_without_fields_is_refused() -> None:
    with pytest.raises(BadOutput, match="no fields"):
        id_of(Output("signals:BTCUSDT", {}), "5-7")


def test_what_is_above_the_top_keeps_its_id() -> None:
    assert ids(place(wanted((5, 1), (6, 0)), top=(4, 9))) == ["5-1", "6-0"]


def test_what_is_there_is_not_written_again() -> None:
    placing = place(wanted((5, 1), (6, 0)), top=(5, 1), there={(5, 1): {"side": "buy"}})
    assert (ids(placing), placing.duplicates, placing.moved) == (["6-0"], 1, 0)


def test_an_entry_of_somebody_else_does_not_pass_for_ours() -> None:
    placing = place(wanted((5, 1)), top=(5, 1), there={(5, 1): {"side": "sell"}})
    assert (ids(placing), placing.duplicates, placing.moved) == (["5-2"], 0, 1)


def test_a_place_that_others_have_passed_is_left_for_the_next_one_above_them() -> None:
    placing = place(wanted((5, 1), (5, 70), (9, 9)), top=(5, 40))
    assert (ids(placing), placing.moved) == (["5-41", "5-70", "9-9"], 1)


def test_what_is_moved_up_keeps_its_number_where_there_is_room_for_it() -> None:
    assert ids(place(wanted((5, 70)), top=(6, 3))) == ["6-70"]


def test_two_outputs_of_one_entry_stand_one_after_the_other() -> None:
    assert ids(place(wanted((5, 1), (5, 1), (5, 2)), top=(0, 0))) == ["5-1", "5-2", "5-3"]


def test_at_the_last_number_of_a_millisecond_the_next_one_begins() -> None:
    assert ids(place(wanted((5, 1)), top=(5, MOST))) == ["6-0"]


def test_what_was_written_before_and_is_gone_is_not_written_anew() -> None:
    placing = place(wanted((5, 1), (7, 1), floor=(6, 0)), top=(6, 5))
    assert (ids(placing), placing.late) == (["7-1"], 1)
