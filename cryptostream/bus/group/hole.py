"""What is missing between two entries: of a recording, of the stream it was made of, or where one follows the other."""

from collections.abc import Sequence
from itertools import pairwise

from cryptostream.model.codec import iso
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry

NOT_RECORDED = "not_recorded"


def hole(last: Entry | None, place: str, oldest: Entry) -> Entry | None:
    """The gap between the entry at `place`, which is `last` where we have it, and the next one; None for none.

    Trades are counted by their ids. Of other entries nobody knows whether any lay between: the gap is then told by the
    milliseconds of both neighbours, without a count.
    """
    first = _number(oldest, "trade_id", "gap_from")
    ms, sequence = parse_id(place)
    if first is None:
        return _gap(oldest, place, ms, parse_id(oldest.entry_id)[0], None)
    before = (_number(last, "trade_id", "gap_to") if last else None) or sequence
    return _gap(oldest, place, before + 1, first - 1, first - before - 1) if first > before + 1 else None


def missing(last: Entry | None, place: str, following: Entry) -> Entry | None:
    """As `hole` where entries are counted, their ids being `<ms>-<trade_id>`; None for all others."""
    return hole(last, place, following) if _is_counted(following) else None


def breaks(last: Entry | None, place: str, page: Sequence[Entry]) -> list[int]:
    """Where in a page of a recording trades are missing before the entry; `place` is empty where it has no neighbour.

    The ids of a stream's trades rise. So a page that goes as far as it is long is whole, which two of its ids tell.
    """
    if not (_is_counted(page[0]) or _is_counted(page[-1])):
        return []
    ids = [place or page[0].entry_id, page[-1].entry_id]
    start, end = (parse_id(entry_id)[1] for entry_id in ids)
    if end - start == len(page) - (not place):
        return []
    inner = [at for at, (left, right) in enumerate(pairwise(page), 1) if missing(left, left.entry_id, right)]
    return [0, *inner] if place and missing(last, place, page[0]) else inner


def end_of(entry: Entry) -> str:
    """The id up to which an entry goes: its own, or for a gap that of the last trade that is missing.

    >>> end_of(Entry("trades:A", "1004-5", {"kind": "gap", "gap_from": "5", "gap_to": "7"}))
    '1004-7'
    """
    if entry.fields.get("kind") != "gap" or not _is_counted(entry):
        return entry.entry_id
    ms, sequence = parse_id(entry.entry_id)
    return f"{ms}-{_number(entry, 'gap_to') or sequence}"


def _is_counted(entry: Entry) -> bool:
    return _number(entry, "trade_id", "gap_from") == parse_id(entry.entry_id)[1]


def _gap(oldest: Entry, place: str, gap_from: int, gap_to: int, count: int | None) -> Entry:
    ms, sequence = parse_id(place)
    named = {str(name): oldest.fields[name] for name in ("exchange", "pair", "interval") if name in oldest.fields}
    bounds = {"gap_from": str(gap_from), "gap_to": str(gap_to), "cause": NOT_RECORDED}
    bounds |= {} if count is None else {"count": str(count)}
    entry_id = f"{ms}-{sequence + 1 if count is None else gap_from}"
    return Entry(oldest.stream, entry_id, {"kind": "gap", **named, **bounds, "ts": iso(ms * 1000)})


def _number(entry: Entry, *names: str) -> int | None:
    found = next((entry.fields[name] for name in names if name in entry.fields), "")
    return int(found) if found.isascii() and found.isdigit() else None
