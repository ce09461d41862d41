"""What an object remembers, as plain data, and back: how indicators and strategies survive a restart.

An object's attributes, in its `__slots__` and its `__dict__`, are its memory. They may be numbers, text, None, lists,
dicts and deques of these, and objects with attributes of their own; an object that says itself what to save
(`__getstate__` and `__setstate__`) is asked. What comes back is put into an object that was made anew in the same way,
so nothing that was saved decides what is made.
"""

from collections import deque
from collections.abc import Iterator
from functools import cache
from inspect import getmro
from types import NoneType
from typing import Any, Generic, Protocol

_BARE = frozenset({object, Generic, Protocol})
_PLAIN = frozenset({NoneType, bool, int, float, str, bytes})


def remembered(thing: Any, name: str = "it") -> Any:
    """The memory of an object, or of a value, as plain data: numbers, text, bytes, lists and dicts.

    >>> class Mean:
    ...     def __init__(self):
    ...         self.count, self.total, self.last = 0, 0.0, deque(maxlen=2)
    >>> mean = Mean()
    >>> mean.count, mean.total = 2, 5.0
    >>> mean.last.extend([2.0, 3.0])
    >>> remembered(mean)
    {'count': 2, 'total': 5.0, 'last': [2.0, 3.0]}

    Raises TypeError, with the name of the attribute, for what would not come back as it was.
    """
    kind = type(thing)
    if kind in _PLAIN:
        return thing
    if kind is list or kind is deque:
        if _PLAIN.issuperset(map(type, thing)):
            return list(thing)
        return [remembered(value, f"{name}[{place}]") for place, value in enumerate(thing)]
    if kind is dict:
        return {key: remembered(value, f"{name}[{key!r}]") for key, value in thing.items()}
    if _speaks(kind):
        return thing.__getstate__()
    if isinstance(thing, type) or kind.__module__ == "builtins" or not _is_made_of_attributes(kind):  # type: ignore[arg-type]  # types can be hashed
        raise TypeError(f"{name} is a {kind.__name__}, which cannot be saved: keep numbers, text, lists and dicts")
    return {attribute: remembered(getattr(thing, attribute), attribute) for attribute in _attributes(thing)}


def recall(thing: Any, memory: dict[str, Any]) -> None:
    """Put a memory into an object that was made anew.

    Raises ValueError where it is not the memory of such an object.
    """
    if _speaks(type(thing)):
        thing.__setstate__(memory)
        return
    attributes = set(_attributes(thing))
    if attributes != set(memory):
        told = ", ".join(sorted(attributes ^ set(memory)))
        raise ValueError(f"the memory is not that of a {type(thing).__name__}: {told}")
    for attribute, saved in memory.items():
        now = getattr(thing, attribute)
        recalled = _recalled(now, saved)
        if recalled is not now:
            setattr(thing, attribute, recalled)


def _recalled(now: Any, saved: Any) -> Any:
    """A saved value in the place of one that is there: containers and objects are filled, all else is replaced."""
    kind = type(now)
    if kind is deque:
        now.clear()
        now.extend(saved)
        return now
    if kind is list and len(now) == len(saved):
        now[:] = [_recalled(one, other) for one, other in zip(now, saved, strict=True)]
        return now
    if kind is dict and now.keys() == saved.keys():
        for key, value in saved.items():
            now[key] = _recalled(now[key], value)
        return now
    if kind in _PLAIN or kind in (list, dict):
        return saved
    recall(now, saved)
    return now


def _speaks(kind: Any) -> bool:
    """Whether objects of a kind say themselves what to save."""
    return kind.__getstate__ is not object.__getstate__


@cache
def _is_made_of_attributes(kind: Any) -> bool:
    """Whether what an object is stands in its attributes alone: not in C, as of numbers and arrays, nor in a container.

    Each class that it is built on has to have them, its own or inherited.
    """
    built_on = (each for each in getmro(kind) if each not in _BARE)
    return all(any({"__slots__", "__dict__"} & vars(base).keys() for base in getmro(each)) for each in built_on)


def _attributes(thing: Any) -> Iterator[str]:
    for name in _slots(type(thing)):  # type: ignore[arg-type]  # types can be hashed
        if hasattr(thing, name):
            yield name
    yield from getattr(thing, "__dict__", ())


@cache
def _slots(kind: Any) -> tuple[str, ...]:
    """The attributes that a class names, from the first that it is built on to itself."""
    own = (getattr(each, "__slots__", ()) for each in reversed(getmro(kind)))
    every = (name for names in own for name in ((names,) if isinstance(names, str) else names))
    return tuple(dict.fromkeys(name for name in every if name not in ("__dict__", "__weakref__")))
