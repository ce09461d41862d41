"""Which change of the pair list is applied: half of it at most, unless forced, and never all for nothing."""

from cryptostream.feed.refresh import limited


def test_a_small_change_is_applied_at_once() -> None:
    assert limited(["A", "B", "C", "D"], ["A", "B", "C", "X"]) == (["A", "B", "C", "X"], [])


def test_at_most_half_of_the_list_goes_and_as_many_come() -> None:
    pairs, deferred = limited(["A", "B", "C", "D"], ["W", "X", "Y", "Z"])
    assert pairs == ["W", "X", "A", "B"]
    assert sorted(deferred) == ["A", "B", "Y", "Z"]


def test_what_was_put_off_is_applied_the_next_time() -> None:
    pairs, _ = limited(["A", "B", "C", "D"], ["W", "X", "Y", "Z"])
    assert limited(pairs, ["W", "X", "Y", "Z"]) == (["W", "X", "Y", "Z"], [])


def test_forced_all_of_it_changes() -> None:
    assert limited(["A", "B"], ["X", "Y", "Z"], force=True) == (["X", "Y", "Z"], [])


def test_pairs_that_are_in_every_list_stay() -> None:
    pairs, _ = limited(["A", "B", "BTC"], ["X", "Y", "BTC"])
    assert "BTC" in pairs


def test_where_nothing_was_found_the_old_list_stays() -> None:
    assert limited(["A", "B"], []) == (["A", "B"], [])
    assert limited(["A", "B"], [], force=True) == (["A", "B"], [])


def test_a_list_of_one_can_change() -> None:
    assert limited(["A"], ["B"]) == (["B"], [])


def test_a_first_list_is_taken_as_it_is() -> None:
    assert limited([], ["A", "B", "A"]) == (["A", "B"], [])
