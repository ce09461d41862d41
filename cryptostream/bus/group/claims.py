"""What other members of a group were given and left: taken over, at once where the stream is ours, else after a while.

Whoever lives and holds entries for long says so now and then, so that nobody takes them over. Members that left are
removed once they hold nothing. XAUTOCLAIM: https://redis.io/docs/latest/commands/xautoclaim/
"""

from collections.abc import Collection, Iterable, Sequence
from math import inf
from typing import Any

import hiredis

from cryptostream import logs
from cryptostream.bus.ask import heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.group.place import Place
from cryptostream.bus.group.read import GroupGone, is_gone
from cryptostream.bus.line import Command, Line, Lines
from cryptostream.errors import BusRefused
from cryptostream.model.entryid import parse_id
from cryptostream.model.ports import Clock

_PAGE = 1000
_PER_LOOK = 3
"""How often what others hold is looked at in the time after which it is taken."""
_LEAVERS_S = 600.0
_LEFT_S = 3600.0
"""Who asked for nothing in so long, and holds nothing, has left."""
_log = logs.get("bus")


class Claims:
    """Takes over entries for one member. `idle_s`: how long they are to be pending with another one; 0 for never."""

    def __init__(self, bus: Bus, group: str, consumer: str, *, idle_s: float, exclusive: bool, clock: Clock) -> None:
        self._lines = Lines(bus)
        self._group = group
        self._consumer = consumer
        self._idle_s = idle_s
        self._exclusive = exclusive
        self._clock = clock
        self._look_at_s = clock.monotonic() + idle_s / _PER_LOOK
        self._leavers_at_s = clock.monotonic() + _LEAVERS_S
        self._leavers: set[tuple[str, str]] = set()
        self._may_write = True

    async def take_all(self, places: Sequence[Place]) -> int:
        """Take over whatever others hold of these streams; how many entries. Raises BusUnavailable, BusRefused."""
        taken = 0
        for place, others in await self._others(places):
            taken += sum(others.values())
            await self._claim(place, "0-0", 0)
        return taken

    async def take_idle(self, places: Sequence[Place]) -> int:
        """Take over what others hold for too long, where it is time to look. Raises BusUnavailable, BusRefused."""
        now_s = self._clock.monotonic()
        if not self._idle_s or now_s < self._look_at_s:
            return 0
        self._look_at_s = now_s + self._idle_s / _PER_LOOK
        if not self._exclusive:
            await self._stay(places)
        taken = 0
        for place, others in await self._others(places):
            idle = [each for other in others for each in await self._idle(place.stream, other, self._idle_s, most=1)]
            if idle:
                ours, most = await self._ours(place), sum(others.values())
                taken += await self._claim(place, min(idle, key=parse_id), round(self._idle_s * 1000), ours, most)
        return taken

    async def remove_leavers(self, places: Sequence[Place]) -> None:
        """Remove the members that left, where it is time to look. Raises BusUnavailable, BusRefused."""
        if self._clock.monotonic() < self._leavers_at_s or not self._may_write:
            return
        self._leavers_at_s = self._clock.monotonic() + _LEAVERS_S
        seen: set[tuple[str, str]] = set()
        for place, told in await self._told(places, "XINFO", "CONSUMERS"):
            seen |= {(place.stream, name) for name in self._left(told)}
        for stream, name in sorted(seen & self._leavers):
            await self._remove(stream, name)
        self._leavers = seen

    async def close(self) -> None:
        """Hang up."""
        await self._lines.close()

    async def _others(self, places: Sequence[Place]) -> list[tuple[Place, dict[str, int]]]:
        """The streams of which others hold something, with who and how many."""
        found = []
        for place, (_, _, _, owners) in await self._told(places, "XPENDING"):
            held = {name.decode(): int(count) for name, count in owners or ()}
            held.pop(self._consumer, None)
            if held:
                found.append((place, held))
        return found

    async def _idle(self, stream: str, owner: str, idle_s: float, start: str = "-", most: int = 0) -> list[str]:
        """The oldest entries that a member holds for so long, a page of them."""
        idle_ms, count = str(round(idle_s * 1000)), str(most or _PAGE)
        words = ("XPENDING", stream, self._group, "IDLE", idle_ms, start, "+", count, owner)
        return [entry_id.decode() for entry_id, *_ in await self._ask(stream, words)]

    async def _idle_of_ours(self, place: Place, start: str) -> tuple[list[str], str]:
        """A page of what we hold for a while, and where the next one starts; nowhere after the last."""
        heed_cancellation()
        ids = await self._idle(place.stream, self._consumer, self._idle_s / _PER_LOOK, start)
        return ids, f"({ids[-1]}" if len(ids) == _PAGE else ""

    async def _ours(self, place: Place) -> set[str]:
        """Whatever we hold for a while, and so all that may be taken over from ourselves."""
        ours: set[str] = set()
        start = "-"
        while start:
            ids, start = await self._idle_of_ours(place, start)
            ours.update(ids)
        return ours

    async def _claim(
        self, place: Place, start: str, idle_ms: int, ours: Collection[str] = (), most: float = inf
    ) -> int:
        """Take over what is not `ours`, about `most` entries; of trimmed ones nothing but the id is left.

        Trimmed ones of ours are forgotten with them: those that are still to come are kept to be told.
        """
        count, is_through = 0, False
        while not is_through:
            heed_cancellation()
            words = ("XAUTOCLAIM", place.stream, self._group, self._consumer, str(idle_ms), start)
            told = await self._ask(place.stream, (*words, "COUNT", str(_PAGE), "JUSTID"))
            start = told[0].decode()
            ids, gone = ([entry_id.decode() for entry_id in each] for each in (*told[1:], [])[:2])
            ids = [each for each in ids if each not in ours]
            place.claim(ids, [each for each in gone if each not in ours or place.is_to_come(each)])
            count += len(ids) + len([each for each in gone if each not in ours])
            is_through = start == "0-0" or count >= most
        return count

    async def _stay(self, places: Sequence[Place]) -> None:
        """Tell the others that we live and still have in our hands what we hold.

        Not of what is to come: XCLAIM forgets, silently, what was trimmed.
        """
        for place in places:
            start = "-"
            while start and self._may_write:
                ids, start = await self._idle_of_ours(place, start)
                held = [each for each in ids if not place.is_to_come(each)]
                if held:
                    words = ("XCLAIM", place.stream, self._group, self._consumer, "0", *held, "JUSTID")
                    await self._write(place.stream, words)

    def _left(self, told: Iterable[Any]) -> list[str]:
        facts = [dict(zip(each[::2], each[1::2], strict=True)) for each in told]
        gone = [each for each in facts if not each[b"pending"] and each[b"idle"] >= _LEFT_S * 1000]
        return [name for each in gone if (name := each[b"name"].decode()) != self._consumer]

    async def _remove(self, stream: str, name: str) -> None:
        """Remove a member that holds nothing. Should it come back this very moment, what it was given stays its own."""
        async with self._lines.to(stream) as line:
            held, removed = await self._removed(line, stream, name)
            if held and removed:
                ids = [entry_id.decode() for entry_id, *_ in held]
                await line.ask([("XCLAIM", stream, self._group, name, "0", *ids, "FORCE", "JUSTID")])

    async def _removed(self, line: Line, stream: str, name: str) -> tuple[list[Any], int]:
        look = ("XPENDING", stream, self._group, "-", "+", "10000", name)
        try:
            done = await line.execute([look, ("XGROUP", "DELCONSUMER", stream, self._group, name)])
        except BusRefused as refused:
            self._give_up(refused)
            return [], 0
        return (done[0], done[1]) if done else ([], 0)

    async def _told(self, places: Sequence[Place], *words: str) -> list[tuple[Place, Any]]:
        """The answer to one question about each stream, asked of all together; without those that are gone."""
        told: list[tuple[Place, Any]] = []
        by_name = {place.stream: place for place in places}
        for part in self._lines.parts(by_name):
            async with self._lines.to(part[0]) as line:
                replies = await line.ask([(*words, stream, self._group) for stream in part])
            told += [
                (by_name[stream], reply)
                for stream, reply in zip(part, replies, strict=True)
                if not isinstance(reply, hiredis.ReplyError)
            ]
        return told

    async def _ask(self, stream: str, words: Command) -> Any:
        async with self._lines.to(stream) as line:
            [reply] = await line.ask([words])
        if isinstance(reply, hiredis.ReplyError) and is_gone(str(reply)):
            raise GroupGone(str(reply))
        return line.checked(reply, stream)

    async def _write(self, stream: str, words: Command) -> None:
        try:
            await self._ask(stream, words)
        except BusRefused as refused:
            self._give_up(refused)

    def _give_up(self, refused: BusRefused) -> None:
        """What is only tidy is left alone where we have no right to it."""
        self._may_write = False
        _log.warning("group.untidy", group=self._group, reason=str(refused), hint=refused.hint)
