"""The daily trades that Binance publishes, `BTCUSDT-trades-2024-11-14.csv`, as series for a backtest.

Each line is a trade: `trade_id,price,qty,quote_qty,time,is_buyer_maker,is_best_match`; files of futures lack the last,
newer ones begin with a line of names. Times are milliseconds, of spot microseconds from 2025 on: their length tells.
Trade ids have no holes, so a missing one is a missing trade. A file may be of a month, and packed as `.csv.gz` or as
`.zip`, which is how it is published. https://github.com/binance/binance-public-data
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cryptostream.backtest.block import Block, Ints
from cryptostream.errors import UsageError
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Gap, Micros
from cryptostream.model.instrument import Channel
from cryptostream.tape import pieces, unpacked
from cryptostream.tape.pieces import gathered
from cryptostream.tape.tradelines import Lines, TradeLines

EXCHANGE = "binance"
MISSING = "missing in the file"
SUFFIXES = (".csv", ".csv.gz", ".zip")
"""Of files that differ in these alone, the first is read."""
_COLUMNS = ("ms", "trade_id", "price", "qty", "ts", "buy")
_MONTH = len("2024-11")
_NAME = re.compile(r"(?P<pair>\w+)-trades-(?P<day>\d{4}-\d\d(?:-\d\d)?)(?P<suffix>\.csv|\.csv\.gz|\.zip)")


class Name(NamedTuple):
    """What a file's name says: the pair, and the UTC day or month, as `2024-11-14` or `2024-11`."""

    pair: str
    day: str
    suffix: str

    @property
    def span_ms(self) -> tuple[int, int]:
        """The first and the last millisecond of its day or month."""
        if len(self.day) > _MONTH:
            first = date.fromisoformat(self.day)
            after = first + timedelta(days=1)
        else:
            first = date.fromisoformat(f"{self.day}-01")
            after = (first + timedelta(days=31)).replace(day=1)
        return _ms(first), _ms(after) - 1


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def parse(name: str) -> Name | None:
    """Read a file's name; None for one that is not of daily trades.

    >>> parse("BTCUSDT-trades-2024-11-14.csv.gz")
    Name(pair='BTCUSDT', day='2024-11-14', suffix='.csv.gz')
    """
    found = _NAME.fullmatch(name)
    if not found:
        return None
    told = Name(**found.groupdict())
    try:
        told.span_ms  # noqa: B018
    except ValueError:
        return None
    return told


@dataclass(slots=True)
class DailyTrades:
    """A TradeSeries of the daily files of one pair, in the order of their days."""

    exchange: str
    pair: str
    stream: str
    size: int
    files: Sequence[Path]
    since_ms: int
    until_ms: int

    def blocks(self) -> Iterator[Block]:
        """The trades in order, and a gap wherever a trade id is missing.

        Raises DataQuality that names file and line where a line cannot be read or the trade ids do not rise, NotFound
        where a file went away.
        """
        return gathered(self._pieces())

    def _pieces(self) -> Iterator[Block]:
        chain = _Chain(self.exchange, self.pair)
        for path in self.files:
            for lines in TradeLines(path):
                piece = chain.piece(lines)
                yield _between(piece, self.since_ms, self.until_ms)
                if piece.ms[-1] > self.until_ms:
                    return


class _Chain:
    """Lines of one pair to columns: clamps times, finds the trades that are missing."""

    def __init__(self, exchange: str, pair: str) -> None:
        self._exchange = exchange
        self._pair = pair
        self._trade_id: int | None = None
        """Of the trade before; `_ms` and `_ts` are its times."""
        self._ms = 0
        self._ts = 0

    def piece(self, lines: Lines) -> Block:
        ids = lines.trade_id
        before = np.concatenate(([ids[0] - 1 if self._trade_id is None else self._trade_id], ids[:-1]))
        falls = np.flatnonzero(ids <= before)
        if len(falls):
            row = int(falls[0])
            raise lines.wrong(row, f"trade {ids[row]} comes after trade {before[row]}")
        ms = np.maximum.accumulate(np.maximum(lines.ts // 1000, self._ms))
        gaps = tuple(self._gaps(ids, before, ms, lines.ts))
        self._trade_id, self._ms, self._ts = int(ids[-1]), int(ms[-1]), int(lines.ts[-1])
        return Block(self._exchange, self._pair, ms, ids, lines.price, lines.qty, lines.ts, ~lines.buyer_maker, gaps)

    def _gaps(self, ids: Ints, before: Ints, ms: Ints, ts: Ints) -> Iterator[tuple[int, Gap]]:
        for row in np.flatnonzero(ids - before > 1).tolist():
            known_ms, known_ts = (int(ms[row - 1]), int(ts[row - 1])) if row else (self._ms, self._ts)
            first, last = int(before[row]) + 1, int(ids[row]) - 1
            gap_id = f"{known_ms}-{first}"
            yield row, Gap(gap_id, self._exchange, self._pair, first, last, MISSING, Micros(known_ts))


def _between(piece: Block, since_ms: int, until_ms: int) -> Block:
    """What of a piece lies between two times, both included: a gap lies where the trade before it does."""
    start = int(piece.ms.searchsorted(since_ms, "left"))
    stop = int(piece.ms.searchsorted(until_ms, "right"))
    gaps = tuple((row - start, gap) for row, gap in piece.gaps if since_ms <= parse_id(gap.entry_id)[0] <= until_ms)
    return replace(piece, gaps=gaps, **{name: getattr(piece, name)[start:stop] for name in _COLUMNS})


def find(files: Iterable[Path], since_ms: int | None = None, until_ms: int | None = None) -> list[DailyTrades]:
    """The series in some daily files, each by its name; of those that differ in packing alone, one is read.

    Raises UsageError for files of one pair and day in two folders, DataQuality and NotFound for those that do not open.
    """
    since = 0 if since_ms is None else since_ms
    until = pieces.END[0] if until_ms is None else until_ms
    by_pair: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(files, key=_preference):
        name = parse(path.name)
        if name is None:
            raise UsageError(
                f"the name of {path} does not say what it holds", hint="name it like BTCUSDT-trades-2024-11-14.csv"
            )
        other = by_pair[name.pair].setdefault(name.day, path)
        if other.parent != path.parent:
            raise UsageError(f"{other} and {path} are of one pair and day", hint="give one of them")
    return [_series(pair, days, since, until) for pair, days in by_pair.items()]


def _preference(path: Path) -> tuple[str, int]:
    name = parse(path.name)
    return (str(path.parent), SUFFIXES.index(name.suffix) if name else 0)


def _series(pair: str, days: dict[str, Path], since_ms: int, until_ms: int) -> DailyTrades:
    files = []
    for day, path in sorted(days.items()):
        first, last = Name(pair, day, "").span_ms
        if first <= until_ms and last >= since_ms:
            files.append(path)
    size = sum(_about(path) for path in files)
    return DailyTrades(EXCHANGE, pair, f"{Channel.TRADES}:{pair}", size, tuple(files), since_ms, until_ms)


def _about(path: Path) -> int:
    """About how many lines a file has."""
    text, size = unpacked.begin(path)
    return size * text.count(b"\n") // max(1, len(text))
