"""Does a strategy know what it cannot know yet? And how much of the past does it need before it is itself?

The first is shown by prefixes: with the first trades only, bars, signals and indicators have to be exactly what they
are when all trades are there. Each prefix has its bars built anew, by columns as a backtest does; and over all trades
these bars are held against those of the live object, which is given one trade at a time and so cannot look ahead.
Prefixes grow. What each says is compared with the one before it, so that only the signals of one are kept; where
everything stood at the end of a prefix is compared in all the longer ones.

The second is shown by late starts: run from a later bar on, the indicators come to stand where those of the whole run
stand; how soon is the warm-up they truly need. Late runs go beside the whole one, so nothing of them is kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Protocol, cast

from cryptostream.backtest.block import BarSeries, Block, TradeSeries
from cryptostream.backtest.columns import BarColumns
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Bar, Gap, Signal, Trade
from cryptostream.transforms.bars import Bars, BarSpec

Item = Bar | Trade | Gap
Values = dict[str, dict[str, float | None]]
TOLERANCES = (1e-3, 1e-6, 1e-9)
_NEVER = [0, 0, 0]


class Desk(Protocol):
    """What is looked at: see strategies/desk.py."""

    @property
    def bar(self) -> Bar | None: ...

    @property
    def values(self) -> Values: ...

    def on(self, event: Trade | Gap, /) -> list[Signal]: ...

    def on_bar(self, bar: Bar, /) -> list[Signal]: ...


@dataclass(frozen=True, slots=True)
class Foresight:
    """A bar, a signal, or an indicator, that changed when what comes after it was there."""

    strategy: str
    """Or what builds the bars."""
    entry_id: str
    cut: int
    """The length of the prefix, in trades or klines."""
    then: str
    """With the prefix alone."""
    later: str
    """With more of it."""

    def __str__(self) -> str:
        return (
            f"{self.strategy} at {self.entry_id}: {self.then} while the data ended there (after {self.cut:,}), "
            f"{self.later} with what came later"
        )


@dataclass(frozen=True, slots=True)
class WarmUp:
    """One indicator: when it has its first value, and after how many updates a late start stands where it should.

    `settled` is by relative distance; None where it never came so near. All count what the strategy takes in.
    """

    strategy: str
    name: str
    declared: int
    first: int | None
    settled: Mapping[float, int | None]


@dataclass(frozen=True, slots=True)
class Shown:
    """What the prefixes showed: of how many bars or trades, with how many signals; `cuts` are in trades or klines."""

    items: int
    signals: int
    cuts: Sequence[int]
    foresight: Foresight | None = None


@dataclass(frozen=True)
class Feed:
    """What strategies take in of a series: its trades where they want these, else bars; klines are bars already."""

    series: TradeSeries | BarSeries
    spec: BarSpec
    wants_trades: bool = False

    @property
    def has_trades(self) -> bool:
        return hasattr(self.series, "blocks")

    @property
    def rows(self) -> int:
        """How many trades, or klines, there are: counted, for a series knows only about how many."""
        if self.has_trades:
            return sum(map(len, self._blocks(None)))
        return sum(1 for _ in cast(BarSeries, self.series).bars())

    def items(self, rows: int | None = None) -> Iterator[tuple[int, Item]]:
        """What is taken in of the first rows alone, or of all; each with the number of rows up to it."""
        if not self.has_trades:
            return enumerate(islice(cast(BarSeries, self.series).bars(), rows), 1)
        return self._trades(rows) if self.wants_trades else self._bars(rows)

    def otherwise_live(self) -> Foresight | None:
        """The first bar by columns that is not the one which the live object builds of the same trades."""
        columns, live, start = BarColumns(self.spec), Bars(self.spec), 0
        for block in self._blocks(None):
            closed = columns.add(block)
            alive = (bar for event in block.events() if (bar := live.update(event)) is not None)
            for one, other, row in zip_longest(alive, closed.bars(), closed.row.tolist(), fillvalue=None):
                if one != other:
                    return _rebuilt(start + (len(block) if row is None else row + 1), one, other)
            start += len(block)
        return None

    def _bars(self, rows: int | None) -> Iterator[tuple[int, Item]]:
        columns, start = BarColumns(self.spec), 1
        for block in self._blocks(rows):
            closed = columns.add(block)
            yield from zip((closed.row + start).tolist(), closed.bars(), strict=True)
            start += len(block)

    def _trades(self, rows: int | None) -> Iterator[tuple[int, Item]]:
        number = 0
        for block in self._blocks(rows):
            for event in block.events():  # a gap is cut off with the trade after it
                if number == rows:
                    return
                yield number + 1, event
                number += type(event) is Trade

    def _blocks(self, rows: int | None) -> Iterator[Block]:
        left = rows
        for block in cast(TradeSeries, self.series).blocks():
            if left is None or len(block) <= left:
                yield block
            elif left:
                yield block.part(0, left)
            left = None if left is None else max(left - len(block), 0)
            if left == 0:
                return


@dataclass(frozen=True, slots=True)
class _Stand:
    """Where everything stood at the end of a prefix: how many bars or trades it had, the newest bar, the indicators."""

    cut: int
    items: int
    entry_id: str
    bar: Bar | None
    values: Values


def prefixes(make: Callable[[], Desk], feed: Feed, cuts: int = 20) -> Shown:
    """Run over growing prefixes, then over all of it, each time with a desk and bars made anew."""
    rows = feed.rows
    at = sorted({round(rows * number / cuts) for number in range(1, cuts + 1)} - {0})
    found = feed.otherwise_live() if feed.has_trades and not feed.wants_trades else None
    signals, stands = list[Signal](), list[_Stand]()
    for cut in at:
        said, stood = _run(make(), feed.items(cut if cut < rows else None), at[: len(stands) + 1])
        changes = (_moved(then, later) for then, later in zip(stands, stood, strict=False))
        known = stands[-1].cut if stands else 0
        found = found or _changed(known, signals, said) or next((one for one in changes if one), None)
        signals, stands = [signal for _, signal in said], [*stands, stood[-1]]
    return Shown(stands[-1].items if stands else 0, len(signals), at, found)


def _run(
    desk: Desk, items: Iterator[tuple[int, Item]], cuts: Sequence[int]
) -> tuple[list[tuple[int, Signal]], list[_Stand]]:
    """What is said, each with the number of rows up to it; and where everything stands at each cut."""
    said, stands = list[tuple[int, Signal]](), list[_Stand]()
    count, entry_id = 0, ""
    for row, item in items:
        while row > cuts[len(stands)] and len(stands) < len(cuts) - 1:
            stands.append(_Stand(cuts[len(stands)], count, entry_id, desk.bar, desk.values))
        said += [(row, signal) for signal in _ask(desk, item)]
        count, entry_id = count + 1, item.entry_id
    return said, stands + [_Stand(cut, count, entry_id, desk.bar, desk.values) for cut in cuts[len(stands) :]]


def _changed(cut: int, signals: Sequence[Signal], said: Sequence[tuple[int, Signal]]) -> Foresight | None:
    """The first signal up to a cut that was not said before, or is not said now."""
    for then, later in zip_longest(signals, (signal for row, signal in said if row <= cut)):
        if then != later:
            first = min((one for one in (then, later) if one is not None), key=lambda one: parse_id(one.entry_id))
            told = [_said(one if one is not None and _whose(one) == _whose(first) else None) for one in (then, later)]
            return Foresight(first.strategy, first.entry_id, cut, *told)
    return None


def _moved(then: _Stand, later: _Stand) -> Foresight | None:
    for strategy, values in then.values.items():
        for name, value in values.items():
            other = later.values[strategy].get(name)
            if not _same(value, other):
                return Foresight(strategy, then.entry_id, then.cut, f"{name} was {value!r}", f"{other!r}")
    if (then.bar, then.items) != (later.bar, later.items):
        return _rebuilt(then.cut, then.bar, later.bar)
    return None


def _rebuilt(cut: int, then: Bar | None, later: Bar | None) -> Foresight:
    there = later or then
    return Foresight("the building of bars", there.entry_id if there else "", cut, _built(then), _built(later))


def _built(bar: Bar | None) -> str:
    return "there was no bar" if bar is None else f"it was {bar!r}"


def _whose(signal: Signal) -> tuple[str, str]:
    return signal.entry_id, signal.strategy


def _said(signal: Signal | None) -> str:
    return "it said nothing" if signal is None else f"it said {signal.side} {dict(signal.values) or ''}".rstrip()


def _ask(desk: Desk, item: Item) -> list[Signal]:
    return desk.on_bar(item) if isinstance(item, Bar) else desk.on(item)


def _same(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and one != one and other is not None and other != other)


class _Late:
    """A desk that starts late, beside the whole run; and where it last stood elsewhere, for each tolerance."""

    def __init__(self, desk: Desk, start: int) -> None:
        self.desk = desk
        self.start = start
        self.count = 0
        self._apart: dict[tuple[str, str], list[int]] = {}

    def see(self, item: Item, whole: Values) -> None:
        """Take in an item, after the whole run has."""
        _ask(self.desk, item)
        self.count += 1
        mine = self.desk.values
        for strategy, values in whole.items():
            for name, value in values.items():
                if not _same(value, other := mine[strategy].get(name)):
                    self._note((strategy, name), value, other)

    def needs(self, strategy: str, name: str, tolerance: float) -> int | None:
        """After how many updates it stands where the whole run does, and stays there; None where it does not."""
        last = self._apart.get((strategy, name), _NEVER)[TOLERANCES.index(tolerance)]
        return None if last == self.count else last + 1

    def _note(self, which: tuple[str, str], whole: float | None, late: float | None) -> None:
        apart = self._apart.setdefault(which, [*_NEVER])
        for place, tolerance in enumerate(TOLERANCES):
            if not _near(whole, late, tolerance):
                apart[place] = self.count


def warm_ups(
    make: Callable[[], Desk], feed: Feed, items: int, declared: Mapping[str, int], starts: int = 4
) -> list[WarmUp]:
    """What each indicator needs, by runs that begin later: the most over some starts, all in the first half.

    `items` is how many bars or trades the strategies take in; `declared` is what each says that it needs.
    """
    at = dict.fromkeys(round(items * number / (2 * starts)) for number in range(1, starts + 1))
    late = [_Late(make(), start) for start in at if start < items]
    whole, first = make(), dict[tuple[str, str], int | None]()
    for number, (_, item) in enumerate(feed.items()):
        _ask(whole, item)
        values = whole.values
        for strategy, each in values.items():
            for name, value in each.items():
                if first.get((strategy, name)) is None:
                    first[strategy, name] = None if value is None else number + 1
        for run in late:
            if number >= run.start:
                run.see(item, values)
    return [
        WarmUp(
            strategy, name, declared[strategy], began, {each: _most(late, strategy, name, each) for each in TOLERANCES}
        )
        for (strategy, name), began in first.items()
    ]


def _most(late: Sequence[_Late], strategy: str, name: str, tolerance: float) -> int | None:
    needs = [run.needs(strategy, name, tolerance) for run in late]
    return None if None in needs or not needs else max(need for need in needs if need is not None)


def _near(one: float | None, other: float | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= tolerance * max(abs(one), abs(other))
