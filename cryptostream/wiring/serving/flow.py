"""What ingesters counted, over the last minute: rates and the latency from the exchange to Redis. Pure."""

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from cryptostream.bus.admin import Consumers, Counters
from cryptostream.engine.stats import LATENCY_S, quantile
from cryptostream.web import shown

_MINUTE_NS = 60 * 10**9
_RATE_NS = 10 * 10**9
_BUCKETS = len(LATENCY_S) + 1
GONE_S = 12.0
"""A process that has counted nothing anew for so long has ended: they count every three seconds."""
C = TypeVar("C", Counters, Consumers)


class Alive(Generic[C]):
    """Tells processes that count from those that are gone and whose last counters still stand on the bus.

    By the time at which we saw something new of them, since their clocks are theirs.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def alive(self, found: Sequence[C], now_s: float) -> list[C]:
        """Those of which something new was seen within GONE_S."""
        before, self._seen = self._seen, {}
        for one in found:
            at, since_s = before.get(process_of(one), (-1, now_s))
            self._seen[process_of(one)] = (one.at, since_s if at == one.at else now_s)
        return [one for one in found if now_s - self._seen[process_of(one)][1] < GONE_S]


class Flow:
    """Keeps a minute of each ingester's counters."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[Counters]] = {}

    def saw(self, found: Sequence[Counters]) -> None:
        """Take in what all that are alive have counted."""
        for gone in self._kept.keys() - {process_of(one) for one in found}:
            del self._kept[gone]
        for one in found:
            kept = self._kept.setdefault(process_of(one), deque())
            if not kept or one.at > kept[-1].at:
                kept.append(one)
            while len(kept) > 2 and kept[1].at <= one.at - _MINUTE_NS:
                kept.popleft()

    def rate(self, part: str, name: str) -> float | None:
        """By how much a counter of all of them grew a second, over some ten seconds; None while nobody can know."""
        found = [self._rate(kept, part, name) for kept in self._kept.values()]
        known = [rate for rate in found if rate is not None]
        return sum(known) if known else None

    @property
    def latency(self) -> shown.Latency:
        """Of the last minute; of an ingester that has not run for so long, of all its time."""
        counts = [_difference(kept) for kept in self._kept.values() if len(kept[-1].latency) == _BUCKETS]
        whole = [sum(column) for column in zip(*counts, strict=False)]
        p50, p99 = quantile(whole, 0.5), quantile(whole, 0.99)
        return shown.Latency(p50_ms=p50 and round(p50 * 1000, 3), p99_ms=p99 and round(p99 * 1000, 3))

    def _rate(self, kept: Sequence[Counters], part: str, name: str) -> float | None:
        last = kept[-1]
        first = next(one for one in kept if one.at >= last.at - _RATE_NS)
        if first is last:
            return None
        grown: float = getattr(last, part).get(name, 0) - getattr(first, part).get(name, 0)
        return max(0.0, grown) * 1e9 / (last.at - first.at)


def process_of(one: Counters | Consumers) -> str:
    """`host:pid`."""
    return f"{one.host}:{one.pid}"


def _difference(kept: Sequence[Counters]) -> list[int]:
    first, last = kept[0].latency, kept[-1].latency
    if len(kept) == 1 or len(first) != len(last):
        return last
    return [max(0, now - before) for before, now in zip(first, last, strict=True)]
