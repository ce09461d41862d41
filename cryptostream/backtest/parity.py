"""Whether a backtest says what live has said: signals side by side, by their ids, to the last byte."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptostream.model.codec import signal_fields
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry, Signal

Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first signal that is not the same: its id, and its fields on either side; None where there is none."""

    entry_id: str
    live: Fields | None
    backtest: Fields | None

    @property
    def names(self) -> list[str]:
        """The fields that differ, in their order; none where one side has no signal."""
        if self.live is None or self.backtest is None:
            return []
        return [name for name in {**self.live, **self.backtest} if self.live.get(name) != self.backtest.get(name)]

    def __str__(self) -> str:
        if self.live is None:
            return f"{self.entry_id}: the backtest says {self._told(self.backtest)}, live said nothing"
        if self.backtest is None:
            return f"{self.entry_id}: live said {self._told(self.live)}, the backtest says nothing"
        shown = (f"{name} {self.live.get(name)} live, {self.backtest.get(name)} in the backtest" for name in self.names)
        return f"{self.entry_id}: {'; '.join(shown)}"

    def _told(self, fields: Fields | None) -> str:
        return f"{fields['side']} at {fields['price']}" if fields else ""


@dataclass(frozen=True, slots=True)
class Compared:
    """How many signals were the same, up to the first that was not; `sha256` is over those, ids and fields."""

    equal: int
    sha256: str
    difference: Difference | None = None


def compare(live: Sequence[Entry], backtest: Sequence[Signal]) -> Compared:
    """Signals as they stand in their stream beside those of a backtest, both in the order of their ids.

    >>> said = Signal("buy", strategy="s", pair="P", price=1.0, entry_id="5-1")
    >>> compare([Entry("signals:s:P", "5-1", signal_fields(said))], [said]).equal
    1
    """
    ours = {signal.entry_id: signal_fields(signal) for signal in backtest}
    theirs = {entry.entry_id: entry.fields for entry in live}
    digest, equal = sha256(), 0
    for entry_id in sorted({*ours, *theirs}, key=parse_id):
        mine, written = ours.get(entry_id), theirs.get(entry_id)
        if mine is None or written is None or list(mine.items()) != list(written.items()):
            return Compared(equal, digest.hexdigest(), Difference(entry_id, written, mine))
        digest.update(_bytes(entry_id, mine))
        equal += 1
    return Compared(equal, digest.hexdigest())


def within(signals: Iterable[Signal], after: str, upto: str) -> list[Signal]:
    """Those whose ids are above one and not above another."""
    low, high = parse_id(after), parse_id(upto)
    return [signal for signal in signals if low < parse_id(signal.entry_id) <= high]


def _bytes(entry_id: str, fields: Fields) -> bytes:
    return "\x00".join((entry_id, *(part for pair in fields.items() for part in pair), "\n")).encode()
