"""What a consumer remembers of a stream, as Redis keeps it: a hash beside the stream, and in it who may change it.

`state:<group>:<stream>` has the fields

    token    whose it is: whoever owns the stream wrote a word of its own here, and writes only while it stands
    upto     the id of the entry up to which everything is in the state, and its outputs are written
    version  of the code, as its author counts; another version's state is refused
    config   what the code was set to, in a word; another configuration's state is refused
    at       when it was written, UTC
    state    msgpack of plain data: numbers, text, bytes, lists, maps
    done     up to where the work was done at least once, which outlives the state (`forget.py`)

What is kept is plain data of exactly these types. msgpack would take more and give back something else: a tuple or a
set as a list, a Decimal as text, a defaultdict as a dict; the code that gets it after a restart would fail or, worse,
not.
So each commit looks through the whole state, as it may change from one to the next, and refuses what is not plain.

In a cluster the stream's name carries the hash tag, and with it the name of the state. https://msgpack.org
"""

from collections.abc import Collection, Sequence
from secrets import token_hex
from typing import Any, NamedTuple

import msgspec

from cryptostream.errors import StateRefused
from cryptostream.model.entryid import parse_id

Id = tuple[int, int]
FIELDS = ("token", "upto", "version", "config", "state", "done")
"""What `Stored.of` wants from HMGET, in this order."""

_PLAIN = frozenset({type(None), bool, int, float, str, bytes})


class Saved(NamedTuple):
    """What was saved last: the state, and the id of the entry up to which it goes."""

    state: Any
    upto: str


class Stored(NamedTuple):
    """The hash of one stream as Redis has it; a field that is not there is empty."""

    token: bytes
    upto: bytes
    version: bytes
    config: bytes
    state: bytes
    done: bytes

    @classmethod
    def of(cls, values: Sequence[bytes | None]) -> "Stored":
        """Read the reply to HMGET with FIELDS."""
        return cls(*(value or b"" for value in values))

    def saved(self, stream: str, group: str, *, version: str, config: str) -> Saved | None:
        """The state, None where nothing was saved yet. Raises StateRefused where it is another's or cannot be read."""
        if not self.upto:
            return None
        if self.version != version.encode():
            why = f'is of version "{_printed(self.version)}", and this is version "{version}"'
            raise _refused(stream, group, why)
        if self.config != config.encode():
            raise _refused(stream, group, "was made with another configuration")
        try:
            return Saved(msgspec.msgpack.decode(self.state), self.upto.decode())
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _refused(stream, group, "cannot be read") from error

    def reached(self) -> Id:
        """Up to where the work was done at least once, (0, 0) where nobody ever began."""
        return parse_id((self.done or b"0").decode())


def state_key(group: str, stream: str) -> str:
    """Where the state of a group's consumer of a stream is kept.

    >>> state_key("momentum", "trades:{BTCUSDT}")
    'state:momentum:trades:{BTCUSDT}'
    """
    return f"state:{group}:{stream}"


def new_token() -> bytes:
    """A word that nobody else has."""
    return token_hex(8).encode()


def packed(state: Any) -> bytes:
    """Plain data as msgpack; see `check_plain` for what is to be refused before."""
    return msgspec.msgpack.encode(state)


def check_plain(state: Any, name: str = "state") -> None:
    """Raise TypeError where a state would come back as something else: a tuple as a list, a Struct as a map.

    Cheap where all is plain, for it is called at each commit: names are made only to tell what is not.

    >>> check_plain({"mean": 1.5, "last": None, "seen": [1, 2]})
    >>> check_plain({"seen": [{1, 2}]})
    Traceback (most recent call last):
    TypeError: state['seen'][0] is a set, which cannot be saved: keep numbers, text, bytes, lists and dicts
    """
    if _is_plain(state):
        return
    if type(state) is dict:
        for key, value in state.items():
            check_plain(key, f"the key {key!r} of {name}")
            check_plain(value, f"{name}[{key!r}]")
    elif type(state) is list:
        for place, value in enumerate(state):
            check_plain(value, f"{name}[{place}]")
    else:
        kind = type(state).__name__
        raise TypeError(f"{name} is a {kind}, which cannot be saved: keep numbers, text, bytes, lists and dicts")


def _is_plain(state: Any) -> bool:
    """Whether a state comes back as it is. Values of one level are looked at together, and their types in C."""
    if type(state) in _PLAIN:
        return True
    if type(state) is dict:
        return _PLAIN.issuperset(map(type, state)) and _are_plain(state.values())
    return type(state) is list and _are_plain(state)


def _are_plain(values: Collection[Any]) -> bool:
    return _PLAIN.issuperset(map(type, values)) or all(map(_is_plain, values))


def _refused(stream: str, group: str, why: str) -> StateRefused:
    hint = f"go on as before, or drop it and begin anew: cryptostream groups reset {group} --state"
    return StateRefused(f"the saved state of {stream} {why}", hint=hint)


def _printed(text: bytes) -> str:
    """Text from Redis for people: short, and without what a terminal would obey."""
    return "".join(letter for letter in text[:40].decode(errors="replace") if letter.isprintable())
