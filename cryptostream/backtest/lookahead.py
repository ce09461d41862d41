"""Does a strategy know what it cannot know yet? And how much of the past does it need before it is itself?

The first is shown by prefixes: run over the first bars only, it has to say of them exactly what it says when all of
them are there, and its indicators have to stand exactly where they stood. The second by late starts: run from a later
bar on, its indicators come to stand where those of the whole run stand; how soon is the warm-up they truly need.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Bar, Gap, Signal, Trade

Item = Bar | Trade | Gap
Values = dict[str, dict[str, float | None]]
TOLERANCES = (1e-3, 1e-6, 1e-9)


class Desk(Protocol):
    """What is looked at: see strategies/desk.py."""

    @property
    def values(self) -> Values: ...

    def on(self, event: Trade | Gap) -> list[Signal]: ...

    def on_bar(self, bar: Bar) -> list[Signal]: ...


@dataclass(frozen=True, slots=True)
class Foresight:
    """A signal, or an indicator, that changed when what comes after it was there."""

    strategy: str
    entry_id: str
    cut: int
    """The length of the prefix."""
    then: str
    """With the prefix alone."""
    later: str
    """With all of it."""

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
    """What the prefixes showed."""

    items: int
    signals: int
    cuts: Sequence[int]
    foresight: Foresight | None = None


def prefixes(make: Callable[[], Desk], items: Sequence[Item], cuts: int = 20) -> Shown:
    """Run over growing prefixes, then over all of it, each time with a desk made anew."""
    at = sorted({round(len(items) * number / cuts) for number in range(1, cuts + 1)} - {0})
    parts = [_said(make(), items[:cut]) for cut in at[:-1]]
    desk, whole, stands = make(), list[Signal](), dict[int, Values]()
    for number, item in enumerate(items, 1):
        whole += _ask(desk, item)
        if number in at:
            stands[number] = desk.values
    for cut, (signals, values) in zip(at, parts, strict=False):
        upto = parse_id(items[cut - 1].entry_id)
        known = [signal for signal in whole if parse_id(signal.entry_id) <= upto]
        if found := _changed(cut, signals, known) or _moved(cut, items[cut - 1].entry_id, values, stands[cut]):
            return Shown(len(items), len(whole), at, found)
    return Shown(len(items), len(whole), at)


def warm_ups(
    make: Callable[[], Desk], items: Sequence[Item], declared: Mapping[str, int], starts: int = 4
) -> list[WarmUp]:
    """What each indicator needs, by runs that begin later: the most over some starts, all in the first half."""
    whole = list(_stands(make(), items))
    late = [round(len(items) * number / (2 * starts)) for number in range(1, starts + 1)]
    runs = [(start, list(_stands(make(), items[start:]))) for start in dict.fromkeys(late) if start < len(items)]
    return [
        WarmUp(
            strategy,
            name,
            declared[strategy],
            next((number for number, values in enumerate(whole, 1) if values[strategy][name] is not None), None),
            {tolerance: _most(whole, runs, strategy, name, tolerance) for tolerance in TOLERANCES},
        )
        for strategy, names in (whole[-1] if whole else {}).items()
        for name in names
    ]


def _most(
    whole: Sequence[Values], runs: Sequence[tuple[int, Sequence[Values]]], strategy: str, name: str, tolerance: float
) -> int | None:
    needs = [_needs(whole[start:], late, strategy, name, tolerance) for start, late in runs]
    return None if None in needs or not needs else max(need for need in needs if need is not None)


def _needs(whole: Sequence[Values], late: Sequence[Values], strategy: str, name: str, tolerance: float) -> int | None:
    """After how many updates the late run stands where the whole one does, and stays there."""
    for number in range(len(late), 0, -1):
        if not _near(whole[number - 1][strategy][name], late[number - 1][strategy][name], tolerance):
            return None if number == len(late) else number + 1
    return 1


def _near(one: float | None, other: float | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= tolerance * max(abs(one), abs(other))


def _said(desk: Desk, items: Sequence[Item]) -> tuple[list[Signal], Values]:
    return [signal for item in items for signal in _ask(desk, item)], desk.values


def _stands(desk: Desk, items: Sequence[Item]) -> Iterator[Values]:
    for item in items:
        _ask(desk, item)
        yield desk.values


def _ask(desk: Desk, item: Item) -> list[Signal]:
    return desk.on_bar(item) if isinstance(item, Bar) else desk.on(item)


def _changed(cut: int, then: Sequence[Signal], later: Sequence[Signal]) -> Foresight | None:
    for number in range(max(len(then), len(later))):
        one, other = then[number : number + 1], later[number : number + 1]
        if one != other:
            first = min((*one, *other), key=lambda signal: parse_id(signal.entry_id))
            return Foresight(first.strategy, first.entry_id, cut, _told(one), _told(other))
    return None


def _moved(cut: int, entry_id: str, then: Values, later: Values) -> Foresight | None:
    for strategy, values in then.items():
        for name, value in values.items():
            if value != later[strategy][name]:
                return Foresight(strategy, entry_id, cut, f"{name} was {value!r}", f"{later[strategy][name]!r}")
    return None


def _told(signals: Sequence[Signal]) -> str:
    return f"it said {signals[0].side}" if signals else "it said nothing"
