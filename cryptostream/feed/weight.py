"""What a venue lets an address spend: weight a minute, whoever spends it."""

from collections import deque

_WINDOW_S = 60


class WeightBudget:
    """Weight spent within any 60 seconds, so that no minute exceeds the limit wherever the venue's minutes begin.

    >>> budget = WeightBudget(limit=100)
    >>> budget.spend(80, now=0.0)
    >>> budget.wait_s(20, now=1.0), budget.wait_s(30, now=1.0)
    (0.0, 59.0)
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0

    def wait_s(self, weight: int, now: float) -> float:
        """Seconds until `weight` fits; more than the limit counts as all of it."""
        self._forget(now)
        excess = self._sum + min(weight, self._limit) - self._limit
        for spent_at, spent in self._spent:
            if excess <= 0:
                break
            excess -= spent
            if excess <= 0:
                return spent_at + _WINDOW_S - now
        return 0.0

    def spend(self, weight: int, now: float) -> None:
        self._spent.append((now, weight))
        self._sum += weight

    def told(self, used: int, now: float) -> None:
        """Take over the venue's own count where it is higher: others may share our address."""
        self._forget(now)
        if used > self._sum:
            self.spend(used - self._sum, now)

    def _forget(self, now: float) -> None:
        while self._spent and self._spent[0][0] + _WINDOW_S <= now:
            self._sum -= self._spent.popleft()[1]
