"""Whatever minute the venue counts by, its limit holds."""

from hypothesis import given
from hypothesis import strategies as st

from cryptostream.feed.weight import WeightBudget


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 20)), max_size=60))
def test_no_sixty_seconds_ever_hold_more_than_the_limit(calls: list[tuple[int, float]]) -> None:
    budget, now, spent = WeightBudget(100), 0.0, []
    for weight, idle_s in calls:
        now += idle_s
        while delay_s := budget.wait_s(weight, now):
            now += max(delay_s, 0.001)
        budget.spend(weight, now)
        spent.append((now, weight))
        assert sum(each for at, each in spent if at > now - 59.99) <= 100


def test_the_venues_count_replaces_a_lower_one_only() -> None:
    budget = WeightBudget(100)
    budget.spend(50, now=0.0)
    budget.told(20, now=1.0)
    assert (budget.wait_s(50, now=1.0), budget.wait_s(51, now=1.0)) == (0.0, 59.0)
    budget.told(90, now=1.0)
    assert budget.wait_s(50, now=1.0) == 59.0
    assert budget.wait_s(60, now=1.0) == 59.0


def test_more_than_the_whole_limit_waits_until_nothing_else_counts() -> None:
    budget = WeightBudget(100)
    budget.spend(1, now=0.0)
    assert budget.wait_s(500, now=10.0) == 50.0
    assert budget.wait_s(500, now=60.0) == 0.0
