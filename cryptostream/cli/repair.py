"""`verify --repair`: what is missing is fetched and written where ids can still rise, and the rest is said.

A stream of the bus can grow at its end only, so holes further up are filled in a copy, under a prefix. A recording is
never changed: its repaired copy lies beside it.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cryptostream.bus.ask import asking
from cryptostream.cli.against import subscription
from cryptostream.cli.origins import Batches, OnBus, Origin, Span
from cryptostream.engine.stats import PublisherStats
from cryptostream.errors import UsageError
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry, Record
from cryptostream.model.instrument import Interval, Subscription
from cryptostream.model.intervals import following
from cryptostream.transforms.audit import CONTIGUOUS, Audit, Report, ids_of
from cryptostream.transforms.mending import Klines, Mender, Trades

if TYPE_CHECKING:
    from cryptostream.model.ports import Sink

MOST_ENTRIES = 1_000_000
"""A recording is put in order in memory; a longer one goes by way of the bus."""
_AT_ONCE = 1000

Fetch = Callable[[Subscription, int, int | None], AsyncGenerator[Sequence[Record], None]]
Afresh = Callable[[], Audit]
"""An audit that has seen nothing, as strict as the one that accused the original."""


class Repaired(msgspec.Struct):
    """What became of one stream; `told` is what could not be done, and why."""

    stream: str
    into: str
    written: int = 0
    filled: int = 0
    """Trades that were missing and are there now."""
    still_missing: int = 0
    """Ids that nobody could tell us; gap entries of the copy say so."""
    left_out: int = 0
    """Entries that were there twice, or could not be read."""
    whole: bool = False
    """Whether what stands there now, with what it was written behind, is proven."""
    told: list[str] = []


def mendable(report: Report) -> bool:
    """Whether a stream's holes can be known and filled: trades whose ids are contiguous, klines."""
    return report.rule == CONTIGUOUS or (report.kind == "klines" and report.interval in set(Interval))


def _mender(report: Report) -> Mender:
    made = Klines if report.kind == "klines" else Trades
    return made(subscription(report), report.stream)


class Writer:
    """A sink of entries that says how many were new; `refused` had newer ones above them, and are not there."""

    def __init__(self, sink: "Sink", stats: PublisherStats) -> None:
        self._sink = sink
        self._stats = stats

    @property
    def refused(self) -> int:
        return self._stats.refused

    async def write(self, entries: Sequence[Entry]) -> int:
        """Write some; how many of them were not there before."""
        before = self._stats.published
        await self._sink.write(entries)
        return self._stats.published - before


async def at_end(report: Report, fetch: Fetch, writer: Writer) -> Repaired:
    """Append what the venue has traded since a stream's newest entry. Whoever ingests meanwhile wins: ids see to it."""
    done = Repaired(report.stream, report.stream, told=_not_in_place(report))
    done.whole = not report.failures
    wanted = subscription(report) if mendable(report) else None
    if wanted is None or report.last_id is None:
        return done
    newest, refused = report.last_id, writer.refused
    if wanted.interval:
        mender: Mender = Klines(wanted, report.stream, newest=newest)
        first = following(wanted.interval, newest)
    else:
        mender = Trades(wanted, report.stream, newest=newest, ms=parse_id(report.last_entry)[0])
        first = newest + 1
    async with aclosing(fetch(wanted, first, None)) as found:
        async for page in found:
            done.filled += await writer.write(mender.fill(page))
    done.written, done.still_missing = done.filled, mender.unfilled
    _tell_refused(done, writer.refused - refused)
    return done


def _tell_refused(done: Repaired, refused: int) -> None:
    if refused:
        done.whole = False
        done.told.append(f"{refused:,} entries were refused, for newer ones stand above them: somebody else writes too")


def _not_in_place(report: Report) -> list[str]:
    """What a stream that stays where it is cannot get back."""
    told = []
    if report.holes.count or report.gaps.count:
        told.append(
            f"{report.holes.ids + report.gaps.ids:,} missing ids lie below its newest entry, where nothing can be "
            "inserted: --into writes a repaired copy under a prefix"
        )
    others = {name: count for name, count in report.failures.items() if name != "holes"}
    if others:
        told.append(f"{', '.join(f'{count:,} {name}' for name, count in others.items())} stay as they are")
    return told


async def check_free(origin: OnBus, prefix: str) -> None:
    """Raise UsageError where the name of a copy is taken: into what stands there nothing can be inserted."""
    for copy in (prefix + name for name in origin.names):
        with asking(origin.bus, copy):
            taken = await origin.bus.command.exists(copy)
        if taken:
            raise UsageError(f"{copy} is there already", hint="delete it first, or choose another prefix for --into")


async def into_copy(
    origin: OnBus, reports: Sequence[Report], fetch: Fetch, writer: Writer, prefix: str, afresh: Afresh
) -> list[Repaired]:
    """Every stream again under a prefix, in order, each entry once, holes filled or told.

    The names are free, see `check_free`. Each copy is read again: what stands there is what is proven.
    """
    return [await _copied(origin, report, fetch, writer, prefix + report.stream, afresh) for report in reports]


