"""Names become indicators: our own, those of other packages, and `talipp:ADX`."""

import inspect
from collections.abc import Mapping
from typing import Any

from cryptostream import registry
from cryptostream.errors import ConfigError
from cryptostream.indicators import talipp
from cryptostream.indicators.atr import Atr
from cryptostream.indicators.base import Indicator
from cryptostream.indicators.bollinger import Bollinger
from cryptostream.indicators.ema import Ema
from cryptostream.indicators.extremes import Highest, Lowest
from cryptostream.indicators.macd import Macd
from cryptostream.indicators.rsi import Rsi
from cryptostream.indicators.sma import Sma
from cryptostream.indicators.stochastic import Stochastic
from cryptostream.indicators.vwap import Vwap

OWN: Mapping[str, type] = {
    "atr": Atr,
    "bollinger": Bollinger,
    "ema": Ema,
    "highest": Highest,
    "lowest": Lowest,
    "macd": Macd,
    "rsi": Rsi,
    "sma": Sma,
    "stochastic": Stochastic,
    "vwap": Vwap,
}


REQUIRED = inspect.Parameter.empty


def make(name: str, **params: Any) -> Indicator[Any, Any]:
    """A new indicator by its name: ours, one that another package registered, or `talipp:` and a class of talipp.

    >>> make("ema", period=9).warm_up
    9

    Raises ConfigError for a name that nobody knows, a parameter that it does not have, and a value that makes no sense.
    """
    if name.startswith(talipp.PREFIX):
        return talipp.make(name.removeprefix(talipp.PREFIX), params)
    kind = _kind(name)
    known = parameters(name)
    if unknown := [param for param in params if param not in known]:
        hint = registry.did_you_mean(unknown[0], known) or f"its parameters: {', '.join(known) or 'none'}"
        raise ConfigError(f'indicator "{name}" has no parameter "{unknown[0]}"', hint=hint)
    if missing := [param for param, default in known.items() if default is REQUIRED and param not in params]:
        raise ConfigError(f'indicator "{name}" needs a parameter "{missing[0]}"')
    try:
        made: Indicator[Any, Any] = kind(**params)
    except ValueError as error:
        raise ConfigError(f'indicator "{name}": {error}') from error
    return made


def names() -> tuple[str, ...]:
    """All names that `make` knows, sorted; talipp's last, where it is installed."""
    return (*sorted({*OWN, *registry.names("indicators")}), *(talipp.PREFIX + name for name in talipp.names()))


def parameters(name: str) -> dict[str, Any]:
    """The parameters of an indicator and their defaults, in their order; `REQUIRED` where there is none.

    >>> parameters("bollinger")
    {'period': 20, 'width': 2.0}

    Raises ConfigError for a name that nobody knows.
    """
    known = inspect.signature(_kind(name)).parameters
    return {param: wanted.default for param, wanted in known.items() if param not in talipp.WIRING}


def about(name: str) -> str:
    """The first line of what an indicator says of itself. Raises ConfigError for a name that nobody knows."""
    kind = _kind(name)
    first = (kind.__doc__ or "").strip().partition("\n")[0]
    return f"{kind.__name__}." if first.endswith(":") else first  # talipp's ZigZag begins with a heading


def _kind(name: str) -> Any:
    if name.startswith(talipp.PREFIX):
        return talipp.kind(name.removeprefix(talipp.PREFIX))
    if name in OWN:
        return OWN[name]
    if name in registry.names("indicators"):
        return registry.load("indicators", name)
    known = names()
    hint = registry.did_you_mean(name, known) or f"known: {', '.join(known)}"
    raise ConfigError(f'unknown indicator "{name}"', hint=hint)
