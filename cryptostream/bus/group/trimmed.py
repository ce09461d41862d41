"""What a stream's length took away before a group had read it: how much, where it stood, and how to tell.

Trimming raises no error and leaves the group's lag wrong for good. But a stream counts what was ever added to it and a
group what it was given, and entries go from the front alone. So while all up to the last one that was delivered are
gone, `added - length` is how many are gone, `read` is how many of those were read, and the rest was lost, exactly.
After reading it is too late to tell. `XGROUP SETID ... ENTRIESREAD` puts the count right.

A server that comes back from its append-only file knows what groups were given last, and not how much that was: it
writes XCLAIM ... LASTID there. So after a new connection the count is first put right, silently, once the group has
been given everything; what is overtaken before that is counted no higher than the trade ids allow.
Counters: https://redis.io/docs/latest/commands/xinfo-groups/
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cryptostream import logs
from cryptostream.bus.ask import asking, heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.keys import ledger_key
from cryptostream.bus.pack import LEDGER_KEPT
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model import codec
from cryptostream.model.codec import iso
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry, Ledger, LedgerRecord, Micros
from cryptostream.model.ports import Clock

CAUSE = "trimmed"
_JUST_CAME = 10_000
_log = logs.get("bus")


class Facts(NamedTuple):
    """How a stream and its group stand: entries ever added, and there now; the oldest id, the newest ever given out.

    `delivered` is the last id the group was given, `read` how many entries that were; None where Redis does not know.
    """

    added: int
    length: int
    first: str
    generated: str
    delivered: str
    read: int | None

    @property
    def is_caught_up(self) -> bool:
        """Whether the group has been given the newest entry."""
        return parse_id(self.delivered) >= parse_id(self.generated)

    @property
    def is_overtaken(self) -> bool:
        """Whether everything that was delivered is gone: what was trimmed after that had not been read."""
        return not self.length or parse_id(self.first) > parse_id(self.delivered)


def facts_of(stream: Mapping[str, Any], groups: Iterable[Mapping[str, Any]], group: str) -> Facts | None:
    """Read the replies to XINFO STREAM and XINFO GROUPS; None where the group or the counters are not there."""
    mine = next((each for each in groups if each["name"] == group), None)
    if mine is None or "entries-read" not in mine:
        return None
    return facts_at(stream, mine["last-delivered-id"], mine["entries-read"])


def facts_at(stream: Mapping[str, Any], delivered: str, read: int | None) -> Facts | None:
    """How a group stands, or would stand; None where the server has no counters."""
    if "entries-added" not in stream:
        return None
    first = stream["first-entry"]
    oldest = first[0] if first else "0-0"
    return Facts(stream["entries-added"], stream["length"], oldest, stream["last-generated-id"], delivered, read)


def lost(facts: Facts) -> int:
    """How many entries were trimmed before the group was given them.

    >>> lost(Facts(added=100, length=10, first="91-0", generated="100-0", delivered="40-0", read=40))
    50
    >>> lost(Facts(added=100, length=90, first="11-0", generated="100-0", delivered="40-0", read=40))
    0
    """
    if facts.read is None:
        return 0
    if facts.is_caught_up:
        return max(0, facts.added - facts.read)
    return max(0, facts.added - facts.length - facts.read) if facts.is_overtaken else 0


def baseline(facts: Facts) -> int | None:
    """The count of a group that has none, so that nothing up to now was lost; None where counting is needed for it."""
    if facts.is_caught_up:
        return facts.added
    return facts.added - facts.length if facts.is_overtaken else None


async def repair(bus: Bus, group: str, stream: str, delivered: str, read: int, *, told: int | None) -> None:
    """Put right how many entries a group was given up to the last one; `told` is what Redis believes there.

    This sets the place too. Another member may read just before; the place is then set again at once, so that only
    what is read within that moment comes twice. Raises BusUnavailable, BusRefused.
    """
    while True:
        heed_cancellation()
        pipeline = bus.command.pipeline(transaction=True)
        pipeline.xinfo_groups(stream)
        pipeline.xgroup_setid(stream, group, delivered, entries_read=read)
        with asking(bus, stream):
            groups, _ = await pipeline.execute()
        mine = next(each for each in groups if each["name"] == group)
        if parse_id(mine["last-delivered-id"]) <= parse_id(delivered):
            return
        delivered, since = mine["last-delivered-id"], mine["entries-read"]
        read += since - told if since is not None and told is not None else 0


async def record(bus: Bus, group: str, gap: Entry, clock: Clock) -> None:
    """Write a line about a loss into the ledger of its venue; where that cannot be had, the log has it alone."""
    exchange, known = gap.fields["exchange"], gap.fields
    if not exchange:
        return
    line = LedgerRecord(
        Ledger(exchange),
        "trimmed",
        Micros(clock.now_ns() // 1000),
        pair=known["pair"],
        channel=gap.stream.partition(":")[0],
        gap_from=int(known["gap_from"]),
        gap_to=int(known["gap_to"]),
        count=int(known["count"]),
        group=group,
    )
    fields: dict[Any, Any] = dict(codec.fields(line))
    try:
        with asking(bus):
            await bus.command.xadd(ledger_key(line.subscription), fields, maxlen=LEDGER_KEPT, approximate=True)
    except (BusUnavailable, BusRefused) as trouble:
        _log.warning("group.ledger_unwritten", group=group, why=str(trouble))


def gap(
    stream: str,
    count: int,
    *,
    before: Sequence[Any] | None,
    after: Sequence[Any] | None,
    missing: Sequence[str] = (),
    delivered: str = "0-0",
) -> Entry:
    """The entry that tells of a loss, to be read between two rows; its id lies between theirs.

    `gap_from` and `gap_to` are the trade ids that are missing where the neighbours carry some, else milliseconds.
    `missing` are the ids of the lost entries where they are known.
    """
    left, right = _fields(before), _fields(after)
    since = parse_id(before[0] if before else delivered)
    until = parse_id(after[0]) if after else parse_id(missing[-1]) if missing else since
    start, end = since[0], until[0]
    if "trade_id" in left or "trade_id" in right:
        start, end = _trades(left, right, count, missing)
    fields = {
        "kind": "gap",
        "exchange": left.get("exchange") or right.get("exchange", ""),
        "pair": left.get("pair") or right.get("pair", ""),
        "gap_from": str(start),
        "gap_to": str(max(start, end)),
        "cause": CAUSE,
        "count": str(count),
        "ts": left.get("ts") or right.get("ts") or iso(since[0] * 1000),
    }
    return Entry(stream, f"{since[0] if before else until[0]}-{start}", fields)


def _trades(left: Mapping[str, str], right: Mapping[str, str], count: int, missing: Sequence[str]) -> tuple[int, int]:
    before, after = _trade_id(left), _trade_id(right)
    if before is None and after is None:
        return (0, 0)
    start = before + 1 if before is not None else max(0, (after or 0) - count)
    if after is not None:
        return start, after - 1
    return start, parse_id(missing[-1])[1] if missing else start + count - 1


async def count_above(bus: Bus, ids: Mapping[str, str]) -> dict[str, int]:
    """How many entries each stream holds above an id, of so many as can just have come.

    Raises BusUnavailable, BusRefused.
    """
    if not ids:
        return {}
    pipeline = bus.command.pipeline(transaction=False)
    for stream, entry_id in ids.items():
        pipeline.xrange(stream, f"({entry_id}", "+", count=_JUST_CAME)
    with asking(bus):
        found = await pipeline.execute()
    return {stream: len(entries or ()) for stream, entries in zip(ids, found, strict=True)}


def is_jump(before: Sequence[Any] | None, after: Sequence[Any] | None) -> bool:
    """Whether the second half of an id is not the one after that of the row before; trades carry their own there."""
    if before is None or after is None:
        return False
    return parse_id(after[0])[1] != parse_id(before[0])[1] + 1


def between(before: Sequence[Any] | None, after: Sequence[Any] | None, *, delivered: str) -> int | None:
    """The most trades that can be missing between two rows; None where their ids do not say.

    Without the row before, the last delivered id says, if it is made of the trade's.
    """
    last, following = _trade_id(_fields(before)), _trade_id(_fields(after))
    if following is None or after is None:
        return None
    if last is None and parse_id(after[0])[1] == following:
        last = parse_id(delivered)[1]
    return following - last - 1 if last is not None and last < following else None


def _trade_id(fields: Mapping[str, str]) -> int | None:
    """Where a trade, or a gap among trades, stands."""
    try:
        return int(fields["trade_id"])
    except (KeyError, ValueError):
        return None


def _fields(row: Sequence[Any] | None) -> Mapping[str, str]:
    words = (row[1] if row else None) or ()
    return dict(zip(words[::2], words[1::2], strict=True))
