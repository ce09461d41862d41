"""What was traded against what a stream holds: the one judge of every test that makes things go wrong.

    history = check_history(truth_of(exchange, "BTCUSDT"), client.xrange("trades:BTCUSDT"), first=..., last=...)
    history.assert_clean()

It shares no code with `cryptostream verify`, so that one checks the other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptostream.sim.exchange import LocalExchange

Truth = tuple[str, str, int, str]
"""Price, quantity, time in milliseconds, side: as the exchange writes them."""
_SHOWN = 5


@dataclass
class History:
    """What `check_history` found; every list is complete, so its length is the exact count."""

    first: int
    last: int
    trades: int = 0
    """Trade entries in the stream, each counted however often it is there."""
    lost: list[int] = field(default_factory=list)
    """Ids of the range that are neither in the stream nor in a recorded gap: silent loss."""
    recorded: list[int] = field(default_factory=list)
    """Ids of the range that are missing, and that a gap entry tells of."""
    gaps: list[tuple[int, int, str]] = field(default_factory=list)
    """Gap entries in the order of the stream: first and last missing id, cause."""
    false_gaps: list[int] = field(default_factory=list)
    """Ids that a gap entry calls missing although the stream holds them."""
    duplicated: list[int] = field(default_factory=list)
    """Ids in the stream that were in it before: each further copy once."""
    disordered: list[str] = field(default_factory=list)
    """Entries whose trade id, or whose entry id, is not above the one before; duplicates are not among them."""
    invented: list[int] = field(default_factory=list)
    """Ids in the stream that were never traded."""
    differing: list[str] = field(default_factory=list)
    """Fields that are not, digit by digit, what was traded; and entry ids that do not follow from them."""

    @property
    def clean(self) -> bool:
        """Whether nothing is lost, doubled, out of order, wrong or invented; recorded gaps that are true are clean."""
        return not any((self.lost, self.false_gaps, self.duplicated, self.disordered, self.invented, self.differing))

    def assert_clean(self, *, gaps: bool = False) -> None:
        """Fail with all there is to say unless the history is clean; recorded gaps pass only where `gaps` allows."""
        assert self.clean, str(self)
        assert gaps or not self.gaps, f"gaps were recorded where none had to be: {self}"

    def __str__(self) -> str:
        lists = {name: found for name, found in vars(self).items() if isinstance(found, list)}
        told = [f"{len(found)} {name} {_some(found)}" for name, found in lists.items() if found]
        return f"ids {self.first}..{self.last}, {self.trades} trades; " + ("; ".join(told) or "clean")


def check_history(
    truth: Callable[[int], Truth] | Mapping[int, Truth],
    stored: Sequence[tuple[str, Mapping[str, str]]],
    *,
    first: int | None = None,
    last: int | None = None,
) -> History:
    """Compare what a stream of trades holds with what was traded.

    `truth` gives a trade by its id, or raises LookupError for one that never was. `stored` is the whole stream as
    XRANGE gives it. `first` and `last` bound the ids that must be there; unless given, they are the stream's own,
    so that what is missing at its ends does not show: give them.
    """
    trade_of = truth.__getitem__ if isinstance(truth, Mapping) else truth
    trades = [(entry_id, entry) for entry_id, entry in stored if entry.get("kind") != "gap"]
    ids = [int(entry["trade_id"]) for _, entry in trades]
    found = History(_or(first, min(ids, default=0)), _or(last, max(ids, default=-1)), trades=len(ids))
    _check_gaps(found, stored, ids)
    _check_order(found, stored)
    _check_digits(found, trades, trade_of)
    return found


def truth_of(exchange: LocalExchange, pair: str) -> Callable[[int], Truth]:
    """What a local exchange traded of a pair, whether anybody listened or not, without what a `hole` fault took."""

    def trade(trade_id: int) -> Truth:
        for one in exchange.trades(pair, trade_id, trade_id):
            return one.price, one.qty, one.time_us // 1000, "sell" if one.buyer_is_maker else "buy"
        raise LookupError(trade_id)

    return trade


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _check_gaps(found: History, stored: Sequence[tuple[str, Mapping[str, str]]], ids: Sequence[int]) -> None:
    held, told = set(ids), set()
    for _, entry in stored:
        if entry.get("kind") == "gap":
            first, last = int(entry["gap_from"]), int(entry["gap_to"])
            found.gaps.append((first, last, entry["cause"]))
            told.update(range(first, last + 1))
    missing = [trade_id for trade_id in range(found.first, found.last + 1) if trade_id not in held]
    found.recorded = [trade_id for trade_id in missing if trade_id in told]
    found.lost = [trade_id for trade_id in missing if trade_id not in told]
    found.false_gaps = sorted(told & held)


def _check_order(found: History, stored: Sequence[tuple[str, Mapping[str, str]]]) -> None:
    """Trade ids (a gap counts with its first) and entry ids both rise; a copy of an earlier trade is a duplicate."""
    seen: set[int] = set()
    newest, newest_entry = -1, (-1, -1)
    for entry_id, entry in stored:
        number = int(entry["gap_from"] if entry.get("kind") == "gap" else entry["trade_id"])
        ms, _, sequence = entry_id.partition("-")
        this_entry = (int(ms), int(sequence))
        if number in seen:
            found.duplicated.append(number)
        elif number <= newest or this_entry <= newest_entry:
            found.disordered.append(entry_id)
        seen.add(number)
        newest, newest_entry = max(newest, number), max(newest_entry, this_entry)


def _check_digits(
    found: History, trades: Sequence[tuple[str, Mapping[str, str]]], trade_of: Callable[[int], Truth]
) -> None:
    before_ms = 0
    for entry_id, entry in trades:
        trade_id = int(entry["trade_id"])
        try:
            price, qty, ms, side = trade_of(trade_id)
        except LookupError:
            found.invented.append(trade_id)
            continue
        stored = (entry["price"], entry["qty"], _ms(entry["ts"]), entry["side"])
        if stored != (price, qty, ms, side):
            found.differing.append(f"{trade_id}: {stored} instead of {(price, qty, ms, side)}")
        own_ms, _, sequence = entry_id.partition("-")
        # The first entry may stand at the time of one that was trimmed before it.
        clamped = int(own_ms) if not before_ms and int(own_ms) > ms else max(before_ms, ms)
        if (int(own_ms), int(sequence)) != (clamped, trade_id):
            found.differing.append(f"entry id {entry_id} instead of {clamped}-{trade_id}")
        before_ms = max(before_ms, int(own_ms))


def _ms(ts: str) -> int:
    moment = datetime.fromisoformat(ts).replace(tzinfo=UTC)
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000


def _some(found: Sequence[object]) -> str:
    shown = ", ".join(map(str, found[:_SHOWN]))
    return f"({shown}{', ...' if len(found) > _SHOWN else ''})"
