"""What is wrong now, in words, the worst first: what an operator would want to be told. Pure."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptostream.bus.admin import ConsumerRow, Consumers, Counters
from cryptostream.bus.glance import GroupAt
from cryptostream.engine.stats import PairFacts
from cryptostream.web import shown
from cryptostream.web.health import without_addresses
from cryptostream.wiring.serving.flow import process_of

SILENT_S = 60.0
"""A pair that has said nothing for so long is worth a word."""
_LATE_MS = 5_000
_STUCK_S = 30.0
_SLOW = 1_000
_IDLE_MS = 30_000
_SHOWN = 3
_OLD_STEPS = 12


Named = Callable[[Counters], str]
"""What a process is called: by all that is known of it, or as one of many."""


def of_ingesters(found: Sequence[Counters], named: Named = process_of) -> list[str]:
    """Why nothing, or not everything, comes from exchanges, or goes to the bus. These make health bad.

    `named` gives the words for a process; several of the same words are told once.

    >>> of_ingesters([])
    ['no ingester runs: nothing new comes from an exchange; start one with cryptostream ingest']
    """
    if not found:
        return ["no ingester runs: nothing new comes from an exchange; start one with cryptostream ingest"]
    told = []
    for one in found:
        if one.trouble or one.publisher.get("troubled"):
            why = without_addresses(one.trouble) or "see its log"
            told.append(f"the bus takes nothing from {named(one)}: {why}")
        if one.pairs_count and not one.ingest.get("active_connections"):
            told.append(f"{named(one)} has no connection to an exchange")
        spooled = one.publisher.get("spool_bytes", 0)
        if spooled and one.publisher.get("overflowed"):
            told.append(f"the spool of {named(one)} is full: what has no room is fetched again later")
    return list(dict.fromkeys(told))


def unnamed(_: Counters) -> str:
    """For whoever has shown no token: neither host nor number."""
    return "an ingester"


def of_data(found: Sequence[Counters], silent: Iterable[PairFacts]) -> list[str]:
    """What is missing, late or waits on its way to the bus."""
    told = []
    for one in found:
        if spooled := one.publisher.get("spool_bytes", 0):
            told.append(f"{process_of(one)} holds {spooled / 1024:,.0f} KiB in its spool until the bus takes them")
        if one.lag_ms is not None and one.lag_ms > _LATE_MS:
            told.append(f"data of {process_of(one)} is {one.lag_ms / 1000:.1f} s late")
    told += _counted("gap is open", "gaps are open", [gap_of(fact) for fact in filling(found)])
    told += _counted("pair is silent", "pairs are silent", [_named(fact) for fact in silent])
    left = [_why(fact) for one in found for fact in one.unwell if fact.state == "left out"]
    return [*told, *_counted("pair is left out", "pairs are left out", left)]


def filling(found: Sequence[Counters]) -> list[PairFacts]:
    """Where gaps are open."""
    return [fact for one in found for fact in one.unwell if fact.state == "filling"]


def gap_of(fact: PairFacts) -> str:
    """An open gap in words.

    >>> gap_of(PairFacts(exchange="binance", channel="trades", pair="BTCUSDT", gap_from=5, gap_to=9))
    'binance trades:BTCUSDT, 5 to 9'
    """
    upto = f", {fact.gap_from} to {fact.gap_to}" if fact.gap_from is not None else ""
    return f"{_named(fact)}{upto}"


def of_consumers(found: Sequence[Consumers]) -> list[str]:
    """Consumers that do not do their work."""
    rows = [row for process in found for row in process.consumers]
    return [
        f"consumer {row.name} {'has failed' if row.state == 'failed' else 'cannot work'}: {without_addresses(row.why)}"
        for row in rows
        if _is_unwell(row)
    ]


def of_letters(queues: Mapping[str, int]) -> list[str]:
    """What was set aside.

    >>> of_letters({"dlq:momentum": 1, "dlq:ingest": 0})
    ['1 dead letter in dlq:momentum']
    """
    return [f"{n:,} dead letter{'s' * (n != 1)} in {queue}" for queue, n in sorted(queues.items()) if n]


@dataclass
class _Past:
    """One group a while ago: when, what it had not been given, how much it had not acknowledged, where it was."""

    at_s: float
    lag: int
    pending: int
    places: int


@dataclass
class Groups:
    """Groups over the last minute: who falls behind, and who has nobody to read."""

    idle_ms: dict[str, int | None] = field(default_factory=dict)
    """Since anybody of a group that has something to do asked for anything; None where it has no member."""
    _past: dict[str, deque[_Past]] = field(default_factory=dict)

    def saw(self, at_s: float, found: Mapping[str, Sequence[GroupAt]]) -> None:
        """Take in where all groups are, by stream."""
        whole: dict[str, list[tuple[str, GroupAt]]] = {}
        for stream, groups in found.items():
            for one in groups:
                whole.setdefault(one.facts.name, []).append((stream, one))
        self._past = {name: past for name, past in self._past.items() if name in whole}
        for name, parts in whole.items():
            facts = [one.facts for _, one in parts]
            places = hash(tuple(sorted((stream, one.delivered) for stream, one in parts)))
            now = _Past(at_s, sum(one.lag or 0 for one in facts), sum(one.pending for one in facts), places)
            past = self._past.setdefault(name, deque(maxlen=_OLD_STEPS))
            if not past or at_s - past[-1].at_s >= _STUCK_S / 6:
                past.append(now)
            else:
                past[-1] = _Past(past[-1].at_s, now.lag, now.pending, now.places)

    @property
    def waiting(self) -> list[str]:
        """Groups that have something to do."""
        return [name for name, past in self._past.items() if past[-1].lag or past[-1].pending]

    def wrong(self, running: frozenset[str]) -> list[str]:
        """In words; `running` are the consumers whose processes are alive and say that they run."""
        told = []
        for name in sorted(self._past):
            past = self._past[name]
            if (why := self._absent(name, past[-1]) if name not in running else "") or (why := _behind(past)):
                told.append(f"group {name} {why}")
        return told

    def _absent(self, name: str, now: _Past) -> str:
        if not (now.lag or now.pending) or name not in self.idle_ms:
            return ""
        idle_ms = self.idle_ms[name]
        if idle_ms is not None and idle_ms < _IDLE_MS:
            return ""
        since = f" for {idle_ms / 1000:,.0f} s" if idle_ms is not None else ""
        return f"has nobody to read{since}: {now.lag:,} entries wait, {now.pending:,} are not acknowledged"


def _behind(past: Sequence[_Past]) -> str:
    then, now = past[0], past[-1]
    if now.lag < _SLOW or now.at_s - then.at_s < _STUCK_S:
        return ""
    if now.places == then.places:
        return f"does not go on: {now.lag:,} entries wait"
    return f"falls behind: {now.lag:,} entries wait, {now.lag - then.lag:,} more than before" if _grows(past) else ""


def _grows(past: Sequence[_Past]) -> bool:
    third = len(past) // 3
    return past[0].lag < past[third].lag < past[2 * third].lag < past[-1].lag


def _counted(one: str, many: str, what: Sequence[str]) -> list[str]:
    """How many, and the first of them.

    >>> _counted("gap is open", "gaps are open", ["a", "b", "c", "d"])
    ['4 gaps are open: a; b; c; and 1 more']
    """
    if not what:
        return []
    more = f"; and {len(what) - _SHOWN} more" if len(what) > _SHOWN else ""
    return [f"{len(what)} {one if len(what) == 1 else many}: {'; '.join(what[:_SHOWN])}{more}"]


def _why(fact: PairFacts) -> str:
    why = without_addresses(fact.note)
    return f"{_named(fact)}{f' ({why})' if why else ''}"


def _named(fact: PairFacts) -> str:
    """As the bus has it; a pair that is left out of everything has no channel.

    >>> _named(PairFacts(exchange="binance", channel="klines:1m", pair="BTCUSDT"))
    'binance klines:BTCUSDT:1m'
    >>> _named(PairFacts(exchange="binance", channel="", pair="BTCUPUSDT"))
    'binance BTCUPUSDT'
    """
    if not fact.channel:
        return f"{fact.exchange} {fact.pair}"
    channel, _, interval = fact.channel.partition(":")
    return f"{fact.exchange} {channel}:{fact.pair}{':' * bool(interval)}{interval}"


def of_realtime(found: Sequence[shown.Consumer]) -> list[str]:
    """Why consumers are not well: failed, waiting for the bus, or stopped by whoever ran them."""
    return [f"{one.name}: {without_addresses(one.why) or 'failed'}" for one in found if _is_unwell(one)]


def _is_unwell(one: ConsumerRow | shown.Consumer) -> bool:
    return one.state == "failed" or bool(one.why and one.state != "paused")
