"""A consumer's place in its group while it is open: what it reads, has in its hands, acknowledges and brings again."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from cryptostream import logs
from cryptostream.bus.connect import Bus
from cryptostream.bus.effects.transact import Effects
from cryptostream.bus.group import join
from cryptostream.bus.group.lease import Leases
from cryptostream.bus.group.ownership import Shard
from cryptostream.bus.group.source import Group, GroupSettings
from cryptostream.client.hand import Failed, Hand, Watch
from cryptostream.client.handlers import Handlers
from cryptostream.client.keeping import Keeping
from cryptostream.client.warming import Past
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.ports import Clock, Ownership

_TICK_S = 1.0
"""How long what is handled of one read waits at most for its XACK, where the rest of it takes its time."""
_log = logs.get("client")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On what terms a consumer is a member of its group."""

    group: str
    settings: GroupSettings
    ownership: Literal["lease"] | Ownership
    version: str
    config: str
    until_idle_s: float | None
    maxlen: int = 0
    """About how many entries the streams keep that keyed handlers write; 0 for all."""
    warm_up: Past | None = None


class Membership:
    """One member of a group, from the first read until it leaves."""

    def __init__(self, bus: Bus, name: str, terms: Terms, handlers: Handlers, watch: Watch, clock: Clock) -> None:
        self.group: Group
        self.is_stopped = False
        self.is_leased = terms.ownership == "lease"
        self._bus = bus
        self._name = name
        self._terms = terms
        self._handlers = handlers
        self._watch = watch
        self._clock = clock
        self._opened = AsyncExitStack()
        self._leases: Leases | None = None
        self._hands: Sequence[Hand] = ()
        self._one_by_one = False

    async def join(self, patterns: Sequence[str]) -> None:
        """Begin to read the streams of some patterns. Raises BusUnavailable, BusRefused."""
        self.group = Group(
            self._bus,
            patterns,
            group=self._terms.group,
            consumer=self._name,
            clock=self._clock,
            settings=self._terms.settings,
            ownership=await self._owning(),
        )
        await self._opened.enter_async_context(self.group)
        await self._opened.enter_async_context(self._ticking())

    async def leave(self, error: BaseException | None = None) -> None:
        """Acknowledge what is handled, leave the rest pending. What was at work is to blame for an `error`.

        Nothing is for being cancelled or interrupted. Whose fault it is in a batch nobody knows: all keep their counts.
        """
        self._settle()
        hands, self._hands = self._hands, ()
        blame = error if isinstance(error, Exception) and hands else None
        try:
            if blame is not None and self._one_by_one:
                with suppress(BusRefused):  # it is the body's error that is to be seen
                    await self._reject_at_work(hands, blame)
                blame = None
        finally:
            await self._opened.__aexit__(type(blame) if blame else None, blame, None)

    async def keeping(self) -> Keeping | None:
        """What keeps the handlers' memories, if any of them has one."""
        if not self._handlers.remember:
            return None
        terms = self._terms
        made = Effects(
            self._bus,
            terms.group,
            version=terms.version,
            config=terms.config,
            maxlen=terms.maxlen,
            clock=self._clock,
        )
        return Keeping(
            await self._opened.enter_async_context(made),
            self._handlers,
            self._owned,
            self._watch,
            self.group.stats,
            past=terms.warm_up,
            is_stopped=lambda: self.is_stopped,
        )

    async def reads(self, *, one_by_one: bool) -> AsyncGenerator[list[Hand], None]:
        """What each read gives, until stopped or idle for too long. `one_by_one`: one event is at work at a time."""
        await self._bring_again()
        self._one_by_one = one_by_one
        heard_s = self._clock.monotonic()
        async with aclosing(self.group.slices()) as slices:  # type: ignore[type-var]
            async for found in slices:
                if found:
                    self._hands = hands = [Hand(each) for each in found]
                    yield hands
                    self._hands, self._watch.hand = (), None
                    heard_s = self._clock.monotonic()
                if self.is_stopped or self._is_idle(heard_s):
                    return

    async def finish(self, hand: Hand) -> None:
        """The whole of a hand was handled, up to a row that cannot be read."""
        hand.done = len(hand.events)
        self.group.acknowledge(hand.stream, hand.settle())
        if (failed := hand.unreadable()) is not None:
            await self.reject(failed)

    async def reject(self, failed: Failed) -> None:
        """Have an entry brought again, or set aside if that was done too often."""
        entry, error = failed
        _log.warning("consumer.rejected", stream=entry.stream, entry=entry.entry_id, why=repr(error))
        await self.group.reject(entry, f"{type(error).__name__}: {error}")

    def stop(self) -> None:
        """Hand over nothing after the event at work."""
        self.is_stopped = True
        self.group.stop()
        if self._one_by_one and self._watch.hand is not None:
            self._watch.hand.cut()

    async def _owning(self) -> Ownership:
        """Who reads what. One that remembers owns whole streams: all of them, unless told."""
        owning = self._terms.ownership
        if owning == "lease":
            self._leases = Leases(self._bus, self._terms.group, self._name, self._clock)
            return await self._opened.enter_async_context(self._leases)
        return Shard(1, of=1) if self._handlers.remember and not owning.exclusive else owning

    def _owned(self, streams: Iterable[str]) -> Collection[str]:
        """Those that nobody else may have by now."""
        held = set(self._leases.held) if self._leases is not None else None
        return [stream for stream in streams if held is None or stream in held]

    async def _bring_again(self) -> None:
        """What the last loop was left at comes again, as all that is pending does when the group is read anew.

        The event that was at work is to blame, if there was one.
        """
        self._settle()
        hands, self._hands = self._hands, ()
        if self._one_by_one:
            await self._reject_at_work(hands, RuntimeError("the loop was left while this was at work"))

    async def _reject_at_work(self, hands: Sequence[Hand], error: Exception) -> None:
        at_work = self._watch.hand
        if at_work in hands and at_work is not None and at_work.done < len(at_work.events):
            entry = at_work.entry(at_work.done)
            if entry is not None:
                await self.reject(Failed(entry, error))

    def _is_idle(self, heard_s: float) -> bool:
        idle_s = self._terms.until_idle_s
        return idle_s is not None and self._clock.monotonic() - heard_s >= idle_s

    def _settle(self) -> None:
        for stream, ids in self._settled().items():
            self.group.acknowledge(stream, ids)

    def _settled(self) -> dict[str, list[str]]:
        """What is handled of what is in our hands, and not in a transaction of its own."""
        acks: dict[str, list[str]] = {}
        for hand in self._hands:
            if hand.done > hand.settled and not self._handlers.route(hand.stream).factories:
                acks.setdefault(hand.stream, []).extend(hand.settle())
        return {stream: ids for stream, ids in acks.items() if ids}

    @asynccontextmanager
    async def _ticking(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._tick(), name=f"acknowledgements of {self._terms.group}")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _tick(self) -> None:
        """Now and then acknowledge what is handled of a read whose rest takes its time, and see who takes it."""
        while True:
            await self._clock.sleep(_TICK_S)
            self._watch.trouble()
            acks = self._settled()
            if not acks:
                continue
            try:
                self.group.stats.acked += await join.acknowledge(self._bus, self._terms.group, acks)
            except BaseException as trouble:
                for stream, ids in acks.items():
                    self.group.acknowledge(stream, ids)
                if not isinstance(trouble, BusUnavailable):
                    raise
