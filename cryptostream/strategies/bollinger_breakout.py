"""The close leaves the Bollinger bands: volatility breaks out, and the opinion goes with it."""

from cryptostream.indicators.bollinger import Bollinger
from cryptostream.model.events import Bar, Signal
from cryptostream.strategies.opinion import beyond, share, sign, signal


class BollingerBreakout:
    """Bollinger breakout: go with a close outside of the bands, until it is back beyond the middle.

    * `buy`: the close crosses above the upper band.
    * `sell`: it crosses below the lower band.
    * `exit`: the close is on the other side of the middle band than the breakout was.

    Further closes outside of the same band say nothing new, until there was an exit or the other side.

    Strength: how far the close is past the band, as a share of that from the middle to the band, 1 at most.

    Bollinger, "Bollinger on Bollinger Bands" (2001), method I, "volatility breakout". The book leaves by the parabolic
    or at the opposite band, to taste; the middle is the average that the breakout broke away from.

    >>> strategy = BollingerBreakout(period=4, width=1.5)
    >>> closes = (10.0, 11.0, 10.0, 11.0, 16.0, 17.0, 13.0)
    >>> bars = [Bar("", "", "", "", 0, 0, x, x, x, x, 1, x, 1, 0, False, 0) for x in closes]
    >>> [(each.side, round(each.strength, 3), each.reason) for bar in bars for each in strategy.on_bar(bar)]
    [('buy', 0.137, 'close above the upper band'), ('exit', 1.0, 'close back below the middle band')]
    """

    def __init__(self, period: int = 20, width: float = 2.0) -> None:
        if period < 2:
            raise ValueError(f"period should be 2 or more, got {period}: one value has no deviation")
        self._bands = Bollinger(period, width)
        self._zone: int | None = None
        self._held = 0

    @property
    def warm_up(self) -> int:
        """Bars."""
        return self._bands.warm_up

    @property
    def values(self) -> dict[str, float | None]:
        """`lower`, `middle`, `upper`, in units of the price."""
        lower, middle, upper = self._bands.value or (None, None, None)
        return {"lower": lower, "middle": middle, "upper": upper}

    def on_bar(self, bar: Bar) -> list[Signal]:
        """Take in a closed bar."""
        bands, close = self._bands.update(bar.close), bar.close
        if bands is None:
            return []
        past = beyond(close, bands.lower, bands.upper, close)
        before, self._zone = self._zone, sign(past)
        if before is not None and self._zone not in (0, before, self._held):
            self._held = self._zone
            strength = share(abs(past), bands.upper - bands.middle)
            if past > 0:
                return signal("buy", strength, "close above the upper band", self.values)
            return signal("sell", strength, "close below the lower band", self.values)
        if self._held and sign(beyond(close, bands.middle, bands.middle, close)) == -self._held:
            reason = f"close back {'below' if self._held > 0 else 'above'} the middle band"
            self._held = 0
            return signal("exit", 1.0, reason, self.values)
        return []
