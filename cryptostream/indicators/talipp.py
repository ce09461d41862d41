"""The indicators of the library talipp as ours: `make("talipp:ADX", di_period=14, adx_period=14)`.

talipp keeps all inputs and outputs. Here its lists are cut once they are twice as long as any window of theirs needs,
so memory is constant and the values stay the same to the last bit. What it remembers is written as plain data and read
back into an object that was made anew.
"""

import inspect
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from importlib import import_module
from typing import Any

from cryptostream import registry
from cryptostream.errors import ConfigError
from cryptostream.indicators.base import Takes, unusable, whole
from cryptostream.model.events import Bar, Micros

PREFIX = "talipp:"
_LINKS = frozenset({"input_modifier", "input_sampler", "managed_sequences", "output_value_type"})
WIRING = frozenset({"input_values", "input_indicator", "input_modifier", "input_sampling"})
_LONGEST = 2_000
_SPARE = 16
_PATIENCE = 8


class Talipp:
    """One of talipp's indicators.

    Seeds, warm-up and the rest are its own; an update costs time in proportion to its windows, of at most 2000 values.
    It takes bars where talipp wants OHLCV, else closes. A value of several numbers is a NamedTuple with talipp's names,
    and None as long as one of them is missing; a trend or a kind of pivot is 1.0 upwards (or high), -1.0 downwards (or
    low). Some of talipp's classes divide by zero in a market that does not move: such a bar is passed over, and the
    value stays.
    """

    __slots__ = ("_inner", "_keep", "_lists", "_tell", "takes", "warm_up")

    def __init__(self, inner: Any, *, takes: Takes, keep: int, warm_up: int | None) -> None:
        self._inner = inner
        self._lists = [value for member in _family(inner) for _, value in _memory(member) if type(value) is list]
        self._keep = keep  # values that no window looks beyond
        self._tell = _teller(inner.output_value_type)
        self.takes: Takes = takes
        self.warm_up = warm_up
        """The number of the update that gives the first value, found by trial; None where it depends on the prices."""

    def __repr__(self) -> str:
        return PREFIX + type(self._inner).__name__

    @property
    def value(self) -> Any:
        """The newest value, as a float or a NamedTuple of floats."""
        told = self._inner.output_values
        return self._tell(told[-1]) if told and told[-1] is not None else None

    @property
    def ready(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    def update(self, x: Any) -> Any:
        """Take in the next close or bar. Raises ValueError for NaN and infinity."""
        if self.takes == "bar":
            x = _ohlcv(x)
        elif x - x:
            raise unusable(x)
        lengths = [*map(len, self._lists)]
        try:
            self._inner.add(x)
        except ArithmeticError:
            for kept, length in zip(self._lists, lengths, strict=True):
                del kept[length:]
        if len(self._inner.input_values) > 2 * self._keep:
            self._forget()
        return self.value

    def __getstate__(self) -> dict[str, Any]:
        return {"of": repr(self), "memory": [_written(member) for member in _family(self._inner)]}

    def __setstate__(self, memory: dict[str, Any]) -> None:
        family = _family(self._inner)
        if memory.get("of") != repr(self) or len(memory["memory"]) != len(family):
            raise ValueError(f"the memory is not that of {self!r}")
        for member, saved in zip(family, memory["memory"], strict=True):
            _read(member, saved)

    def _forget(self) -> None:
        """Cut each list to what windows need, in place: some are known by two names."""
        before = len(self._inner.input_values)
        for kept in self._lists:
            if len(kept) > self._keep:
                del kept[: -self._keep]
        if (pivot := getattr(self._inner, "last_pivot", None)) is not None:
            pivot.position -= before - len(self._inner.input_values)  # ZigZag counts from the first bar


def make(name: str, params: Mapping[str, Any]) -> Talipp:
    """One of talipp's classes with its parameters. A moving average is told by its name: `ma_type="EMA"`.

    Raises ConfigError where talipp is not installed, for names, parameters and values that it does not have, and for
    those with which it never gives a value.
    """
    checked = _checked(PREFIX + name, params)
    told = tuple(checked.items())
    try:
        return _made(name, told, _warm_up(name, told))
    except (ArithmeticError, LookupError, TypeError, ValueError, _module("exceptions").TalippException) as error:
        raise ConfigError(f'indicator "{PREFIX}{name}" cannot work with these parameters: {error}') from error


def _made(name: str, params: tuple[tuple[str, Any], ...], warm_up: int | None) -> Talipp:
    kind = _classes()[name]
    takes: Takes = "bar" if "OHLCV" in str(inspect.signature(kind).parameters["input_values"].annotation) else "close"
    periods = [value for param, value in params if _counts(param)]
    return Talipp(kind(**dict(params)), takes=takes, keep=2 * sum(periods) + _SPARE, warm_up=warm_up)


@cache
def _warm_up(name: str, params: tuple[tuple[str, Any], ...]) -> int | None:
    """The update of the first value in two made-up markets; None where it is not the same in both.

    Raises ValueError where no value ever comes.
    """
    tried = {_first_value(_made(name, params, None), market) for market in (_rising, _swinging)}
    if tried == {None}:
        raise ValueError("no value ever comes")
    return tried.pop() if len(tried) == 1 else None


def _first_value(trial: Talipp, market: Callable[[int], Bar]) -> int | None:
    for number in range(_PATIENCE * trial._keep):
        bar = market(number)
        if trial.update(bar if trial.takes == "bar" else bar.close) is not None:
            return number + 1
    return None


def names() -> tuple[str, ...]:
    """The names of talipp's indicators, sorted; none where it is not installed."""
    try:
        return tuple(_classes())
    except ConfigError:
        return ()


def kind(name: str) -> Any:
    """One of talipp's classes. Raises ConfigError where it has no such one, or is not installed."""
    if name in _classes():
        return _classes()[name]
    known = [PREFIX + other for other in _classes()]
    hint = registry.did_you_mean(PREFIX + name, known) or f"known: {', '.join(known)}"
    raise ConfigError(f'unknown indicator "{PREFIX}{name}"', hint=hint)


def _checked(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    signature = inspect.signature(kind(name.removeprefix(PREFIX)))
    known = {param: wanted for param, wanted in signature.parameters.items() if param not in WIRING}
    if unknown := [param for param in params if param not in known]:
        hint = registry.did_you_mean(unknown[0], known) or f"its parameters: {', '.join(known) or 'none'}"
        raise ConfigError(f'indicator "{name}" has no parameter "{unknown[0]}"', hint=hint)
    checked = {}
    for param, wanted in known.items():
        value = params.get(param, wanted.default)
        if value is inspect.Parameter.empty:
            raise ConfigError(f'indicator "{name}" needs a parameter "{param}"')
        try:
            checked[param] = _value(param, wanted.annotation, value)
        except ValueError as error:
            raise ConfigError(f'indicator "{name}": {error}') from error
    return checked


def _value(param: str, wanted: type, value: Any) -> Any:
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return value if isinstance(value, wanted) else _member(param, wanted, value)
    if _counts(param):
        return whole(param, value, most=_LONGEST)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value - value != 0:
        raise ValueError(f"{param} must be a number, not {value!r}")
    return value


def _counts(param: str) -> bool:
    return param.endswith(("period", "length"))


def _member(param: str, wanted: type[Enum], value: object) -> Enum:
    if value in wanted.__members__:
        return wanted[str(value)]
    hint = registry.did_you_mean(str(value), wanted.__members__) or f"known: {', '.join(wanted.__members__)}"
    raise ValueError(f'{param} "{value}" is unknown; {hint}')


@cache
def _module(name: str) -> Any:
    try:
        return import_module(f"talipp.{name}")
    except ImportError as error:
        hint = "pip install 'cryptostream[indicators]'"
        raise ConfigError("indicators of talipp need the library talipp, which is not installed", hint=hint) from error


@cache
def _classes() -> dict[str, type]:
    package, indicator = _module("indicators"), _module("indicators.Indicator").Indicator
    found = {name: getattr(package, name) for name in sorted(package.__all__)}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, indicator)}


