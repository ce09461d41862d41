"""How long to wait: jittered, capped, and not forgotten before thirty healthy seconds."""

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from cryptostream.engine.backoff import Budget, backoff


class Highest(Random):
    """Jitter that always draws the ceiling, so that the ceiling can be seen."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    delays = backoff(Highest(), base_s=1.0, cap_s=5.0)
    assert [next(delays) for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_short_life_does_not_reset_it_and_a_healthy_one_does() -> None:
    delays = backoff(Highest(), base_s=1.0)
    next(delays)
    assert [delays.send(healthy_s) for healthy_s in (29.9, 29.9, 30.0, 0.0)] == [2.0, 4.0, 1.0, 2.0]


@given(seed=st.integers(), lives=st.lists(st.floats(0, 100), max_size=30))
def test_every_delay_lies_between_floor_and_cap(seed: int, lives: list[float]) -> None:
    delays = backoff(Random(seed), floor_s=0.25, cap_s=30.0)
    assert all(0.25 <= delay <= 30.0 for delay in [next(delays), *(delays.send(life) for life in lives)])


def test_jitter_spreads_over_the_whole_range() -> None:
    drawn = [next(backoff(Random(seed), base_s=10.0, floor_s=0.0)) for seed in range(200)]
    assert min(drawn) < 1.0
    assert max(drawn) > 9.0


@given(limit=st.integers(1, 5), steps=st.lists(st.floats(0, 20), min_size=1, max_size=40))
def test_no_window_ever_holds_more_attempts_than_the_budget(limit: int, steps: list[float]) -> None:
    budget, now, starts = Budget(limit, window_s=10.0), 0.0, []
    for step in steps:
        now += step
        starts.append(now + budget.take(now))
    for earlier, later in zip(starts, starts[limit:], strict=False):
        assert later - earlier >= 10.0 - 1e-6
    assert all(a <= b + 1e-9 for a, b in pairwise(starts))