async def _copied(origin: OnBus, report: Report, fetch: Fetch, writer: Writer, copy: str, afresh: Afresh) -> Repaired:
    done, meant, refused = Repaired(report.stream, copy), afresh(), writer.refused
    async with aclosing(origin.again(report.stream)) as entries:
        async for batch in mended(report, entries, fetch, done):
            done.written += await writer.write(batch)
            _audit(meant, batch)
    stands = await _standing(origin, report, copy, afresh())
    done.whole = _is_whole(stands)
    if stands.reports() != meant.reports():
        done.whole = False
        done.told.append("the copy does not hold what was written, nor that alone: somebody else writes it too")
    _tell_refused(done, writer.refused - refused)
    return done


async def _standing(origin: OnBus, report: Report, copy: str, audit: Audit) -> Audit:
    """The audit of a copy as it is now, under the name of its original."""
    async with aclosing(OnBus(origin.bus, [copy], Span()).again(copy)) as entries:
        async for batch in entries:
            _audit(audit, (msgspec.structs.replace(entry, stream=report.stream) for entry in batch))
    return audit


def _audit(audit: Audit, entries: Iterable[Entry]) -> None:
    for entry in entries:
        audit.add(entry)


def _is_whole(audit: Audit) -> bool:
    """Whether there is something, and nothing wrong with it."""
    reports = audit.reports()
    return bool(reports) and not any(report.failures for report in reports)


async def mended(report: Report, batches: Batches, fetch: Fetch, done: Repaired) -> Batches:
    """One stream's entries, repaired where it can be; `done` counts."""
    if not mendable(report):
        done.told.append("copied as it is: only trades with contiguous ids, and klines, can be filled")
        async for batch in batches:
            yield batch
        return
    mender = _mender(report)
    async for batch in batches:
        async for made in _mended(mender, batch, fetch, subscription(report)):
            yield made
    async for made in _filled(mender, mender.missing(), fetch, subscription(report)):
        yield made
    last = mender.end()
    if last:
        yield last
    done.filled, done.still_missing, done.left_out = mender.filled, mender.unfilled, mender.left_out


async def _mended(mender: Mender, batch: Sequence[Entry], fetch: Fetch, wanted: Subscription) -> Batches:
    ready: list[Entry] = []
    for entry in batch:
        missing = mender.missing(entry)
        if missing and ready:
            yield ready
            ready = []
        if missing:
            async for made in _filled(mender, missing, fetch, wanted):
                yield made
        ready += mender.take(entry)
    if ready:
        yield ready


async def _filled(mender: Mender, missing: tuple[int, int] | None, fetch: Fetch, wanted: Subscription) -> Batches:
    if missing is None:
        return
    async with aclosing(fetch(wanted, *missing)) as found:
        async for page in found:
            yield mender.fill(page)


async def beside(path: Path, origin: Origin, reports: Sequence[Report], fetch: Fetch, afresh: Afresh) -> list[Repaired]:
    """Write the repaired copy of a recording of entries beside it.

    Raises UsageError where the copy is there already, and for a recording too long to be put in order in memory.
    """
    copy = path.with_name(f"{path.name.removesuffix('.gz').removesuffix('.jsonl')}.repaired.jsonl")
    if copy.exists():
        raise UsageError(f"{copy} is there already", hint="move it away first")
    entries = await _in_order(origin, {report.stream: report for report in reports})
    done = []
    made: list[Entry] = []
    for report in reports:
        before = len(made)
        done.append(Repaired(report.stream, str(copy)))
        async for batch in mended(report, _batches(entries[report.stream]), fetch, done[-1]):
            made += batch
        done[-1].written = len(made) - before
    made.sort(key=lambda entry: (parse_id(entry.entry_id), entry.stream))
    for one, report in zip(done, reports, strict=True):
        audit = afresh()
        _audit(audit, (entry for entry in made if entry.stream == report.stream))
        one.whole = _is_whole(audit)
    await _write(made, copy)
    return done


async def _write(entries: Sequence[Entry], to: Path) -> None:
    """Under a name of its own until it is whole."""
    from cryptostream.tape.jsonl import JsonLines

    unfinished = to.with_name(f"{to.name}.inprogress")
    unfinished.unlink(missing_ok=True)
    async with JsonLines(str(unfinished)) as sink:
        async for some in _batches(entries):
            await sink.write(some)
    unfinished.rename(to)


async def _in_order(origin: Origin, reports: dict[str, Report]) -> dict[str, list[Entry]]:
    """A recording's entries by stream, each stream in the order of its ids, each entry once."""
    entries: dict[str, list[Entry]] = {stream: [] for stream in reports}
    held = 0
    async for batch in origin.batches():
        held += len(batch)
        if held > MOST_ENTRIES:
            raise UsageError(
                f"it holds more than {MOST_ENTRIES:,} entries, too many to put in order in memory",
                hint="replay it into the bus under a prefix, and verify that with --repair --into",
            )
        for entry in batch:
            entries[entry.stream].append(entry)
    return {stream: _sorted(found, reports[stream]) for stream, found in entries.items()}


def _sorted(entries: Iterable[Entry], report: Report) -> list[Entry]:
    """By the ids of what they hold, a gap before the trade it may be wrong about; else by their own."""
    if report.rule == CONTIGUOUS:
        return sorted(entries, key=lambda entry: (*(ids_of(entry.fields) or (-1, -1)), "trade_id" in entry.fields))
    ordered = sorted(entries, key=lambda entry: parse_id(entry.entry_id))
    return [next(same) for _, same in groupby(ordered, key=lambda entry: entry.entry_id)]


async def _batches(entries: Sequence[Entry]) -> Batches:
    for start in range(0, len(entries), _AT_ONCE):
        yield list(entries[start : start + _AT_ONCE])
