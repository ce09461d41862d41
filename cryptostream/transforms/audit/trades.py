"""Trades: each once, in the order of their ids, none missing unless said so, each at the place its time gives it."""

from collections.abc import Mapping
from functools import lru_cache

from cryptostream.model import codec
from cryptostream.model.text import are_positive
from cryptostream.transforms.audit.cover import Cover, Place
from cryptostream.transforms.audit.report import Report
from cryptostream.transforms.audit.told import Reading, contradicts

_FIELDS = ("exchange", "pair", "price", "qty", "ts", "side", "trade_id")
_GAP_FIELDS = ("exchange", "pair", "gap_from", "gap_to", "cause", "ts")
_LONGEST_STEP_BACK_MS = 60_000
"""Times of trades step back by milliseconds; what lies further behind the trades before it was not traded then."""


class Trades:
    """One stream of trades. `contiguous`: the venue promises ids without holes; `reading` reads recorded messages."""

    def __init__(self, report: Report, reading: Reading | None = None, *, contiguous: bool) -> None:
        self._report = report
        self._reading = reading
        self._cover = Cover(report.holes, report.gaps, contiguous=contiguous)
        self._ms = 0
        # An entry's time is never below the one before it. Where we did not see that one, because it was trimmed or is
        # missing, it may have been higher than what we know.
        self._may_be_later = True

    def take(self, entry_id: str, at: tuple[int, int], fields: Mapping[str, str]) -> None:
        """The next entry; `at` is its id as numbers."""
        if fields.get("kind") == "gap":
            self._gap(entry_id, at, fields)
        else:
            self._trade(entry_id, at, fields)
        self._report.first_id, self._report.last_id = self._cover.first, self._cover.top

    def _trade(self, entry_id: str, at: tuple[int, int], fields: Mapping[str, str]) -> None:
        wrong = _why_no_trade(fields) or contradicts(fields, _FIELDS, self._reading)
        if wrong:
            self._report.malformed.note(f"{entry_id}: {wrong}")
        number, ts = whole(fields.get("trade_id", "")), time_of(fields.get("ts", ""))
        if number is None:
            return
        self._report.facts += 1
        place = self._cover.place(number)
        if place is Place.AGAIN:
            self._report.duplicates.note(f"{entry_id}: trade {number} again")
        elif place is Place.LATE:
            self._report.disorder.note(f"{entry_id}: trade {number} after {self._cover.top}")
        elif place is Place.IN_GAP:
            self._report.malformed.note(f"{entry_id}: trade {number} is there, and a gap entry says it is missing")
        else:
            self._may_be_later |= place is Place.BEHIND_HOLE
            self._check_place(entry_id, at, number, None if ts is None else ts // 1000)

    def _gap(self, entry_id: str, at: tuple[int, int], fields: Mapping[str, str]) -> None:
        told = ids_of(fields)
        if told is None or any(name not in fields for name in _GAP_FIELDS):
            self._report.malformed.note(f"{entry_id}: not a gap entry")
            return
        first, last = told
        self._may_be_later |= self._cover.top is not None and first > self._cover.top + 1
        if not self._cover.gap(first, last):
            self._report.malformed.note(f"{entry_id}: the gap {first} to {last} tells of ids that came before it")
        self._check_place(entry_id, at, first, self._ms or None)

    def _check_place(self, entry_id: str, at: tuple[int, int], number: int, ms: int | None) -> None:
        """`<ms>-<number>`, with the time of the trade, or of the entry before it where that is later."""
        own_ms, sequence = at
        expected = own_ms if ms is None else max(ms, self._ms)
        later = self._may_be_later and own_ms > expected
        if sequence != number or (own_ms != expected and not later):
            self._report.misplaced.note(f"{entry_id}: it belongs at {expected}-{number}")
        elif ms is not None and own_ms - ms > _LONGEST_STEP_BACK_MS:
            self._report.misplaced.note(f"{entry_id}: {(own_ms - ms) / 1000:,.0f} s after its trade, of {ms}")
        self._ms = max(self._ms, own_ms)
        self._may_be_later = False


def _why_no_trade(fields: Mapping[str, str]) -> str:
    """What is wrong with the fields of a trade; empty for nothing."""
    missing = [name for name in _FIELDS if name not in fields]
    if missing:
        return f"no {', '.join(missing)}"
    if not are_positive(fields["price"], fields["qty"]):
        return f"price {fields['price'][:40]!a}, qty {fields['qty'][:40]!a}"
    if fields["side"] not in ("buy", "sell"):
        return f"side {fields['side'][:40]!a}"
    if time_of(fields["ts"]) is None:
        return f"ts {fields['ts'][:40]!a}"
    if whole(fields["trade_id"]) is None:
        return f"trade_id {fields['trade_id'][:40]!a}"
    return ""


def ids_of(fields: Mapping[str, str]) -> tuple[int, int] | None:
    """The first and the last id an entry speaks of: a trade's own, or all that a gap entry calls missing."""
    names = ("gap_from", "gap_to") if fields.get("kind") == "gap" else ("trade_id", "trade_id")
    first, last = (whole(fields.get(name, "")) for name in names)
    return None if first is None or last is None or last < first else (first, last)


def whole(text: str) -> int | None:
    """A whole number as an entry spells it.

    >>> whole("42"), whole("042"), whole("-1"), whole("")
    (42, None, None, None)
    """
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or (text[0] == "0" and text != "0"):
        return None
    return int(text)


@lru_cache(maxsize=1024)  # most trades share their millisecond with another
def time_of(text: str) -> int | None:
    """Microseconds since the epoch of a time that is spelled exactly as entries spell it.

    >>> time_of("2024-11-14T17:30:00.123000"), time_of("2024-11-14T17:30:00"), time_of("now")
    (1731605400123000, None, None)
    """
    try:
        ts = codec.micros(text)
        return ts if codec.iso(ts) == text else None
    except (ValueError, OverflowError):
        return None
