"""Who is hosted here, and what is wished of each: the bus has the wishes, and all here is made as they say."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from cryptostream import logs
from cryptostream.bus import admin, control
from cryptostream.bus.admin import ConsumerRow
from cryptostream.bus.connect import Bus
from cryptostream.bus.holding import Holding
from cryptostream.engine.stats import ConsumerFacts, GroupStats
from cryptostream.errors import CryptostreamError, UsageError
from cryptostream.model.ports import Clock
from cryptostream.wiring.hosting import wished as wishes
from cryptostream.wiring.hosting.hosted import Hosted
from cryptostream.wiring.hosting.making import apart
from cryptostream.wiring.hosting.planned import Planned, Plans, check_installed, started
from cryptostream.wiring.hosting.wished import NOTHING, Wished

_log = logs.get("control")


class House:
    """All consumers of one process. `spawn` is given what is to run from now on, and calls `moved_out` after it.

    What was started by request runs here if we hold its name, which one process at a time can.
    """

    def __init__(self, plans: Plans, bus: Bus, by: str, clock: Clock, spawn: Callable[[Hosted], None]) -> None:
        self.plans = plans
        self.by = by
        self.hosted: dict[str, Hosted] = {}
        self._bus = bus
        self._clock = clock
        self._spawn = spawn
        self._held: set[str] = set()
        self._wishes = control.Wishes(bus, control.CONSUMERS)
        self._holding = Holding(bus, by)
        self._planned: dict[str, tuple[Wished, Planned | None]] = {}

    def find(self, name: str) -> Hosted | None:
        """A consumer by its name, or the one whose strategy's signals are called so."""
        here = [one for one in self.hosted.values() if not one.is_ending]
        named = [one for one in here if one.name == name] or [one for one in here if name in one.labels]
        return next(iter(named), None)

    async def wishes(self) -> dict[str, Wished]:
        """What is wished of consumers anywhere; a bus that has lost it is told. Raises BusUnavailable, BusRefused."""
        return wishes.read(await self._wishes.read())

    async def wish(self, name: str, wanted: Wished) -> None:
        """Have this wished of a consumer, here and for whoever starts later. Raises BusUnavailable, BusRefused."""
        await self._wishes.wish({name: wishes.text(wanted)})
        await self.settle(await self.wishes())

    async def settle(self, wished: Mapping[str, Wished]) -> None:
        """Make all here as it is wished. Raises BusUnavailable, BusRefused."""
        self.settle_alone(wished)
        asked = {name for name, one in wished.items() if one.start is not None}
        planned = {name: await self._requested(name, wished[name]) for name in asked.difference(self.plans.names)}
        await self._share({name: one for name, one in planned.items() if one is not None})

    def settle_alone(self, wished: Mapping[str, Wished] = MappingProxyType({})) -> None:
        """The same of what is configured here."""
        for name in self.plans.names:
            self._host(name, self._configured(name, wished.get(name, NOTHING)))

    async def take(self, name: str) -> bool:
        """Whether what is to be started by request is ours to start. Raises BusUnavailable, BusRefused."""
        return name in await self._holding.hold([name])

    async def elsewhere(self) -> list[ConsumerRow]:
        """The consumers of the other processes that obey now. Raises BusUnavailable, BusRefused."""
        here = set(await control.here(self._bus, "consume")) - {self.by}
        found = await admin.read_consumers(self._bus)
        return [row for one in found if f"{one.host}:{one.pid}" in here for row in one.consumers]

    def facts(self) -> list[ConsumerFacts]:
        """Where each stands, what has not begun too. Any thread may ask."""
        here = dict(self.hosted)
        waiting = [name for name in self.plans.names if name not in here]
        begun = [one.facts() for one in here.values()]
        return begun + [ConsumerFacts(name=name, group=GroupStats(group=name), started=False) for name in waiting]

    def rows(self) -> list[ConsumerRow]:
        """All that stay here, by name."""
        return [one.row() for _, one in sorted(self.hosted.items()) if not one.is_ending]

    def moved_out(self, one: Hosted) -> None:
        """It has ended, and is known no more; those of the configuration stay, for what they have counted."""
        if one.name not in self.plans.names:
            self.hosted.pop(one.name, None)

    async def leave(self) -> None:
        """Let others have what was started by request. Raises BusUnavailable, BusRefused."""
        try:
            await self._holding.let_go(sorted(self._held))
        finally:
            await self._holding.close()

    async def _share(self, planned: Mapping[str, Planned]) -> None:
        """Run the strategies that were started by request and are nobody else's; end those that are by now."""
        await self._holding.let_go(sorted(self._held.difference(planned)))
        self._held = held = await self._holding.hold(list(planned))
        for name, one in self.hosted.items():
            if name not in held and name not in self.plans.names and not one.is_ending:
                _log.info("control.given_up", consumer=name)
                one.end()
        for name in sorted(held):
            if name not in self.hosted:
                _log.info("control.taken", consumer=name)
            self._host(name, planned[name])

    def _configured(self, name: str, wished: Wished) -> Planned | None:
        """What a wish about one of the configuration comes to; None where that cannot be."""
        known, planned = self._planned.get(name, (None, None))
        if known == wished:
            return planned
        try:
            planned = self.plans.configured(name, wished)
        except UsageError as error:
            _log.warning("control.not_for_us", consumer=name, why=str(error))
            planned = None
        self._planned[name] = wished, planned
        return planned

    async def _requested(self, name: str, wished: Wished) -> Planned | None:
        """The same of a strategy that was started by request; None where it is not installed."""
        known, planned = self._planned.get(name, (None, None))
        if known == wished:
            return planned
        try:
            check_installed(started(wished.start).strategy)
        except UsageError as error:
            _log.warning("control.not_for_us", consumer=name, why=str(error))
            planned = None
        else:
            planned = await self._made(name, wished)
        self._planned[name] = wished, planned
        return planned

    async def _made(self, name: str, wished: Wished) -> Planned:
        try:
            return await apart(self.plans.requested, name, wished)
        except CryptostreamError as error:
            _log.warning("control.cannot_be_made", consumer=name, why=str(error))
            return self.plans.failing(name, wished)

    def _host(self, name: str, planned: Planned | None) -> None:
        """Have it be this from now on; it moves in if it is not here."""
        if planned is None:
            return
        if name in self.hosted:
            self.hosted[name].change(planned)
        else:
            self.hosted[name] = one = Hosted(planned, self._clock)
            self._spawn(one)


def names(rows: Sequence[ConsumerRow]) -> set[str]:
    """What these are called, and the signals of their strategies."""
    return {name for row in rows for name in (row.name, *row.strategies)}
