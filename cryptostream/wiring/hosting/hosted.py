"""One consumer that is built, run, ended and built anew as it is wished; its counters go on through all of that."""

import asyncio
from collections.abc import Generator
from contextlib import suppress
from random import Random
from typing import Literal

from msgspec.structs import replace

from cryptostream import logs
from cryptostream.bus.admin import ConsumerRow
from cryptostream.engine.backoff import backoff
from cryptostream.engine.clock import within
from cryptostream.engine.stats import ConsumerFacts, GroupStats, merged
from cryptostream.model.ports import Clock
from cryptostream.wiring.consumers import Consuming
from cryptostream.wiring.hosting.planned import Planned

_LONGEST_S = 60.0
"""Between two tries of what has failed."""
_log = logs.get("control")


class Hosted:
    """A consumer in its own task. `planned` is what it is to be; the old one ends in order before it is built anew."""

    def __init__(self, planned: Planned, clock: Clock) -> None:
        self.planned = planned
        self.is_ending = False
        self._clock = clock
        self._state: Literal["running", "paused", "failed", "waiting"] = "waiting"
        self._why = ""
        self._consuming: Consuming | None = None
        self._before = ConsumerFacts(name=self.name, group=GroupStats(group=self.name), started=False)
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._delays = self._new_delays()
        self._was_paused = False

    @property
    def name(self) -> str:
        return self.planned.row.name

    @property
    def labels(self) -> list[str]:
        """What the signals of its strategies are called."""
        return list(self.planned.row.strategies)

    def change(self, planned: Planned) -> None:
        """Be this from now on; nothing happens if it is that already."""
        if planned != self.planned and not self.is_ending:
            self.planned = planned
            self._delays = self._new_delays()
            self._begin_anew()

    def end(self) -> None:
        """Read nothing more; what was read is finished, and `run` returns."""
        self.is_ending = True
        self._begin_anew()

    async def settled(self, within_s: float) -> bool:
        """Whether it is within so many seconds as it is planned, or has failed at that."""
        with suppress(TimeoutError):
            await within(self._clock, within_s, self._settled.wait())
        return self._settled.is_set()

    async def run(self) -> None:
        """Until `end`. Raises what ends a consumer of which nothing was wished by request."""
        try:
            await self._live()
        finally:
            self._settled.set()

    def facts(self) -> ConsumerFacts:
        """Where it stands. Any thread may ask."""
        before, consuming = self._before, self._consuming
        if consuming is None:
            return replace(before, troubles=[self._why] if self._state == "failed" else ())
        now = consuming.facts()
        group = merged([before.group, now.group])
        group.streams = now.group.streams
        return replace(now, group=group, events=before.events + now.events)

    def row(self) -> ConsumerRow:
        """The same as other processes are shown it."""
        facts, state = self.facts(), self._state
        group = facts.group
        why = self._why or "; ".join(filter(None, (group.trouble, *facts.troubles)))
        if state == "running" and (group.trouble or not group.streams):
            state, why = "waiting", why or "no stream is there for it yet, or other members of its group have them"
        return replace(
            self.planned.row,
            state=state,
            why=why,
            read=group.read,
            acked=facts.events if self.labels else group.acked,  # strategies acknowledge in their own transactions
            dead_letters=group.dead_letters,
            lost=group.lost,
        )

    async def _live(self) -> None:
        while not self.is_ending:
            self._changed.clear()
            planned = self.planned
            if planned.is_paused:
                self._was_paused = True
                await self._pause("")
                continue
            try:
                await self._work(planned)
            except Exception as error:
                if not (planned.is_contained or self._was_paused):
                    raise
                await self._rest(error)
            else:
                if not self._changed.is_set():
                    await self._pause("it has ended by itself")

    async def _work(self, planned: Planned) -> None:
        """Build it and run it until something else is wished."""
        async with planned.open() as consuming:
            self._consuming = consuming
            try:
                if not self._changed.is_set():
                    self._stands("running")
                    await consuming.pipeline.run()
            finally:
                done = self.facts()
                done.group.trouble = ""
                self._before, self._consuming = replace(done, troubles=(), held=0, started=True), None

    async def _pause(self, why: str) -> None:
        self._before.group.streams = 0
        self._before = replace(self._before, started=True)
        self._stands("paused", why)
        await self._changed.wait()

    async def _rest(self, error: Exception) -> None:
        """It failed, and is tried again after a while, or at once when something else is wished."""
        hint = getattr(error, "hint", "")
        self._stands("failed", f"{error or type(error).__name__}{f' ({hint})' if hint else ''}")
        delay_s = next(self._delays)
        _log.error("control.failed", consumer=self.name, why=self._why, again_in_s=round(delay_s, 1))
        with suppress(TimeoutError):
            await within(self._clock, delay_s, self._changed.wait())

    def _begin_anew(self) -> None:
        self._settled.clear()
        self._changed.set()
        if self._consuming is not None:
            self._consuming.pipeline.stop()

    def _stands(self, state: Literal["running", "paused", "failed"], why: str = "") -> None:
        self._state, self._why = state, why
        if not self._changed.is_set():
            self._settled.set()

    def _new_delays(self) -> Generator[float, float | None, None]:
        return backoff(Random(), base_s=1.0, cap_s=_LONGEST_S)  # noqa: S311 - jitter, not a secret
