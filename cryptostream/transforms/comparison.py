"""Two accounts of the same trades or klines side by side, by id: what only one has, and where they differ."""

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from typing import Any, Protocol

import msgspec

from cryptostream.model import codec
from cryptostream.model.events import KlineRecord, TradeRecord
from cryptostream.model.instrument import Interval
from cryptostream.model.intervals import preceding
from cryptostream.model.text import are_positive, is_amount
from cryptostream.transforms.audit.report import Spans, Tally

_EXACT = Context(prec=200)
"""Sums of products of decimals of at most 40 digits stay exact."""


class Sums(msgspec.Struct):
    """Trades, or closed klines, of one account within the ids that both cover."""

    facts: int = 0
    qty: Decimal = Decimal(0)
    """Of klines the volume."""
    quote: Decimal = Decimal(0)
    """The sum of price times quantity; of klines the quote volume."""
    first_id: int | None = None
    last_id: int | None = None

    def add(self, number: int, qty: str, price: str, quote: str = "0") -> None:
        size = Decimal(qty)
        self.facts += 1
        self.qty = _EXACT.add(self.qty, size)
        self.quote = _EXACT.add(_EXACT.fma(Decimal(price), size, self.quote), Decimal(quote))
        self.first_id = number if self.first_id is None else self.first_id
        self.last_id = number


class Kind(Protocol):
    """What is compared: how it is numbered, what is summed up, and what makes two of them the same."""

    name: str

    def number(self, row: Any) -> int: ...

    def before(self, number: int) -> int:
        """The id right below another."""

    def add(self, sums: Sums, number: int, fields: Mapping[str, str]) -> None:
        """Sum up one, ours or theirs, whose fields are readable."""

    def unreadable(self, entry: Mapping[str, str]) -> str:
        """What of ours is no number; empty for nothing."""

    def differences(self, entry: Mapping[str, str], theirs: Mapping[str, str]) -> str:
        """Ours and theirs where they differ; empty for nowhere."""


class OfTrades:
    """Trades by their ids."""

    name = "trades"

    def number(self, row: TradeRecord) -> int:
        return row.trade_id

    def before(self, number: int) -> int:
        return number - 1

    def add(self, sums: Sums, number: int, fields: Mapping[str, str]) -> None:
        sums.add(number, fields["qty"], fields["price"])

    def unreadable(self, entry: Mapping[str, str]) -> str:
        price, qty = entry.get("price", ""), entry.get("qty", "")
        return "" if are_positive(price, qty) else f"price {entry.get('price')!a}, qty {entry.get('qty')!a}"

    def differences(self, entry: Mapping[str, str], theirs: Mapping[str, str]) -> str:
        """Numbers by value, times by the millisecond."""
        found = _differing(entry, theirs, ("price", "qty"))
        if _ms(entry.get("ts", "")) != _ms(theirs["ts"]):
            found.append(f"ts {entry.get('ts')}, venue {theirs['ts']}")
        return "; ".join([*found, *_unlike(entry, theirs, ("side",))])


class OfKlines:
    """Closed klines of one interval by their open times. When one was told (`ts`) is no part of it."""

    name = "closed"
    _numbers = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
    _texts = ("close_time", "trades", "interval", "closed")

    def __init__(self, interval: Interval) -> None:
        self._interval = interval

    def number(self, row: KlineRecord) -> int:
        return row.open_time

    def before(self, number: int) -> int:
        return preceding(self._interval, number)

    def add(self, sums: Sums, number: int, fields: Mapping[str, str]) -> None:
        sums.add(number, fields["volume"], "0", fields["quote_volume"])

    def unreadable(self, entry: Mapping[str, str]) -> str:
        return ", ".join(f"{name} {entry.get(name)!a}" for name in self._numbers if not is_amount(entry.get(name, "")))

    def differences(self, entry: Mapping[str, str], theirs: Mapping[str, str]) -> str:
        """Prices and volumes by value, all else by its text."""
        return "; ".join([*_differing(entry, theirs, self._numbers), *_unlike(entry, theirs, self._texts)])


