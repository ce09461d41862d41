"""Two moving averages cross: the golden cross and the death cross."""

from typing import Literal

from cryptostream.indicators.base import whole
from cryptostream.indicators.ema import Ema
from cryptostream.indicators.sma import Sma
from cryptostream.model.events import Bar, Signal
from cryptostream.strategies.opinion import Side, beyond, sign, signal


class MaCross:
    """Golden and death cross: a fast moving average of closes crosses a slow one.

    * `buy`: the fast average crosses above the slow one (golden cross).
    * `sell`: it crosses below (death cross).

    Strength: 1 where the slow average already moves the way of the cross, 0.5 where it does not yet: a crossing of a
    turned average is the one to trust.

    Murphy, "Technical Analysis of the Financial Markets" (1999), "the double crossover method"; Brock, Lakonishok,
    LeBaron, Journal of Finance 47 (1992), tried such rules on ninety years of the Dow. `average` is `sma` or `ema`.

    >>> strategy = MaCross(fast=1, slow=3)
    >>> closes = (5.0, 4.0, 3.0, 6.0, 9.0, 6.5)
    >>> bars = [Bar("", "", "", "", 0, 0, x, x, x, x, 1, x, 1, 0, False, 0) for x in closes]
    >>> [(each.side, each.strength, each.reason) for bar in bars for each in strategy.on_bar(bar)]
    [('buy', 1.0, 'golden cross'), ('sell', 0.5, 'death cross')]
    """

    def __init__(self, fast: int = 50, slow: int = 200, average: Literal["sma", "ema"] = "sma") -> None:
        if average not in ("sma", "ema"):
            raise ValueError(f"average should be sma or ema, got {average!r}")
        if fast >= slow:
            raise ValueError(f"fast should be less than slow, got {fast} and {slow}")
        whole("fast", fast)
        kind = Ema if average == "ema" else Sma
        self._fast, self._slow = kind(fast), kind(slow)
        self._side = Side()

    @property
    def warm_up(self) -> int:
        """Bars."""
        return self._slow.warm_up

    @property
    def values(self) -> dict[str, float | None]:
        """`fast` and `slow`, in units of the price."""
        return {"fast": self._fast.value, "slow": self._slow.value}

    def on_bar(self, bar: Bar) -> list[Signal]:
        """Take in a closed bar."""
        before = self._slow.value
        fast, slow = self._fast.update(bar.close), self._slow.update(bar.close)
        if fast is None or slow is None:
            return []
        crossed = self._side.crossed(beyond(fast, slow, slow, bar.close))
        if not crossed or before is None:
            return []
        strength = 1.0 if sign(slow - before) == crossed else 0.5
        if crossed > 0:
            return signal("buy", strength, "golden cross", self.values)
        return signal("sell", strength, "death cross", self.values)
