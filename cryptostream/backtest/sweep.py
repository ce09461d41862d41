"""Which parameters went best: `rsi_period=7..21:7` becomes values, values become a grid, and its cells are ranked.

    param  = [strategy "."] name "=" item ("," item)*
    item   = first ".." last [":" step]  |  number  |  true  |  false  |  word

A range reaches its last value where the steps hit it. Steps are taken in decimals, so `0.1..0.5:0.1` has 0.3 and not
0.30000000000000004; values are whole numbers where the range is written in whole numbers.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from math import isfinite, prod

from cryptostream.backtest.result import Figures
from cryptostream.errors import UsageError
from cryptostream.registry import did_you_mean

Value = int | float | bool | str
Params = dict[str, Value]
"""By the name as it was written: `rsi_period`, or `macd_rsi.rsi_period`."""

MOST = 10_000
"""Combinations of a grid, unless told."""
LOWER = frozenset({"volatility", "max_drawdown_s", "turnover", "fees"})
"""Figures of which less is better; of all others more is. Drawdowns are negative: the one nearest to zero is best."""
RANKED = tuple(name for name in Figures.__struct_fields__ if name not in ("start", "end", "period_s", "cash"))
"""Figures that cells can be ranked by."""

_PARAM = re.compile(r"((?:[A-Za-z_][\w-]*\.)?[A-Za-z_]\w*)=(.+)", re.ASCII)
_NUMBER = r"[+-]?(?:\d{1,18}(?:\.\d{1,18})?|\.\d{1,18})(?:[eE][+-]?\d{1,2})?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?::({_NUMBER}))?", re.ASCII)
_SINGLE = re.compile(_NUMBER, re.ASCII)
_WORD = re.compile(r"[A-Za-z_][\w.:/-]*", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_EXAMPLE = "as in rsi_period=7..21:7, rsi_period=7,14 or macd_rsi.rsi_period=14"


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter and the values that it takes in turn, each once. `name` as it was written."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """How one combination went for one strategy; where it could not be run `figures` is None, and `why` says why."""

    params: Params
    strategy: str
    figures: Figures | None
    why: str = ""

    def figure(self, name: str) -> float | None:
        """One figure; None where it cannot be said."""
        value = getattr(self.figures, name, None)
        return value if value is not None and isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Sweep:
    """A whole sweep: what was varied, and a cell for each combination and strategy, in the order of the grid."""

    params: Sequence[Param]
    cells: Sequence[Cell] = field(default=())
    figure: str = "sharpe"


def parse_param(text: str) -> Param:
    """Read one `--param`.

    >>> parse_param("rsi_period=7..21:7")
    Param(name='rsi_period', values=(7, 14, 21))
    >>> parse_param("macd_rsi.level=0.1..0.3:0.1,0.5,true").values
    (0.1, 0.2, 0.3, 0.5, True)

    Raises UsageError.
    """
    found = _PARAM.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"not a parameter: {text[:80]!a}", hint=_EXAMPLE)
    name = found[1]
    values: list[Value] = []
    for item in found[2].split(","):
        values += _values(name, item.strip())
        if len(values) > MOST:
            raise UsageError(f"{name} has more than {MOST:,} values", hint="take larger steps")
    once = {(type(value), value): value for value in values}
    return Param(name, tuple(once.values()))


def _values(name: str, item: str) -> list[Value]:
    if found := _RANGE.fullmatch(item):
        return _range(name, found[1], found[2], found[3])
    if _SINGLE.fullmatch(item):
        return [_number(item, Decimal(item))]
    if item in ("true", "false"):
        return [item == "true"]
    if _WORD.fullmatch(item):
        return [item]
    raise UsageError(f"{item[:40]!a} is no value of {name}", hint=_EXAMPLE)


def _range(name: str, first: str, last: str, step: str | None) -> list[Value]:
    text = f"{name}={first}..{last}" + (f":{step}" if step else "")
    if step is None and not (_WHOLE.fullmatch(first) and _WHOLE.fullmatch(last)):
        raise UsageError(f"{text} has no step", hint=f"as in {text}:0.1")
    low, high, by = Decimal(first), Decimal(last), Decimal(step or "1")
    if by <= 0 or low > high:
        wrong = "its step is not above zero" if by <= 0 else "it ends before it begins"
        raise UsageError(f"{text} has no values: {wrong}", hint="first..last:step, as in 7..21:7")
    count = int((high - low) / by) + 1
    if count > MOST:
        raise UsageError(f"{text} has {count:,} values, more than {MOST:,}", hint="take larger steps")
    whole = all(_WHOLE.fullmatch(part) for part in (first, step or "1"))
    return [int(low + by * place) if whole else float(low + by * place) for place in range(count)]


def _number(text: str, number: Decimal) -> Value:
    return int(number) if _WHOLE.fullmatch(text) else float(number)


def grid(params: Sequence[Param], most: int = MOST) -> list[Params]:
    """Every combination, the last parameter changing fastest; one empty combination for no parameters.

    >>> grid([parse_param("fast=5,10"), parse_param("slow=20,30")])[:3]
    [{'fast': 5, 'slow': 20}, {'fast': 5, 'slow': 30}, {'fast': 10, 'slow': 20}]

    Raises UsageError for a parameter that is given twice, and for more than `most` combinations.
    """
    names = [param.name for param in params]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{twice[0]} is given twice", hint=f"several values go together: {twice[0]}=7,14,21")
    count = prod(len(param.values) for param in params)
    if count > most:
        sizes = " x ".join(f"{len(param.values):,} of {param.name}" for param in params)
        raise UsageError(f"{count:,} combinations ({sizes}), more than {most:,}", hint="take fewer values")
    return [dict(zip(names, values, strict=True)) for values in product(*(param.values for param in params))]


def addressed(params: Mapping[str, Value], known: Mapping[str, Collection[str]]) -> dict[str, Params]:
    """The parameters of each strategy. `known` are the strategies, each with the names of its parameters.

    A bare name goes to every strategy that has it, `strategy.name` to one, whatever a bare name says.

    >>> known = {"rsi": {"period"}, "ema": {"period", "slow"}}
    >>> addressed({"period": 7, "ema.period": 9}, known)
    {'rsi': {'period': 7}, 'ema': {'period': 9}}

    Raises UsageError for a name that none of them has.
    """
    settled: dict[str, Params] = {strategy: {} for strategy in known}
    for written in sorted(params, key=lambda name: "." in name):
        owner, _, name = written.rpartition(".")
        owners = [strategy for strategy in known if name in known[strategy] and owner in ("", strategy)]
        if not owners:
            raise _unknown(written, known)
        for strategy in owners:
            settled[strategy][name] = params[written]
    return settled


def _unknown(written: str, known: Mapping[str, Collection[str]]) -> UsageError:
    bare = sorted({name for names in known.values() for name in names})
    full = [f"{strategy}.{name}" for strategy, names in known.items() for name in sorted(names)]
    hint = did_you_mean(written, full if "." in written else bare)
    hint = hint or f"parameters: {', '.join(full) or 'none'}"
    return UsageError(f'no strategy has a parameter "{written}"', hint=hint)


def ranked(cells: Iterable[Cell], figure: str = "sharpe") -> list[Cell]:
    """The cells from best to worst by a figure. Those that have none come last; equals keep the grid's order.

    Raises UsageError for what is no figure to rank by.
    """
    if figure not in RANKED:
        hint = did_you_mean(figure, RANKED) or f"figures: {', '.join(RANKED)}"
        raise UsageError(f'no figure "{figure}"', hint=hint)
    sign = 1 if figure in LOWER else -1

    def place(cell: Cell) -> tuple[bool, float]:
        value = cell.figure(figure)
        return (True, 0.0) if value is None else (False, sign * value)

    return sorted(cells, key=place)


def best(cells: Iterable[Cell], figure: str = "sharpe") -> Cell | None:
    """The best cell; None where none of them has the figure. Raises UsageError as `ranked` does."""
    first = next(iter(ranked(cells, figure)), None)
    return None if first is None or first.figure(figure) is None else first