class Comparison:
    """Our entries of one stream against the venue's rows of the same ids, both in the order of ids.

    `starts` is the first id that the venue's account covers; ours outside of it, on either side, are only counted.
    Holds no more than the rows that were given last.
    """

    def __init__(self, starts: int, kind: Kind | None = None) -> None:
        self._kind: Kind = kind or OfTrades()
        self.name = self._kind.name
        """What is counted, as `Sums.facts`."""
        self.ours = Sums()
        self.theirs = Sums()
        self.missing_here = Spans()
        """The venue has them, and we neither have them nor say so."""
        self.known_missing = 0
        """The venue has them, and a gap entry of ours says that they are missing."""
        self.missing_there = Spans()
        self.differing = Tally()
        self.outside = 0
        """Of ours, what lies beyond what the venue's account covers."""
        self._rows: deque[TradeRecord | KlineRecord] = deque()
        self._starts = starts
        self._newest = -1
        self._ended = False

    @property
    def failures(self) -> dict[str, int]:
        """What does not agree, by its name."""
        found = {
            "missing here": self.missing_here.ids,
            "missing there": self.missing_there.ids,
            "differing": self.differing.count,
        }
        return {name: count for name, count in found.items() if count}

    def take(self, rows: Sequence[TradeRecord | KlineRecord]) -> None:
        """The venue's next rows."""
        self._rows.extend(rows)

    def end(self) -> None:
        """The venue has no more rows."""
        self._ended = True

    def settle(self, first: int, last: int, entry: Mapping[str, str]) -> bool:
        """Judge our next entry, which speaks of these ids: its own, or all that a gap calls missing.

        False until enough of the venue's rows are there: `take` some, or `end`, and ask again. An entry that is not
        above those before is passed over: an audit tells of it.
        """
        if first <= self._newest:
            return True
        is_gap = entry.get("kind") == "gap"
        self._pass(first - 1)
        rows = self._rows_up_to(last)
        self.known_missing += len(rows) if is_gap else 0
        if not self._rows and not self._ended and (is_gap or not rows):
            return False
        if not is_gap:
            self._judge(first, entry, rows)
        self._newest = last
        return True

    def _pass(self, last: int) -> None:
        """Rows of the venue up to an id, where we have nothing: missing here, unless we had not begun."""
        rows = self._rows_up_to(last)
        if self._newest >= 0:
            for row in rows:
                self._missing(row)

    def _missing(self, row: TradeRecord | KlineRecord) -> None:
        number = self._kind.number(row)
        self._kind.add(self.theirs, number, codec.fields(row))
        self._extend(self.missing_here, number)

    def _judge(self, number: int, entry: Mapping[str, str], rows: Sequence[TradeRecord | KlineRecord]) -> None:
        if number < self._starts or (self._ended and not rows and not self._rows):
            self.outside += 1
            return
        unreadable = self._kind.unreadable(entry)
        if not unreadable:
            self._kind.add(self.ours, number, entry)
        if not rows:
            self._extend(self.missing_there, number)
            return
        theirs = codec.fields(rows[0])
        self._kind.add(self.theirs, number, theirs)
        told = unreadable or self._kind.differences(entry, theirs)
        if told:
            self.differing.note(f"{number}: {told}")

    def _rows_up_to(self, last: int) -> list[TradeRecord | KlineRecord]:
        found = []
        while self._rows and self._kind.number(self._rows[0]) <= last:
            found.append(self._rows.popleft())
        return found

    def _extend(self, spans: Spans, number: int) -> None:
        """One more id, next to the last stretch or as a new one."""
        if spans.first and spans.complete and spans.first[-1][1] == self._kind.before(number):
            spans.first[-1] = (spans.first[-1][0], number)
            spans.ids += 1
        else:
            spans.add(number, number, 1)


def _differing(entry: Mapping[str, str], theirs: Mapping[str, str], names: Sequence[str]) -> list[str]:
    """Numbers that are not of the same value."""
    return [
        f"{name} {entry[name]}, venue {theirs[name]}"
        for name in names
        if entry[name] != theirs[name] and Decimal(entry[name]) != Decimal(theirs[name])
    ]


def _unlike(entry: Mapping[str, str], theirs: Mapping[str, str], names: Sequence[str]) -> list[str]:
    """Texts that are not the same."""
    return [f"{name} {entry.get(name)}, venue {theirs[name]}" for name in names if entry.get(name) != theirs[name]]


def _ms(text: str) -> int | None:
    try:
        return codec.micros(text) // 1000
    except (ValueError, OverflowError):
        return None
