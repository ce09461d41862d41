"""What an entry says about its stream, and what became of entries that Redis refused. Pure: replies in, verdicts out.

Why a refused trade is in the stream, and no later one can have overtaken it:

Call c(k) the ms of the entry of trade k. A writer *knows* a stream when its clamp was taken from an entry that stands
there. Let it know entry t and write the trades after it one by one, as contiguous lines do. Then it writes trade k with
c(k) = max(c(t), ts(t+1) .. ts(k)), which depends on the trades alone. So all writers who know the stream give trade k
the same id, wherever they came in: Redis takes the first copy, and refuses the others because k or a later one is on
top. A refusal thus means that k is there, and whoever writes k+1 has written or been refused k before.

That needs a stream that all writers know, and lines without holes. What makes it true:
* The first entry of an empty stream is written only if it is still empty (WATCH): two writers cannot both begin one.
* What is not above the top at that time is never sent: a trade before the stream's first one may have a later time.
* After anything that failed, a writer takes its clamp from the top again; it never goes on from what it meant to write.
* A line that does not join on to the top is not written but goes back (`awaited.py`).
* A gap is written without the times of what is missing in it, so that its writer's clamp may be below another's who has
  those trades. It ends what is written at once, and so does the first trade after it: each is settled before anything
  stands above it.
* What is refused and is not there is sent again from the top's ms, its first trade alone, for the same reason.

One race is left: a writer who records a gap, another who has these trades, and a time that steps back from inside the
gap to behind it, within the moment in which both write. The second writer's trades are then above the first one's.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import hiredis
from msgspec.structs import replace

from cryptostream.bus.pack import number
from cryptostream.bus.resp import NOT_ABOVE
from cryptostream.bus.top import Top
from cryptostream.model.events import GapRecord, Record, TradeRecord


class Verdict(NamedTuple):
    """What became of refused records.

    How many are there already, and how many of those had been missed here; what is to be sent again; how many are not
    there and have no place any more.
    """

    duplicates: int
    saved: int
    missing: list[Record]
    too_late: int


def verdict(refused: Sequence[Record], top: Top, *, overtaken: bool = False) -> Verdict:
    """Judge refused trades and gaps of one stream by the newest entry of those that may stand below them.

    `overtaken`: a later one of ours was taken, so that nothing can be sent again. A gap that reaches beyond what is
    there is missing from there on. A trade inside another writer's gap is worth more than the gap, and missing.
    """
    rest = [(record, _missing(record, top)) for record in refused]
    gone = [record for record, left in rest if left is None]
    saved = sum(1 for record in gone if isinstance(record, TradeRecord) and record.filled)
    missing = [left for _, left in rest if left is not None]
    placed = [] if overtaken else [record for record in missing if _has_place(record, top)]
    return Verdict(len(gone), saved, placed, len(missing) - len(placed))


def _missing(record: Record, top: Top) -> Record | None:
    """What of a record is not in a stream: all of it, the end of a gap, or nothing."""
    if isinstance(record, GapRecord):
        there = top.number if top.last_id is None else top.last_id
        if record.gap_to <= there:
            return None
        return replace(record, gap_from=max(record.gap_from, there + 1))
    return record if number(record) > top.number else None


def _has_place(record: Record, top: Top) -> bool:
    """Whether its entry's id can be above all that the stream ever gave out: entries may have been deleted."""
    ms = top.ms if isinstance(record, GapRecord) else max(top.ms, record.ts // 1000)
    return (ms, number(record)) > top.latest


def is_refusal(reply: Any) -> bool:
    """Whether Redis has an entry of this id or a later one."""
    return isinstance(reply, hiredis.ReplyError) and NOT_ABOVE in str(reply)


def next_accepted(records: Sequence[Record], replies: Sequence[Any], after: int) -> str | None:
    """The id of the first record of the same stream that Redis took after one it did not take."""
    wanted = records[after].subscription
    for place in range(after + 1, len(records)):
        if records[place].subscription == wanted and type(replies[place]) is bytes:
            return str(replies[place], "ascii")
    return None
