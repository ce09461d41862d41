"""A strategy's name and parameters, as people write them, become a strategy; every mistake is told by its name."""

import inspect
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from hashlib import sha256
from math import isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, cast, get_args, get_origin

import msgspec

from cryptostream import registry
from cryptostream.errors import CryptostreamError, UsageError
from cryptostream.model import memory
from cryptostream.model.events import Signal
from cryptostream.registry import did_you_mean
from cryptostream.strategies.base import Strategy
from cryptostream.strategies.modules import from_file, from_module, is_strategy, source_of

REQUIRED: Any = inspect.Parameter.empty
"""The default of a parameter that has none."""
FOLDERS = "plugin_paths"
"""A parameter that nobody sets: one that has it is told the folders that files may come from."""

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "nothing"}


class Param(NamedTuple):
    """A parameter: its name, the type of its values, and its default, or REQUIRED."""

    name: str
    type: Any
    default: Any

    def __str__(self) -> str:
        default = self.default.name if isinstance(self.default, Enum) else self.default
        return self.name if default is REQUIRED else f"{self.name}={default}"


def find(name: str, *, paths: Sequence[Path] = ()) -> type:
    """The class of a strategy: a registered name, `my_pkg.strategies:Breakout`, or a file with or without a class,
    `strategies/breakout.py`, `strategies/breakout.py:Breakout`. Files come from below one of `paths` only.

    Raises UsageError for a name that nobody registered, NotFound for a file that is not there, ConfigError for one that
    may not be loaded or cannot.
    """
    where, _, inner = name.rpartition(":")
    if name.endswith(".py"):
        return from_file(name, "", paths)
    if where.endswith(".py"):
        return from_file(where, inner, paths)
    if where:
        return from_module(where, inner, paths)
    known = registry.names("strategies")
    if name not in known:
        hint = did_you_mean(name, known) or f"known: {', '.join(known)}; or a file strategies/{name or 'mine'}.py"
        raise UsageError(f'unknown strategy "{name}"', hint=hint)
    return cast(type, registry.load("strategies", name))


def params(kind: type) -> tuple[Param, ...]:
    """What a strategy (or an indicator) is made with. Where no type is told, the default's is meant.

    >>> class Breakout:
    ...     def __init__(self, period: int = 20, buffer=0.5): ...
    >>> print(*params(Breakout))
    period=20 buffer=0.5
    >>> params(Breakout)[1].type
    <class 'float'>
    """
    told = _signature(kind).parameters.values()
    return tuple(_param(each) for each in told if not _is_open(each) and each.name != FOLDERS)


def make(whence: str | type, given: Mapping[str, Any] | None = None, *, paths: Sequence[Path] = ()) -> Strategy:
    """A new strategy with these parameters; text is read as the type that is asked for, as `14` of a command line.

    Raises UsageError for a parameter that it does not have or a value that does not fit, for what is no strategy, and
    for one that could not be saved and restored; what `find` raises for a name.
    """
    kind = find(whence, paths=paths) if isinstance(whence, str) else whence
    name = whence if isinstance(whence, str) else kind.__name__
    if not is_strategy(kind):
        raise UsageError(f"{name} is no strategy: it has neither on_bar nor on_trade")
    folders = {FOLDERS: tuple(paths)} if FOLDERS in _signature(kind).parameters else {}
    made = _made(kind, converted(kind, given or {}, name) | folders, name)
    _check(made, name)
    return cast(Strategy, made)


