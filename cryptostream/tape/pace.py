"""When a recorded moment is due again."""

from cryptostream.model.ports import Clock

# Waiting for less costs more than it tells.
_SOON_S = 0.001


class Pace:
    """Maps recorded time onto the clock's, from the first moment it is asked about; `speed` None never waits."""

    def __init__(self, clock: Clock, speed: float | None) -> None:
        self._clock = clock
        self._speed = speed
        self._begun: tuple[float, int] | None = None

    def wait_s(self, at: int) -> float:
        """Seconds until the recorded time `at`, in ns, is due; 0 for what is due now or late."""
        if self._speed is None:
            return 0.0
        now = self._clock.monotonic()
        began, first = self._begun = self._begun or (now, at)
        left = began + (at - first) / 1e9 / self._speed - now
        return left if left > _SOON_S else 0.0
