"""Trades on their way from a file to a backtest: blocks as the file gave them, joined to blocks of a fair size."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cryptostream.backtest.block import Block
from cryptostream.errors import DataQuality
from cryptostream.model.events import Event, Gap, Kline, Signal, Trade

ROWS = 1 << 17
"""Trades of one piece at most."""
_ENOUGH = 1 << 14

Place = tuple[int, int]
"""The two halves of an entry id."""
START: Place = (-1, -1)
END: Place = (2**63 - 1, 2**63 - 1)


class Content(NamedTuple):
    """What a stream holds, beside gaps: trades or klines, of one pair and one interval."""

    kind: type[Trade] | type[Kline]
    exchange: str
    pair: str
    interval: str = ""

    def checked(self, stream: str, entry_id: str, event: Event | None) -> Trade | Kline | Gap:
        """An event of the stream. Raises DataQuality for what does not belong there."""
        if event is None or isinstance(event, Signal):
            raise DataQuality(f"entry {entry_id} of {stream} is no market data")
        same = event.pair == self.pair and event.exchange == self.exchange
        if same and isinstance(event, self.kind | Gap) and getattr(event, "interval", self.interval) == self.interval:
            return event
        raise DataQuality(
            f"entry {entry_id} of {stream} is {content(event)}, and others are {self}",
            hint="a backtest reads streams of one kind and pair",
        )

    def __str__(self) -> str:
        return " ".join(["a", self.kind.__name__.lower(), "of", self.exchange, self.pair, self.interval]).strip()


def content(event: Trade | Kline | Gap) -> Content:
    """What a stream holds that this event is of; a gap's may be of any kind."""
    if isinstance(event, Kline):
        return Content(Kline, event.exchange, event.pair, event.interval.value)
    return Content(Trade, event.exchange, event.pair)


def bounds(since_ms: int | None, until_ms: int | None) -> tuple[Place, Place]:
    """The ids between which the entries of a time lie, both ends of it included: above the first, up to the second."""
    after = START if since_ms is None else (since_ms - 1, END[1])
    return after, END if until_ms is None else (until_ms, END[1])


def piece(exchange: str, pair: str, events: Sequence[Trade | Gap]) -> Block:
    """Consecutive events of one pair as a block, which holds no trade where there is none. Raises DataQuality."""
    if any(isinstance(event, Trade) for event in events):
        return Block.of(events)
    gaps = tuple((0, event) for event in events if isinstance(event, Gap))
    ints, floats = np.zeros(0, np.int64), np.zeros(0)
    return Block(exchange, pair, ints, ints, floats, floats, ints, np.zeros(0, np.bool_), gaps)


def gathered(pieces: Iterable[Block]) -> Iterator[Block]:
    """Pieces that follow each other as blocks: small ones together, gaps behind the last trade with the last block."""
    held: list[Block] = []
    rows = 0
    for each in pieces:
        if rows >= _ENOUGH and len(each):
            yield _joined(held)
            held, rows = [], 0
        held.append(each)
        rows += len(each)
    if rows:
        yield _joined(held)


def _joined(blocks: Sequence[Block]) -> Block:
    return blocks[0] if len(blocks) == 1 else Block.joined(blocks)


def not_by_contract(entry_id: str, pair: str, trade_id: int) -> DataQuality:
    """What is told of an entry whose id does not end in its trade's."""
    told = f"entry {entry_id} of {pair} does not end in its trade's id, {trade_id}"
    return DataQuality(told, hint="a backtest reads streams and recordings that cryptostream wrote")
