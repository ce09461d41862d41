"""The order of what a tape holds: as live, but that nobody can fetch what is missing."""

from collections.abc import Callable, Sequence

from cryptostream.model.events import KlineRecord, Record
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.venues.base import Rule
from cryptostream.venues.candles import Candles
from cryptostream.venues.continuity import Continuity

PATIENCE_NS = 5_000_000_000
CAUSE = "not on the tape"


class Recorded:
    """Puts a tape's records into the order of their lines, each once: sockets overlap, and venues repeat themselves.

    What is missing may come late by PATIENCE_NS of recorded time; then it is a gap. So the outcome is a function of
    the tape alone.
    """

    def __init__(self, rule: Callable[[Channel], Rule]) -> None:
        self._continuity = Continuity(rule, on_gap=self._opened)
        self._candles = Candles()
        self._since: dict[Subscription, int] = {}
        self._now = 0

    def receive(self, records: Sequence[Record], at: int) -> Sequence[Record]:
        """What may go on at a moment of recorded time, in nanoseconds."""
        self._now = at
        late = self._given_up(at - PATIENCE_NS) if self._since else ()
        ready = self._candles.receive(self._continuity.receive(records))
        if any(type(record) is KlineRecord for record in records):
            self._since.update((wanted, self._since.get(wanted, at)) for wanted in self._candles.holes())
        return [*late, *ready] if late else ready

    def finish(self) -> Sequence[Record]:
        """What still waits, at the end of the tape."""
        return self._given_up(self._now)

    def _opened(self, wanted: Subscription) -> None:
        self._since[wanted] = self._now

    def _given_up(self, before: int) -> list[Record]:
        """The lines whose holes are older than that: gaps, and what waited behind them."""
        ready: list[Record] = []
        for wanted in [wanted for wanted, since in self._since.items() if since <= before]:
            del self._since[wanted]
            order = self._candles if wanted.channel is Channel.KLINES else self._continuity
            ready += order.give_up(wanted, CAUSE)
        return ready