def converted(kind: type, given: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Parameters in the types that a strategy asks for, those that were not given left out.

    >>> class Breakout:
    ...     def __init__(self, period: int = 20, buffer: float = 0.5): ...
    >>> converted(Breakout, {"period": "14", "buffer": 1})
    {'period': 14, 'buffer': 1.0}

    Raises UsageError.
    """
    name = name or kind.__name__
    known = {each.name: each for each in params(kind)}
    takes_any = any(each.kind is each.VAR_KEYWORD for each in _signature(kind).parameters.values())
    for key in given:
        if key not in known and not takes_any:
            hint = did_you_mean(str(key), known) or f"it has: {', '.join(map(str, known.values())) or 'none'}"
            raise UsageError(f'strategy {name} has no parameter "{key}"', hint=hint)
    for each in known.values():
        if each.default is REQUIRED and each.name not in given:
            raise UsageError(f"strategy {name} has to be told its {each.name}")
    return {key: _converted(known[key], value, name) if key in known else value for key, value in given.items()}


def settled(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter with its value, those that were not given with their defaults. Raises UsageError."""
    return {each.name: each.default for each in params(kind)} | converted(kind, given)


def fingerprint(kind: type, given: Mapping[str, Any]) -> str:
    """Which strategy this is and with which parameters, in 16 digits: what saved state belongs to.

    Equal for `14`, `"14"` and a default that is left out or told; for a strategy out of a file it changes with the
    file's text, not with its place. Raises UsageError.
    """
    source = source_of(kind)
    values = settled(kind, given)
    who = [sha256(source.encode()).hexdigest() if source else kind.__module__, kind.__qualname__, values]
    try:
        text = json.dumps(who, sort_keys=True)
    except TypeError as error:
        raise UsageError(f"the parameters of strategy {kind.__name__} are no plain data: {error}") from error
    return sha256(text.encode()).hexdigest()[:16]


def _signature(kind: type) -> inspect.Signature:
    try:
        return inspect.signature(kind, eval_str=True)
    except (NameError, TypeError, ValueError) as error:
        raise UsageError(f"the parameters of strategy {kind.__name__} cannot be read: {error}") from error


def _is_open(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _param(parameter: inspect.Parameter) -> Param:
    told, default = parameter.annotation, parameter.default
    if told is not REQUIRED:
        return Param(parameter.name, told, default)
    return Param(parameter.name, Any if default in (REQUIRED, None) else type(default), default)


def _converted(param: Param, value: Any, name: str) -> Any:
    try:
        made = msgspec.convert(value, param.type, strict=False)
    except (msgspec.ValidationError, TypeError) as error:
        shown = json.dumps(value, default=str)[:60]
        raise UsageError(f"strategy {name}: {param.name} should be {_words(param.type)}, got {shown}") from error
    if isinstance(made, float) and not isfinite(made):
        raise UsageError(f"strategy {name}: {param.name} should be a number, got {value}")
    return made


def _words(kind: Any) -> str:
    """A type as people say it.

    >>> _words(int), _words(Literal["sma", "ema"]), _words(float | None)
    ('a whole number', 'sma or ema', 'a number or nothing')
    """
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_words, get_args(kind)))
    return _WORDS.get(kind) or str(getattr(kind, "__name__", kind))


def _made(kind: type, given: Mapping[str, Any], name: str) -> Any:
    try:
        return kind(**given)
    except CryptostreamError:
        raise
    except ValueError as error:
        raise UsageError(f"strategy {name}: {error}") from error
    except Exception as error:
        raise UsageError(f"strategy {name} cannot be made: {type(error).__name__}: {error}") from error


def _check(made: Any, name: str) -> None:
    try:
        warm_up, values = made.warm_up, made.values
        memory.remembered(made, name)
    except Exception as error:
        raise UsageError(f"strategy {name}: {error}", hint="docs/strategies.md says what a strategy has") from error
    if type(warm_up) is not int or warm_up < 0:
        raise UsageError(f"strategy {name}: its warm_up should be a number of bars, got {warm_up!r}")
    if not isinstance(values, Mapping):
        raise UsageError(f"strategy {name}: its values should be a mapping, got {type(values).__name__}")
    if taken := [key for key in values if key in Signal.__struct_fields__]:
        hint = "its values become fields of the signal's entry"
        raise UsageError(
            f"strategy {name}: {', '.join(taken)} cannot name a value, a signal has that already", hint=hint
        )
