"""Consumers at work in one process for as long as it lives: paused, resumed, begun and ended by request."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from cryptostream import logs
from cryptostream.bus import admin, control
from cryptostream.bus.admin import ConsumerRow, Consumers
from cryptostream.bus.ask import heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.control import Request, Verdict
from cryptostream.bus.outage import Outage
from cryptostream.config import Config
from cryptostream.engine.clock import SystemClock, within
from cryptostream.engine.stats import ConsumerFacts
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.ports import Clock
from cryptostream.wiring.basics import INGESTER
from cryptostream.wiring.hosting.hosted import Hosted
from cryptostream.wiring.hosting.house import House
from cryptostream.wiring.hosting.obeying import Obeying
from cryptostream.wiring.hosting.planned import Plans

EVERY_S = 2.0
"""How often what is wished is looked at, and what runs is told."""
_LAST_WORD_S = 0.5
_log = logs.get("control")


class Hosting:
    """Runs configured consumers and alerts of these names, and strategies that are started by request.

    Work of a Runtime: it ends when it is stopped, and with the first failure of a consumer that nobody has wished
    anything of. A bus that does not allow requests is told once in the log, and all runs as it is configured.
    """

    def __init__(
        self,
        config: Config,
        bus: Bus,
        names: Sequence[str],
        alerts: Sequence[str] = (),
        *,
        by: str = INGESTER,
        clock: Clock | None = None,
    ) -> None:
        self.name = "consumers"
        self._bus = bus
        self._by = by
        self._clock = clock or SystemClock()
        self._house = House(Plans(config, bus, names, alerts), bus, by, self._clock, self._spawn)
        self._obeying = Obeying(self._house)
        self._is_allowed = True
        self._is_told = True
        self._turn = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until stopped. Raises what a configured consumer fails at."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                beside = self._tasks.create_task(self._attend())
                await self._stopping.wait()
                beside.cancel()
                await asyncio.wait([beside])
                for one in self._house.hosted.values():
                    one.end()
        finally:
            with suppress(BusUnavailable, BusRefused, TimeoutError):
                await within(self._clock, _LAST_WORD_S, self._leave())

    def stop(self) -> None:
        """Read nothing more; what was read is finished."""
        self._stopping.set()

    def facts(self) -> list[ConsumerFacts]:
        """Where each stands. Any thread may ask."""
        return self._house.facts()

    async def obey(self, request: Request) -> Sequence[Verdict]:
        """Do what a request wants, and show it. Raises BusUnavailable, BusRefused."""
        async with self._turn:
            verdicts = await self._obeying.obey(request.verb, request.args)
        await self._tell()
        return verdicts

    async def keep(self) -> None:
        """Make all as it is wished, and show it. Raises BusUnavailable."""
        if self._is_allowed:
            try:
                async with self._turn:
                    await self._house.settle(await self._house.wishes())
            except BusRefused as refused:
                self._is_allowed = False
                _log.warning("control.denied", role="consume", why=str(refused))
        if not self._is_allowed:
            self._house.settle_alone()
        await self._tell()

    async def _attend(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            await self._kept()
            tasks.create_task(self._keep())
            if self._is_allowed:
                await control.attend(self._bus, "consume", self._by, self._clock, self.obey)

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(EVERY_S)
            await self._kept()

    async def _kept(self) -> None:
        """One round, however long the bus is away."""
        outage = Outage(self._clock, self._bus)
        while True:
            heed_cancellation()
            try:
                await self.keep()
            except BusUnavailable as trouble:
                await outage.wait(trouble)
            else:
                return outage.over()

    async def _tell(self) -> None:
        """Show on the bus what runs here. Raises BusUnavailable."""
        await self._write(self._house.rows())

    async def _write(self, rows: list[ConsumerRow]) -> None:
        host, _, pid = self._by.rpartition(":")
        told = Consumers(at=self._clock.now_ns(), host=host, pid=int(pid), consumers=rows)
        try:
            await admin.write_consumers(self._bus, self._by, told)
        except BusRefused as refused:
            if self._is_told:
                _log.warning("consumers.unwritten", why=str(refused))
            self._is_told = False

    async def _leave(self) -> None:
        await self._house.leave()
        await self._write([])

    def _spawn(self, one: Hosted) -> None:
        assert self._tasks is not None  # noqa: S101 - it runs
        self._tasks.create_task(self._live(one), name=one.name)

    async def _live(self, one: Hosted) -> None:
        await one.run()
        self._house.moved_out(one)
