"""What all connections to one venue share: how often our address may connect, and how long we are shut out."""

import errno
import ssl
from math import inf

from cryptostream.engine.backoff import Budget
from cryptostream.errors import VenueUnavailable
from cryptostream.feed.transport import Refused
from cryptostream.model.ports import Clock
from cryptostream.venues.base import Limits

_BANNED_S = {429: 60.0, 418: 120.0}
_NO_FILES = (errno.EMFILE, errno.ENFILE)


class Gate:
    """Lets attempts to connect through one by one, and decides when a start is hopeless."""

    def __init__(self, limits: Limits, clock: Clock, *, connect_timeout_s: float) -> None:
        self.budget = Budget(limits.connects, limits.connects_window_s)
        self.connected = False
        self._clock = clock
        self._not_before = 0.0
        self._reason = "no answer in time"
        self._connect_timeout_s = connect_timeout_s
        self.begin()

    def begin(self) -> None:
        """The time that a start may take begins now."""
        self._give_up_at = self._clock.monotonic() + self._connect_timeout_s

    def be_patient(self) -> None:
        """No start is waited for any more: an attempt that fails is made again, for ever."""
        self._give_up_at = inf

    async def passed(self) -> None:
        """Wait until another attempt is allowed."""
        await self._clock.sleep(self.budget.take(self._clock.monotonic()))
        while (left_s := self._not_before - self._clock.monotonic()) > 0:  # somebody may be told meanwhile to wait
            await self._clock.sleep(left_s)

    @property
    def left_s(self) -> float:
        """Seconds until the start is given up; without end once anybody was connected."""
        return inf if self.connected else max(0.0, self._give_up_at - self._clock.monotonic())

    def failed(self, error: Exception, url: str) -> None:
        """An attempt failed: whoever is asked for patience makes everybody wait.

        Raises VenueUnavailable while nobody was ever connected: at once where trying again cannot help, else when the
        time of the start is over.
        """
        self._reason = str(error) or self._reason  # the last try is cut short by the time-out, and says nothing
        if isinstance(error, Refused) and error.status in _BANNED_S:
            wait_s = error.retry_after_s or _BANNED_S[error.status]
            self._not_before = max(self._not_before, self._clock.monotonic() + wait_s)
        if not self.connected and self._give_up_at < inf:
            self._check(error, url)

    def _check(self, error: Exception, url: str) -> None:
        if isinstance(error, Refused) and error.status == 403:
            hint = "its firewall refuses this address; the venue may not serve this country"
            raise VenueUnavailable(f"{url} answers 403 to the handshake", hint=hint) from error
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = "check the address and this machine's clock and CA certificates; there is no plain-text fallback"
            raise VenueUnavailable(
                f"the certificate of {url} is not valid: {error.verify_message}", hint=hint
            ) from error
        patience_s = self._not_before - self._clock.monotonic()
        if not self.left_s or patience_s > self.left_s:
            told = f", to be tried again in {patience_s:.0f} s" if patience_s > 0 else ""
            raise VenueUnavailable(f"no connection to {url}: {self._reason}{told}", hint=_hint(error)) from error


def why(error: Exception) -> str:
    """What to say about a connection that could not be made."""
    if _out_of_files(error):
        return "no file handle is left for another connection; raise the limit: ulimit -n"
    return str(error) or type(error).__name__


def _hint(error: Exception) -> str:
    if _out_of_files(error):
        return "raise the limit of open files: ulimit -n"
    return "check the address and the network: cryptostream doctor"


def _out_of_files(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_FILES
