"""The work of `verify`: read everything once, audit it, and hold it against the venue's own account."""

import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from pathlib import Path
from typing import Any

from cryptostream import wiring
from cryptostream.bus.pack import Entries
from cryptostream.cli import render
from cryptostream.cli.against import Against, subscription
from cryptostream.cli.origins import Batches, OnBus, OnTape, Origin, Span
from cryptostream.config import Config
from cryptostream.errors import BadFrame, CryptostreamError, UsageError
from cryptostream.feed import pages
from cryptostream.feed.rest import Rest
from cryptostream.model import codec
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import KlineRecord, Record, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.model.ports import Clock
from cryptostream.tape.play import EntryPlayer, FramePlayer
from cryptostream.tape.reader import find
from cryptostream.transforms.audit import Audit, Reading, Report
from cryptostream.venues.base import Request, Rule, Venue

_REPAINT_S = 0.2
NS_PER_MS = 1_000_000
_YEAR_9999_NS = 253_370_764_800 * 1_000_000_000
"""When messages are read again: nothing is from the future then, and every candle has ended."""
_READINGS = 3
"""How often a stream is read that was trimmed under its reader."""


class Venues:
    """The venues that streams belong to, each with a REST client that is opened when it is first needed."""

    def __init__(self, config: Config, clock: Clock, opened: AsyncExitStack) -> None:
        self._config = config
        self._clock = clock
        self._opened = opened
        self._venues: dict[str, Venue] = {}
        self._clients: dict[str, Rest] = {}

    def of(self, name: str) -> Venue:
        """Raises ConfigError for a venue that nobody knows."""
        if name not in self._venues:
            self._venues[name] = wiring.venue(self._config, name)
        return self._venues[name]

    def rule(self, exchange: str, channel: Channel) -> Rule:
        """What an exchange promises of its ids; nothing where nobody knows it."""
        try:
            return self.of(exchange).rule(channel)
        except CryptostreamError:
            return Rule.NONE

    def reading(self, report: Report) -> Reading | None:
        """How the recorded messages of a stream are read; None where its venue or its interval is unknown."""
        try:
            return _reading(self.of(report.exchange), report)
        except (CryptostreamError, ValueError):
            return None

    def ask(self, name: str) -> pages.Ask:
        """How a venue is asked."""

        async def ask(request: Request) -> bytes:
            if name not in self._clients:
                self._clients[name] = await self._opened.enter_async_context(wiring.rest(self.of(name)))
            return await self._clients[name].get(request)

        return ask

    def records(self, wanted: Subscription, first: int, last: int | None) -> AsyncGenerator[Sequence[Record], None]:
        """What a venue tells of a subscription from one id to another, or to the newest."""
        venue = self.of(wanted.exchange)
        told = pages.klines if wanted.channel is Channel.KLINES else pages.trades
        return told(venue, self.ask(venue.name), wanted, first, last, clock=self._clock)


def _reading(venue: Venue, report: Report) -> Reading:
    """Frames of the stream's own socket, and rows of the venue's pages, where entries were filled over REST.

    A session that expects no other stream keeps nothing of what it is given.
    """
    subscriptions = _possible(report)
    session = venue.session(subscriptions)

    def reading(fields: Mapping[str, str]) -> Mapping[str, str] | None:
        raw = fields["raw_json"].encode("utf-8", "replace")
        try:
            records = session.receive(raw, _YEAR_9999_NS)
        except BadFrame:
            records = _rows(venue, subscriptions, raw)
        finally:
            session.notices.clear()
        number = fields.get("trade_id") or fields.get("open_time")
        found = [codec.fields(one) for one in records if isinstance(one, TradeRecord | KlineRecord)]
        named = (told for told in found if (told.get("trade_id") or told.get("open_time")) == number)
        return next(named, found[0] if found else None)

    return reading


def _possible(report: Report) -> list[Subscription]:
    """What a stream may be subscribed to: one whose name tells no channel may hold trades of either kind."""
    first = subscription(report)
    if report.kind == "klines" or set(Channel) & set(report.stream.split(":")):
        return [first]
    return [first, Subscription(report.exchange, Channel.AGG_TRADES, report.pair)]


def _rows(venue: Venue, subscriptions: Sequence[Subscription], raw: bytes) -> Sequence[Record]:
    """The record of one row of a page; none where it is not exactly one."""
    page = b"[" + raw + b"]"
    for wanted in subscriptions:
        read = venue.klines if wanted.channel is Channel.KLINES else venue.trades
        try:
            records = read(wanted, page, _YEAR_9999_NS)
        except BadFrame:
            continue
        return records if len(records) == 1 else ()
    return ()


def on_tape(config: Config, venue: Venue, words: Sequence[str], span: Span, clock: Clock) -> OnTape:
    """The recordings under some paths, up to the first damage of each. Raises NotFound, UsageError."""
    found = find([Path(word) for word in words])
    if found.frames and found.entries:
        raise UsageError(f"frames ({found.frames[0].path}) and entries ({found.entries[0].path}) at once")
    pacing: dict[str, Any] = {
        "clock": clock,
        "since": None if span.since is None else span.since * NS_PER_MS,
        "until": None if span.until is None else span.until * NS_PER_MS + NS_PER_MS - 1,
    }
    if found.entries:
        return OnTape(EntryPlayer(found.entries, **pacing), lambda entry: entry, frames=False)
    return OnTape(FramePlayer(found.frames, venue.replay(), **pacing), Entries(wiring.keys(config)), frames=True)


async def prove(origin: Origin, audit: Audit, against: Against | None, clock: Clock) -> None:
    """Give all entries to the audit and to the comparison; draws a bar on a terminal."""
    with _bar(origin, clock) as repaint:
        await _read(origin.batches(), audit, against, repaint)
        if isinstance(origin, OnBus):
            await _read_again_what_was_trimmed(origin, audit, against, repaint)


async def _read(batches: Batches, audit: Audit, against: Against | None, repaint: Callable[[], None]) -> None:
    async with aclosing(batches):
        async for batch in batches:
            for entry in batch:
                report = audit.add(entry)
                if against is not None:
                    await against.see(report, entry)
            repaint()


async def _read_again_what_was_trimmed(
    origin: OnBus, audit: Audit, against: Against | None, repaint: Callable[[], None]
) -> None:
    """A stream that was trimmed faster than it was read seems to have holes: it is read again as it is now."""
    for _ in range(_READINGS - 1):
        for report in [report for report in audit.reports() if report.holes.count]:
            if parse_id(await origin.oldest(report.stream)) <= parse_id(report.first_entry):
                continue
            audit.restart(report.stream)
            if against is not None:
                await against.restart(report.stream)
            await _read(origin.again(report.stream), audit, against, repaint)


@contextmanager
def _bar(origin: Origin, clock: Clock) -> Iterator[Callable[[], None]]:
    """Repaints a bar on a terminal, at most a few times a second; on a pipe nothing."""
    if not render.err().is_terminal or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        "verify",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=render.err(),
        auto_refresh=False,
        transient=True,
    ) as bar:
        task = bar.add_task("verify")
        due = clock.monotonic()

        def repaint() -> None:
            nonlocal due
            if clock.monotonic() >= due:
                due = clock.monotonic() + _REPAINT_S
                done, size = origin.progress
                bar.update(task, completed=done, total=size, refresh=True)

        yield repaint
