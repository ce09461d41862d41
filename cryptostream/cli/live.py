"""Feeds that run until they end, with all that runs beside them: what `ingest` and `run` have in common."""

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptostream.engine.clock import SystemClock, within

if TYPE_CHECKING:
    from cryptostream.bus.connect import Bus
    from cryptostream.config import Config, Loaded
    from cryptostream.engine.runtime import Companion, Work
    from cryptostream.wiring import Alerting, Counting, Hosting, Ingest, Plan
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
    from cryptostream.cli.printer import Printer
    from cryptostream.engine.runtime import Runtime

    clock = SystemClock()
    async with AsyncExitStack() as opened:
        bus = None if wish.to_stdout else await opened.enter_async_context(wiring.bus(config))
        if bus:
            await wiring.check_bus(bus, strict=wish.strict, within_s=config.bus.connect_timeout)
        following = await wiring.following(config, plans, bus)
        stage = await opened.enter_async_context(
            wiring.ingest(
                config,
                following.plans,
                bus or Printer,
                give_up_at=give_up_at,
                record=wish.record,
                limit=wish.max_messages,
            )
        )
        following.lead(stage)
        counting = wiring.Counting(bus, stage) if bus else None
        companions: list[Companion] = [_shown(bus, stage, wish), following]
        companions += wiring.refreshing(config, following, force=wish.force)
        companions += [counting] if counting else []
        companions += wiring.until_lost(config, bus) if bus else []
        alerting = wiring.Alerting(stage)
        hosting = _hosting(config, bus) if bus and wish.consumers else None
        consumers = hosting.facts if hosting else list
        companions += [alerting, *_health(config, stage, alerting, counting, consumers, wish, opened)]
        companions += _served(config, wish, counting, consumers, opened) if counting else []
        companions += [wiring.until_gap(stage, lambda: runtime.drain())] if wish.fail_on_gap else []
        work: list[Work] = [*stage.pipelines, *([hosting] if hosting else ())]
        runtime = Runtime(work, clock=clock, companions=companions, duration_s=wish.duration_s)
        code = await runtime.run()
        if counting and not counting.trouble:
            with suppress(TimeoutError):  # the drain may have taken nearly all the time there is
                await within(clock, _LAST_WORD_S, counting.write())
        if wish.fail_on_gap:
            stage.check_gaps()
        if code == 0:
            stage.check(interrupted=runtime.signalled)
        return code


def _hosting(config: "Config", bus: "Bus") -> "Hosting":
    from cryptostream import wiring

    return wiring.Hosting(config, bus, list(config.consumers), list(config.alerts))


def _shown(bus: "Bus | None", stage: "Ingest", wish: Wish) -> "Companion":
    """What a person sees meanwhile: a panel of prices, or one line."""
    from cryptostream.cli.panel import Panel
    from cryptostream.cli.status import Ticker

    clock = SystemClock()
    return Panel(clock, bus, stage) if bus and wish.panel else Ticker(clock, stage.read)


def _health(
    config: "Config",
    stage: "Ingest",
    alerting: "Alerting",
    counting: "Counting | None",
    consumers: "Consumed",
    wish: Wish,
    opened: AsyncExitStack,
) -> "list[Companion]":
    from cryptostream import wiring

    served = (
        None if wish.health is False else wiring.health(config, stage, alerting, counting, consumers, asked=wish.health)
    )
    if served is None:
        return []
    opened.callback(served.close)
    return [served]


def _served(
    config: "Config", wish: Wish, counting: "Counting", consumers: "Consumed", opened: AsyncExitStack
) -> "list[Companion]":
    """API and dashboard, in a thread with a bus connection of their own: who looks holds up nothing."""
    from cryptostream import wiring
    from cryptostream.cli.serve import tell
    from cryptostream.wiring import serving

    watched = wiring.counted(counting, consumers)
    door = None if wish.serve is False else serving.door(config, asked=bool(wish.serve), watched=watched)
    if door is None:
        return []
    beside = serving.Beside(door)
    opened.callback(beside.close)
    tell(config, beside.url)
    return [beside]
