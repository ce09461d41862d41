"""RSI comes back from an end of its range: the move was too far, and the price goes back to its middle."""

from cryptostream.indicators.rsi import Rsi
from cryptostream.model.events import Bar, Signal
from cryptostream.strategies.opinion import beyond, rising, share, sign, signal


class RsiReversion:
    """RSI mean reversion: what is oversold or overbought comes back, and the middle is where that ends.

    * `buy`: RSI crosses back above `oversold`, unless it jumps over `middle` at once.
    * `sell`: RSI crosses back below `overbought`, unless it falls through `middle` at once.
    * `exit`: RSI has reached `middle`.

    It waits for the way back, for RSI can stay at an end as long as a trend lasts. Until there was an exit, another
    visit to the same end says nothing new.

    Strength: how deep RSI went beyond the line: 0 at the line, 1 at the end of its range (0 or 100); of an exit 1.

    Wilder, "New Concepts in Technical Trading Systems" (1978): 30 and 70; Murphy, "Technical Analysis of the Financial
    Markets" (1999) on waiting for the way back.

    >>> strategy = RsiReversion(period=2)
    >>> closes = (10.0, 11.0, 9.0, 7.0, 8.0, 9.0)
    >>> bars = [Bar("", "", "", "", 0, 0, x, x, x, x, 1, x, 1, 0, False, 0) for x in closes]
    >>> [(each.side, round(each.strength, 2), each.reason) for bar in bars for each in strategy.on_bar(bar)]
    [('buy', 0.52, 'RSI 45.5 is back above 30'), ('exit', 1.0, 'RSI 68.4 has reached 50')]
    """

    def __init__(
        self, period: int = 14, oversold: float = 30.0, overbought: float = 70.0, middle: float = 50.0
    ) -> None:
        rising(oversold=oversold, middle=middle, overbought=overbought)
        self._rsi = Rsi(period)
        self._oversold, self._overbought, self._middle = oversold, overbought, middle
        self._depth = 0.0  # how far beyond an end RSI went, while it is there
        self._zone: int | None = None
        self._held = 0

    @property
    def warm_up(self) -> int:
        """Bars."""
        return self._rsi.warm_up

    @property
    def values(self) -> dict[str, float | None]:
        """`rsi`, from 0 to 100."""
        return {"rsi": self._rsi.value}

    def on_bar(self, bar: Bar) -> list[Signal]:
        """Take in a closed bar."""
        rsi = self._rsi.update(bar.close)
        if rsi is None:
            return []
        past = beyond(rsi, self._oversold, self._overbought)
        before, self._zone = self._zone, sign(past)
        depth, self._depth = self._depth, self._deepest(past, before)
        to_middle = sign(beyond(rsi, self._middle, self._middle))
        if self._held and to_middle in (0, self._held):
            return self._reached(rsi)
        if before and self._zone == 0 and to_middle == before and self._held != -before:
            self._held = -before
            return self._back(rsi, depth)
        return []

    def _deepest(self, past: float, before: int | None) -> float:
        return max(abs(past), self._depth) if self._zone == before else abs(past)

    def _back(self, rsi: float, depth: float) -> list[Signal]:
        if self._held > 0:
            reason = f"RSI {rsi:.1f} is back above {self._oversold:g}"
            return signal("buy", share(depth, self._oversold), reason, self.values)
        reason = f"RSI {rsi:.1f} is back below {self._overbought:g}"
        return signal("sell", share(depth, 100.0 - self._overbought), reason, self.values)

    def _reached(self, rsi: float) -> list[Signal]:
        self._held = 0
        return signal("exit", 1.0, f"RSI {rsi:.1f} has reached {self._middle:g}", self.values)
