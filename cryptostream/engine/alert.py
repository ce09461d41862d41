"""What an operator has to be told although all goes on: frames that cannot be read, streams that wait for long."""

from collections import deque
from collections.abc import Iterable

from cryptostream.engine.stats import FeedStats, PairFacts

WINDOW_S = 60.0
UNREADABLE = 0.01
"""The share of a minute's frames that may be unreadable."""


class Alert:
    """Looks at the counters every few seconds and says what is wrong for as long as it is."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int]] = deque([(0.0, 0, 0)], maxlen=1000)
        self._filling: dict[tuple[str, str, str], float] = {}

    def look(self, now_s: float, feed: FeedStats, pairs: Iterable[PairFacts]) -> list[str]:
        """What is wrong at a moment of a clock that never steps back, one short phrase each; mostly nothing.

        >>> alert = Alert()
        >>> alert.look(3.0, FeedStats(total_messages=1000, error_messages=200), ())
        ['200 of the 1,000 frames of the last minute could not be read']
        >>> alert.look(90.0, FeedStats(total_messages=2000, error_messages=201), ())
        []
        """
        return [*self._unreadable(now_s, feed), *self._waiting(now_s, pairs)]

    def _unreadable(self, now_s: float, feed: FeedStats) -> list[str]:
        self._samples.append((now_s, feed.total_messages, feed.error_messages))
        while len(self._samples) > 2 and self._samples[1][0] <= now_s - WINDOW_S:
            self._samples.popleft()
        _, total, bad = self._samples[0]
        total, bad = feed.total_messages - total, feed.error_messages - bad
        if bad <= UNREADABLE * total:
            return []
        return [f"{bad:,} of the {total:,} frames of the last minute could not be read"]

    def _waiting(self, now_s: float, pairs: Iterable[PairFacts]) -> list[str]:
        filling = {(one.exchange, one.channel, one.pair) for one in pairs if one.state == "filling"}
        self._filling = {one: self._filling.get(one, now_s) for one in filling}
        long = sum(now_s - since_s >= WINDOW_S for since_s in self._filling.values())
        if not long:
            return []
        return [f"{long:,} stream{'s have' if long > 1 else ' has'} waited for missing data for over a minute"]
