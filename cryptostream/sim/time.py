"""The exchange's own time: as fast as it was asked to run, ahead or behind ours by a skew, and still while halted."""

from cryptostream.model.ports import Clock
from cryptostream.sim.frames import EVENT_DELAY_US
from cryptostream.sim.tape_market import Tape


class ExchangeTime:
    """Microseconds since the epoch, for the exchange. A tape runs in the time of its recording, from `start` on."""

    def __init__(self, clock: Clock, *, speed: float = 1.0, skew_s: float = 0.0, tape: Tape | None = None) -> None:
        self._clock, self._speed = clock, speed
        self._base_us = tape.starts_us if tape else clock.now_ns() // 1_000 + round(skew_s * 1_000_000)
        self._began_s: float | None = None if tape else clock.monotonic()
        self._halted_us: int | None = None

    def start(self) -> None:
        """Let a tape begin; does nothing the second time."""
        if self._began_s is None:
            self._began_s = self._clock.monotonic()

    def halt(self) -> None:
        """Stand still from now on."""
        self._halted_us = self.now_us()

    def now_us(self) -> int:
        if self._halted_us is not None:
            return self._halted_us
        if self._began_s is None:
            return self._base_us
        return self._base_us + round((self._clock.monotonic() - self._began_s) * self._speed * 1_000_000)

    def told_us(self) -> int:
        """Up to when events are told: when halted, also that of the very last trade, which comes a moment after it."""
        return self.now_us() + (EVENT_DELAY_US if self._halted_us is not None else 0)
