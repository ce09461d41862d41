"""Names become classes here: what is built in and what other packages add by entry points."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from cryptostream.errors import ConfigError

KINDS = {
    "venues": "venue",
    "sinks": "sink",
    "transforms": "transform",
    "strategies": "strategy",
    "indicators": "indicator",
}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known word, or an empty string.

    >>> did_you_mean("BTCUSTD", ["BTCUSDT", "ETHUSDT"])
    'did you mean "BTCUSDT"?'
    """
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else ""


@cache
def names(kind: str) -> tuple[str, ...]:
    """The names registered for one kind, sorted.

    >>> "binance" in names("venues")
    True
    """
    return tuple(sorted({point.name for point in entry_points(group=f"cryptostream.{kind}")}))


@cache
def load(kind: str, name: str) -> Any:
    """The class registered under a name.

    Raises ConfigError for a name that nobody registered, and for a class that is not there.
    """
    for point in entry_points(group=f"cryptostream.{kind}", name=name):
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(f'{KINDS[kind]} "{name}" cannot be loaded: {error}') from error
    known = names(kind)
    hint = did_you_mean(name, known) or f"known: {', '.join(known) or 'none'}"
    raise ConfigError(f'unknown {KINDS[kind]} "{name}"', hint=hint)


def summary(kind: str, name: str) -> str:
    """The first line of what a registered class says of itself."""
    return (load(kind, name).__doc__ or "").strip().partition("\n")[0]
