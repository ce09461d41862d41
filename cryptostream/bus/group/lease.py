"""Members of a group that come and go, and share its streams: each stream is leased to one of them at a time.

    lease:<group>:<stream>  whose it is; gone some seconds after its holder last renewed it
    members:<group>         who is there: a sorted set by the server's time at which each was last heard

Everybody takes free streams up to a fair share, and gives up what is above it. Clocks are not compared: the server
counts a lease's time by its own, and a member counts from before it asked, by a clock that never steps, so that it
stops before the server gives the stream to another. A lease alone cannot hinder a member that is paused between looking
at the clock and writing, or whose machine slept: that is what the tokens of `transact.py` are for.
https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html
"""

import asyncio
from binascii import crc32
from collections.abc import Collection, Sequence
from math import ceil, inf
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

from cryptostream import logs
from cryptostream.bus.ask import asking, heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.line import Line, Lines
from cryptostream.bus.outage import Outage
from cryptostream.errors import BusUnavailable
from cryptostream.model.ports import Clock, Open, Ownership

_RENEWALS = 3
"""How often a lease is renewed in its time."""
_LAPSED = -inf
_log = logs.get("bus")


class Leases(Open, Ownership):
    """The streams that one `member` of a group may read now; it renews its leases while it is open.

    A lease that was not renewed for `ttl_s` seconds is another's to take. `mine` is to be asked when the work on what
    was read so far is committed, because it is where streams are given up. In a cluster the server's time is that of
    some master: their clocks have to agree to a fraction of `ttl_s`.
    """

    exclusive = True

    def __init__(self, bus: Bus, group: str, member: str, clock: Clock, ttl_s: float = 10.0) -> None:
        self._bus = bus
        self._group = group
        self._clock = clock
        self._ttl_s = ttl_s
        # A name may be given twice by mistake, a process may be started anew while its old self is only paused.
        self._name = f"{member}:{token_hex(4)}"
        self._lines = Lines(bus)
        self._until: dict[str, float] = {}
        self._leaving: set[str] = set()
        self._members = 1
        self._heard_until = 0.0
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def held(self) -> Collection[str]:
        """The streams that are ours at this moment."""
        now_s = self._clock.monotonic()
        return [stream for stream, until_s in self._until.items() if now_s < until_s]

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._renew_for_ever(), name=f"leases of {self._group}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up everything, so that nobody has to wait; while the bus is away it lapses by itself."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._leave()
        except BusUnavailable as trouble:
            _log.warning("leases.kept", group=self._group, streams=len(self._until), why=str(trouble))
        await self._lines.close()

    async def mine(self, streams: Sequence[str]) -> Collection[str]:
        """Take free streams up to our share of these, give up what is above it. Raises BusUnavailable, BusRefused.

        What is to be given up is no longer among them, and given up at the next question: until then it is in
        `leaving`, and what was read of it can be committed.
        """
        if self._task is not None and self._task.done():
            self._task.result()  # whatever renewing was refused for
        async with self._turn:
            if self._clock.monotonic() >= self._heard_until:
                await self._hear()
            self._forget_lapsed()
            share = ceil(len(streams) / self._members)
            wanted = sorted(streams, key=self._rank)
            kept = [stream for stream in wanted if stream in self._until][:share]
            surplus = set(self._until).difference(kept)
            await self._give_up([stream for stream in self._until if stream in surplus & self._leaving])
            self._leaving = surplus & set(self._until)
            await self._take([stream for stream in wanted if stream not in self._until], share - len(kept))
            return [stream for stream in self.held if stream not in self._leaving]

    @property
    def leaving(self) -> Collection[str]:
        """Streams that are ours until `mine` is asked next, and are read no more."""
        return self._leaving

    def _rank(self, stream: str) -> tuple[int, str]:
        """Members begin with different streams, so that they seldom ask for the same."""
        return crc32(f"{self._name} {stream}".encode()), stream

    # Taking and giving up.

    async def _take(self, wanted: Sequence[str], count: int) -> None:
        """Take up to `count` of those that nobody has."""
        if not wanted or count <= 0:
            return
        free = await self._free(wanted)
        while free and count > 0:
            asked, free = free[:count], free[count:]
            count -= await self._lease(asked)

    async def _free(self, streams: Sequence[str]) -> list[str]:
        """Those that nobody has now."""
        pipeline = self._bus.command.pipeline(transaction=False)
        for stream in streams:
            pipeline.get(self._key(stream))
        with asking(self._bus):
            holders = await pipeline.execute()
        return [stream for stream, holder in zip(streams, holders, strict=True) if holder is None]

    async def _lease(self, streams: Sequence[str]) -> int:
        """Try to take these; how many we got."""
        until_s = self._clock.monotonic() + self._ttl_s
        pipeline = self._bus.command.pipeline(transaction=False)
        for stream in streams:
            pipeline.set(self._key(stream), self._name, nx=True, px=self._ttl_ms)
        with asking(self._bus):
            replies = await pipeline.execute()
        taken = [stream for stream, reply in zip(streams, replies, strict=True) if reply]
        self._until |= dict.fromkeys(taken, until_s)
        if taken:
            _log.info("leases.taken", group=self._group, member=self._name, streams=taken)
        return len(taken)

    async def _give_up(self, streams: Sequence[str]) -> None:
        """They are not ours from here on, even where Redis cannot be told."""
        for stream in streams:
            del self._until[stream]
        for part in self._lines.parts(map(self._key, streams)):
            async with self._lines.to(part[0]) as line:
                await self._delete_ours(line, part)
        if streams:
            _log.info("leases.given_up", group=self._group, member=self._name, streams=list(streams))

    async def _delete_ours(self, line: Line, keys: Sequence[str]) -> None:
        """Delete those of these leases that still are ours."""
        done: Any = None
        while done is None:
            watched, *holders = await line.ask([("WATCH", *keys), *(("GET", key) for key in keys)])
            line.checked(watched, keys[0])
            ours = [key for key, holder in zip(keys, holders, strict=True) if holder == self._name.encode()]
            if not ours:
                await line.ask([("UNWATCH",)])
                return
            done = await line.execute([("DEL", *ours)])

    def _forget_lapsed(self) -> None:
        held = set(self.held)
        if lapsed := [stream for stream in self._until if stream not in held]:
            _log.warning("leases.lapsed", group=self._group, member=self._name, streams=lapsed)
        self._until = {stream: until_s for stream, until_s in self._until.items() if stream in held}

    # Staying.

    async def _renew_for_ever(self) -> None:
        outage = Outage(self._clock, self._bus)
        while True:
            heed_cancellation()
            try:
                async with self._turn:
                    await self._hear()
                    await self._renew()
            except BusUnavailable as trouble:
                await outage.wait(trouble)
                continue
            outage.over()
            await self._clock.sleep(self._ttl_s / _RENEWALS)

    async def _renew(self) -> None:
        """Have what we hold for longer; what is another's by now is let go."""
        until_s = self._clock.monotonic() + self._ttl_s
        streams = list(self.held)
        pipeline = self._bus.command.pipeline(transaction=False)
        for stream in streams:
            pipeline.getex(self._key(stream), px=self._ttl_ms)
        with asking(self._bus):
            holders = await pipeline.execute()
        for stream, holder in zip(streams, holders, strict=True):
            self._until[stream] = until_s if holder == self._name else _LAPSED

    async def _hear(self) -> None:
        """Say that we are there, and count who is."""
        self._heard_until = self._clock.monotonic() + self._ttl_s
        with asking(self._bus):
            seconds, micros = await self._bus.command.time()
            now_s = seconds + micros / 1e6
            pipeline = self._bus.command.pipeline(transaction=False)
            pipeline.zadd(self._roll, {self._name: now_s})
            pipeline.zremrangebyscore(self._roll, "-inf", f"({now_s - self._ttl_s}")
            pipeline.zcard(self._roll)
            *_, self._members = await pipeline.execute()

    async def _leave(self) -> None:
        await self._give_up(list(self._until))
        with asking(self._bus):
            await self._bus.command.zrem(self._roll, self._name)

    @property
    def _roll(self) -> str:
        return f"members:{self._group}"

    @property
    def _ttl_ms(self) -> int:
        return round(self._ttl_s * 1000)

    def _key(self, stream: str) -> str:
        return f"lease:{self._group}:{stream}"
