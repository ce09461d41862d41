"""`cryptostream stats`: what the bus holds, how far its groups are, and what the ingesters have counted."""

import sys
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from cryptostream.cli import ages, ingesters, render
from cryptostream.cli.command import Call, command
from cryptostream.cli.render import Output
from cryptostream.cli.sizes import size
from cryptostream.errors import BusUnavailable, UsageError
from cryptostream.model.duration import seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cryptostream.bus.admin import GroupFacts, StreamFacts
    from cryptostream.bus.connect import Bus
    from cryptostream.model.ports import Clock

_COLUMNS = ("stream", "length", "first", "last", "rate_per_s", "memory_bytes", "groups")
_SHORTEST_WATCH_S = 0.1


class Look(msgspec.Struct, frozen=True):
    """The bus at one moment, on both clocks; `rates` are entries a second by stream, `counted` the ingesters' sums.

    `per_ingester` is what each of them counted.
    """

    at_s: float
    now_ms: int
    streams: "list[StreamFacts]"
    rates: dict[str, float | None]
    counted: dict[str, Any]
    per_ingester: list[dict[str, Any]] = []


@command("stats")
async def stats(
    call: Call,
    streams: Annotated[
        list[str] | None, typer.Argument(metavar="STREAM", help="Only these: 'trades:*', BTCUSDT. All unless said.")
    ] = None,
    watch: Annotated[
        str | None, typer.Option("-w", "--watch", metavar="DURATION", help="Look again every so often: 2s.")
    ] = None,
    per_ingester: Annotated[
        bool, typer.Option("--ingesters", help="Show each ingester, even where there is one only.")
    ] = False,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.AUTO,
) -> None:
    """Show what the bus holds: streams, consumer groups, and the counters of whoever ingests."""
    from cryptostream import wiring
    from cryptostream.cli.pipe import ends_with_its_reader
    from cryptostream.engine.clock import SystemClock

    every_s = None if watch is None else _interval(watch)
    kind = render.chosen(output, stream=watch is not None)
    if kind is Output.JSON and every_s is not None:
        raise UsageError("-o json is one answer, and --watch has no end", hint="use -o jsonl")
    clock = SystemClock()
    async with wiring.bus(call.settings()) as bus, ends_with_its_reader(clock):
        words = [word for listed in streams or () for word in listed.split(",") if word]
        seen = looks(bus, words, clock, every_s)
        if kind is Output.TABLE and every_s is not None:
            await show_live(seen, each=per_ingester)
        else:
            await _print(seen, kind, each=per_ingester)


def _interval(watch: str) -> float:
    every_s = seconds(watch)
    if every_s < _SHORTEST_WATCH_S:
        raise UsageError(f"--watch {watch} is too often", hint=f"at least {_SHORTEST_WATCH_S:g}s")
    return every_s


async def looks(bus: "Bus", words: Sequence[str], clock: "Clock", every_s: float | None) -> AsyncGenerator[Look, None]:
    """One look at the bus, or one every so often for ever; while the bus is away there is none.

    Raises NotFound for a word that no stream matches at the first look, and BusUnavailable there.
    """
    from cryptostream.bus.ask import heed_cancellation

    seen = await _look(bus, words, clock, None, wait=False)
    yield seen
    while every_s is not None:
        heed_cancellation()
        await clock.sleep(every_s)
        try:
            seen = await _look(bus, words, clock, seen, wait=True)
        except BusUnavailable as trouble:
            render.note(str(trouble))
            continue
        yield seen


async def _look(bus: "Bus", words: Sequence[str], clock: "Clock", before: Look | None, *, wait: bool) -> Look:
    from cryptostream.bus import admin
    from cryptostream.cli import reading

    names = (await reading.find(bus, words or ["*"], wait=wait or not words)).names
    at_s, now_ms = clock.monotonic(), clock.now_ns() // 1_000_000
    found = await admin.describe(bus, names)
    earlier = {facts.name: facts for facts in before.streams} if before else {}
    new = [facts.name for facts in found if facts.name not in earlier]
    rates: dict[str, float | None] = {**await admin.rates(bus, new, now_ms)}
    for facts in found:
        if before is not None and facts.name in earlier:
            rates[facts.name] = admin.rate_between(earlier[facts.name], facts, at_s - before.at_s)
    counted = await admin.read_counters(bus)
    return Look(at_s, now_ms, found, rates, admin.total(counted), ingesters.rows(counted))


