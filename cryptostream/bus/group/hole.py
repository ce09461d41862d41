"""What lies between the last recorded entry and the oldest one that a stream still holds."""

from cryptostream.bus.keys import parse_id
from cryptostream.model.codec import iso
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
