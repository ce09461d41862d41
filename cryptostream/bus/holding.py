"""Names that one process holds at a time: taken where nobody does, kept while it lives, free a moment after it is gone.

    control:runs:<name>  `host:pid` of who runs a strategy that was started by request

Whoever was paused for longer than `HELD_S` may believe that he holds what is another's by now: what he writes has to be
fenced. https://redis.io/docs/latest/develop/use/patterns/distributed-locks/
"""

from collections.abc import Sequence

from cryptostream.bus.ask import asking
from cryptostream.bus.connect import Bus
from cryptostream.bus.line import Line, Lines

HELD_S = 10.0
"""How long a name stays held after `hold`."""
PREFIX = "control:runs:"


class Holding:
    """What one process, called `by`, holds. Used by one task at a time; `close` hangs up and lets nothing go."""

    def __init__(self, bus: Bus, by: str) -> None:
        self._bus = bus
        self._by = by
        self._lines = Lines(bus)

    async def hold(self, names: Sequence[str]) -> set[str]:
        """Take those of these names that nobody holds, keep those that are ours; all that are.

        Raises BusUnavailable, BusRefused.
        """
        if not names:
            return set()
        ttl_ms = round(HELD_S * 1000)
        pipeline = self._bus.command.pipeline(transaction=False)
        for name in names:
            pipeline.set(PREFIX + name, self._by, nx=True, px=ttl_ms)
        with asking(self._bus):
            await pipeline.execute()
        return await self._ours(names, "PEXPIRE", ttl_ms)

    async def let_go(self, names: Sequence[str]) -> None:
        """Whoever wants them may have them, of those that are ours. Raises BusUnavailable, BusRefused."""
        await self._ours(names, "DEL")

    async def close(self) -> None:
        await self._lines.close()

    async def _ours(self, names: Sequence[str], verb: str, *more: int) -> set[str]:
        """Those of the names that are ours, and were until this was done to them."""
        found: list[str] = []
        for part in self._lines.parts([PREFIX + name for name in names]):
            async with self._lines.to(part[0]) as line:
                while (done := await self._done(line, part, verb, *more)) is None:
                    pass
            found += done
        return {key.removeprefix(PREFIX) for key in found}

    async def _done(self, line: Line, keys: Sequence[str], verb: str, *more: int) -> Sequence[str] | None:
        """Do it to those of these keys that are ours; None where one of them has changed meanwhile."""
        watched, *holders = await line.ask([("WATCH", *keys), *(("GET", key) for key in keys)])
        line.checked(watched, keys[0])
        ours = [key for key, holder in zip(keys, holders, strict=True) if holder == self._by.encode()]
        if not ours:
            await line.ask([("UNWATCH",)])
            return ours
        return None if await line.execute([(verb, key, *more) for key in ours]) is None else ours
