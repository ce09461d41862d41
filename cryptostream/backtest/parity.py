"""Whether a backtest says what live has said: the same entries to the same objects, then signal by signal, to the byte.

Compared is what both can know: above where live began, or where its stream of signals still holds all of them, and up
to where both live and the source have read. The source must have the first entry that live was given, for it remembers;
and it must go as far as live has, unless somebody wanted less: what lies beyond its end is not shown to be right.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol, cast

from cryptostream.backtest.block import BarSeries, TradeSeries
from cryptostream.errors import CheckFailed, DataQuality
from cryptostream.model import intervals
from cryptostream.model.codec import signal_fields
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Bar, Entry, Gap, Signal, Trade
from cryptostream.model.instrument import Interval

Fields = Mapping[str, str]
Item = Trade | Gap | Bar
Place = tuple[int, int]
"""Both halves of an entry id."""
_LAST = (1 << 64) - 1


class Desk(Protocol):
    """A strategy at work on one pair: see strategies/desk.py."""

    skipping: Mapping[str, str]

    def on(self, event: Trade | Gap, /) -> list[Signal]: ...

    def on_bar(self, bar: Bar, /) -> list[Signal]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What live has written of one strategy on one stream, and over which entries."""

    strategy: str
    signals: Sequence[Entry]
    """All that its stream holds, in their order."""
    began_after: str
    """The id right before the first entry that it was given."""
    reached: str
    """The last entry that it has done; empty where nobody knows."""
    maxlen: int = 0
    """The stream keeps about so many signals, and never fewer; 0 for all."""
    left_out: frozenset[str] = frozenset()
    """Entries that the strategy failed at, and live went on without."""

    @property
    def kept_above(self) -> Place:
        """Above it, the stream holds every signal since live began; what lies below may be of a run before."""
        began = parse_id(self.began_after)
        if not 0 < self.maxlen <= len(self.signals):
            return began
        ms, sequence = parse_id(self.signals[0].entry_id)
        return max(began, (ms, sequence - 1))


@dataclass(slots=True)
class Ran:
    """What a backtest said of the entries that live has done, as far as its source has them."""

    signals: list[Signal] = field(default_factory=list)
    entries: int = 0
    first: Item | None = None
    last: Item | None = None
    went_on: bool = False
    """The source has entries that live had not done."""

    def covers(self, live: Live) -> bool:
        """Whether it went as far as live has."""
        if not live.reached or self.went_on:
            return True
        if isinstance(self.last, Bar):  # live goes on over klines that are still open, and a source has closed ones
            return parse_id(live.reached) < (_next_close(self.last), 1)
        return self.last is not None and parse_id(self.last.entry_id) >= parse_id(live.reached)

    def upto(self, live: Live) -> Place:
        """Up to where it can be held against live."""
        if self.went_on:
            return parse_id(live.reached)
        return parse_id(self.last.entry_id if self.last is not None else live.began_after)


@dataclass(frozen=True, slots=True)
class Difference:
    """The first signal that is not the same: its id, and its fields on either side; None where there is none."""

    entry_id: str
    live: Fields | None
    backtest: Fields | None

    @property
    def names(self) -> list[str]:
        """The fields that differ, in their order; none where one side has no signal, or only their order differs."""
        if self.live is None or self.backtest is None:
            return []
        return [name for name in {**self.live, **self.backtest} if self.live.get(name) != self.backtest.get(name)]

    def __str__(self) -> str:
        if self.live is None:
            return f"{self.entry_id}: the backtest says {_told(self.backtest)}, live said nothing"
        if self.backtest is None:
            return f"{self.entry_id}: live said {_told(self.live)}, the backtest says nothing"
        shown = (f"{name} {self.live.get(name)} live, {self.backtest.get(name)} in the backtest" for name in self.names)
        return f"{self.entry_id}: {'; '.join(shown) or 'the same fields in another order'}"


@dataclass(frozen=True, slots=True)
class Compared:
    """How many signals were the same, up to the first that was not; `sha256` is over those, ids and fields."""

    equal: int
    sha256: str
    difference: Difference | None = None


@dataclass(frozen=True)
class Certificate:
    """What was compared, the first difference where there is one, and why it is no proof where it is none."""

    facts: dict[str, Any]
    difference: Difference | None = None
    unproven: str = ""

    def check(self) -> None:
        """Raise DataQuality where live and backtest differ, CheckFailed where live went further than the source."""
        if self.difference is not None:
            raise DataQuality(f"live and backtest differ at {self.difference}")
        if self.unproven:
            hint = "a source that goes on; or --until TIME, to compare up to there and no further"
            raise CheckFailed(self.unproven, hint=hint)


def after(series: TradeSeries | BarSeries, entry_id: str) -> Iterator[Item]:
    """The trades and gaps of a series, or its klines, above an id."""
    place = parse_id(entry_id)
    if not hasattr(series, "blocks"):
        yield from (bar for bar in series.bars() if parse_id(bar.entry_id) > place)
        return
    for block in cast(TradeSeries, series).blocks():
        if block.gaps or (int(block.ms[-1]), int(block.trade_id[-1])) > place:
            yield from (event for event in block.events() if parse_id(event.entry_id) > place)


