"""Every way a command can fail, and the exit code each one ends with."""


class CryptostreamError(Exception):
    """Base of all errors a person is meant to read: one line that says what happened, to what, and what to do."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(CryptostreamError):
    """The command line itself is wrong."""

    exit_code = 2


class CheckFailed(CryptostreamError):
    """A check that was asked for did not hold."""

    exit_code = 3


class NotFound(CryptostreamError):
    """No such stream, symbol or file."""

    exit_code = 4


class Unreachable(CryptostreamError):
    """The bus or an exchange is out of reach."""

    exit_code = 5


class BusUnavailable(Unreachable):
    """Redis does not answer, or answers that it cannot serve now."""


class VenueUnavailable(Unreachable):
    """An exchange or data provider does not answer, or refuses us."""


class NoAnswer(Unreachable):
    """Who was asked has not answered in time; what was asked for may have been done all the same."""


class DataQuality(CryptostreamError):
    """The data itself is at fault: a gap, a damaged file, a digest that differs."""

    exit_code = 6


class StrategyFailed(DataQuality):
    """A strategy raised at an entry; it may have changed its mind half-way."""

    strategy = ""
    entry_id = ""


class ConfigError(CryptostreamError):
    """The configuration cannot be used: unknown keys, wrong values, missing rights."""

    exit_code = 78


class BusRefused(ConfigError):
    """Redis answers and refuses: wrong password, missing rights, a key of another type."""


class Fenced(CryptostreamError):
    """Somebody else owns this now: what was about to be written has not been."""


class StateRefused(ConfigError):
    """Saved state is of another version or another configuration, and is not taken for what it is not."""


class BadFrame(ValueError):
    """A frame from a venue that cannot be read; carries the reason, never stops a feed."""
