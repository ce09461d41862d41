"""Patience while a database is away: told once when it goes, tried with back-off, told once when it is back."""

from collections.abc import Awaitable, Callable, Generator
from math import inf
from random import Random

from cryptostream import logs
from cryptostream.engine.backoff import backoff
from cryptostream.errors import Unreachable
from cryptostream.model.ports import Clock

START_S = 30.0
"""How long a start waits for a database that may come up beside it."""

_log = logs.get("sql")


class Outage:
    """What a sink asks to try for it; `trouble` says why nothing can be written now and is empty while it can."""

    def __init__(self, database: str, clock: Clock) -> None:
        self.trouble = ""
        self._database = database
        self._clock = clock

    async def through(self, attempt: Callable[[], Awaitable[str]], *, patience_s: float = inf) -> None:
        """Attempt until it works; an attempt gives the reason why it did not, or an empty text.

        Raises what the attempt raises, and Unreachable with the reason after `patience_s`.
        """
        deadline = self._clock.monotonic() + patience_s
        delays = backoff(Random(), base_s=0.5, cap_s=5.0)  # noqa: S311 - jitter, not a secret
        while reason := await attempt():
            if self._clock.monotonic() >= deadline:
                raise Unreachable(f"{self._database} takes nothing: {reason}")
            await self._wait(reason, delays)
        self._over()

    async def _wait(self, reason: str, delays: Generator[float, float | None, None]) -> None:
        if not self.trouble:
            _log.warning("sql.away", database=self._database, reason=reason)
        self.trouble = f"{self._database}: {reason}"
        await self._clock.sleep(next(delays))

    def _over(self) -> None:
        if self.trouble:
            _log.info("sql.back", database=self._database)
            self.trouble = ""
