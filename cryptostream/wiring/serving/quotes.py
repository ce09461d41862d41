"""What is known of one pair over time, in little memory: its last trade, a spark line, the price of a day ago. Pure."""

from collections import deque
from collections.abc import Mapping
from math import isfinite

from cryptostream.bus.glance import Glimpse, Raw, entry, field, ms_of
from cryptostream.model.events import Entry
from cryptostream.model.instrument import Pair
from cryptostream.web import shown
from cryptostream.wiring.serving.reading import number
from cryptostream.wiring.serving.times import stamp, utc

DAY_MS = 86_400_000
_POINTS = 40
_LONGEST_STEP_MS = 90_000
"""So a spark line is about an hour."""
_SEED_POINTS = 20
_OLD_STEP_MS = 900_000
_OLD_POINTS = DAY_MS // _OLD_STEP_MS + 1


class Spark:
    """The last prices, forty at most, each so long after the one before; the newest stands for now.

    >>> spark = Spark()
    >>> for ms in range(0, 100_000, 1000):
    ...     spark.add(ms, float(ms))
    >>> len(spark.prices) <= 40, spark.prices[0], spark.prices[-1]
    (True, 0.0, 99000.0)
    """

    def __init__(self) -> None:
        self._points: list[tuple[int, float]] = []
        self._step_ms = 1000

    @property
    def prices(self) -> list[float]:
        """Oldest first."""
        return [price for _, price in self._points]

    def add(self, ms: int, price: float) -> None:
        """Take in a price; one that is older than the newest is none of now."""
        points = self._points
        if points and ms < points[-1][0]:
            return
        if len(points) > 1 and ms - points[-2][0] < self._step_ms:
            points[-1] = (ms, price)
            return
        points.append((ms, price))
        if len(points) <= _POINTS:
            return
        if self._step_ms < _LONGEST_STEP_MS:
            self._step_ms = min(2 * self._step_ms, _LONGEST_STEP_MS)
            points[:-1] = points[:-1:2]
        else:
            del points[0]

    def seed(self, found: list[tuple[int, float]]) -> None:
        """Put what was before at the beginning."""
        later = self._points
        self._points = []
        if len(found) > 1:
            self._step_ms = max(1000, min(_LONGEST_STEP_MS, (found[-1][0] - found[0][0]) // len(found)))
        for ms, price in sorted({*found, *later}):
            self.add(ms, price)


class Ticker:
    """One pair and the stream of its trades, look by look."""

    def __init__(self, pair: Pair, stream: str) -> None:
        self.pair = pair
        self.stream = stream
        self.last: Entry | None = None
        self.price: float | None = None
        self.ms = 0
        self.is_seeded = False
        self.spark = Spark()
        self._old: deque[tuple[int, float]] = deque(maxlen=_OLD_POINTS)
        self._first: tuple[int, float] | None = None
        self._then: tuple[int, float] | None = None

    def saw(self, glimpse: Glimpse) -> None:
        """Take in the ends of its stream."""
        if glimpse.last is not None and (self.last is None or ms_of(glimpse.last) >= self.ms):
            self.traded(glimpse.last)
        self._first = priced(glimpse.first) if glimpse.first is not None else None

    def traded(self, raw: Raw) -> None:
        """Take in a trade, its newest; a hole is none."""
        if (point := priced(raw)) is None:
            return
        self.ms, self.price = point
        self.last = entry(self.stream, raw)
        self.spark.add(*point)
        if not self._old or self.ms - self._old[-1][0] >= _OLD_STEP_MS:
            self._old.append(point)

    def then(self, point: tuple[int, float] | None) -> None:
        """What was found out about the price of a day ago."""
        self._then = point

    def wants_then(self, glimpse: Glimpse) -> bool:
        """Whether its stream goes back further than a day: then nothing short of asking tells the price of then."""
        return glimpse.first_ms is not None and glimpse.first_ms < self.ms - DAY_MS

    def seeds(self, glimpse: Glimpse) -> list[int]:
        """The times of which a spark line wants to know the price, once."""
        self.is_seeded = True
        first_ms = glimpse.first_ms
        if first_ms is None or not self.ms:
            return []
        since = max(first_ms, self.ms - _POINTS * _LONGEST_STEP_MS)
        span = self.ms - since
        return [since + place * span // _SEED_POINTS for place in range(_SEED_POINTS)] if span >= _SEED_POINTS else []

    @property
    def change(self) -> tuple[float, int] | None:
        """By which fraction the price changed since the oldest one of the last 24 hours that is known, and when it was.

        The day ends with the newest trade.
        """
        after = self.ms - DAY_MS
        known = [point for point in (self._then, self._first, *self._old) if point is not None and point[0] >= after]
        if self.price is None or not known:
            return None
        ms, price = min(known)
        changed = self.price / price - 1
        return (changed, ms) if isfinite(changed) else None

    def quote(self, state: str, note: str, rate: float | None) -> shown.Quote:
        """The pair now."""
        told: Mapping[str, str] = self.last.fields if self.last else {}
        side, changed = told.get("side"), self.change
        return shown.Quote(
            exchange=self.pair.exchange,
            pair=self.pair.name,
            stream=self.stream,
            state=state,
            price=number(told.get("price")),
            qty=number(told.get("qty")),
            side="buy" if side == "buy" else "sell" if side == "sell" else None,
            ts=utc(told.get("ts")),
            rate_per_s=rate,
            change=changed[0] if changed else None,
            change_since=stamp(changed[1]) if changed else None,
            spark=self.spark.prices,
            note=note,
        )


def priced(raw: Raw, name: bytes = b"price") -> tuple[int, float] | None:
    """When an entry is of, and its price; None for one that has none.

    >>> priced([b"5-1", [b"price", b"7.5"]]), priced([b"5-1", [b"kind", b"gap"]])
    ((5, 7.5), None)
    """
    text = field(raw, name)
    try:
        price = float(text) if text is not None else 0.0
    except ValueError:
        return None
    return (ms_of(raw), price) if 0 < price < float("inf") else None
