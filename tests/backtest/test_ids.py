"""The ids that are made at once are those that a format makes of each, whatever the numbers."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cryptostream.backtest import ids

MOST = 2**63 - 1
WIDTHS = [10**width + offset for width in range(19) for offset in (-1, 0, 1)]
numbers = st.integers(0, MOST) | st.integers(-20, 20) | st.sampled_from([*WIDTHS, MOST])


def formats(ms: Sequence[int], sequence: Sequence[int]) -> list[str]:
    return [f"{one}-{other}" for one, other in zip(ms, sequence, strict=True)]


def made(ms: Sequence[int], sequence: Sequence[int]) -> list[str]:
    return ids.entry_ids(np.array(ms, np.int64), np.array(sequence, np.int64))


@pytest.fixture(autouse=True)
def of_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is enough."""
    monkeypatch.setattr(ids, "_FEW", 1)


@given(st.lists(st.tuples(numbers, numbers), max_size=12))
@example([(MOST, MOST), (MOST - 1, 10**18)])
@example([(0, 0), (0, 0)])
@example([(10, 5), (10, -5)])
@example([(-1, 1), (-2, 1)])
def test_ids_of_any_numbers(each: list[tuple[int, int]]) -> None:
    ms, sequence = [one for one, _ in each], [other for _, other in each]
    assert made(ms, sequence) == formats(ms, sequence)


@given(
    st.integers(0, MOST - 100_000) | st.sampled_from(WIDTHS[:-3]),
    st.integers(0, MOST - 100_000) | st.sampled_from(WIDTHS[:-3]),
    st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 100_000)), min_size=1, max_size=12),
)
def test_ids_of_numbers_that_share_their_first_digits(ms: int, first: int, steps: list[tuple[int, int]]) -> None:
    times, sequence = [ms + step for step, _ in steps], [first + step for _, step in steps]
    assert made(times, sequence) == formats(times, sequence)


@pytest.mark.parametrize("width", range(1, 20))
def test_numbers_of_every_width(width: int) -> None:
    least, most = (10 ** (width - 1) if width > 1 else 0), min(10**width - 1, MOST)
    each = [least, most, (least + most) // 2, least + (most - least) // 3]
    assert made(each, each[::-1]) == formats(each, each[::-1])


@pytest.mark.parametrize("edge", [10, 10_000, 1_000_000_000, 10**13])
def test_widths_that_change_on_the_way(edge: int) -> None:
    each = list(range(edge - 3, edge + 3))
    assert made(each, [7] * 6) == formats(each, [7] * 6)
    assert made([7] * 6, each) == formats([7] * 6, each)


def test_columns_that_are_every_other_row_of_others() -> None:
    rows = np.arange(1_000_000, 1_000_600, dtype=np.int64)
    assert ids.entry_ids(rows[::2], rows[::-2]) == formats(rows[::2].tolist(), rows[::-2].tolist())


def test_none_of_none() -> None:
    assert made([], []) == []


def test_few_are_formatted_and_many_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for count in (ids._FEW - 1, ids._FEW, 2_048):
        ms, sequence = list(range(1_731_605_400_000, 1_731_605_400_000 + count)), list(range(1, count + 1))
        assert made(ms, [10_000 + one for one in sequence]) == formats(ms, [10_000 + one for one in sequence])


def test_the_digits_are_written_in_the_byte_order_in_which_they_are_read() -> None:
    assert ids._DIGITS.dtype.isnative
    assert ids._TEXTS.dtype.isnative
    assert ids._TEXTS.tolist() == [f"{number:04}" for number in range(10_000)]
