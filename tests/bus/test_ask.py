"""Questions to the bus: asked again for as long as it makes sense."""

import pytest

from cryptostream.bus.ask import insist
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.testing import ManualClock


class Bus:
    """Fails so often, then answers."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.asked = 0
        self._failures = failures
        self._error = error or BusUnavailable("no answer")

    async def __call__(self) -> str:
        self.asked += 1
        if self.asked <= self._failures:
            raise self._error
        return "here"


async def test_a_bus_that_is_away_for_a_moment_is_asked_again(clock: ManualClock) -> None:
    bus = Bus(failures=3)
    assert await insist(bus, clock, 30.0) == "here"
    assert bus.asked == 4


async def test_after_the_time_there_was_its_trouble_is_told(clock: ManualClock) -> None:
    began = clock.monotonic()
    with pytest.raises(BusUnavailable, match="no answer"):
        await insist(Bus(failures=10**6), clock, 5.0)
    assert clock.monotonic() - began <= 5.0


async def test_who_is_refused_does_not_insist(clock: ManualClock) -> None:
    bus = Bus(failures=1, error=BusRefused("wrong password"))
    with pytest.raises(BusRefused):
        await insist(bus, clock, 30.0)
    assert bus.asked == 1
