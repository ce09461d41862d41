"""Klines: every closed one once, window after window, with prices that can be true."""

from collections.abc import Mapping
from decimal import Decimal

from cryptostream.model.instrument import Interval
from cryptostream.model.intervals import closes, count, following, opens, preceding
from cryptostream.model.text import is_amount, is_positive
from cryptostream.transforms.audit.cover import Cover, Place
from cryptostream.transforms.audit.report import Report
from cryptostream.transforms.audit.told import Reading, contradicts
from cryptostream.transforms.audit.trades import ids_of, time_of, whole

_PRICES = ("open", "high", "low", "close")
_AMOUNTS = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
_WHOLE = ("open_time", "close_time", "trades")
_FIELDS = ("exchange", "pair", "interval", *_WHOLE, *_PRICES, *_AMOUNTS, "closed", "ts")
YEAR_10000_MS = 253_402_300_800_000
"""Times from here on have no calendar."""


class _Windows:
    """Open times, one window after the other."""

    def __init__(self, interval: Interval) -> None:
        self._interval = interval

    def after(self, number: int) -> int:
        return following(self._interval, number)

    def before(self, number: int) -> int:
        return preceding(self._interval, number)

    def count(self, first: int, last: int) -> int:
        return count(self._interval, first, self.after(last))


class Klines:
    """One stream of klines of one interval. A window that is still open at the stream's end is no hole.

    A gap stands where the closed kline of its last window would. An update that is not above what came before it counts
    as one that came again: it is superseded, and nothing lost.
    """

    def __init__(self, report: Report, reading: Reading | None = None) -> None:
        self._report = report
        self._reading = reading
        self._newest = (-1, -1)
        known = report.interval in set(Interval)
        steps = _Windows(Interval(report.interval)) if known else None
        self._cover = Cover(report.holes, report.gaps, contiguous=known, steps=steps)

    def take(self, entry_id: str, at: tuple[int, int], fields: Mapping[str, str]) -> None:
        """The next entry; `at` is its id as numbers."""
        if fields.get("kind") == "gap":
            self._gap(entry_id, at, fields)
        else:
            self._kline(entry_id, at, fields)
        self._newest = max(self._newest, at)
        self._report.first_id, self._report.last_id = self._cover.first, self._cover.top

    def _kline(self, entry_id: str, at: tuple[int, int], fields: Mapping[str, str]) -> None:
        wrong = _why_no_kline(fields) or self._foreign(fields) or contradicts(fields, _FIELDS, self._reading)
        if wrong:
            self._report.malformed.note(f"{entry_id}: {wrong}")
            return
        opened, ends, closed = int(fields["open_time"]), int(fields["close_time"]), fields["closed"] == "true"
        if closed:
            self._close(entry_id, opened)
        elif at <= self._newest or opened <= (self._cover.top or -1):
            self._report.duplicates.note(f"{entry_id}: an update of {opened} again, or after its close")
        self._check_place(entry_id, at, _place(ends, time_of(fields["ts"]) or 0, closed=closed))

    def _close(self, entry_id: str, opened: int) -> None:
        report, place = self._report, self._cover.place(opened)
        report.facts += 1
        if place is Place.AGAIN:
            report.duplicates.note(f"{entry_id}: the kline of {opened} closed again")
        elif place is Place.LATE:
            report.disorder.note(f"{entry_id}: the kline of {opened} after {self._cover.top}")
        elif place is Place.IN_GAP:
            report.malformed.note(f"{entry_id}: the kline of {opened} is there, and a gap entry says it is missing")

    def _gap(self, entry_id: str, at: tuple[int, int], fields: Mapping[str, str]) -> None:
        told = ids_of(fields)
        if told is None or self._foreign(fields) or told[1] >= YEAR_10000_MS:
            self._report.malformed.note(f"{entry_id}: not a gap entry")
            return
        if not self._cover.gap(*told):
            self._report.malformed.note(f"{entry_id}: the gap {told[0]} to {told[1]} tells of windows before it")
        self._check_place(entry_id, at, (closes(Interval(self._report.interval), told[1]), 1))

    def _check_place(self, entry_id: str, at: tuple[int, int], place: tuple[int, int]) -> None:
        if place != at:
            self._report.misplaced.note(f"{entry_id}: it belongs at {place[0]}-{place[1]}")

    def _foreign(self, fields: Mapping[str, str]) -> str:
        interval, own = fields.get("interval", ""), self._report.interval
        return "" if interval == own and own in set(Interval) else f"interval {interval[:40]!a} in a stream of {own!a}"


def _place(close_time: int, ts: int, *, closed: bool) -> tuple[int, int]:
    """The entry id of the contract."""
    return (close_time, 1) if closed else (min(ts // 1000, close_time), 0)


def _why_no_kline(fields: Mapping[str, str]) -> str:
    """What is wrong with the fields of a kline; empty for nothing."""
    missing = [name for name in _FIELDS if name not in fields]
    if missing:
        return f"no {', '.join(missing)}"
    for names, fits in ((_WHOLE, whole), (("ts",), time_of)):
        for name in names:
            if fits(fields[name]) is None:
                return f"{name} {fields[name][:40]!a}"
    for name in (*_PRICES, *_AMOUNTS):
        if not (is_positive if name in _PRICES else is_amount)(fields[name]):
            return f"{name} {fields[name][:40]!a}"
    if fields["interval"] not in set(Interval) or fields["closed"] not in ("true", "false"):
        return f"interval {fields['interval'][:40]!a}, closed {fields['closed'][:40]!a}"
    return _contradiction(fields)


def _contradiction(fields: Mapping[str, str]) -> str:
    """What cannot be true of one candle: its window, and its prices against each other."""
    opened, ends, interval = int(fields["open_time"]), int(fields["close_time"]), Interval(fields["interval"])
    if opened >= YEAR_10000_MS or opened != opens(interval, opened) or ends != closes(interval, opened):
        return f"a {interval} kline from {opened} to {ends}"
    first, high, low, last = (Decimal(fields[name]) for name in _PRICES)
    if not low <= min(first, last) <= max(first, last) <= high:
        return f"open {first}, high {high}, low {low}, close {last}"
    return ""
