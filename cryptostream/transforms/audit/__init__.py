"""Entries in, a proof out: which ids are missing, twice, out of order, or not what they say."""

from collections.abc import Callable, Mapping
from typing import Protocol

from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry, Micros
from cryptostream.model.instrument import Channel
from cryptostream.transforms.audit.klines import Klines
from cryptostream.transforms.audit.report import Report, Spans, Tally
from cryptostream.transforms.audit.told import Reading
from cryptostream.transforms.audit.trades import Trades, ids_of, time_of

__all__ = ["CONTIGUOUS", "MONOTONIC", "NONE", "Audit", "Reading", "Report", "Spans", "Tally", "ids_of"]

CONTIGUOUS, MONOTONIC, NONE = "contiguous", "monotonic", "none"
RuleOf = Callable[[str, Channel], str]
"""What an exchange promises of the ids on a channel: each is the one before plus one, each is higher, or nothing."""
ReadingOf = Callable[[Report], Reading | None]
"""How the recorded messages of a stream are read, by its name and its subscription; None where nobody can."""


class _Kind(Protocol):
    def take(self, entry_id: str, at: tuple[int, int], fields: Mapping[str, str]) -> None: ...


class Audit:
    """Any number of streams, their entries one at a time in the order in which they are kept.

    What kind a stream is, its first entry says. Where `reading_of` is given, an entry is held against its `raw_json`.
    Memory grows with the number of streams and of holes only.
    """

    def __init__(self, rule_of: RuleOf, reading_of: ReadingOf = lambda _: None) -> None:
        self._rule_of = rule_of
        self._reading_of = reading_of
        self._streams: dict[str, _Stream] = {}

    def add(self, entry: Entry) -> Report:
        """Take in the next entry of its stream; the report of that stream so far, which grows."""
        stream = self._streams.get(entry.stream)
        if stream is None:
            stream = self._streams[entry.stream] = _Stream(entry, self._rule_of, self._reading_of)
        stream.take(entry)
        return stream.report

    def restart(self, stream: str) -> None:
        """Forget a stream: the proof begins again with its next entry."""
        self._streams.pop(stream, None)

    def reports(self) -> list[Report]:
        """What is known of each stream, by name."""
        return [stream.report for _, stream in sorted(self._streams.items())]


class _Stream:
    """What all streams have in common: ids that rise, one exchange, one pair."""

    def __init__(self, first: Entry, rule_of: RuleOf, reading_of: ReadingOf) -> None:
        self.report = Report(first.stream, first_entry=first.entry_id)
        self._newest = (-1, -1)
        self._kind = self._audit_of(first, rule_of, reading_of)

    def _audit_of(self, first: Entry, rule_of: RuleOf, reading_of: ReadingOf) -> _Kind | None:
        report = self.report
        channel = _channel(first)
        if channel is None:
            return None
        report.kind = "klines" if channel is Channel.KLINES else "trades"
        report.exchange, report.pair = first.fields.get("exchange", ""), first.fields.get("pair", "")
        report.interval = first.fields.get("interval", "")
        if channel is Channel.KLINES:
            return Klines(report, reading_of(report))
        report.rule = str(rule_of(report.exchange, channel))
        if report.rule == NONE:
            return None
        return Trades(report, reading_of(report), contiguous=report.rule == CONTIGUOUS)

    def take(self, entry: Entry) -> None:
        report, fields = self.report, entry.fields
        report.entries += 1
        report.last_entry = entry.entry_id
        at = parse_id(entry.entry_id)
        self._keep_time(fields.get("ts", ""))
        if self._kind is None:
            self._check_order(entry, at)
            return
        if fields.get("exchange", "") != report.exchange or fields.get("pair", "") != report.pair:
            report.malformed.note(f"{entry.entry_id}: of {fields.get('exchange')} {fields.get('pair')}"[:120])
        self._kind.take(entry.entry_id, at, fields)

    def _check_order(self, entry: Entry, at: tuple[int, int]) -> None:
        """Entry ids alone; where entries hold ids of their own, those say what is late and what is there twice."""
        if at == self._newest:
            self.report.duplicates.note(f"{entry.entry_id}: again")
        elif at < self._newest:
            self.report.disorder.note(f"{entry.entry_id}: after {self._newest[0]}-{self._newest[1]}")
        self._newest = max(self._newest, at)

    def _keep_time(self, text: str) -> None:
        ts = time_of(text)
        if ts is None:
            return
        report = self.report
        report.first_ts = Micros(ts) if report.first_ts is None else report.first_ts
        report.last_ts = Micros(ts)


def _channel(entry: Entry) -> Channel | None:
    """What a stream holds: by its first entry's fields, for streams can be renamed, else by its name."""
    named = next((Channel(part) for part in entry.stream.split(":") if part in set(Channel)), None)
    if entry.fields.get("kind") == "gap":
        return Channel.KLINES if "interval" in entry.fields else named or Channel.TRADES
    if "trade_id" in entry.fields:
        return Channel.AGG_TRADES if named is Channel.AGG_TRADES else Channel.TRADES
    return Channel.KLINES if "open_time" in entry.fields else named
