"""Patience while a database is away."""

from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from cryptostream.errors import Unreachable
from cryptostream.sql.outage import Outage
from cryptostream.testing import ManualClock


def failing(times: int, outage: Outage, seen: list[str]) -> Callable[[], Awaitable[str]]:
    """An attempt that works after some times; what the outage says of itself before each is noted."""

    async def attempt() -> str:
        seen.append(outage.trouble)
        return "no answer" if len(seen) <= times else ""

    return attempt


async def test_it_tries_until_it_works_and_says_meanwhile_why_not(clock: ManualClock) -> None:
    outage, seen = Outage("market.db", clock), []
    await outage.through(failing(50, outage, seen))
    assert seen == ["", *["market.db: no answer"] * 50]
    assert outage.trouble == ""
    assert 50 * 0.25 <= clock.monotonic() <= 50 * 5.0


async def test_it_is_told_once_when_it_goes_and_once_when_it_is_back(clock: ManualClock) -> None:
    outage = Outage("market.db", clock)
    with capture_logs() as logs:
        for _ in range(2):
            await outage.through(failing(3, outage, []))
            await outage.through(failing(0, outage, []))
    assert [line["event"] for line in logs] == ["sql.away", "sql.back"] * 2


async def test_patience_has_an_end_where_one_is_told(clock: ManualClock) -> None:
    outage = Outage("market.db", clock)
    with pytest.raises(Unreachable, match="takes nothing: no answer"):
        await outage.through(failing(10**6, outage, []), patience_s=30.0)
    assert 30.0 <= clock.monotonic() <= 35.0
