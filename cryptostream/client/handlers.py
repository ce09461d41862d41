"""Who handles the events of which streams: functions, and classes that remember."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from cryptostream.bus.effects.hashes import Hash, Kept, check_hash
from cryptostream.bus.effects.outputs import id_of
from cryptostream.client.hand import Watch
from cryptostream.errors import UsageError
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry, Event, Latest, Output
from cryptostream.model.globs import compiled

Made = Output | Hash
"""What a keyed handler wants written: an entry, or a hash brought up to date."""
Keyed = Callable[[Event | Entry], Iterable[Made] | None]
"""One instance of a class that remembers, for one stream: an event in, what is to be written out.

It may have `of_stream(name)`: it is told which stream is its own, before anything else.
It may have `set_aside(entry, error)`: it raised at this entry, and was made again from its saved state. It gives what
is to be written instead, and leaves the entry out when that comes again; or it gives None, as it cannot do without.
It may have `warm(event)`: before its first event it is given the stream's past (`warming.py`), and writes nothing.
"""


class Handler(NamedTuple):
    """A function for the events of some streams."""

    pattern: str
    call: Callable[..., Any]
    name: str
    waits: bool


class Factory(NamedTuple):
    """What makes an instance for each of some streams."""

    pattern: str
    make: Callable[[], Keyed]
    name: str


class Route(NamedTuple):
    """All that one stream's events go to."""

    handlers: Sequence[Handler]
    factories: Sequence[Factory]


class Handlers:
    """What was registered, in its order."""

    def __init__(self) -> None:
        self._handlers: list[Handler] = []
        self._factories: list[Factory] = []
        self._routes: dict[str, Route] = {}

    def __bool__(self) -> bool:
        return bool(self._handlers or self._factories)

    @property
    def patterns(self) -> list[str]:
        """The streams that somebody wants."""
        wanted = [each.pattern for each in self._handlers], [each.pattern for each in self._factories]
        return list(dict.fromkeys(chain.from_iterable(wanted)))

    @property
    def remember(self) -> bool:
        """Whether any of them has a state to save."""
        return bool(self._factories)

    def add(self, pattern: str, call: Callable[..., Any]) -> None:
        """Have a function called with each event. Raises UsageError for a generator, which would never run."""
        if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
            raise UsageError(
                f"{name_of(call)} yields, and nobody would take it", hint="entries are written by a keyed class"
            )
        self._handlers.append(Handler(pattern, call, name_of(call), _waits(call)))
        self._routes.clear()

    def add_keyed(self, pattern: str, make: Callable[[], Keyed]) -> None:
        """Have an instance made for each stream, and called with its events.

        Raises UsageError for a name twice, and for one that is async: its work is part of a transaction.
        """
        _refuse_async(name_of(make), make)
        if any(name_of(make) == other.name for other in self._factories):
            raise UsageError(
                f"two keyed handlers are called {name_of(make)}", hint="their states are saved by that name"
            )
        self._factories.append(Factory(pattern, make, name_of(make)))
        self._routes.clear()

    def route(self, stream: str) -> Route:
        """Who wants this stream's events."""
        found = self._routes.get(stream)
        if found is None:
            found = self._routes[stream] = Route(
                [each for each in self._handlers if compiled(each.pattern).fullmatch(stream)],
                [each for each in self._factories if compiled(each.pattern).fullmatch(stream)],
            )
        return found


class Memory:
    """The instances of one stream. `upto` is the id of the last entry that is in their state; `who` is at work.

    What they remember is their attributes: numbers, text, bytes, lists and dicts of these. One that keeps something
    else says what to save by `__getstate__`, and takes it back by `__setstate__`.
    """

    def __init__(
        self, stream: str, factories: Sequence[Factory], saved: Mapping[str, Any] | None, upto: str, watch: Watch
    ) -> None:
        self.upto = upto
        self.who = ""
        self._watch = watch
        self._is_behind = bool(upto)
        self._instances = {each.name: each.make() for each in factories}
        for name, instance in self._instances.items():
            _refuse_async(name, instance)
            if hasattr(instance, "of_stream"):
                instance.of_stream(stream)
            if saved and name in saved:
                _restore(instance, saved[name])
        self._warmed = [each.warm for each in self._instances.values() if hasattr(each, "warm")]
        self._instead: dict[str, list[Made]] = {}

    @property
    def wants_past(self) -> bool:
        """Whether one of them is to be warmed up."""
        return bool(self._warmed)

    def warm(self, event: Event) -> None:
        """Let those that want it take in an event of the past. Raises whatever they raise."""
        for warm in self._warmed:
            warm(event)

    def set_aside(self, name: str, entry: Entry, error: Exception) -> bool:
        """Have an instance leave out an entry that it raised at; whether it will. Raises whatever it raises.

        What it wants written instead is given for the entry, beside what the others make of it.
        """
        leave_out = getattr(self._instances[name], "set_aside", None)
        instead = leave_out(entry, error) if leave_out is not None else None
        if instead is None:
            return False
        self._instead.setdefault(entry.entry_id, []).extend([_caused(made, entry) for made in instead])
        return True

    def handle(self, event: Event | Entry) -> list[Made]:
        """Give an event to all of them, unless it is in their state; what they want written.

        Raises whatever they raise.
        """
        made: list[Made] = []
        if self._is_behind:
            if parse_id(event.entry_id) <= parse_id(self.upto):
                return made
            self._is_behind = False
        for name, instance in self._instances.items():
            self._watch.who = self.who = name
            made += [_caused(each, event) for each in instance(event) or ()]
        return made + self._instead[event.entry_id] if event.entry_id in self._instead else made

    def state(self) -> dict[str, Any]:
        """Of each instance what it remembers."""
        return {name: _state(instance) for name, instance in self._instances.items()}


def name_of(call: Callable[..., Any]) -> str:
    """What a handler is called in messages, and what its state is saved by.

    >>> name_of(len), name_of(Handlers)
    ('len', 'Handlers')
    """
    return getattr(call, "__name__", type(call).__name__)


def _waits(call: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


def _refuse_async(name: str, keyed: Any) -> None:
    """Raises UsageError for one, or what makes it, that has to be waited for."""
    call = keyed.__call__
    if any(_is_async(each) for each in (keyed, call, getattr(call, "__func__", None))):
        raise UsageError(
            f"{name} is async, and a keyed handler cannot wait", hint="`def __call__`; an async function is for `on`"
        )


def _is_async(call: Any) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)


def _caused(made: Made, event: Event | Entry) -> Made:
    """An output with its id, by default that of the event; raises BadOutput, TypeError for what cannot be written."""
    if isinstance(made, Latest | Kept):
        check_hash(made)
        return made
    if not isinstance(made, Output):
        raise TypeError(f"a keyed handler gave a {type(made).__name__}, and not an Output or a Latest")
    id_of(made, event.entry_id)
    return made if made.entry_id else Output(made.stream, made.fields, event.entry_id)


def _state(instance: Any) -> Any:
    found = instance.__getstate__()
    if isinstance(found, tuple):  # of a class with slots: its __dict__ and its slots
        return {**(found[0] or {}), **found[1]}
    return found


def _restore(instance: Any, state: Any) -> None:
    if hasattr(instance, "__setstate__"):
        instance.__setstate__(state)
        return
    for name, value in (state or {}).items():
        setattr(instance, name, value)
