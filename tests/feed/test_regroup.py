"""Which connection follows what when the set changes: as little is touched as can be, and no limit is passed."""

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from cryptostream.feed.regroup import Group, halves, regroup
from cryptostream.model.instrument import Channel, Interval, Subscription


def trades(*pairs: str) -> Group:
    return tuple(Subscription("binance", Channel.TRADES, pair) for pair in pairs)


def klines(pair: str) -> Group:
    return (Subscription("binance", Channel.KLINES, pair, Interval.M1),)


def regrouped(groups: list[Group], wanted: Group, *, pairs: int = 2, streams: int = 1024) -> list[Group]:
    return regroup(groups, wanted, pairs=pairs, streams=streams)


def test_a_first_set_fills_one_connection_after_the_other() -> None:
    assert regrouped([], trades("A", "B", "C")) == [trades("A", "B"), trades("C")]


def test_the_channels_of_a_pair_stay_together() -> None:
    wanted = (*trades("A", "B", "C"), *klines("A"), *klines("C"))
    assert regrouped([], wanted) == [(*trades("A"), *klines("A"), *trades("B")), (*trades("C"), *klines("C"))]


def test_no_connection_has_more_streams_than_the_venue_allows() -> None:
    wanted = (*trades("A", "B"), *klines("A"), *klines("B"))
    assert [len(group) for group in regrouped([], wanted, pairs=50, streams=3)] == [2, 2]


def test_what_does_not_change_is_not_touched() -> None:
    groups = [trades("A", "B"), trades("C", "D"), trades("E")]
    assert regrouped(groups, trades("E", "D", "A", "B")) == [trades("A", "B"), trades("D"), trades("E")]


def test_a_new_pair_goes_where_one_has_left_before_it_disturbs_others() -> None:
    groups = [trades("A"), trades("B", "C")]
    assert regrouped(groups, trades("A", "B", "X")) == [trades("A"), trades("B", "X")]


def test_a_new_pair_takes_room_that_there_is_before_a_connection_of_its_own() -> None:
    assert regrouped([trades("A", "B"), trades("C")], trades("A", "B", "C", "X")) == [
        trades("A", "B"),
        trades("C", "X"),
    ]
    assert regrouped([trades("A", "B")], trades("A", "B", "X")) == [trades("A", "B"), trades("X")]


def test_a_new_channel_goes_with_its_pair() -> None:
    groups = [trades("A"), trades("B", "C")]
    wanted = (*trades("A", "B", "C"), *klines("C"))
    assert regrouped(groups, wanted) == [trades("A"), (*trades("B", "C"), *klines("C"))]


def test_a_connection_that_nobody_needs_any_more_is_empty() -> None:
    assert regrouped([trades("A", "B"), trades("C")], trades("C")) == [(), trades("C")]


_sets = st.lists(st.sampled_from("ABCDEFGHIJ"), unique=True)


@given(_sets, _sets, st.integers(1, 4))
def test_everything_wanted_is_followed_once_and_what_was_followed_stays(
    before: list[str], after: list[str], most: int
) -> None:
    groups = regrouped([], trades(*before), pairs=most)
    made = regrouped(groups, trades(*after), pairs=most)
    assert sorted(chain.from_iterable(made)) == sorted(trades(*after))
    assert all(len(group) <= most for group in made)
    for old, new in zip(groups, made, strict=False):
        assert set(old) & set(trades(*after)) <= set(new)


def test_halves_leave_every_pair_whole() -> None:
    group = (*trades("A", "B", "C"), *klines("B"))
    assert halves(group) == (trades("A"), (*trades("B"), *klines("B"), *trades("C")))


def test_a_single_pair_has_no_halves() -> None:
    assert halves((*trades("A"), *klines("A"))) is None
