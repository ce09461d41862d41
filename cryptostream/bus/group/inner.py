"""What a recording leaves out between two of its entries: read from the stream while it holds it, else told as a gap.

A recorder that was stopped with entries pending leaves such holes, and so do two that close their files in turns.
Trades show them, for their ids are counted without a gap. Of other streams, candles too, nobody can say whether
anything lies between two recorded entries without asking for each two, and the archive's pages do not tell where a file
ends: so there nothing is looked for, and what was not recorded there is not handed over.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from cryptostream.bus.group.cursor import Cursor
from cryptostream.bus.group.hole import breaks, end_of, missing
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry

Between = Callable[[str, str, str], Awaitable[list[Entry]]]
"""Asks for the first entries of a stream above an id and below another one."""


@dataclass
class Tape:
    """A stream that is read from the archive: handed over up to `place`, committed up to `safe`."""

    place: str
    safe: str
    seam: str = ""
    last: Entry | None = None
    begun: bool = False
    """Whether an entry at `place` was ever handed over: before that, nothing can be missing behind it."""
    ends: dict[str, str] = field(default_factory=dict)
    """How far the gaps go that stand in no recording: once they are committed, so is all they tell of."""

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.safe, self.seam)

    @property
    def committed(self) -> bool:
        return bool(self.seam) and parse_id(self.safe) >= parse_id(self.seam)

    def covers(self, entry: Entry) -> bool:
        return parse_id(entry.entry_id) <= parse_id(self.seam or self.place)

    def hand(self, entries: Sequence[Entry]) -> str:
        """These are handed over now; where that leads to."""
        self.last, self.begun = entries[-1], True
        self.place = self.ends.get(self.last.entry_id, self.last.entry_id)
        return self.place

    def commit(self, entry: Entry) -> None:
        self.safe = max(self.safe, self.ends.pop(entry.entry_id, entry.entry_id), key=parse_id)

    def back_to(self, place: str) -> None:
        self.place, self.last = place, None


class Inner:
    """Fills what is missing in pages of a recording. `tell` hears of each gap before it is handed over."""

    def __init__(self, held: Between, recorded: Between, tell: Callable[[Entry], None]) -> None:
        self._held = held
        self._recorded = recorded
        self._tell = tell

    async def whole(self, stream: str, tape: Tape, page: Sequence[Entry]) -> AsyncIterator[Sequence[Entry]]:
        """A page in pieces, with what is missing between them; the tape moves on with each, or this is left."""
        start = 0
        for at in breaks(tape.last, tape.place if tape.begun else "", page):
            if page[start:at]:
                yield page[start:at]
            async for found in self._between(stream, tape, page[at]):
                yield found
            start = at
        yield page[start:]

    async def _between(self, stream: str, tape: Tape, following: Entry) -> AsyncIterator[Sequence[Entry]]:
        """What is missing from the tape's place on. The stream may be trimmed of what was recorded just before."""
        while True:
            held = await self._held(stream, tape.place, following.entry_id)
            first = held[0] if held else following
            lost = missing(tape.last, tape.place, first)
            if late := await self._recorded(stream, tape.place, first.entry_id) if lost else []:
                yield self._with_gaps(tape, late)
            elif held:
                yield self._with_gaps(tape, held)
            else:
                break
        if lost:
            yield [self._put(tape, lost)]

    def _with_gaps(self, tape: Tape, entries: Sequence[Entry]) -> list[Entry]:
        """Entries, and before those that do not follow the one before them the gap."""
        made: list[Entry] = []
        last, place = tape.last, tape.place
        for entry in entries:
            if lost := missing(last, place, entry):
                made.append(self._put(tape, lost))
            if (end := end_of(entry)) != entry.entry_id:
                tape.ends[entry.entry_id] = end
            made.append(entry)
            last, place = entry, entry.entry_id
        return made

    def _put(self, tape: Tape, lost: Entry) -> Entry:
        if lost.entry_id not in tape.ends:
            tape.ends[lost.entry_id] = end_of(lost)
            self._tell(lost)
        return lost
