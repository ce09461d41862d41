"""Alerts to one target: tried until it takes them, one after the other, each once as far as that can be known."""

from collections.abc import Sequence
from random import Random
from types import TracebackType
from typing import Protocol, Self

import msgspec

from cryptostream import logs
from cryptostream.engine.backoff import backoff
from cryptostream.errors import CryptostreamError, Unreachable
from cryptostream.model.ports import Clock, Open, Sink
from cryptostream.transforms.alerts import Alert

FAILURES = 5
"""So many in a row, and a target is left alone for OPEN_S before each further try."""
OPEN_S = 60.0
_log = logs.get("engine")


class NotNow(Unreachable):
    """The target cannot take an alert now; it is tried again, not before `delay_s` where the target says so."""

    def __init__(self, message: str, *, hint: str = "", delay_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.delay_s = delay_s


class NotTaken(CryptostreamError):
    """The target will never take this alert."""


class Target(Open, Protocol):
    """Where alerts go. `tell` raises NotNow, BusUnavailable, NotTaken."""

    async def tell(self, alert: Alert) -> None: ...


class Ledger(Protocol):
    """Which alerts a target has taken. Both raise BusUnavailable."""

    async def has(self, alert: Alert) -> bool: ...

    async def note(self, alert: Alert) -> None: ...


class Counts(msgspec.Struct):
    """What became of alerts since the start."""

    told: int = 0
    repeated: int = 0
    """Told before this process, or by another."""
    refused: int = 0
    too_old: int = 0


class Telling(Sink):
    """Brings alerts to a target. One that was taken is noted in the ledger before the next one is tried.

    While the target does not answer, or the ledger, this waits, longer each time; after FAILURES in a row there is one
    try every OPEN_S. A target may ask for a longer pause, not for a shorter one. `trouble` says why meanwhile. What is
    older than `max_age_s` (0: never too old) is dropped, and so is what the target refuses; both are counted, and told
    with the next alert as held back.
    """

    def __init__(
        self, name: str, target: Target, ledger: Ledger, *, max_age_s: float, clock: Clock, random: Random
    ) -> None:
        self.trouble = ""
        """Why nothing can be told now; empty while it can."""
        self.counts = Counts()
        self._name = name
        self._target = target
        self._ledger = ledger
        self._max_age_s = max_age_s
        self._clock = clock
        self._random = random
        self._delays = backoff(random)
        self._failures = 0
        self._untold = 0
        self._stopped = False

    async def __aenter__(self) -> Self:
        await self._target.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._target.__aexit__(kind, error, trace)
        counted = {name: count for name, count in msgspec.structs.asdict(self.counts).items() if count}
        if counted:
            _log.info("alerts.ended", alerts=self._name, **counted)

    async def write(self, events: Sequence[Alert]) -> None:
        """Return once each of these alerts has been told, or will never be."""
        for alert in events:
            if self._stopped:
                await self._leave()
            await self._tell(msgspec.structs.replace(alert, held_back=alert.held_back + self._untold))

    def stop(self) -> None:
        """Begin no other alert: what was not begun is not accepted, and so comes again."""
        self._stopped = True

    async def _leave(self) -> None:
        """Have the pipeline give up on what is left, which it does with whatever is in trouble when it stops."""
        self.trouble = "stopped before all was told"
        while True:
            await self._clock.sleep(1.0)

    async def _tell(self, alert: Alert) -> None:
        self._untold = 0
        while not self._is_too_old(alert):
            try:
                if await self._ledger.has(alert):
                    self.counts.repeated += 1
                    self._untold = alert.held_back
                    break
                await self._target.tell(alert)
            except NotTaken as refusal:
                self._refused(alert, refusal)
                break
            except Unreachable as trouble:
                await self._wait(trouble)
            else:
                self.counts.told += 1
                await self._note(alert)
                break
        else:
            self.counts.too_old += 1
            self._untold = alert.held_back + 1
            _log.warning("alerts.too_old", alerts=self._name, entry=alert.id)
            return
        self._over()

    async def _note(self, alert: Alert) -> None:
        """Write down that it was told: until that is done, whoever is given the entry again would tell it again."""
        while True:
            try:
                await self._ledger.note(alert)
            except Unreachable as trouble:
                await self._wait(trouble)
            else:
                return

    def _is_too_old(self, alert: Alert) -> bool:
        return 0 < self._max_age_s < self._clock.now_ns() / 1e9 - alert.ts / 1e6

    def _refused(self, alert: Alert, refusal: NotTaken) -> None:
        self.counts.refused += 1
        self._untold = alert.held_back + 1
        _log.error("alerts.refused", alerts=self._name, entry=alert.id, why=_told(refusal))

    async def _wait(self, trouble: Unreachable) -> None:
        self._failures += 1
        if not self.trouble:
            _log.warning("alerts.waiting", alerts=self._name, why=_told(trouble))
        if self._failures == FAILURES:
            _log.warning("alerts.left_alone", alerts=self._name, failures=FAILURES, delay_s=OPEN_S)
        self.trouble = _told(trouble)
        await self._clock.sleep(self._delay_s(trouble))

    def _delay_s(self, trouble: Unreachable) -> float:
        asked = trouble.delay_s if isinstance(trouble, NotNow) else None
        own = OPEN_S if self._failures >= FAILURES else next(self._delays)
        return own if asked is None else max(asked, own)

    def _over(self) -> None:
        if self.trouble:
            _log.info("alerts.resumed", alerts=self._name)
        self.trouble = ""
        self._failures = 0
        self._delays = backoff(self._random)


def _told(error: CryptostreamError) -> str:
    return "; ".join(filter(None, (str(error), error.hint)))
