"""What an estimator has learned, as plain data, and back into one that was made anew: exactly, and without pickle.

`model/memory.py` does this for our own objects. Estimators of others keep what they learn in more kinds of containers:
counters, dicts with a factory, river's vectors. They are walked here, attribute by attribute. Nothing that was saved
decides what is made, so a container or an object that appears only while learning must be there before the memory goes
back: whoever recalls lets the new estimator learn something first.
"""

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from functools import partial
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    GetSetDescriptorType,
    MethodDescriptorType,
    MethodType,
    NoneType,
    WrapperDescriptorType,
)
from typing import Any

_PLAIN = frozenset({NoneType, bool, int, float, str, bytes})
_DICTS = (dict, OrderedDict, Counter, defaultdict)
_FIXED = (type, FunctionType, BuiltinFunctionType, MethodType, partial)
"""What is made with an estimator and not learned: its functions."""
_OF_C = (
    MethodDescriptorType,
    WrapperDescriptorType,
    ClassMethodDescriptorType,
    GetSetDescriptorType,
    BuiltinFunctionType,
)


def learned(thing: Any, name: str, above: tuple[Any, ...] = ()) -> Any:
    """What is inside an estimator, or a value of one, as plain data; dicts as lists of pairs, in their order.

    Raises TypeError, with the attribute's path, for what would not come back as it was.
    """
    if type(thing) in _PLAIN or isinstance(thing, _FIXED):
        return None if isinstance(thing, _FIXED) else thing
    if any(thing is one for one in above):
        raise TypeError(f"{name} leads back to itself")
    above = (*above, thing)
    if type(thing) in (list, deque):
        return [learned(value, f"{name}[{place}]", above) for place, value in enumerate(thing)]
    if type(thing) in _DICTS or _is_vector(thing):
        return [[_key(key, name), learned(value, f"{name}[{key!r}]", above)] for key, value in thing.items()]
    if _tells_itself(thing):
        return _plain(thing.__getstate__(), name)
    return {
        attribute: learned(getattr(thing, attribute), f"{name}.{attribute}", above)
        for attribute in _attributes(thing, name)
    }


def put_back(now: Any, saved: Any, name: str) -> Any:
    """What was saved in the place of what is there; gives what belongs in that place.

    Raises ValueError where it is not the memory of such a thing.
    """
    if type(now) in _PLAIN:
        if type(saved) not in _PLAIN:
            raise _strange(name, now)
        return saved
    if isinstance(now, _FIXED):
        return now
    if type(now) in (list, deque):
        return _list_back(now, saved, name)
    if type(now) in _DICTS or _is_vector(now):
        return _dict_back(now, saved, name)
    if _tells_itself(now):
        now.__setstate__(saved)
        return now
    if type(saved) is not dict or set(saved) != set(_attributes(now, name)):
        raise _strange(name, now)
    for attribute, value in saved.items():
        was = getattr(now, attribute)
        told = put_back(was, value, f"{name}.{attribute}")
        if told is not was:
            setattr(now, attribute, told)
    return now


def _list_back(now: Any, saved: Any, name: str) -> Any:
    if type(saved) is not list:
        raise _strange(name, now)
    if len(saved) == len(now):
        told = [put_back(one, value, f"{name}[]") for one, value in zip(now, saved, strict=True)]
    else:
        told = [put_back(None, value, f"{name}[]") for value in saved]
    now.clear()
    now.extend(told)
    return now


def _dict_back(now: Any, saved: Any, name: str) -> Any:
    if type(saved) is not list:
        raise _strange(name, now)
    told = [(key, put_back(_there(now, key), value, f"{name}[{key!r}]")) for key, value in saved]
    now.clear()
    for key, value in told:
        now[key] = value
    return now


def _there(now: Any, key: Any) -> Any:
    """What stands under a key, or what the dict itself would make for it."""
    if key in now:
        return now[key]
    return now.default_factory() if isinstance(now, defaultdict) and now.default_factory is not None else None


def _key(key: Any, name: str) -> Any:
    if type(key) not in _PLAIN:
        raise TypeError(f"{name} has a {type(key).__name__} as key")
    return key


def _tells_itself(thing: Any) -> bool:
    kind: Any = type(thing)
    return kind.__getstate__ is not object.__getstate__


def _plain(state: Any, name: str) -> Any:
    """What an object told of itself. Raises TypeError unless it would come back as it is."""
    if type(state) is dict:
        return {_key(key, name): _plain(value, f"{name}[{key!r}]") for key, value in state.items()}
    if type(state) is list:
        return [_plain(value, f"{name}[]") for value in state]
    if type(state) not in _PLAIN:
        raise TypeError(f"{name} saves a {type(state).__name__}: keep numbers, text, lists and dicts")
    return state


def _is_vector(thing: Any) -> bool:
    """Whether it is river's vector of weights: a dict of floats, written in Rust."""
    kind = type(thing)
    return kind.__name__ == "VectorDict" and kind.__module__.startswith("river.")


def _attributes(thing: Any, name: str) -> Iterator[str]:
    """The attributes of an object. Raises TypeError where there may be more inside than Python sees."""
    for kind in type(thing).__mro__:
        if kind is not object and not _is_python(kind):
            raise TypeError(f"{name} is a {type(thing).__name__}, whose inside cannot be seen")
    for kind in reversed(type(thing).__mro__):
        for slot in getattr(kind, "__slots__", ()):
            if hasattr(thing, slot) and slot not in ("__dict__", "__weakref__"):
                yield slot
    if type(thing).__name__ == "Pipeline":
        yield "steps"  # all else in it is made from these
        return
    yield from getattr(thing, "__dict__", ())


def _is_python(kind: type) -> bool:
    """Whether a class is written in Python, and so keeps all it has in attributes: none of its own methods is C's."""
    if kind.__module__ in ("abc", "typing"):
        return True
    own = [value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")]
    return not any(isinstance(value, _OF_C) for value in own)


def _strange(name: str, now: Any) -> ValueError:
    return ValueError(f"the memory is not that of {name}, a {type(now).__name__}")
