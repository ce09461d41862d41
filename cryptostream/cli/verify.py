"""`cryptostream verify`: proves that streams or recordings are whole, in order, without duplicates, or says how not."""

import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command
from cryptostream.cli.render import Output
from cryptostream.errors import DataQuality, Unreachable, UsageError

if TYPE_CHECKING:
    from cryptostream.cli.against import Account, Against
    from cryptostream.cli.origins import OnBus, OnTape, Span
    from cryptostream.cli.proving import Venues
    from cryptostream.cli.repair import Afresh, Repaired
    from cryptostream.cli.verified import Outcome
    from cryptostream.config import Config
    from cryptostream.model.ports import Clock

_PREFIX = re.compile(r"[\w.:-]{1,64}")


@dataclass(frozen=True)
class Wanted:
    """What is asked for; `words` are streams, or paths where `on_tape`."""

    words: Sequence[str]
    on_tape: bool
    span: "Span"
    exchange: str
    against: str | None = None
    repair: bool = False
    into: str | None = None


@command("verify")
async def verify(
    call: Call,
    what: Annotated[
        list[str],
        typer.Argument(metavar="STREAM|PATH...", help="Streams: trades:BTCUSDT, 'trades:*', BTCUSDT; or recordings."),
    ],
    against: Annotated[
        str | None,
        typer.Option(metavar="URL|FILE", help="Compare with the venue's REST, or with a daily file of its trades."),
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch what is missing where it can be written.")] = False,
    into: Annotated[
        str | None, typer.Option(metavar="PREFIX", help="With --repair: write whole copies, as repaired:trades:BTCUSDT")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Begin there: RFC 3339, epoch ms, -15m.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="End there.")] = None,
    exchange: Annotated[str, typer.Option(help="Whose frames these are, and who is asked.")] = "binance",
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.AUTO,
) -> None:
    """Prove streams or recordings: no id missing but for recorded gaps, none twice, all in order and well-formed.

    Exit 6 with the list of what is wrong. Recorded gaps are shown and are no failure.
    """
    from cryptostream.cli import verified
    from cryptostream.cli.against import is_address
    from cryptostream.cli.proving import Venues
    from cryptostream.engine.clock import SystemClock

    clock = SystemClock()
    words = [word for text in what for word in text.split(",") if word]
    span = _span(since, until, clock.now_ns())
    wanted = Wanted(words, _are_paths(words), span, exchange, against, repair, into)
    _check(wanted)
    rest_url = against if against and is_address(against) else None
    config = call.settings(**{f"venues__{exchange}__rest_url": rest_url})
    async with AsyncExitStack() as opened:
        outcome = await _outcome(config, Venues(config, clock, opened), wanted, clock)
    verified.tell(outcome, output)
    for remark in verified.remarks(outcome):
        render.note(remark)
    if outcome.trouble:
        raise outcome.trouble
    if not outcome.proven:
        raise DataQuality(
            f"not proven: {outcome.summary()}",
            hint="" if repair or outcome.tolerated else outcome.hint(on_tape=wanted.on_tape),
        )


def _span(since: str | None, until: str | None, now_ns: int) -> "Span":
    from cryptostream.cli.origins import Span
    from cryptostream.model import times

    first = None if since is None else times.moment(since, now_ns)
    last = None if until is None else times.moment(until, now_ns)
    if first is not None and last is not None and first > last:
        raise UsageError(f"--since {since} is after --until {until}")
    return Span(first, last)


def _are_paths(words: Sequence[str]) -> bool:
    from cryptostream.cli.origins import is_path

    paths = sum(map(is_path, words))
    if 0 < paths < len(words):
        raise UsageError("streams and recordings at once", hint="verify them one after the other")
    return paths > 0


def _check(wanted: Wanted) -> None:
    if wanted.into is not None and not wanted.repair:
        raise UsageError("--into says where --repair writes", hint="use both")
    if wanted.into is not None and (wanted.on_tape or not _PREFIX.fullmatch(wanted.into)):
        raise UsageError(
            f"{wanted.into[:80]!a} is no prefix for streams", hint="letters, digits and ._:- as in repaired:"
        )
    if wanted.repair and wanted.span.bounded:
        raise UsageError("--repair looks at whole streams", hint="leave --since and --until out")
    if wanted.repair and wanted.on_tape and (len(wanted.words) > 1 or Path(wanted.words[0]).is_dir()):
        raise UsageError("--repair writes one file's copy beside it", hint="repair recordings one by one")


