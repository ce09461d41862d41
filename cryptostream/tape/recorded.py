"""Recorded Parquet files as series for a backtest: whatever the state of the folder, each entry once and in order.

What is in one file is read by columns. Where files overlap, their entries are merged one by one, as they are for
whoever replays them. A series ends where the recording did when it was found, whatever a recorder adds meanwhile.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from cryptostream.backtest.block import Block
from cryptostream.errors import DataQuality
from cryptostream.model import codec
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Bar, Event, Gap, Kline, Trade
from cryptostream.model.instrument import Interval
from cryptostream.tape.parquet import part
from cryptostream.tape.parts import stem
from cryptostream.tape.pieces import START, Content, Place, gathered, not_by_contract, piece
from cryptostream.tape.rows import Rows, rows
from cryptostream.tape.stretch import BEGINNING, Part, Stretch, live, stretches
from cryptostream.transforms.bars import of_kline

_PATIENCE = 100
"""How often, without a row in between, files may go away under their reader."""
_FEW = 16

Look = Callable[[], Iterable[Path]]
"""The files that there are now."""


def find(
    look: Look, wanted: Callable[[str], bool], after: Place, until: Place
) -> list["RecordedTrades | RecordedBars"]:
    """The series of the wanted streams in some files; those of somebody else, and of no market data, are passed over.

    Raises DataQuality for a damaged file that may be of a wanted stream, and where files come and go without end.
    """
    for _ in range(_PATIENCE):
        try:
            by_stream, damaged = _parts(look())
            _refuse_damaged(damaged, [stream for stream in by_stream if not wanted(stream)])
            each = (_series(stream, files, look, after, until) for stream, files in by_stream.items() if wanted(stream))
            return [one for one in each if one]
        except FileNotFoundError as error:
            gone = error
    raise DataQuality(f"{gone.filename} comes and goes") from gone


def _parts(paths: Iterable[Path]) -> tuple[dict[str, list[Part]], dict[Path, DataQuality]]:
    """Recorded files by their stream, less what others replace, and those that do not even say what they hold."""
    found: list[Part] = []
    damaged: dict[Path, DataQuality] = {}
    for path in paths:
        try:
            one = part(path)
        except DataQuality as damage:
            damaged[path] = damage
        else:
            found.extend([one] if one else [])
    by_stream: dict[str, list[Part]] = defaultdict(list)
    for one in live(found):
        by_stream[one.facts.stream].append(one)
    return dict(by_stream), damaged


def _refuse_damaged(damaged: Mapping[Path, DataQuality], unwanted: Iterable[str]) -> None:
    begins = tuple(f"{stem(stream)}." for stream in unwanted)
    for path, damage in damaged.items():
        if not path.name.startswith(begins):
            raise damage


@dataclass(slots=True)
class _Recorded:
    """A stream as far as it was recorded when it was found, between two ids."""

    exchange: str
    pair: str
    stream: str
    size: int
    files: Sequence[Part]
    look: Look
    after: Place
    until: Place

    @property
    def _content(self) -> Content:
        return Content(Trade, self.exchange, self.pair)

    def _rows(self) -> Iterator[Rows | list[Event]]:
        """Its rows in order; of files that overlap, its events. What was merged meanwhile is looked for."""
        place, files, patience = self.after, self.files, _PATIENCE
        while True:
            try:
                for found, last in self._above(place, files):
                    yield found
                    place, patience = last, _PATIENCE
            except FileNotFoundError as gone:
                patience -= 1
                if not patience:
                    raise DataQuality(f"{gone.filename} comes and goes") from gone
                files = _again(self.look, self.stream)
            else:
                return

    def _above(self, place: Place, files: Sequence[Part]) -> Iterator[tuple[Rows | list[Event], Place]]:
        for stretch in stretches(files):
            if parse_id(stretch.last_id) <= place or parse_id(stretch.first_id) > self.until:
                continue
            if len(stretch.parts) > 1:
                yield from self._merged(stretch, place)
                continue
            for found in rows(stretch.parts[0], self._content, place, self.until):
                yield found, (int(found.ms[-1]), int(found.sequence[-1]))

    def _merged(self, stretch: Stretch, place: Place) -> Iterator[tuple[list[Event], Place]]:
        check = self._content.checked
        for page in stretch.pages(BEGINNING if place == START else f"{place[0]}-{place[1]}"):
            kept = [entry for entry in page if parse_id(entry.entry_id) <= self.until]
            if kept:
                events = (codec.event(entry.stream, entry.entry_id, entry.fields) for entry in kept)
                pairs = zip(events, kept, strict=True)
                yield [check(self.stream, entry.entry_id, event) for event, entry in pairs], parse_id(kept[-1].entry_id)

    def _singles(self, found: Rows) -> dict[int, Any]:
        """The rows that were read singly. Raises DataQuality for what does not belong here."""
        check = self._content.checked
        return {at: check(self.stream, found.id_of(at), event) for at, event in found.others}


@dataclass(slots=True)
class RecordedTrades(_Recorded):
    """A TradeSeries of recorded files."""

    def blocks(self) -> Iterator[Block]:
        """The trades in order. Raises DataQuality that names a damaged file."""
        return gathered(map(self._block, self._rows()))

    def _block(self, found: Any) -> Block:
        if isinstance(found, list):
            return piece(self.exchange, self.pair, found)
        return self._piece(found, self._singles(found))

    def _piece(self, found: Rows, singles: Mapping[int, Trade | Gap]) -> Block:
        """Rows as columns, with what was read singly in its place."""
        if len(singles) == len(found.ms):
            return piece(self.exchange, self.pair, list(singles.values()))
        columns = {name: found.values[name] for name in ("trade_id", "price", "qty", "ts")}
        columns |= {"ms": found.ms, "sequence": found.sequence, "buy": found.values["side"] == 1}
        if singles:
            columns = _patched(columns, singles)
        sequence = columns.pop("sequence")
        if (sequence != columns["trade_id"]).any():
            row = int(np.flatnonzero(sequence != columns["trade_id"])[0])
            raise not_by_contract(f"{columns['ms'][row]}-{sequence[row]}", self.pair, int(columns["trade_id"][row]))
        gaps = [(at, event) for at, event in singles.items() if isinstance(event, Gap)]
        placed = tuple((at - before, gap) for before, (at, gap) in enumerate(gaps))
        return Block(self.exchange, self.pair, gaps=placed, **columns)


def _patched(columns: Mapping[str, Any], singles: Mapping[int, Trade | Gap]) -> dict[str, Any]:
    """Columns with trades put in their rows, and without the rows of gaps."""
    made = {name: column.copy() for name, column in columns.items()}
    keep = np.ones(len(made["ms"]), np.bool_)
    for row, event in singles.items():
        if isinstance(event, Gap):
            keep[row] = False
            continue
        for name in ("trade_id", "price", "qty", "ts"):
            made[name][row] = getattr(event, name)
        made["buy"][row] = event.side == "buy"
    return {name: column[keep] for name, column in made.items()}


@dataclass(slots=True)
class RecordedBars(_Recorded):
    """A BarSeries of recorded files."""

    interval: str

    def bars(self) -> Iterator[Bar]:
        """The closed klines in order. Raises DataQuality that names a damaged file."""
        return map(of_kline, self._klines())

    @property
    def _content(self) -> Content:
        return Content(Kline, self.exchange, self.pair, self.interval)

    def _klines(self) -> Iterator[Kline]:
        for found in self._rows():
            events = found if isinstance(found, list) else self._events(found)
            yield from (event for event in events if isinstance(event, Kline) and event.closed)

    def _events(self, found: Rows) -> Iterator[Event]:
        """Rows as events, of klines only the closed ones."""
        singles = self._singles(found)
        if len(singles) == len(found.ms):
            yield from singles.values()
            return
        wanted = found.values["closed"].copy()
        wanted[list(singles)] = True
        at = np.flatnonzero(wanted)
        same = {"exchange": self.exchange, "pair": self.pair, "interval": Interval(self.interval)}
        columns = [
            repeat(same[name], len(at)) if name in same else found.values[name][at].tolist()
            for name in Kline.__struct_fields__[1:]
        ]
        ids = zip(found.ms[at].tolist(), found.sequence[at].tolist(), strict=True)
        for row, (ms, sequence), values in zip(at.tolist(), ids, zip(*columns, strict=True), strict=True):
            yield singles[row] if row in singles else Kline(f"{ms}-{sequence}", *values)


def _again(look: Look, stream: str) -> list[Part]:
    """The files of a stream that there are now. Raises DataQuality where one is damaged that may be of it."""
    for _ in range(_PATIENCE):
        try:
            by_stream, damaged = _parts(look())
            _refuse_damaged(damaged, [other for other in by_stream if other != stream])
            return by_stream.get(stream, [])
        except FileNotFoundError as error:
            gone = error
    raise DataQuality(f"{gone.filename} comes and goes") from gone


def _series(
    stream: str, files: Sequence[Part], look: Look, after: Place, until: Place
) -> RecordedTrades | RecordedBars | None:
    """What was recorded of a stream between two ids; None for one that holds no market data."""
    found = _example(files)
    if not isinstance(found, Trade | Kline):
        return None
    until = min(until, max(parse_id(part.facts.last_id) for part in files))
    size = _about(files, after, until)
    if isinstance(found, Trade):
        return RecordedTrades(found.exchange, found.pair, stream, size, tuple(files), look, after, until)
    interval = found.interval.value
    return RecordedBars(found.exchange, found.pair, stream, size, tuple(files), look, after, until, interval)


def _example(files: Sequence[Part]) -> Event | None:
    """The first event of a stream that is not a gap."""
    for stretch in stretches(files):
        stretch.rows = _FEW
        for entry in chain.from_iterable(stretch.pages()):
            event = codec.event(entry.stream, entry.entry_id, entry.fields)
            if not isinstance(event, Gap):
                return event
    return None


def _about(files: Iterable[Part], after: Place, until: Place) -> int:
    """About how many entries lie between two ids: as if each file's came evenly."""
    return sum(round(one.facts.entries * _share(one, after, until)) for one in files)


def _share(part: Part, after: Place, until: Place) -> float:
    first, last = parse_id(part.facts.first_id)[0], parse_id(part.facts.last_id)[0]
    within = min(last, until[0]) - max(first, after[0] + 1) + 1
    return min(1.0, max(0.0, within / (last - first + 1)))
