"""`verify --against`: the venue's own account of the same trades and klines, over REST or from a file of trades."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cryptostream.errors import DataQuality, NotFound, UsageError
from cryptostream.feed import pages
from cryptostream.model.events import Entry, KlineRecord, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.tape import archive
from cryptostream.transforms.audit import Report, ids_of
from cryptostream.transforms.audit.klines import YEAR_10000_MS
from cryptostream.transforms.audit.trades import whole
from cryptostream.transforms.comparison import Comparison, Kind, OfKlines, OfTrades, Sums

if TYPE_CHECKING:
    from cryptostream.model.ports import Clock
    from cryptostream.venues.base import Venue

Rows = AsyncGenerator[Sequence[TradeRecord | KlineRecord], None]


def subscription(report: Report) -> Subscription:
    """What a stream of trades or klines is subscribed to, by its name and its entries."""
    if report.kind == "klines":
        return Subscription(report.exchange, Channel.KLINES, report.pair, Interval(report.interval))
    channel = Channel.AGG_TRADES if Channel.AGG_TRADES in report.stream.split(":") else Channel.TRADES
    return Subscription(report.exchange, channel, report.pair)


class Account(Protocol):
    """Somebody else's account of trades, and of closed klines."""

    name: str
    checksum: bool | None
    bounded: bool
    """Whether it begins with its first row, and not with whatever id is asked for."""

    def covers(self, wanted: Subscription) -> bool: ...

    def rows(self, wanted: Subscription, first: int) -> Rows:
        """What it holds of them in the order of ids; those before `first` may come too."""


class OverRest:
    """What a venue answers when it is asked for trades by their ids, and for klines by their open times."""

    checksum: bool | None = None
    bounded = False

    def __init__(self, name: str, venue: "Venue", ask: pages.Ask, clock: "Clock") -> None:
        self.name = name
        self._venue = venue
        self._ask = ask
        self._clock = clock

    def covers(self, wanted: Subscription) -> bool:
        return wanted.exchange == self._venue.name

    def rows(self, wanted: Subscription, first: int) -> Rows:
        told = pages.klines if wanted.channel is Channel.KLINES else pages.trades
        return told(self._venue, self._ask, wanted, first, clock=self._clock)


class Published:
    """A file of one day's trades. Its name says of what; one with another name is of any stream of trades.

    Raises NotFound, and DataQuality for a file that its checksum does not fit.
    """

    bounded = True

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise NotFound(
                f"no such file: {path}", hint="an http address, or a file of trades as the venue publishes it"
            )
        self.name = str(path)
        self.checksum = archive.checksum(path)
        if self.checksum is False:
            raise DataQuality(f"{path} is not what its .CHECKSUM says", hint="fetch both again")
        self._path = path
        self._subject = archive.subject(path.name)

    def covers(self, wanted: Subscription) -> bool:
        if wanted.channel is Channel.KLINES:
            return False
        return self._subject is None or self._subject == (wanted.channel, wanted.pair)

    async def rows(self, wanted: Subscription, first: int) -> Rows:
        for page in archive.Archive(self._path, wanted):
            if page[-1].trade_id >= first:
                yield page


class Against:
    """The comparison of every stream that an account covers; the others are left alone."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._sides: dict[str, tuple[Comparison, Rows]] = {}

    @property
    def comparisons(self) -> Mapping[str, Comparison]:
        return {stream: comparison for stream, (comparison, _) in sorted(self._sides.items())}

    async def see(self, report: Report, entry: Entry) -> None:
        """Our next entry of a stream."""
        told = _ids(report, entry.fields)
        if told is None or not self.account.covers(subscription(report)):
            return
        if entry.stream not in self._sides:
            self._sides[entry.stream] = await self._begin(subscription(report), told[0])
        comparison, rows = self._sides[entry.stream]
        while not comparison.settle(*told, entry.fields):
            await _feed(comparison, rows)

    async def restart(self, stream: str) -> None:
        """Forget a stream: its entries come again."""
        if stream in self._sides:
            await self._sides.pop(stream)[1].aclose()

    async def aclose(self) -> None:
        """Let go of files and pages."""
        for _, rows in self._sides.values():
            await rows.aclose()

    async def _begin(self, wanted: Subscription, first: int) -> tuple[Comparison, Rows]:
        rows = self.account.rows(wanted, first)
        page = await anext(rows, ())
        kind: Kind = OfKlines(wanted.interval) if wanted.interval else OfTrades()
        comparison = Comparison(kind.number(page[0]) if page and self.account.bounded else first, kind)
        comparison.take(page)
        if not page:
            comparison.end()
        return comparison, rows


def _ids(report: Report, fields: Mapping[str, str]) -> tuple[int, int] | None:
    """The ids an entry speaks of, by which it is compared: of klines only closed ones, and gaps, have one."""
    if report.kind == "trades" or (report.kind == "klines" and fields.get("kind") == "gap"):
        return ids_of(fields)
    if report.kind != "klines" or fields.get("closed") != "true" or report.interval not in set(Interval):
        return None
    opened = whole(fields.get("open_time", ""))
    return None if opened is None or opened >= YEAR_10000_MS else (opened, opened)


async def _feed(comparison: Comparison, rows: Rows) -> None:
    page = await anext(rows, None)
    if page is None:
        comparison.end()
    else:
        comparison.take(page)


def compared(against: Against) -> list[dict[str, Any]]:
    """The outcome of every comparison, as JSON says it."""
    return [
        {
            "stream": stream,
            "against": against.account.name,
            "checksum": against.account.checksum,
            "agree": not found.failures,
            "ours": _sums(found.ours, found.name),
            "venue": _sums(found.theirs, found.name),
            "missing_here": {"ids": found.missing_here.ids, "spans": found.missing_here.first},
            "missing_there": {"ids": found.missing_there.ids, "spans": found.missing_there.first},
            "in_recorded_gaps": found.known_missing,
            "differing": {"count": found.differing.count, "examples": found.differing.examples},
            "not_covered": found.outside,
        }
        for stream, found in against.comparisons.items()
    ]


def _sums(sums: Sums, name: str) -> dict[str, Any]:
    return {
        name: sums.facts,
        "first_id": sums.first_id,
        "last_id": sums.last_id,
        "qty": f"{sums.qty:f}",
        "quote": f"{sums.quote:f}",
    }


def is_address(text: str) -> bool:
    """Whether that is a venue's address, and not a file.

    >>> is_address("http://127.0.0.1:8080"), is_address("BTCUSDT-trades-2024-08-08.zip")
    (True, False)

    Raises UsageError for an address of another kind.
    """
    if "://" not in text:
        return False
    if not text.startswith(("http://", "https://")):
        raise UsageError(f"cannot ask {text[:80]!a}", hint="https://..., or a file of trades as the venue publishes it")
    return True
