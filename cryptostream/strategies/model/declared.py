"""Features as people declare them in YAML become features.

features:
  ret_1: {returns: 1}                   # a bare number is the first parameter
  rsi: {rsi: {period: 14}}              # any indicator, by its name, with its parameters
  macd: macd                            # all by its defaults: macd, macd_signal, macd_histogram
  adx: {"talipp:ADX": {adx_period: 14}}
  volume_z: {volume_z: 20}
"""

import inspect
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from math import sin
from typing import Any, cast

from cryptostream import indicators
from cryptostream.errors import CryptostreamError
from cryptostream.model.events import Bar, Micros
from cryptostream.registry import did_you_mean
from cryptostream.transforms.features import Feature, Features, Of, Range, Returns, TakerShare, VolumeZ

DEFAULT: dict[str, Any] = {
    "ret_1": {"returns": 1},
    "ret_5": {"returns": 5},
    "rsi": {"rsi": {"period": 14}},
    "volume_z": {"volume_z": 20},
}
OWN: dict[str, type] = {"returns": Returns, "range": Range, "volume_z": VolumeZ, "taker_share": TakerShare}
"""What is a feature and no indicator."""
RESERVED = ("prediction",)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}", re.ASCII)
_LONGEST = 20_000
_MOST = 200


def features(declared: Mapping[str, Any]) -> Features:
    """The features of a declaration, in its order.

    Raises ValueError, with the name of the feature, for what nobody knows and for parameters that make no sense.
    """
    if not declared or len(declared) > _MOST:
        raise ValueError(f"{len(declared)} features: from 1 to {_MOST}, each as name: indicator")
    made = {_name(name): _feature(name, told) for name, told in declared.items()}
    whole = Features(made)
    for name in RESERVED:
        if name in whole.names:
            raise ValueError(f"the feature {name} needs another name: that is what the model says")
    return whole


def _name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a feature: lower case letters, digits and _, at most 48")
    return name


def _feature(name: str, told: Any) -> Feature:
    kind, params = _kind_and_params(name, told)
    try:
        if kind in OWN:
            return cast(Feature, OWN[kind](**_checked(OWN[kind], params)))
        return _indicator(kind, _named(kind, params))
    except (ValueError, TypeError, CryptostreamError) as error:
        hint = getattr(error, "hint", "")
        raise ValueError(f"the feature {name}: {error}{f'; {hint}' if hint else ''}") from error


def _kind_and_params(name: str, told: Any) -> tuple[str, Any]:
    if isinstance(told, str):
        return told, {}
    if isinstance(told, Mapping) and len(told) == 1:
        kind, params = next(iter(told.items()))
        if isinstance(kind, str):
            return kind, {} if params is None else params
    raise ValueError(f"the feature {name} is told as the name of an indicator or as {{name: parameters}}")


def _checked(kind: type, params: Any) -> dict[str, Any]:
    """The parameters of one of our own features, each of the type of its default."""
    known = inspect.signature(kind).parameters
    given = dict(params) if isinstance(params, Mapping) else dict(zip(list(known)[:1], [params], strict=False))
    for key, value in given.items():
        if key not in known:
            raise ValueError(did_you_mean(str(key), known) or f"it has no {key!r}: {', '.join(known) or 'nothing'}")
        if type(value) is not type(known[key].default):
            raise ValueError(f"{key} is {value!r}, and not as in {key}={known[key].default}")
    return given


def _named(kind: str, params: Any) -> dict[str, Any]:
    if isinstance(params, Mapping):
        return dict(params)
    raise ValueError(f"the parameters of {kind} go by their names, as in {{period: 14}}, got {params!r}")


def _indicator(kind: str, params: dict[str, Any]) -> Feature:
    fields, warm_up = _numbers_of(kind, json.dumps(params, sort_keys=True))
    return Of(indicators.make(kind, **params), _read, fields, warm_up)


def _read(indicator: Any, bar: Bar) -> Mapping[str, float]:
    return indicators.parts(indicators.feed(indicator, bar))


@lru_cache(maxsize=1024)
def _numbers_of(kind: str, params: str) -> tuple[tuple[str, ...], int]:
    """Which numbers an indicator has, and how many bars it takes until all are there: seen on a made-up market.

    Only the indicator itself knows, and for some it depends on the prices.
    """
    indicator = indicators.make(kind, **json.loads(params))
    seen: dict[str, int] = {}
    for count in range(1, _LONGEST + 1):
        for field in _read(indicator, _made_up(count)):
            seen.setdefault(field, count)
        if seen and count >= 2 * max(seen.values()) + 16:
            return tuple(seen), max(seen.values())
    raise ValueError(f"{kind} has no value after {_LONGEST} bars")


def _made_up(count: int) -> Bar:
    """A bar of a market that goes up and down in several rhythms; the same each time."""
    opened, close = (
        100 + sin(when * 0.7) + 5 * sin(when * 0.11) + 20 * sin(when * 0.013) for when in (count - 1, count)
    )
    reach, volume = 0.2 + abs(sin(count * 1.3)), 10 + 9 * sin(count * 0.9)
    return Bar(
        entry_id=f"{count}-0",
        exchange="none",
        pair="NONE",
        interval="1m",
        open_time=(count - 1) * 60_000,
        close_time=count * 60_000 - 1,
        open=opened,
        high=max(opened, close) + reach,
        low=min(opened, close) - reach,
        close=close,
        volume=volume,
        quote_volume=volume * close,
        trades=count,
        taker_buy_volume=volume / 2,
        gap=False,
        ts=Micros(count * 60_000_000),
    )