def _ohlcv(bar: Bar) -> Any:
    parts = (bar.open, bar.high, bar.low, bar.close, bar.volume)
    if any(part - part != 0.0 for part in parts):
        raise unusable(bar)
    return _module("ohlcv").OHLCV(*parts)


def _teller(kind: type) -> Callable[[Any], Any]:
    """What makes a value of talipp's ours."""
    if not is_dataclass(kind):
        return float
    told = namedtuple(kind.__name__, [field.name for field in fields(kind)])  # type: ignore[misc]  # its fields are talipp's

    def tell(value: Any) -> Any:
        parts = [_number(getattr(value, field.name), value) for field in fields(kind)]
        return None if None in parts else told(*parts)

    return tell


def _number(part: Any, value: Any) -> float | None:
    if isinstance(part, Enum):
        return -1.0 if part.name in ("DOWN", "LOW") else 1.0
    if hasattr(part, "close"):  # the bar of a pivot
        return float(part.low if value.type.name == "LOW" else part.high)
    return None if part is None else float(part)


def _family(inner: Any) -> list[Any]:
    """An indicator of talipp's and all those it is made of, each once, always in the same order."""
    family: dict[int, Any] = {}
    waiting = [inner]
    while waiting:
        member = waiting.pop()
        if id(member) not in family:
            family[id(member)] = member
            waiting.extend(_relatives(member))
    return list(family.values())


