"""What the next read of a group asks for: what is pending of some streams, what is new of the others."""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

from cryptostream.bus.group.place import Place
from cryptostream.bus.group.read import BLOCK_S, NEW, Read

_AT_ONCE = 300
"""Streams that fill their reads are read by turns, as many in one go as give this many entries.

A reply of 5,000 entries is some 6 MB of small objects: more than a core's cache holds, and then an entry costs twice as
much. Of 300 the lists are too few for the garbage collector to look at them, two for an entry.
"""
_MOST = 20_000
"""The most entries that one read takes of those others together; at least one of each."""


class Plan(NamedTuple):
    """Reads that go out together.

    `watched` are streams to be looked at first, `pending` those that are asked for what was given to us before. `most`
    is how many entries of a stream fill a read. `rest_s`: how long until a stream that rests can be read, if any does.
    """

    reads: Sequence[Read]
    watched: Sequence[str]
    pending: Sequence[str]
    most: int
    rest_s: float

    @property
    def is_calm(self) -> bool:
        """Whether there is nothing to do but to wait for something new."""
        return not self.watched and not self.pending


def plan(places: Iterable[Place], count: int, now_s: float) -> Plan:
    """The next read of these streams, at most `count` entries of each."""
    ready: list[Place] = []
    full: list[Place] = []
    rest_s = BLOCK_S
    for place in places:
        if place.is_gone:
            continue
        if place.rests_until_s > now_s:
            rest_s = min(rest_s, place.rests_until_s - now_s)
        elif place.is_full:
            full.append(place)
        else:
            ready.append(place)
    count = max(1, min(count, _MOST // max(1, len(ready))))
    ready += _whose_turn(full, max(1, _AT_ONCE // count))
    alone = {place.stream: place.at for place in ready if place.is_alone}
    if suspects := [place for place in ready if place.suspects]:  # one at a time: what the next one does is its own
        alone, ready = {suspects[0].stream: suspects[0].at}, suspects[:1]
    others = {place.stream: place.at for place in ready if not place.is_alone}
    return Plan(
        [Read(each, size) for each, size in ((alone, 1), (others, count)) if each],
        [place.stream for place in ready if place.is_doubtful and place.at == NEW],
        [place.stream for place in ready if place.at != NEW],
        count,
        rest_s,
    )


def _whose_turn(full: list[Place], most: int) -> list[Place]:
    """Those that have waited longest; whoever has had its turn waits for all others."""
    full.sort(key=attrgetter("turn"))
    for place in full[:most]:
        place.turn = full[-1].turn + 1
    return full[:most]
