"""Patience while the bus is away: told once when it goes, waited for with back-off, told once when it is back."""

from collections.abc import Generator
from random import Random
from typing import TYPE_CHECKING
from weakref import WeakSet

from cryptostream import logs
from cryptostream.engine.backoff import backoff
from cryptostream.errors import BusUnavailable
from cryptostream.model.ports import Clock

if TYPE_CHECKING:
    from cryptostream.bus.connect import Bus

_log = logs.get("bus")


class Outage:
    """Held by whoever reads in a loop: `wait` after each failure, `over` after each success.

    Of all who wait for one `bus`, the first tells that it is away, and the last that it is back.
    """

    def __init__(self, clock: Clock, bus: "Bus | None" = None) -> None:
        self._clock = clock
        self._waiting: WeakSet[object] = WeakSet() if bus is None else bus.waiting
        self._delays: Generator[float, float | None, None] | None = None

    async def wait(self, trouble: BusUnavailable) -> None:
        """Sleep a little longer than last time."""
        if self._delays is None:
            if not self._waiting:
                _log.warning("bus.away", reason=str(trouble))
            self._waiting.add(self)
            self._delays = backoff(Random(), base_s=0.5, cap_s=5.0)  # noqa: S311 - jitter, not a secret
        await self._clock.sleep(next(self._delays))

    def over(self) -> None:
        """The bus answered."""
        self._delays = None
        if self in self._waiting:
            self._waiting.discard(self)
            if not self._waiting:
                _log.info("bus.back")
