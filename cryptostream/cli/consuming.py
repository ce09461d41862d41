"""Consumers at work: what they would read, that they run, and what a person sees meanwhile."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.text import Text

from cryptostream.cli import render
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.stats import ConsumerFacts
from cryptostream.errors import DataQuality, NotFound

if TYPE_CHECKING:
    from cryptostream.bus.connect import Bus
    from cryptostream.config import Config, Loaded
    from cryptostream.engine.runtime import Companion, Work
    from cryptostream.wiring import Until

Facts = Callable[[], Sequence[ConsumerFacts]]
_LOOK_S = 0.5
_EVERY_S = 1.0


async def plan(config: "Config", names: Sequence[str], bus: "Bus") -> list[dict[str, Any]]:
    """What would be read: a row for each consumer and stream. Raises NotFound for a stream that is not there."""
    from cryptostream import wiring
    from cryptostream.bus import admin, history

    rows = []
    for name in names:
        told = config.consumers[name]
        streams: dict[str, None] = {}
        for pattern in wiring.patterns(told.read):
            found = await history.streams(bus, pattern)
            if not found and not history.is_glob(pattern):
                raise NotFound(f'no stream "{pattern}"', hint="cryptostream stats lists what there is")
            streams |= dict.fromkeys(found)
        for facts in await admin.describe(bus, list(streams)):
            stands = next((group for group in facts.groups if group.name == name), None)
            rows.append(
                {
                    "group": name,
                    "stream": facts.name,
                    "entries": facts.length,
                    "begins": "where it stood" if stands else told.start,
                    "pending": stands.pending if stands else 0,
                    "lag": stands.lag if stands else None,
                    "to": ", ".join(next(iter(sink)) for sink in told.write),
                }
            )
    return rows


async def run(
    loaded: "Loaded",
    names: Sequence[str],
    bus: "Bus",
    until: "Until",
    *,
    alerts: Sequence[str] = (),
    duration_s: float | None,
    fail_on_gap: bool,
) -> int:
    """Run consumers and alerts until they end; the exit code. Raises DataQuality for a loss where that matters."""
    from cryptostream import wiring
    from cryptostream.engine.runtime import Runtime
    from cryptostream.engine.stall import Stall

    config = loaded.config
    asked = None if loaded.origin("consume.health_port") == "default" else True
    await _tell_missing(config, names, bus)
    async with AsyncExitStack() as opened:
        work, facts = await _work(config, names, alerts, bus, until, opened)
        stall = await opened.enter_async_context(Stall())
        companions: list[Companion] = [_progress(config, names, facts), *wiring.until_lost(config, bus)]
        if served := wiring.consumers_health(config, facts, stall, asked=asked):
            opened.callback(served.close)
            companions.append(served)
        if fail_on_gap:
            companions.append(_until_lost(facts, lambda: runtime.drain()))
        runtime = Runtime(work, clock=SystemClock(), companions=companions, duration_s=duration_s)
        code = await runtime.run()
    if render.err().is_terminal and not _prints(config, names):
        render.note(str(line(None, facts())))
    if fail_on_gap:
        _check_loss(facts())
    return code


async def _work(
    config: "Config", names: Sequence[str], alerts: Sequence[str], bus: "Bus", until: "Until", opened: AsyncExitStack
) -> "tuple[Sequence[Work], Facts]":
    """What runs, and who says how it is: what is to end by itself obeys nobody meanwhile."""
    from cryptostream import wiring

    if until == wiring.Until():
        hosting = wiring.Hosting(config, bus, names, alerts)
        return [hosting], hosting.facts
    running = await opened.enter_async_context(wiring.consumers(config, names, bus, until))
    rules = {name: config.alerts[name] for name in alerts}
    running += await opened.enter_async_context(wiring.alerts(rules, config, bus, until))
    return [one.pipeline for one in running], lambda: [one.facts() for one in running]


async def _tell_missing(config: "Config", names: Sequence[str], bus: "Bus") -> None:
    """Say where there is nothing to read yet: a name may be mistyped."""
    from cryptostream import wiring
    from cryptostream.bus import history

    for name in names:
        told = config.consumers[name]
        if not any([await history.streams(bus, pattern) for pattern in wiring.patterns(told.read)]):
            render.note(f"{name}: there is no stream {', '.join(told.read)} yet; waiting for it")


def _until_lost(facts: "Facts", drain: Callable[[], None]) -> "Companion":
    """A companion that asks to drain once entries were lost."""

    async def watch() -> None:
        clock = SystemClock()
        while not any(one.group.lost for one in facts()):
            await clock.sleep(_LOOK_S)
        drain()

    return watch


def _check_loss(facts: Sequence[ConsumerFacts]) -> None:
    lost = {one.name: one.group.lost for one in facts if one.group.lost}
    if lost:
        told = ", ".join(f"{name} never read {count:,} entries" for name, count in lost.items())
        raise DataQuality(f"{told}: trimmed before that", hint="keep more with bus.maxlen, or read sooner")


def _progress(config: "Config", names: Sequence[str], look: "Facts") -> "Companion":
    """The live line on a terminal, unless entries are printed there: a companion."""

    async def repaint() -> None:
        console, clock, before = render.err(), SystemClock(), 0
        if not console.is_terminal or _prints(config, names):
            return
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                facts = look()
                read = sum(one.group.read for one in facts)
                live.update(line((read - before) / _EVERY_S, facts), refresh=True)
                before = read
                await clock.sleep(_EVERY_S)

    return repaint


def _prints(config: "Config", names: Sequence[str]) -> bool:
    """Whether entries are printed, so that nothing else should be."""
    return any("console" in sink for name in names for sink in config.consumers[name].write)


def line(rate: float | None, facts: Sequence[ConsumerFacts]) -> Text:
    """One line on all consumers together, yellow while something keeps one from its work; without a rate at the end.

    >>> from cryptostream.engine.stats import GroupStats
    >>> str(line(1234.5, [ConsumerFacts(name="recorder", group=GroupStats(read=5000, streams=2, lost=7), held=40)]))
    '1,234/s  5,000 read  2 streams  40 held  7 lost'
    """
    groups = [one.group for one in facts]
    streams = sum(group.streams for group in groups)
    parts = [
        *([] if rate is None else [f"{rate:,.0f}/s"]),
        f"{sum(group.read for group in groups):,} read",
        f"{streams:,} stream{'s' * (streams != 1)}",
    ]
    counts = {
        "held": sum(one.held for one in facts),
        "again": sum(group.redelivered for group in groups),
        "set aside": sum(group.dead_letters for group in groups),
        "lost": sum(group.lost for group in groups),
    }
    parts += [f"{count:,} {name}" for name, count in counts.items() if count]
    troubles = [why for one in facts for why in (*([one.group.trouble] if one.group.trouble else []), *one.troubles)]
    return Text("  ".join([*parts, *map(render.safe, troubles)]), style="yellow" if troubles else "")
