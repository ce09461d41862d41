"""How often somebody may: a bucket for each, which fills by itself and is emptied by use."""

from collections import OrderedDict

from cryptostream.model.ports import Clock


class Rates:
    """`burst` at once and `per_s` in the long run, for each key; at most `most` keys are remembered.

    >>> from cryptostream.testing import ManualClock
    >>> rates = Rates(ManualClock(), per_s=0.5, burst=2)
    >>> [rates.wait_s("me") for _ in range(3)], rates.wait_s("you")
    ([0.0, 0.0, 2.0], 0.0)
    """

    def __init__(self, clock: Clock, *, per_s: float, burst: float, most: int = 1024) -> None:
        self._clock = clock
        self._per_s = per_s
        self._burst = burst
        self._most = most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """Take one, and 0; or the seconds until there is one to take."""
        now_s = self._clock.monotonic()
        left, at_s = self._left.pop(key, (self._burst, now_s))
        left = min(self._burst, left + (now_s - at_s) * self._per_s)
        wait_s = 0.0 if left >= 1 else (1 - left) / self._per_s
        self._left[key] = (left if wait_s else left - 1, now_s)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return wait_s
