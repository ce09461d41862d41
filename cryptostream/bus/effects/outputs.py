"""Where a consumer's output entries go in their streams: which are there already, and what ids the others get. Pure.

An output's id is that of the entry it comes from, so that it cannot be written twice. Redis takes an id only above the
newest of its stream; one that is not above it is one of these:

* It stands there, id and fields: it was written before, by us or by a twin of ours. It is left out. (So outputs of
  several streams to one should say in a field which they are of.)
* It does not, and the work is done for the first time: somebody else's output, or an earlier one of ours that comes
  from the same entry, took its place or stands above it. It goes to the next id above the top, at the top's ms.
* It does not, and the work was done before: it was written, and has been trimmed since or had been moved up. It is left
  out, and told about.

What is decided here holds because the output streams are watched until it is done (`transact.py`).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cryptostream.bus.effects.state import Id
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Output

Fields = Mapping[str, str]

_MOST = (1 << 64) - 1
_ZERO = (0, 0)
_NOTHING: Mapping[Id, Fields] = {}


class Wanted(NamedTuple):
    """An output, the id it wants, and the id below which it counts as written before if it is not there."""

    entry_id: Id
    output: Output
    floor: Id = _ZERO


class Placed(NamedTuple):
    """An output and the id it gets."""

    output: Output
    entry_id: str


class Placing(NamedTuple):
    """What becomes of some outputs: those to write, in order, and how many are there already, moved up, left out."""

    written: list[Placed]
    duplicates: int
    moved: int
    late: int


class BadOutput(ValueError):
    """An output that Redis could never take: no fields, or an id that is none. Nothing was written."""


def id_of(output: Output, cause: str) -> Id:
    """The id an output wants: its own, else that of the entry it comes from. Raises BadOutput.

    >>> id_of(Output("signals:BTCUSDT", {"side": "buy"}), cause="1731605400123-42")
    (1731605400123, 42)
    """
    wanted = output.entry_id or cause
    try:
        found = parse_id(wanted)
    except ValueError:
        found = _ZERO
    if not _ZERO < found < (_MOST, _MOST) or not all(0 <= half <= _MOST for half in found):
        raise BadOutput(f"an output to {output.stream} has the id {wanted!r}, and not one as 1731605400123-42")
    if not output.fields:
        raise BadOutput(f"an output to {output.stream} has no fields")
    return found


def place(outputs: Iterable[Wanted], top: Id, there: Mapping[Id, Fields] = _NOTHING) -> Placing:
    """Place outputs of one stream whose newest id is `top`, in their order; `there` is what stands at their ids."""
    written: list[Placed] = []
    duplicates = moved = late = 0
    for wanted, output, floor in outputs:
        if there.get(wanted) == output.fields:
            duplicates += 1
        elif wanted < floor:
            late += 1
        else:
            moved += wanted <= top
            top = wanted if wanted > top else _above(top, wanted)
            written.append(Placed(output, f"{top[0]}-{top[1]}"))
    return Placing(written, duplicates, moved, late)


def _above(top: Id, wanted: Id) -> Id:
    """The next id above the top, with the number that was wanted where there is room for it."""
    if top[1] == _MOST:
        return (top[0] + 1, 0)
    return (top[0], max(top[1] + 1, wanted[1]))
