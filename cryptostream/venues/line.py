"""What is known about one line of trades: where it stands, and what it waits for."""

from cryptostream.model.events import Micros, TradeRecord
from cryptostream.venues.base import Rule

NONE = -1
"""Below every id."""


class OpenGap:
    """What one line waits for: `first` is the next id to go on, `top` the newest id that is known to exist.

    `in_step` counts the live trades that went on since one had to be held: a venue whose ids are contiguous sends none
    of those below an id it has really given.
    """

    __slots__ = ("end", "first", "held", "in_step", "top")

    def __init__(self, first: int, top: int) -> None:
        self.first = first
        self.top = top
        self.end = top + 1
        """The first id after `first` that is not missing: the lowest one held, or the one after `top`."""
        self.held: dict[int, TradeRecord] = {}
        self.in_step = 0

    @property
    def hole(self) -> tuple[int, int]:
        """The first stretch that is missing, both ends included."""
        return self.first, self.end - 1

    @property
    def missing(self) -> int:
        """How many ids are missing up to `top`."""
        return self.top - self.first + 1 - len(self.held)

    @property
    def vouched(self) -> bool:
        """Whether what is held right behind the hole was followed by its successors, so that it is no single lie."""
        return self.end + 1 in self.held and self.end + 2 in self.held

    def missing_from(self, trade_id: int) -> int:
        """The first id at or after this one that is missing; above `top` if none is."""
        trade_id = max(trade_id, self.first)
        while trade_id in self.held:
            trade_id += 1
        return trade_id

    def raise_top(self, trade_id: int) -> None:
        if trade_id > self.top:
            if self.end > self.top:  # nothing is held: the hole reaches up to there
                self.end = trade_id + 1
            self.top = trade_id

    def find_end(self) -> None:
        self.end = min(self.held, default=self.top + 1)


class Line:
    """One subscription: the id that goes on at once, none while something waits, and the time of the newest released.

    `lost` are, where ids only rise, those that were lost further on. The rest follows a run of live trades below: its
    first id, its next one, and what the line expected when it began.
    """

    __slots__ = ("expected", "gap", "lost", "rule", "run_at", "run_first", "run_next", "ts")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.expected = NONE
        self.ts = Micros(0)
        self.gap: OpenGap | None = None
        self.lost: tuple[int, int] | None = None
        self.run_first = self.run_next = self.run_at = NONE

    @property
    def following(self) -> int:
        """The id after the newest one released, NONE before the first."""
        if self.gap is not None:
            return self.gap.first
        return self.lost[0] if self.lost else self.expected
