"""The windows of klines, checked against the local exchange's own arithmetic, which shares no code with ours."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.model.instrument import Interval
from cryptostream.model.intervals import closes, count, following, opens, preceding, shifted
from cryptostream.sim.candles import ends_us, opens_us

INTERVALS = st.sampled_from(Interval)
TIMES_MS = st.integers(0, 4_102_444_800_000)  # 1970 to 2100
CLOSE_TO_NOW_MS = st.integers(1_700_000_000_000, 1_900_000_000_000)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000


@given(INTERVALS, TIMES_MS)
def test_a_window_is_the_one_the_local_exchange_makes(interval: Interval, at_ms: int) -> None:
    open_us = opens_us(interval, at_ms * 1_000)
    assert opens(interval, at_ms) * 1_000 == open_us
    assert (closes(interval, opens(interval, at_ms)) + 1) * 1_000 == ends_us(interval, open_us)


@pytest.mark.parametrize(
    ("interval", "at", "open_time", "next_open"),
    [
        ("1s", "2026-11-21T01:42:55", "2026-11-21T01:42:55", "2026-11-21T01:42:56"),
        ("3d", "1970-01-05T10:00:00", "1970-01-04T00:00:00", "1970-01-07T00:00:00"),
        ("1w", "2026-11-22T23:59:59", "2026-11-16T00:00:00", "2026-11-23T00:00:00"),
        ("1w", "2026-11-23T00:00:00", "2026-11-23T00:00:00", "2026-11-30T00:00:00"),
        ("1M", "2024-02-29T12:00:00", "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
        ("1M", "2026-12-31T23:59:59", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_windows_open_where_the_venues_documents_say(interval: str, at: str, open_time: str, next_open: str) -> None:
    assert opens(Interval(interval), ms(at)) == ms(open_time)
    assert following(Interval(interval), ms(open_time)) == ms(next_open)


@given(INTERVALS, CLOSE_TO_NOW_MS)
def test_windows_leave_no_room_between_them(interval: Interval, at_ms: int) -> None:
    window = opens(interval, at_ms)
    assert window <= at_ms <= closes(interval, window)
    assert opens(interval, closes(interval, window)) == window
    assert preceding(interval, following(interval, window)) == window
    assert opens(interval, window - 1) == preceding(interval, window)


@given(INTERVALS, CLOSE_TO_NOW_MS, st.integers(-50, 50))
def test_shifting_is_following_many_times_and_counting_takes_it_back(
    interval: Interval, at_ms: int, windows: int
) -> None:
    first = stepped = opens(interval, at_ms)
    for _ in range(abs(windows)):
        stepped = following(interval, stepped) if windows > 0 else preceding(interval, stepped)
    assert shifted(interval, first, windows) == stepped
    assert count(interval, first, stepped) == windows
