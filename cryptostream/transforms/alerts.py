"""Entries in, alerts out: those a rule's condition holds for, and no more of them than people can read."""

import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping
from math import inf
from typing import NamedTuple

import msgspec

from cryptostream.errors import UsageError
from cryptostream.model import codec
from cryptostream.model.duration import seconds, spelled
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry, Micros
from cryptostream.transforms.where import Where, facts

MOST = 1000
"""The most alerts of one window."""
LONGEST_S = 86_400.0
_SEEN = 10_000
"""Entries that a rule knows again."""
_KEPT_WINDOWS = 100
"""How many windows' worth of alerts the limit remembers, for streams that lag behind each other."""
_LONGEST_TEXT = 500
_LONGEST_VALUE = 100
_RATE = re.compile(r"(\d{1,4})/(\w{1,20})", re.ASCII)
_OF_SIGNALS = frozenset({"strategy", "pair", "side"})
_UNTOLD = frozenset({"raw_json"})
_BESIDE = ("cause", "url", "gap_from", "gap_to", "count", "seconds", "ingester", "group")
"""What is said of a line of the ledger, where it has it, behind what happened."""


class Rate(NamedTuple):
    """At most so many in any window of so many seconds."""

    most: int
    window_s: float

    def __str__(self) -> str:
        return f"{self.most}/{spelled(self.window_s)}"


def parse_rate(text: str) -> Rate:
    """Read a limit as people write it. Raises UsageError.

    >>> parse_rate("5/1m"), str(parse_rate("30/90s"))
    (Rate(most=5, window_s=60.0), '30/1m30s')
    """
    found = _RATE.fullmatch(text)
    if not found:
        raise UsageError(f"not a limit: {text[:40]!a}", hint="so many in so long, as in 5/1m")
    rate = Rate(int(found[1]), seconds(found[2]))
    if not (1 <= rate.most <= MOST and 1 <= rate.window_s <= LONGEST_S):
        raise UsageError(f"not a limit: {text[:40]!a}", hint=f"from 1 to {MOST:,} in 1s to {spelled(LONGEST_S)}")
    return rate


class Alert(msgspec.Struct, frozen=True):
    """What people are to be told: which rule wants it, the entry that caused it, and in one line what it says.

    `ts` is the entry's time, `fields` are the entry's but for the frame as received. `held_back` says how many alerts
    of the rule were not told since the last one that was: over its limit, too old, or refused.
    """

    rule: str
    stream: str
    entry_id: str
    ts: Micros
    fields: dict[str, str]
    what: str
    held_back: int = 0

    @property
    def text(self) -> str:
        """One line for people, without control characters."""
        return f"{self.what} (and {self.held_back:,} more)" if self.held_back else self.what

    @property
    def id(self) -> str:
        """The entry that caused it: `signals:macd_rsi:BTCUSDT/1731605400123-42`."""
        return f"{self.stream}/{self.entry_id}"


class Limit:
    """Lets through at most `rate.most` in any window, by the times it is told, whatever their order.

    It remembers a hundred windows' worth of what it let through, and lets nothing through whose window may hold what it
    has forgotten: a stream may lag so far behind another that it is not heard.

    >>> limit = Limit(Rate(2, 60.0))
    >>> [limit.allows(second * 1_000_000) for second in (0, 1, 2, 60, 61, 62)]
    [True, True, False, True, True, False]
    """

    def __init__(self, rate: Rate) -> None:
        self._most = rate.most
        self._window = round(rate.window_s * 1_000_000)
        self._times: list[int] = []
        self._heard_from: float = -inf
        """Before this time, windows may hold what was forgotten."""

    def allows(self, ts: int) -> bool:
        """Whether one more may be told whose time is `ts`, in microseconds; if so, it counts."""
        if ts < self._heard_from:
            return False
        after = bisect_right(self._times, ts - self._window)
        before = bisect_left(self._times, ts + self._window)
        if self._most_together(self._times[after:before], ts) > self._most:
            return False
        insort(self._times, ts)
        if len(self._times) > _KEPT_WINDOWS * self._most:
            self._heard_from = self._times.pop(0) + self._window
        return True

    def _most_together(self, near: list[int], ts: int) -> int:
        """The most that one window would hold with this one in it."""
        times = sorted((*near, ts))
        ends = (bisect_left(times, start + self._window) for start in times)
        return max(end - place for place, end in enumerate(ends))