def run(desk: Desk, items: Iterable[Item], live: Live, *, end_us: int | None = None) -> Ran:
    """Give a desk, which stands where live began, what comes after; up to where live has come, or to before a time."""
    ran = Ran()
    for item in items:
        if live.reached and parse_id(item.entry_id) > parse_id(live.reached):
            ran.went_on = True
            break
        if end_us is not None and item.ts >= end_us:
            break
        ran.signals += _ask(desk, item, live)
        ran.first, ran.last = ran.first or item, item
        ran.entries += 1
    return ran


def run_to(desk: Desk, items: Iterable[Item], live: Live, entry_id: str) -> Item | None:
    """Bring a desk to right behind an entry; that entry as the source has it, None where it has none."""
    for item in items:
        if parse_id(item.entry_id) > parse_id(entry_id):
            return None
        _ask(desk, item, live)
        if item.entry_id == entry_id:
            return item
    return None


def check_beginning(ran: Ran, live: Live, source: str) -> None:
    """Raise CheckFailed where the source lacks the first entry that live was given: all after it depends on that."""
    if ran.first is None or not _is_first(ran.first, _following(parse_id(live.began_after))):
        where = f"begins at {ran.first.entry_id}" if ran.first is not None else "has nothing of it"
        raise CheckFailed(
            f"live began right after {live.began_after}, and {source} {where}: nothing can be proven",
            hint="the stream was trimmed since? a recorder's folder has it all: consume trades --sink parquet",
        )


def certificate(live: Live, ran: Ran, source: str, *, is_cut: bool = False) -> Certificate:
    """Hold what was said against what live has written. `is_cut`: somebody wanted no more of the source than this.

    Raises CheckFailed where the source does not begin where live did.
    """
    check_beginning(ran, live, source)
    low, high = live.kept_above, ran.upto(live)
    theirs = [entry for entry in live.signals if low < parse_id(entry.entry_id) <= high]
    ours = [signal for signal in ran.signals if low < parse_id(signal.entry_id) <= high]
    beyond = sum(parse_id(entry.entry_id) > high for entry in live.signals)
    is_short = not is_cut and (not ran.covers(live) or (not live.reached and beyond > 0))
    found = compare(theirs, ours)
    facts = {
        "equal": None if is_short and found.difference is None else found.difference is None,
        "compared": found.equal,
        "not_compared": beyond,
        "entries": ran.entries,
        "first": ran.first.entry_id if ran.first is not None else None,
        "last": ran.last.entry_id if ran.last is not None else None,
        "live_reached": live.reached or None,
        "left_out": len(live.left_out),
        "sha256": found.sha256,
        **({"difference": str(found.difference)} if found.difference is not None else {}),
    }
    return Certificate(facts, found.difference, _unproven(facts, source) if is_short else "")


def compare(live: Sequence[Entry], backtest: Sequence[Signal]) -> Compared:
    """Signals as they stand in their stream beside those of a backtest, both in the order of their ids.

    >>> said = Signal("buy", strategy="s", pair="P", price=1.0, entry_id="5-1")
    >>> compare([Entry("signals:s:P", "5-1", signal_fields(said))], [said]).equal
    1
    """
    ours = {signal.entry_id: signal_fields(signal) for signal in backtest}
    theirs = {entry.entry_id: entry.fields for entry in live}
    digest, equal = sha256(), 0
    for entry_id in sorted({*ours, *theirs}, key=parse_id):
        mine, written = ours.get(entry_id), theirs.get(entry_id)
        if mine is None or written is None or list(mine.items()) != list(written.items()):
            return Compared(equal, digest.hexdigest(), Difference(entry_id, written, mine))
        digest.update(_bytes(entry_id, mine))
        equal += 1
    return Compared(equal, digest.hexdigest())


def _ask(desk: Desk, item: Item, live: Live) -> list[Signal]:
    desk.skipping = {live.strategy: item.entry_id} if item.entry_id in live.left_out else {}
    return desk.on_bar(item) if isinstance(item, Bar) else desk.on(item)


def _is_first(item: Item, given: Place) -> bool:
    """Whether nothing that matters lies before it: klines that are still open have ids too, and change nothing."""
    return item.open_time <= given[0] if isinstance(item, Bar) else parse_id(item.entry_id) == given


def _following(place: Place) -> Place:
    ms, sequence = place
    return (ms, sequence + 1) if sequence < _LAST else (ms + 1, 0)


def _next_close(kline: Bar) -> int:
    interval = Interval(kline.interval)
    return intervals.closes(interval, intervals.following(interval, kline.open_time))


def _unproven(facts: Mapping[str, Any], source: str) -> str:
    reached = f"live has read to {facts['live_reached']}" if facts["live_reached"] else "live has written more"
    beyond = f"{facts['not_compared']} of its signals lie beyond"
    return f"{source} ends at {facts['last']}, and {reached}: {beyond}, and what it should have said there is unknown"


def _told(fields: Fields | None) -> str:
    return f"{fields['side']} at {fields['price']}" if fields else ""


def _bytes(entry_id: str, fields: Fields) -> bytes:
    return "\x00".join((entry_id, *(part for pair in fields.items() for part in pair), "\n")).encode()
