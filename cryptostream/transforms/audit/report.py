"""What an audit says about one stream: exact counts, and a bounded number of examples of each."""

import msgspec

from cryptostream.model.events import Micros

EXAMPLES = 10
SPANS_KEPT = 10_000


class Tally(msgspec.Struct):
    """How often something was found, and the first few times."""

    count: int = 0
    examples: list[str] = []

    def note(self, example: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


class Spans(msgspec.Struct):
    """Stretches of ids, both ends included: how many stretches, how many ids, and the first stretches in order."""

    count: int = 0
    ids: int = 0
    first: list[tuple[int, int]] = []

    def add(self, first: int, last: int, ids: int) -> None:
        """One more stretch, above all others."""
        self.count += 1
        self.ids += ids
        if len(self.first) < SPANS_KEPT:
            self.first.append((first, last))

    def add_below(self, first: int, last: int, ids: int) -> None:
        """One more stretch, below all others."""
        self.count += 1
        self.ids += ids
        self.first.insert(0, (first, last))
        del self.first[SPANS_KEPT:]

    @property
    def complete(self) -> bool:
        """Whether `first` holds every stretch."""
        return len(self.first) == self.count


class Report(msgspec.Struct):
    """One stream audited from `first_entry` on; what was trimmed before it cannot be proved.

    Ids are trade ids; for klines they are open times in milliseconds, for other streams there are none.
    """

    stream: str
    kind: str = ""
    """trades, klines, or empty for a stream of something else."""
    rule: str = ""
    """What the venue promises of the ids of trades: contiguous, monotonic or none; empty for all else."""
    exchange: str = ""
    pair: str = ""
    interval: str = ""
    entries: int = 0
    facts: int = 0
    """Trades, or closed klines; what is there twice counts twice."""
    first_entry: str = ""
    last_entry: str = ""
    first_id: int | None = None
    last_id: int | None = None
    """The newest id that is accounted for, as a trade or by a gap entry."""
    first_ts: Micros | None = None
    last_ts: Micros | None = None
    gaps: Spans = msgspec.field(default_factory=Spans)
    """Missing, and the stream says so: no failure."""
    holes: Spans = msgspec.field(default_factory=Spans)
    """Missing, and the stream does not say so."""
    duplicates: Tally = msgspec.field(default_factory=Tally)
    disorder: Tally = msgspec.field(default_factory=Tally)
    malformed: Tally = msgspec.field(default_factory=Tally)
    """Fields that are not as the contract says, within an entry or from one entry to the next."""
    misplaced: Tally = msgspec.field(default_factory=Tally)
    """Entry ids that do not follow from what the entry holds."""

    @property
    def by_entry_ids(self) -> bool:
        """Whether nothing but the order of entry ids can be proved."""
        return self.kind != "klines" and self.rule in ("", "none")

    @property
    def failures(self) -> dict[str, int]:
        """What keeps the stream from being proven, by its name, in ids for holes and entries for all else."""
        found = {
            "holes": self.holes.ids,
            "duplicates": self.duplicates.count,
            "disorder": self.disorder.count,
            "malformed": self.malformed.count,
            "misplaced": self.misplaced.count,
        }
        return {name: count for name, count in found.items() if count}
