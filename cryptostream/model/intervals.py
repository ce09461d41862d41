"""The windows of klines: when the one that a time lies in opens, when it closes, which follows and which precedes it.

Times are milliseconds since the epoch. A week starts on Monday 00:00 UTC, three days are counted from the epoch, a
month is the calendar's; every other window is a multiple of its length. A window is named by the time it opens.
"""

from datetime import date

from cryptostream.model.instrument import Interval

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_LENGTHS_MS = {each: int(each[:-1]) * _UNITS_MS[each[-1]] for each in Interval if each is not Interval.MO1}
_DAY_MS = _UNITS_MS["d"]
# 1970-01-01 was a Thursday: the first Monday came four days later.
_FIRST_MONDAY_MS = 4 * _DAY_MS
_EPOCH_DAY = date(1970, 1, 1).toordinal()


def opens(interval: Interval, ms: int) -> int:
    """When the window that a time lies in opens.

    >>> opens(Interval.M1, 125_000), opens(Interval.W1, 5 * 86_400_000) // 86_400_000
    (120000, 4)
    """
    if interval is Interval.MO1:
        return _month_opens(_month_of(ms))
    offset_ms = _FIRST_MONDAY_MS if interval is Interval.W1 else 0
    return ms - (ms - offset_ms) % _LENGTHS_MS[interval]


def closes(interval: Interval, open_ms: int) -> int:
    """The last millisecond of a window: the venue's close time.

    >>> closes(Interval.M1, 120_000)
    179999
    """
    return following(interval, open_ms) - 1


def following(interval: Interval, open_ms: int) -> int:
    """The window after one.

    >>> following(Interval.M1, 120_000)
    180000
    """
    return shifted(interval, open_ms, 1)


def preceding(interval: Interval, open_ms: int) -> int:
    """The window before one.

    >>> preceding(Interval.M1, 120_000)
    60000
    """
    return shifted(interval, open_ms, -1)


def shifted(interval: Interval, open_ms: int, windows: int) -> int:
    """The window that many windows later, or earlier.

    >>> february = shifted(Interval.MO1, 0, 1)
    >>> february // 86_400_000, shifted(Interval.MO1, february, -1)
    (31, 0)
    """
    if interval is Interval.MO1:
        return _month_opens(_month_of(open_ms) + windows)
    return open_ms + windows * _LENGTHS_MS[interval]


def count(interval: Interval, open_ms: int, until_ms: int) -> int:
    """How many windows there are from one up to another, which is not counted.

    >>> count(Interval.M1, 120_000, 300_000), count(Interval.MO1, 0, 31_536_000_000)
    (3, 12)
    """
    if interval is Interval.MO1:
        return _month_of(until_ms) - _month_of(open_ms)
    return (until_ms - open_ms) // _LENGTHS_MS[interval]


def _month_of(ms: int) -> int:
    """Months since the year 0."""
    day = date.fromordinal(ms // _DAY_MS + _EPOCH_DAY)
    return day.year * 12 + day.month - 1


def _month_opens(month: int) -> int:
    return (date(month // 12, month % 12 + 1, 1).toordinal() - _EPOCH_DAY) * _DAY_MS