async def _outcome(config: "Config", venues: "Venues", wanted: Wanted, clock: "Clock") -> "Outcome":
    from cryptostream import wiring
    from cryptostream.cli.against import Against
    from cryptostream.cli.origins import on_bus

    against = None if wanted.against is None else Against(_account(wanted.against, venues, wanted.exchange, clock))
    if wanted.on_tape:
        return await _of_tapes(config, venues, wanted, against, clock)
    async with wiring.bus(config) as bus:
        origin = await on_bus(bus, wanted.words, wanted.span)
        return await _of_streams(origin, venues, wanted, against, clock)


def _account(text: str, venues: "Venues", exchange: str, clock: "Clock") -> "Account":
    from cryptostream.cli.against import OverRest, Published, is_address

    if is_address(text):
        return OverRest(text, venues.of(exchange), venues.ask(exchange), clock)
    return Published(Path(text))


async def _of_streams(
    origin: "OnBus", venues: "Venues", wanted: Wanted, against: "Against | None", clock: "Clock"
) -> "Outcome":
    from cryptostream.cli import repair
    from cryptostream.cli.proving import prove
    from cryptostream.cli.verified import Outcome
    from cryptostream.transforms.audit import Audit

    if wanted.into is not None:
        await repair.check_free(origin, wanted.into)

    def afresh() -> Audit:
        return Audit(venues.rule, venues.reading)

    audit = afresh()
    await prove(origin, audit, against, clock)
    outcome = Outcome(audit.reports()).compare(against)
    if wanted.repair:
        try:
            outcome.repaired = await _repaired(origin, outcome, venues, wanted.into, afresh)
        except Unreachable as trouble:
            outcome.trouble = trouble
    return outcome


async def _repaired(
    origin: "OnBus", outcome: "Outcome", venues: "Venues", prefix: str | None, afresh: "Afresh"
) -> "list[Repaired]":
    from cryptostream.bus.restore import Restorer
    from cryptostream.cli import repair
    from cryptostream.engine.stats import PublisherStats

    stats = PublisherStats()
    async with Restorer(origin.bus, stats, prefix=prefix or "") as sink:
        writer = repair.Writer(sink, stats)
        if prefix is None:
            return [await repair.at_end(report, venues.records, writer) for report in outcome.reports]
        return await repair.into_copy(origin, outcome.reports, venues.records, writer, prefix, afresh)


async def _of_tapes(
    config: "Config", venues: "Venues", wanted: Wanted, against: "Against | None", clock: "Clock"
) -> "Outcome":
    from cryptostream.cli import repair
    from cryptostream.cli.proving import on_tape, prove
    from cryptostream.cli.verified import Outcome
    from cryptostream.tape.reader import is_parquet
    from cryptostream.transforms.audit import Audit

    def opened() -> "OnTape":
        return on_tape(config, venues.of(wanted.exchange), wanted.words, wanted.span, clock)

    def afresh() -> Audit:
        return Audit(venues.rule, venues.reading)

    audit, origin = afresh(), opened()
    if wanted.repair and origin.plays_frames:
        raise UsageError(
            "frames cannot be repaired, entries can",
            hint="replay them into the bus, and verify that stream with --repair --into",
        )
    if wanted.repair and is_parquet(Path(wanted.words[0])):
        raise UsageError(
            "Parquet files stay as they were recorded",
            hint="replay them into the bus with --prefix, and verify that stream with --repair --into",
        )
    await prove(origin, audit, against, clock)
    outcome = Outcome(audit.reports(), tolerated=origin.tolerated, unreadable=origin.unreadable)
    outcome.damage = str(origin.damage or "")
    outcome.compare(against)
    if wanted.repair:
        path = Path(wanted.words[0])
        try:
            outcome.repaired = await repair.beside(path, opened(), outcome.reports, venues.records, afresh)
        except Unreachable as trouble:
            outcome.trouble = trouble
    return outcome
