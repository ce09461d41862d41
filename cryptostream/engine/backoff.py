"""How long to wait before trying again: full jitter, a cap, and no forgetting before things stayed well for a while.

After https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ ("full jitter").
"""

from collections import deque
from collections.abc import Generator
from random import Random

HEALTHY_S = 30.0


def backoff(
    random: Random, *, base_s: float = 0.5, cap_s: float = 30.0, floor_s: float = 0.25
) -> Generator[float, float | None, None]:
    """Delays in seconds. Send back how long the attempt stayed healthy; 30 s or more starts over.

    >>> delays = backoff(Random(1), base_s=1.0)
    >>> 0.25 <= next(delays) <= 1.0
    True
    >>> 0.25 <= delays.send(0.1) <= 2.0
    True
    """
    ceiling = base_s
    while True:
        healthy_s = yield max(floor_s, random.uniform(0, ceiling))
        ceiling = base_s if (healthy_s or 0.0) >= HEALTHY_S else min(cap_s, ceiling * 2)


class Budget:
    """At most `limit` attempts in any `window_s` seconds, whoever makes them.

    >>> budget = Budget(limit=2, window_s=10)
    >>> [budget.take(now) for now in (0.0, 1.0, 2.0)]
    [0.0, 0.0, 8.0]
    """

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit = limit
        self._window_s = window_s
        self._starts: deque[float] = deque(maxlen=limit)

    def take(self, now: float) -> float:
        """Reserve the next attempt and return how many seconds to wait for it."""
        full = len(self._starts) == self._limit
        start = max(now, self._starts[0] + self._window_s) if full else now
        self._starts.append(start)
        return start - now
