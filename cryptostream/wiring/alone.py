"""Each stream of signals has one writer: who would be a second is told so before he writes.

Who writes one is in its seed: a group, and the stream that it reads. He does while his state stands. From before his
seed is looked for until ours is committed we stand at `seed:<signals stream>:begins`, where only one can: of two that
begin at once one is refused. That holds for ten minutes: who takes longer from there to his first commit may find that
another has begun too.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from cryptostream.bus.ask import asking
from cryptostream.bus.connect import Bus
from cryptostream.bus.effects.state import state_key
from cryptostream.bus.keys import seed_key
from cryptostream.client.hand import Failed, Hand
from cryptostream.client.keeping import Keeping
from cryptostream.errors import BusUnavailable, StateRefused
from cryptostream.wiring.desks import Desks, is_taken_in

Begins = Callable[[Iterable[str]], Awaitable[None]]
"""Told which streams of signals are about to be written."""

_WITHIN_MS = 600_000


class Writer(NamedTuple):
    """A group that makes signals of a stream."""

    group: str
    stream: str

    def __str__(self) -> str:
        return "\n".join(self)


class Place(NamedTuple):
    """A stream of signals, and who is to write it here."""

    signals: str
    writer: Writer

    @property
    def begins(self) -> str:
        """The key at which it stands who is about to begin."""
        return f"{seed_key(self.signals)}:begins"


class Alone:
    """Keeps desks as `Keeping` does, once it is seen that nobody else writes what they do."""

    def __init__(self, bus: Bus, keeping: Keeping, desks: Desks, begins: Begins | None = None) -> None:
        self._bus = bus
        self._keeping = keeping
        self._desks = desks
        self._begins = begins
        self._seen: set[str] = set()
        self._begun: set[str] = set()
        self._held: set[Place] = set()

    async def work(self, hands: Sequence[Hand], *, fenced_is_fatal: bool) -> tuple[list[Failed], set[str]]:
        """As of Keeping. Raises StateRefused for signals that another writes."""
        places = self._places(hands)
        if places:
            if self._begins is not None:
                await self._begins([place.signals for place in places])
            await self._hold(places)
            self._seen |= {place.writer.stream for place in places}
        failed, left = await self._keeping.work(hands, fenced_is_fatal=fenced_is_fatal)
        if places:
            await self._see_begun(places)
        self._begun -= left
        return failed, left

    def forget(self, streams: Iterable[str]) -> None:
        """As of Keeping: what is known of these is to be looked at again."""
        streams = set(streams)
        self._begun -= streams
        self._keeping.forget(streams)

    async def leave(self) -> None:
        """Stand in nobody's way where we have not begun."""
        with suppress(BusUnavailable):
            await self._let_go(self._held)

    def _places(self, hands: Iterable[Hand]) -> list[Place]:
        """What desks are about to write that may not have begun."""
        found: list[Place] = []
        for hand in hands:
            events = hand.events[: hand.done]
            if hand.stream not in self._begun and (hand.stream not in self._seen or any(map(is_taken_in, events))):
                me = Writer(self._desks.group, hand.stream)
                found += [Place(signals, me) for signals in self._desks.signals(events)]
        return list(dict.fromkeys(found))

    async def _hold(self, places: Sequence[Place]) -> None:
        """Stand where only one can, then look whether somebody writes there already. Raises StateRefused."""
        holders = await self._stood_at(places)
        writers = await self._writers(places)
        others = [writer for writer in writers if writer is not None]
        standing = dict(zip(others, await self._states(others), strict=True))
        for place, holder, writer in zip(places, holders, writers, strict=True):
            if writer is not None and writer != place.writer and standing[writer]:
                raise _refused(place, writer, "is written")
            if holder != place.writer:
                raise _refused(place, holder, "is about to be written")

    async def _stood_at(self, places: Sequence[Place]) -> list[Writer]:
        """Who stands at each place: we, where nobody did."""
        await self._ask([("SET", place.begins, str(place.writer), "NX", "PX", _WITHIN_MS) for place in places])
        holders = await self._holders(places)
        ours = [place for place, holder in zip(places, holders, strict=True) if holder == place.writer]
        self._held |= set(ours)
        await self._ask([("PEXPIRE", place.begins, _WITHIN_MS) for place in ours])
        if None in holders:  # his time was over between the two
            return await self._stood_at(places)
        return [holder for holder in holders if holder is not None]

    async def _see_begun(self, places: Sequence[Place]) -> None:
        """He whose seed and state are committed stands by these."""
        states = await self._states([place.writer for place in places])
        known = zip(places, await self._writers(places), states, strict=True)
        done = {place for place, writer, state in known if state and writer == place.writer}
        waiting = {place.writer.stream for place in places if place not in done}
        self._begun |= {place.writer.stream for place in done} - waiting
        await self._let_go(done)

    async def _let_go(self, places: Iterable[Place]) -> None:
        held = [place for place in places if place in self._held]
        holders = await self._holders(held)
        ours = [place for place, holder in zip(held, holders, strict=True) if holder == place.writer]
        await self._ask([("DEL", place.begins) for place in ours])
        self._held.difference_update(held)

    async def _holders(self, places: Sequence[Place]) -> list[Writer | None]:
        found = await self._ask([("GET", place.begins) for place in places])
        return [Writer(*text.split("\n", 1)) if text else None for text in found]

    async def _writers(self, places: Sequence[Place]) -> list[Writer | None]:
        """Whom the seeds name."""
        found = await self._ask([("HMGET", seed_key(place.signals), "group", "stream") for place in places])
        return [Writer(*names) if all(names) else None for names in found]

    async def _states(self, writers: Sequence[Writer]) -> list[bool]:
        """Whose states stand; one that was dropped does not."""
        asked = [("HGET", state_key(writer.group, writer.stream), "upto") for writer in writers]
        return [bool(upto) for upto in await self._ask(asked)]

    async def _ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The replies to many commands, sent at once. Raises BusUnavailable, BusRefused."""
        if not commands:
            return []
        pipeline = self._bus.command.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        with asking(self._bus):
            return list(await pipeline.execute())


def _refused(place: Place, writer: Writer, what: str) -> StateRefused:
    if writer.group == place.writer.group:
        told = f"{place.signals} {what} from {writer.stream}; read one stream of each pair"
    else:
        told = f'{place.signals} {what} by group "{writer.group}"; give this one another name: as: NAME'
    return StateRefused(told, hint=f"to take it over, stop that one: cryptostream groups reset {writer.group} --state")