def answer(look: Look) -> dict[str, Any]:
    """A look as JSON: the counters in the shape other tools know, those of each ingester, and the streams."""
    streams = [_row(facts, look) for facts in look.streams]
    return {**look.counted, "per_ingester": look.per_ingester, "streams": streams}


def _row(facts: "StreamFacts", look: Look) -> dict[str, Any]:
    rate = look.rates.get(facts.name)
    return {
        "stream": facts.name,
        "length": facts.length,
        "first": ages.stamp(facts.first_ms),
        "last": ages.stamp(facts.last_ms),
        "rate_per_s": None if rate is None else round(rate, 3),
        "memory_bytes": facts.memory_bytes,
        "groups": [msgspec.to_builtins(group) for group in facts.groups],
    }


async def _print(seen: AsyncGenerator[Look, None], kind: Output, *, each: bool) -> None:
    async for look in seen:
        if kind is Output.TABLE:
            render.out().print(panel(look, each=each))
        elif kind is Output.CSV:
            rows = [{**_row(facts, look), "groups": len(facts.groups)} for facts in look.streams]
            render.rows(rows, kind, columns=_COLUMNS)
        elif kind is Output.JSONL:
            render.line(answer(look))
        else:
            render.answer(answer(look))
        sys.stdout.flush()


async def show_live(seen: AsyncGenerator[Look, None], *, each: bool = False) -> None:
    from rich.live import Live

    with Live(console=render.out(), auto_refresh=False, vertical_overflow="ellipsis") as live:
        async for look in seen:
            live.update(panel(look, each=each), refresh=True)


def panel(look: Look, *, each: bool = False) -> "RenderableType":
    """A look as a person reads it: the counters, ingesters where they are several or `each` is asked for, streams,
    groups.
    """
    from rich.console import Group

    one_by_one = look.per_ingester if each or len(look.per_ingester) > 1 else []
    tables = [
        [ingesters.shown(one) for one in one_by_one],
        [_stream(facts, look) for facts in look.streams],
        [_group(facts.name, group) for facts in look.streams for group in facts.groups],
    ]
    shown = [render.table(rows, list(rows[0])) for rows in tables if rows]
    return Group(*_summary(look), *(part for table in shown for part in ("", table)))


def _stream(facts: "StreamFacts", look: Look) -> dict[str, Any]:
    row = _row(facts, look)
    return {
        "stream": facts.name,
        "length": facts.length,
        "first (UTC)": (row["first"] or "")[:16].replace("T", " "),
        "last": ages.ago(facts.last_ms, look.now_ms),
        "rate/s": "unknown" if row["rate_per_s"] is None else round(row["rate_per_s"], 1),
        "memory": size(facts.memory_bytes),
    }


def _group(stream: str, group: "GroupFacts") -> dict[str, Any]:
    lag = "unknown" if group.lag is None else group.lag
    return {"stream": stream, "group": group.name, "consumers": group.consumers, "lag": lag, "pending": group.pending}


def _summary(look: Look) -> list[str]:
    publisher, ingest = look.counted["publisher"], look.counted["ingest"]
    if not look.counted["ingesters"]:
        return [f"streams {len(look.streams):,}; nobody ingests now"]
    return [
        f"streams {len(look.streams):,}; pairs {look.counted['pairs_count']:,}; "
        f"ingesters {look.counted['ingesters']:,}, connections {ingest['active_connections']:,}",
        f"messages {ingest['total_messages']:,}, bad {ingest['error_messages']:,}, "
        f"connection errors {ingest['connection_errors']:,}; "
        f"published {publisher['publish_count']:,}, errors {publisher['error_count']:,} "
        f"({publisher['error_rate']:.2%})",
        *ingesters.quality(look.counted),
    ]
