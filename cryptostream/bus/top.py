"""Where a stream stands, read from its newest entry: which record joins on to it, and below which id nothing is taken.

XINFO STREAM: https://redis.io/docs/latest/commands/xinfo-stream/
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cryptostream.model.entryid import parse_id
from cryptostream.model.events import GapRecord, KlineRecord, Record, TradeRecord
from cryptostream.model.instrument import Subscription
from cryptostream.model.intervals import following, opens


class Top(NamedTuple):
    """A stream's newest entry. `latest` is the highest id it ever gave out, which may be of an entry that is gone.

    `number` is the second half of the newest entry's id; `last_id` is up to where the line is complete (see
    `last_id_of`), None where the entry does not say.
    """

    latest: tuple[int, int]
    number: int
    last_id: int | None = None
    is_gap: bool = False
    first: int | None = None
    """Where its oldest entry stands in its line: a trade id, the time at which a window opens."""

    @property
    def ms(self) -> int:
        """What no later entry's time may precede."""
        return self.latest[0]


EMPTY = Top((0, 0), -1)
"""There is no such stream, or nothing was ever written to it."""


def top_of(info: Any, *, windows: bool = False) -> Top:
    """What the reply to XINFO STREAM, raw or mapped, tells; `windows` for a stream of klines.

    One that was emptied by others still knows the last id it held; of a kline that does not say which window.
    """
    facts: Mapping[bytes, Any] = info if isinstance(info, dict) else dict(zip(info[::2], info[1::2], strict=True))
    latest = parse_id(facts[b"last-generated-id"].decode())
    entry = facts[b"last-entry"]
    if not entry and latest == EMPTY.latest:
        return EMPTY  # a group made it before anybody wrote
    if not entry:
        return Top(latest, latest[1], None if windows else latest[1])
    return top_at(entry)._replace(latest=latest, first=_place_at(facts[b"first-entry"]))


def top_at(entry: Sequence[Any]) -> Top:
    """A stream whose newest entry is this one, as it is in a raw reply."""
    entry_id = parse_id(entry[0].decode())
    fields = _fields(entry)
    return Top(entry_id, entry_id[1], last_id_of(fields), fields.get("kind") == "gap")


def _place_at(entry: Sequence[Any]) -> int | None:
    fields = _fields(entry)
    try:
        return int(fields["open_time"]) if "open_time" in fields else parse_id(entry[0].decode())[1]
    except ValueError:
        return None


def _fields(entry: Sequence[Any]) -> dict[str, str]:
    words = [str(word, "utf-8", "replace") for word in entry[1]]
    return dict(zip(words[::2], words[1::2], strict=True))


def last_id_of(fields: Mapping[str, str]) -> int | None:
    """Up to where a line is complete whose newest entry has these fields; None where they do not say.

    Trades: the newest id, of a gap its last. Klines: a time in ms; of the windows that open after it none is closed.

    >>> last_id_of({"kind": "gap", "gap_to": "9"}), last_id_of({"open_time": "60000", "closed": "false"})
    (9, 59999)
    """
    try:
        if fields.get("kind") == "gap":
            return int(fields["gap_to"])
        if "open_time" in fields:
            return int(fields["open_time"]) - (fields["closed"] != "true")
        return int(fields["trade_id"])
    except (KeyError, ValueError):
        return None


def next_of(wanted: Subscription, last_id: int) -> int:
    """The trade id, or the time at which the window opens, that joins on to a complete line."""
    if wanted.interval is None:
        return last_id + 1
    return following(wanted.interval, opens(wanted.interval, last_id))


def place_of(record: Record) -> int:
    """Where a record of trades or klines stands in its line: all before that has to be there before it."""
    if isinstance(record, TradeRecord):
        return record.trade_id
    if isinstance(record, KlineRecord):
        return record.open_time
    return record.gap_from if isinstance(record, GapRecord) else 0
