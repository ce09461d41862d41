"""Joining a group on its streams: which there are, groups where they are missing, and again where Redis lost them."""

from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from cryptostream import logs
from cryptostream.bus import history
from cryptostream.bus.ask import asking, heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.group import trimmed
from cryptostream.bus.group.place import Place
from cryptostream.bus.group.read import is_gone
from cryptostream.bus.group.trimmed import Facts, facts_at, facts_of
from cryptostream.engine.stats import GroupStats

_COUNTED = 20_000
"""The most entries that are counted one by one."""
_log = logs.get("bus")


class Joining:
    """Finds the streams of some patterns and makes a member of a group ready to read them.

    Streams that are there when a pattern is first looked for are read from `start`; those that appear later are new
    from their beginning. A stream that was found is kept though it goes away: it comes back where it was left.
    """

    def __init__(self, bus: Bus, patterns: Sequence[str], *, group: str, consumer: str, start: str) -> None:
        self._bus = bus
        self._group = group
        self._consumer = consumer
        self._start = start
        self._found: dict[str, set[str]] = {}
        self._wanted = list(dict.fromkeys(patterns))
        self._late: set[str] = set()

    def listen(self, patterns: Sequence[str]) -> None:
        """Look for these too."""
        self._wanted = list(dict.fromkeys([*self._wanted, *patterns]))

    def ignore(self, patterns: Sequence[str]) -> None:
        """Look for these no more."""
        self._wanted = [pattern for pattern in self._wanted if pattern not in patterns]
        for pattern in patterns:
            self._found.pop(pattern, None)

    async def names(self) -> list[str]:
        """Every stream that any pattern ever matched, sorted. Raises BusUnavailable, BusRefused."""
        for pattern in self._wanted:
            heed_cancellation()
            if pattern not in self._found:
                self._found[pattern] = await self._look_for(pattern)
            elif history.is_glob(pattern):
                new = await self._look_for(pattern) - self._found[pattern]
                self._late |= new
                self._found[pattern] |= new
        return sorted(set().union(*self._found.values()))

    async def join(self, streams: Sequence[str], places: Mapping[str, Place], stats: GroupStats) -> list[Place]:
        """Places in streams that were found, or found again; without those that have gone meanwhile."""
        joined: list[Place] = []
        missing: dict[str, tuple[str, int | None]] = {}
        for stream, (info, groups) in (await self._told(streams)).items():
            place = places.get(stream) or Place(stream)
            if any(each["name"] == self._group for each in groups):
                await self._count(place, facts_of(info, groups, self._group))
            elif info or stream in self._literal:
                missing[stream] = await self._begin(place, info)
            else:
                continue
            place.is_gone = False
            joined.append(place)
        for stream in await self._make(missing):
            if stream in places:
                places[stream].is_anew = True
                self._tell_reset(stream, missing[stream][0], stats)
        return joined

    async def restore(self, places: Mapping[str, Place], stats: GroupStats) -> None:
        """Make the groups again that are not there, from where each was left."""
        pipeline = self._bus.command.pipeline(transaction=False)
        for stream in places:
            pipeline.xinfo_groups(stream)
        with asking(self._bus):
            told = await pipeline.execute(raise_on_error=False)
        for place, groups in zip(places.values(), told, strict=True):
            has_group = not isinstance(groups, RedisError) and any(each["name"] == self._group for each in groups)
            place.is_gone = not has_group
        await self.join([stream for stream, place in places.items() if place.is_gone], places, stats)

    async def _look_for(self, pattern: str) -> set[str]:
        found = await history.streams(self._bus, pattern)
        return set(found) if history.is_glob(pattern) else {pattern}

    @property
    def _literal(self) -> set[str]:
        """Streams that are wanted whether they are there or not."""
        return {pattern for pattern in self._wanted if not history.is_glob(pattern)}

    async def _told(self, streams: Sequence[str]) -> dict[str, tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]:
        """How each stream and its groups stand; nothing of those that are not there."""
        pipeline = self._bus.command.pipeline(transaction=False)
        for stream in streams:
            pipeline.xinfo_stream(stream)
            pipeline.xinfo_groups(stream)
        with asking(self._bus):
            told = await pipeline.execute(raise_on_error=False)
        return {
            stream: (self._checked(stream, info) or {}, self._checked(stream, groups) or ())
            for stream, info, groups in zip(streams, told[::2], told[1::2], strict=True)
        }

    def _checked(self, stream: str, reply: Any) -> Any:
        """The reply; None where there is no such stream. Raises what cannot be lived with."""
        if isinstance(reply, RedisError) and is_gone(str(reply)):
            return None
        if isinstance(reply, RedisError):
            with asking(self._bus, stream):
                raise reply
        return reply

    async def _begin(self, place: Place, info: Mapping[str, Any]) -> tuple[str, int | None]:
        """The last-delivered id of a group that is to be made, and how many entries that are."""
        start = self._start_of(place)
        if not info:
            return ("0" if start == "$" else start), 0
        start = info["last-generated-id"] if start == "$" else start
        facts = facts_at(info, start, None)
        if facts is None:
            return start, None
        is_anew, place.added = facts.added < place.added, facts.added
        if is_anew and facts.is_overtaken:
            return start, 0
        known = trimmed.baseline(facts)
        return start, await self._upto(place.stream, facts) if known is None else known

    def _start_of(self, place: Place) -> str:
        if place.handed != history.BEGINNING:
            return place.handed
        return "0" if self._start == "$" and place.stream in self._late else self._start

    async def _upto(self, stream: str, facts: Facts) -> int | None:
        """How many entries there were up to the last delivered one, by counting those above it, if they are few."""
        above = 0
        async for page in history.between(self._bus, stream, f"({facts.delivered}", facts.generated):
            above += len(page)
            if above > _COUNTED:
                return None
        return facts.added - above

    async def _make(self, missing: Mapping[str, tuple[str, int | None]]) -> list[str]:
        """Make groups; those that nobody else has made meanwhile."""
        pipeline = self._bus.command.pipeline(transaction=False)
        for stream, (start, read) in missing.items():
            pipeline.xgroup_create(stream, self._group, id=start, mkstream=stream in self._literal, entries_read=read)
        with asking(self._bus):
            told = await pipeline.execute(raise_on_error=False)
        others = [stream for stream, reply in zip(missing, told, strict=True) if str(reply).startswith("BUSYGROUP")]
        return [
            stream
            for stream, reply in zip(missing, told, strict=True)
            if stream not in others and self._checked(stream, reply)
        ]

    async def _count(self, place: Place, facts: Facts | None) -> None:
        """Have the server count what is given to a group that somebody made without a count."""
        if facts is None:
            return
        place.added = facts.added
        known = trimmed.baseline(facts)
        if facts.read is None and known is not None:
            await trimmed.repair(self._bus, self._group, place.stream, facts.delivered, known, told=None)

    def _tell_reset(self, stream: str, start: str, stats: GroupStats) -> None:
        stats.resets += 1
        _log.warning("group.reset", group=self._group, stream=stream, goes_on_after=start)


async def acknowledge(bus: Bus, group: str, acks: Mapping[str, Sequence[str]]) -> int:
    """Acknowledge at once; how many of these were pending. Raises BusUnavailable, BusRefused."""
    pipeline = bus.command.pipeline(transaction=False)
    for stream, ids in acks.items():
        pipeline.xack(stream, group, *ids)
    with asking(bus):
        return sum(await pipeline.execute())
