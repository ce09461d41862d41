"""Tapes played again: every frame goes through the code that met it live, in order of receive time."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from itertools import groupby
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from cryptostream.engine.merge import merge
from cryptostream.errors import BadFrame, DataQuality
from cryptostream.model.events import Entry, Record
from cryptostream.model.instrument import Subscription
from cryptostream.model.ports import Batch, Clock
from cryptostream.tape.pace import Pace
from cryptostream.tape.reader import Line, Reel, Tape
from cryptostream.venues.base import Session
from cryptostream.venues.recorded import Recorded

BATCH = 500
MAX_NS = 2**63

# How long `stop` may take to be noticed while waiting for what is recorded as far away.
_SLICE_S = 0.25
_LINES_AT_ONCE = 2000

T = TypeVar("T")
Made = TypeVar("Made")


class Player(Generic[T, Made]):
    """A source that plays tapes: `make` says what becomes of each line.

    The sequence of events is a function of the tapes alone: neither `batch` nor `speed` changes it. `speed` None is as
    fast as it goes, 2.0 is twice as fast as it was recorded. `since` and `until` bound the recorded time, both
    included, in ns. A damaged tape ends where it is damaged, the others go on; the end of `batches` raises its
    DataQuality. Constant memory, whatever the size of the tapes.
    """

    def __init__(
        self,
        tapes: Sequence[Reel[T]],
        make: Callable[[Line[T]], Sequence[Made]],
        *,
        clock: Clock,
        speed: float | None = None,
        since: int | None = None,
        until: int | None = None,
        batch: int = BATCH,
    ) -> None:
        self.played = 0
        """Frames or entries played so far."""
        self.first: int | None = None
        self.last: int | None = None
        """Recorded time of the first and the last of them, in ns."""
        self.damage: list[DataQuality] = []
        self.size = sum(tape.size for tape in tapes)
        self._tapes = tapes
        self._make = make
        self._clock = clock
        self._pace = Pace(clock, speed)
        self._since = 0 if since is None else since
        self._until = MAX_NS if until is None else until
        self._batch = batch
        self._stopped = False

    @property
    def position(self) -> int:
        """Bytes of the tapes that have been read, out of `size`."""
        return sum(tape.position for tape in self._tapes)

    @property
    def left_out(self) -> int:
        """Lines and stretches that were passed over because the tapes skip what is bad."""
        return sum(tape.bad for tape in self._tapes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def batches(self) -> AsyncIterator[Batch[Made]]:
        """Batches of at least one event. Raises DataQuality at the end if a tape was damaged."""
        ready: list[Made] = []
        for count, line in enumerate(self._lines(), 1):
            wait_s = self._pace.wait_s(line.at)
            if ready and (wait_s or len(ready) >= self._batch):
                yield Batch(ready)
                ready = []
            await self._wait(wait_s, breathe=count % _LINES_AT_ONCE == 0)
            if self._stopped:
                break
            ready.extend(self._play(line))
        ready.extend(self._rest())
        if ready:
            yield Batch(ready)
        self._tell_damage()

    async def commit(self, batch: Batch[Made]) -> None:
        """Nothing: a tape can be played again."""

    def stop(self) -> None:
        """End `batches` after what has been read."""
        self._stopped = True

    def _lines(self) -> Iterator[Line[T]]:
        for at, line in merge(_Row(tapes, self.damage) for tapes in _reels(self._tapes)):
            if at > self._until:
                return
            if line.at >= self._since:
                yield line

    def _play(self, line: Line[T]) -> Sequence[Made]:
        self.played += 1
        self.first = line.at if self.first is None else self.first
        self.last = line.at
        return self._make(line)

    def _rest(self) -> Sequence[Made]:
        """What was held back until the end."""
        return ()

    async def _wait(self, wait_s: float, *, breathe: bool) -> None:
        """Let recorded time pass; at full speed let others run now and then."""
        if breathe:
            await self._clock.sleep(0)
        while wait_s > 0 and not self._stopped:
            await self._clock.sleep(min(wait_s, _SLICE_S))
            wait_s -= _SLICE_S

    def _tell_damage(self) -> None:
        if not self.damage or self._stopped:
            return
        first, *others = self.damage
        if not others:
            raise first
        raise DataQuality(f"{first} (and {len(others)} more tapes)", hint=first.hint) from first


class FramePlayer(Player[bytes, Record]):
    """Plays frames through a session and, where one is given, an order, as live: bytes in, records out.

    `pairs` keeps only theirs; `seen` holds every pair there was. A frame the session cannot read counts in `bad`, one
    that is not its business in `ignored`.
    """

    def __init__(
        self,
        tapes: Sequence[Tape[bytes]],
        session: Session,
        *,
        order: Recorded | None = None,
        pairs: Collection[str] = (),
        **pacing: Any,
    ) -> None:
        super().__init__(tapes, self._receive, **pacing)
        self.bad = 0
        self.seen: set[str] = set()
        self._session = session
        self._order = order
        self._pairs = frozenset(pairs)

    @property
    def ignored(self) -> int:
        return self._session.ignored

    def _receive(self, line: Line[bytes]) -> Sequence[Record]:
        try:
            records = self._session.receive(line.item, line.at)
        except BadFrame:
            self.bad += 1
            return ()
        self._session.notices.clear()
        wanted = self._wanted(records) if records else ()
        return self._order.receive(wanted, line.at) if wanted and self._order else wanted

    def _rest(self) -> Sequence[Record]:
        return self._order.finish() if self._order else ()

    def _wanted(self, records: Sequence[Record]) -> Sequence[Record]:
        self.seen.update(_pair(record) for record in records)
        return [record for record in records if _pair(record) in self._pairs] if self._pairs else records


class EntryPlayer(Player[Entry, Entry]):
    """Plays entries that were written down, in order of their ids' time; `pairs` keeps only theirs."""

    def __init__(self, tapes: Sequence[Reel[Entry]], *, pairs: Collection[str] = (), **pacing: Any) -> None:
        super().__init__(tapes, self._entry, **pacing)
        self.seen: set[str] = set()
        self._pairs = frozenset(pairs)

    def _entry(self, line: Line[Entry]) -> Sequence[Entry]:
        pair = line.item.fields.get("pair", "")
        self.seen.add(pair)
        return (line.item,) if not self._pairs or pair in self._pairs else ()


def _pair(record: Record) -> str:
    return record.subscription.pair if isinstance(record.subscription, Subscription) else ""


class _Row(Generic[T]):
    """Tapes of one connection or of one stream, one after the other: an input to the merge."""

    def __init__(self, tapes: Sequence[Reel[T]], damage: list[DataQuality]) -> None:
        self.name = f"{tapes[0].path.name} {tapes[0].path}"
        self.starts = tapes[0].starts
        self._tapes = tapes
        self._damage = damage

    def __iter__(self) -> Iterator[tuple[int, Line[T]]]:
        for tape in self._tapes:
            try:
                for line in tape:
                    yield line.at, line
            except DataQuality as damage:
                self._damage.append(damage)


def _reels(tapes: Sequence[Reel[T]]) -> Iterator[Sequence[Reel[T]]]:
    """Tapes grouped by what they follow each other in: one connection, or one recorded stream."""
    for _, group in groupby(sorted(tapes, key=lambda tape: tape.place), key=lambda tape: tape.place[:2]):
        yield list(group)
