"""Where every subscription of a feed stands: what it released last, what it waits for, what is said about it."""

from collections.abc import Iterable, Mapping

from cryptostream.engine.stats import PairFacts
from cryptostream.feed.door import Door, channel
from cryptostream.model.events import Micros
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.model.ports import Position
from cryptostream.venues.candles import Candles
from cryptostream.venues.continuity import Continuity

_LATELY_US = 30_000_000
_FEW = 50
"""Lines that the ledger names one by one."""


class Lines:
    """Trades by their ids and klines by their windows, line by line, and the door they all come in by."""

    def __init__(self, continuity: Continuity, candles: Candles, door: Door) -> None:
        self.continuity = continuity
        self.candles = candles
        self.door = door

    def seed(self, positions: Mapping[Subscription, Position]) -> None:
        """Go on from where streams stand; what was missed since will be fetched."""
        for wanted, position in positions.items():
            if wanted.channel is Channel.KLINES:
                self.candles.seed(wanted, position.last_id)
            else:
                self.continuity.seed(wanted, position.last_id, position.ts)
        if len(positions) < _FEW:
            for wanted, position in positions.items():
                self.door.tell("resumed", subscription=wanted, gap_from=position.last_id + 1)
        else:
            self.door.tell("resumed", count=len(positions))

    def forget(self, subscriptions: Iterable[Subscription]) -> None:
        """What is followed no longer starts anew if it ever comes back."""
        for wanted in subscriptions:
            self.continuity.forget(wanted)
            self.candles.forget(wanted)

    def active(self, subscriptions: Iterable[Subscription]) -> list[Subscription]:
        """Those that spoke within half a minute of the newest word of them all, by the venue's time."""
        said = {wanted: self._newest(wanted)[1] for wanted in subscriptions}
        newest = max(said.values(), default=0)
        return [wanted for wanted, ts in said.items() if ts and newest - ts <= _LATELY_US]

    def facts(self, wanted: Subscription, note: str = "") -> PairFacts:
        """Where one of them stands."""
        last_id, ts = self._newest(wanted)
        gap_from, gap_to, held = self._waiting(wanted)
        state = "filling" if gap_from is not None else "silent" if last_id is None else "live"
        return PairFacts(
            exchange=wanted.exchange,
            channel=channel(wanted),
            pair=wanted.pair,
            state=state,
            last_id=last_id,
            ts=ts or None,
            gap_from=gap_from,
            gap_to=gap_to,
            held=held,
            note=note,
        )

    def _newest(self, wanted: Subscription) -> tuple[int | None, Micros]:
        if wanted.channel is Channel.KLINES:
            return self.candles.newest(wanted)
        return self.continuity.newest(wanted)

    def _waiting(self, wanted: Subscription) -> tuple[int | None, int | None, int]:
        """The first stretch that is missing, and how many records are held behind it."""
        if wanted.channel is Channel.KLINES:
            return *(self.candles.waiting(wanted) or (None, None)), self.candles.holding(wanted)
        gap = self.continuity.gap(wanted)
        return (*gap.hole, len(gap.held)) if gap else (None, None, 0)


def left_out(wanted: Subscription, why: str) -> PairFacts:
    """What is said of a subscription that had to be left out on the way."""
    return PairFacts(exchange=wanted.exchange, channel=channel(wanted), pair=wanted.pair, state="left out", note=why)