def _relatives(member: Any) -> Iterator[Any]:
    indicator = _module("indicators.Indicator").Indicator
    for value in vars(member).values():
        for one in value if type(value) is list else [value]:
            if isinstance(one, indicator):
                yield one


def _memory(member: Any) -> Iterator[tuple[str, Any]]:
    """Its attributes, without those that only link it to others."""
    family = {id(one) for one in _relatives(member)}
    for name, value in vars(member).items():
        links = type(value) is list and any(id(one) in family for one in value)
        if name not in _LINKS and id(value) not in family and not links:
            yield name, value


def _written(member: Any) -> dict[str, Any]:
    return {name: _plain(value) for name, value in _memory(member)}


def _read(member: Any, saved: dict[str, Any]) -> None:
    for name, now in list(_memory(member)):
        value = _unplain(saved[name])
        if type(now) is list:
            now[:] = value
        else:
            setattr(member, name, value)


def _plain(value: Any) -> Any:
    if type(value) is list:
        return [_plain(one) for one in value]
    if isinstance(value, Enum):
        return {"kind": _kind_name(type(value)), "name": value.name}
    if hasattr(value, "__dataclass_fields__"):
        return {"kind": _kind_name(type(value)), "parts": [_plain(getattr(value, part.name)) for part in fields(value)]}
    return value


def _unplain(saved: Any) -> Any:
    if type(saved) is list:
        return [_unplain(one) for one in saved]
    if type(saved) is not dict:
        return saved
    kind = _kinds()[saved["kind"]]
    return kind[saved["name"]] if "name" in saved else kind(*map(_unplain, saved["parts"]))


@cache
def _kinds() -> dict[str, Any]:
    """The classes of the values that talipp's indicators keep. What was saved names one of these, and nothing else."""
    found = {"ohlcv.OHLCV": _module("ohlcv").OHLCV}
    for indicator in _classes().values():
        for kind in (*vars(import_module(indicator.__module__)).values(), *vars(indicator).values()):
            if isinstance(kind, type) and (is_dataclass(kind) or issubclass(kind, Enum)):
                found[_kind_name(kind)] = kind
    return found


def _kind_name(kind: type) -> str:
    return f"{kind.__module__.rpartition('.')[2]}.{kind.__qualname__}"


def _rising(number: int) -> Bar:
    return _bar(number, 1000.0 + 3.0 * number)


def _swinging(number: int) -> Bar:
    return _bar(number, 1000.0 + 10.0 * abs(number % 14 - 7) + number * number % 5)


def _bar(number: int, close: float) -> Bar:
    volume = 10.0 + number % 3
    reach = 2.0 + number % 2
    prices = (close - 1.0, close + reach, close - reach, close)
    return Bar("", "", "", "", number, number, *prices, volume, volume * close, 1, volume, False, Micros(0))
