"""Feeds that run until they end, with all that runs beside them: what `ingest` and `run` have in common."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptostream.engine.clock import SystemClock, within

if TYPE_CHECKING:
    from cryptostream.bus.connect import Bus
    from cryptostream.config import Config, Loaded
    from cryptostream.engine.runtime import Companion, Work
    from cryptostream.wiring import Alerting, Counting, Following, Hosting, Ingest, Plan
    from cryptostream.wiring.beside import Consumed


_LAST_WORD_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How feeds are to run: where to, for how long, and what ends them."""

    to_stdout: bool = False
    duration_s: float | None = None
    max_messages: int | None = None
    record: Path | None = None
    fail_on_gap: bool = False
    force: bool = False
    """Whether a refreshed list of pairs may change by more than half."""
    strict: bool = False
    """Whether a bus that deletes streams when it is full is refused."""
    health: bool | None = None
    """Whether health is served: None for yes, unless the default port is taken."""
    serve: bool | None = False
    """Whether API and dashboard are served: None for yes, unless the default port is taken."""
    panel: bool = False
    consumers: bool = False


def asks_for_health(loaded: "Loaded") -> bool | None:
    """True where somebody named a port for it, None where the default stands."""
    return None if loaded.origin("ingest.health_port") == "default" else True


def asks_to_serve(loaded: "Loaded", *, off: bool) -> bool | None:
    """The same of API and dashboard; False where they are not wished for."""
    if off:
        return False
    return None if loaded.origin("serve.port") == "default" else True


async def live(config: "Config", plans: Sequence["Plan"], wish: Wish, *, give_up_at: float) -> int:
    """Run the feeds of these plans, and the configuration's consumers where they are wished for; the exit code.

    Raises VenueUnavailable if no venue was ever reached, DataQuality for a gap where that matters.
    """
    from cryptostream import wiring
    from cryptostream.engine.runtime import Runtime

    async with AsyncExitStack() as opened:
        bus = None if wish.to_stdout else await _bus(config, wish, opened)
        following = await wiring.following(config, plans, bus)
        stage = await _stage(config, following, bus, wish, give_up_at, opened)
        live = _Live(config, wish, bus, stage, following)
        companions = _companions(live, lambda: runtime.drain(), opened)
        runtime = Runtime(live.work, clock=SystemClock(), companions=list(companions), duration_s=wish.duration_s)
        code = await runtime.run()
        await _write_last(live.counting)
        if wish.fail_on_gap:
            stage.check_gaps()
        if code == 0:
            stage.check(interrupted=runtime.signalled)
        return code


class _Live:
    """What runs, and what counts it; only what is on a bus is counted and consumed."""

    def __init__(
        self, config: "Config", wish: Wish, bus: "Bus | None", stage: "Ingest", following: "Following"
    ) -> None:
        from cryptostream import wiring

        self.config = config
        self.wish = wish
        self.bus = bus
        self.stage = stage
        self.following = following
        self.counting = wiring.Counting(bus, stage) if bus else None
        self.hosting = _hosting(config, bus) if bus and wish.consumers else None

    @property
    def work(self) -> "list[Work]":
        return [*self.stage.pipelines, *([self.hosting] if self.hosting else ())]

    @property
    def consumers(self) -> "Consumed":
        return self.hosting.facts if self.hosting else list


def _hosting(config: "Config", bus: "Bus") -> "Hosting":
    from cryptostream import wiring

    return wiring.Hosting(config, bus, list(config.consumers), list(config.alerts))


async def _bus(config: "Config", wish: Wish, opened: AsyncExitStack) -> "Bus":
    from cryptostream import wiring

    bus: Bus = await opened.enter_async_context(wiring.bus(config))
    await wiring.check_bus(bus, strict=wish.strict, within_s=config.bus.connect_timeout)
    return bus


async def _stage(
    config: "Config",
    following: "Following",
    bus: "Bus | None",
    wish: Wish,
    give_up_at: float,
    opened: AsyncExitStack,
) -> "Ingest":
    """The feeds and where they go to, opened; they follow what is wished from now on."""
    from cryptostream import wiring
    from cryptostream.cli.printer import Printer

    to, plans = bus or Printer, following.plans
    made = wiring.ingest(config, plans, to, give_up_at=give_up_at, record=wish.record, limit=wish.max_messages)
    stage = await opened.enter_async_context(made)
    following.lead(stage)
    return stage


def _companions(live: _Live, drain: Callable[[], None], opened: AsyncExitStack) -> "Iterator[Companion]":
    """All that runs beside."""
    from cryptostream import wiring

    alerting = wiring.Alerting(live.stage)
    yield _shown(live)
    yield live.following
    yield alerting
    yield from wiring.refreshing(live.config, live.following, force=live.wish.force)
    yield from _health(live, alerting, opened)
    if live.bus is not None and live.counting is not None:
        yield live.counting
        yield from wiring.until_lost(live.config, live.bus)
        yield from _served(live, live.counting, opened)
    if live.wish.fail_on_gap:
        yield wiring.until_gap(live.stage, drain)


def _shown(live: _Live) -> "Companion":
    """What a person sees meanwhile: a panel of prices, or one line."""
    from cryptostream.cli.panel import Panel
    from cryptostream.cli.status import Ticker

    clock = SystemClock()
    return Panel(clock, live.bus, live.stage) if live.bus and live.wish.panel else Ticker(clock, live.stage.read)


def _health(live: _Live, alerting: "Alerting", opened: AsyncExitStack) -> "Iterator[Companion]":
    from cryptostream import wiring

    if live.wish.health is False:
        return
    served = wiring.health(live.config, live.stage, alerting, live.counting, live.consumers, asked=live.wish.health)
    if served is not None:
        opened.callback(served.close)
        yield served


def _served(live: _Live, counting: "Counting", opened: AsyncExitStack) -> "Iterator[Companion]":
    """API and dashboard, in a thread with a bus connection of their own: who looks holds up nothing."""
    from cryptostream import wiring
    from cryptostream.cli.serve import tell
    from cryptostream.wiring import serving

    if live.wish.serve is False:
        return
    watched = wiring.counted(counting, live.consumers)
    door = serving.door(live.config, asked=bool(live.wish.serve), watched=watched)
    if door is not None:
        beside = serving.Beside(door)
        opened.callback(beside.close)
        tell(live.config, beside.url)
        yield beside


async def _write_last(counting: "Counting | None") -> None:
    """The counters as they end; the drain may have taken nearly all the time there is."""
    if counting is not None and not counting.trouble:
        with suppress(TimeoutError):
            await within(SystemClock(), _LAST_WORD_S, counting.write())