class Rule:
    """A transform: an alert for each entry that `holds`, once, while the limit allows it.

    What is over the limit is counted, in `held_back` for good, and told with the next alert.
    """

    def __init__(self, name: str, holds: Where, rate: Rate) -> None:
        self.held_back = 0
        self._name = name
        self._holds = holds
        self._limit = Limit(rate)
        self._untold = 0
        self._seen: dict[str, None] = {}

    def __call__(self, entry: Entry) -> Iterable[Alert]:
        """One alert, or none."""
        if not self._holds(facts(entry)) or not self._is_new(f"{entry.stream}/{entry.entry_id}"):
            return ()
        ts = time_of(entry)
        if not self._limit.allows(ts):
            self.held_back += 1
            self._untold += 1
            return ()
        untold, self._untold = self._untold, 0
        fields = {name: value for name, value in entry.fields.items() if name not in _UNTOLD}
        return (Alert(self._name, entry.stream, entry.entry_id, ts, fields, line(self._name, entry), untold),)

    def _is_new(self, name: str) -> bool:
        """Whether an entry has not come before: what was delivered and not acknowledged comes again."""
        if name in self._seen:
            return False
        self._seen[name] = None
        if len(self._seen) > _SEEN:
            del self._seen[next(iter(self._seen))]
        return True


def time_of(entry: Entry) -> Micros:
    """When it happened: the time an entry tells, else that of its id; microseconds since the epoch.

    >>> time_of(Entry("notes", "1731605400123-0", {"ts": "yesterday"}))
    1731605400123000
    """
    try:
        return codec.micros(entry.fields["ts"])
    except (KeyError, ValueError, OverflowError):
        return Micros(parse_id(entry.entry_id)[0] * 1000)


def line(rule: str, entry: Entry) -> str:
    """What an alert says, in one line that is safe on a terminal and in a header.

    >>> told = {"strategy": "macd_rsi", "pair": "BTCUSDT", "side": "buy", "price": "45123.5", "strength": "0.9"}
    >>> line("strong", Entry("signals:macd_rsi:BTCUSDT", "1-1", told | {"reason": "oversold"}))
    'strong: macd_rsi says buy BTCUSDT at 45123.5, strength 0.9: oversold'
    >>> line("quality", Entry("events:binance", "1-1", {"exchange": "binance", "event": "trimmed", "count": "5"}))
    'quality: trimmed, binance, count 5'
    """
    text = f"{rule}: {_what(entry)}"
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 3]}..."


def one_line(text: str) -> str:
    r"""Text without what ends a line, moves a cursor or turns the direction of writing.

    >>> one_line("a\r\nBcc: x\x1b[2J\u202e")
    'a Bcc: x [2J'
    """
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _what(entry: Entry) -> str:
    fields = {name: _short(value) for name, value in entry.fields.items()}
    if fields.keys() >= _OF_SIGNALS:
        return _signal(fields)
    if "event" in fields:
        where = [fields[name] for name in ("exchange", "pair", "channel") if fields.get(name)]
        return ", ".join([fields["event"], *where, *_named(fields, _BESIDE)])
    if fields.get("kind") == "gap":
        return ", ".join([f"gap in {_short(entry.stream)}", *_named(fields, _BESIDE)])
    names = [name for name in fields if name not in (*_UNTOLD, "ts")]
    return f"{_short(entry.stream)}: {', '.join(_named(fields, names))}"


def _signal(fields: Mapping[str, str]) -> str:
    told = f"{fields['strategy']} says {fields['side']} {fields['pair']} at {fields.get('price', '?')}"
    strength = f", strength {fields['strength']}" if "strength" in fields else ""
    return f"{told}{strength}" + (f": {fields['reason']}" if fields.get("reason") else "")


def _named(fields: Mapping[str, str], names: Iterable[str]) -> list[str]:
    return [f"{_short(name)} {fields[name]}" for name in names if fields.get(name)]


def _short(text: str) -> str:
    text = one_line(text[: 4 * _LONGEST_VALUE])
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
