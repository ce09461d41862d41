"""Patience while the bus is away: told once when it goes, waited for with back-off, told once when it is back."""

from collections.abc import Generator
from random import Random

from cryptostream import logs
from cryptostream.engine.backoff import backoff
from cryptostream.errors import BusUnavailable
from cryptostream.model.ports import Clock

_log = logs.get("bus")


class Outage:
    """Held by whoever reads in a loop: `wait` after each failure, `over` after each success."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._delays: Generator[float, float | None, None] | None = None

    async def wait(self, trouble: BusUnavailable) -> None:
        """Sleep a little longer than last time."""
        if self._delays is None:
            _log.warning("bus.away", reason=str(trouble))
            self._delays = backoff(Random(), base_s=0.5, cap_s=5.0)  # noqa: S311 - jitter, not a secret
        await self._clock.sleep(next(self._delays))

    def over(self) -> None:
        """The bus answered."""
        if self._delays is not None:
            _log.info("bus.back")
            self._delays = None
