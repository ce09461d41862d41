"""The close breaks the highest high or the lowest low of the bars before it."""

from cryptostream.indicators.atr import Atr
from cryptostream.indicators.base import whole
from cryptostream.indicators.extremes import Highest, Lowest
from cryptostream.model.events import Bar, Signal
from cryptostream.strategies.opinion import beyond, share, sign, signal


class SupportResistance:
    """Support/resistance breakout: resistance is the highest high of the last `period` bars, support their lowest low.

    The bars before this one, that is: a bar cannot break what it makes itself.

    * `buy`: the close crosses above resistance by more than `buffer` average true ranges.
    * `sell`: it crosses below support by more than that.
    * `exit`: after a buy the close is below the lowest low of the last `exit_period` bars, after a sell above their
      highest high.

    Further breaks of the same side say nothing new, until there was an exit or the other side.

    Strength: how far the close is past resistance (support), in average true ranges of the bars before, 1 at most.

    Donchian's channel, with the Turtles' 20 and 10 bars (Faith, "Way of the Turtle", 2007, system 1; they did not wait
    for the close). Breakouts of trading ranges, and a band against false ones: Brock, Lakonishok, LeBaron, Journal of
    Finance 47 (1992).

    >>> strategy = SupportResistance(period=3, exit_period=2, atr_period=2)
    >>> closes = (10.0, 12.0, 10.0, 12.0, 12.5, 13.0, 11.0, 9.0)
    >>> bars = [Bar("", "", "", "", 0, 0, x, x, x, x, 1, x, 1, 0, False, 0) for x in closes]
    >>> [(each.side, each.strength, each.reason) for bar in bars for each in strategy.on_bar(bar)]
    [('buy', 0.25, 'close above resistance 12'), ('sell', 1.0, 'close below support 12')]
    """

    def __init__(self, period: int = 20, exit_period: int = 10, atr_period: int = 20, buffer: float = 0.0) -> None:
        if not 0 <= buffer < float("inf"):
            raise ValueError(f"buffer should be 0 or more average true ranges, got {buffer}")
        whole("exit_period", exit_period)
        self._highest, self._lowest = Highest(period), Lowest(period)
        self._exit_high, self._exit_low = Highest(exit_period), Lowest(exit_period)
        self._atr = Atr(whole("atr_period", atr_period))
        self._buffer = buffer
        self._levels: dict[str, float | None] = dict.fromkeys(
            ("resistance", "support", "exit_high", "exit_low", "atr"), None
        )
        self._zone: int | None = None
        self._held = 0

    @property
    def warm_up(self) -> int:
        """Bars: to have the levels, and one more to see a side of them."""
        return 1 + max(self._highest.warm_up, self._exit_high.warm_up, self._atr.warm_up)

    @property
    def values(self) -> dict[str, float | None]:
        """What the newest bar was held against: `resistance`, `support`, `exit_high`, `exit_low`, `atr`."""
        return dict(self._levels)

    def on_bar(self, bar: Bar) -> list[Signal]:
        """Take in a closed bar."""
        resistance, support, atr = self._highest.value, self._lowest.value, self._atr.value
        exit_high, exit_low = self._exit_high.value, self._exit_low.value
        self._take(bar)
        if resistance is None or support is None or atr is None or exit_high is None or exit_low is None:
            return []
        self._levels = {
            "resistance": resistance,
            "support": support,
            "exit_high": exit_high,
            "exit_low": exit_low,
            "atr": atr,
        }
        buffer = self._buffer * atr
        before, self._zone = self._zone, sign(beyond(bar.close, support - buffer, resistance + buffer, bar.close))
        if before is not None and self._zone not in (0, before, self._held):
            self._held = self._zone
            return self._broken(bar.close, support, resistance, atr)
        if self._held and sign(beyond(bar.close, exit_low, exit_high, bar.close)) == -self._held:
            return self._left()
        return []

    def _take(self, bar: Bar) -> None:
        self._highest.update(bar.high)
        self._exit_high.update(bar.high)
        self._lowest.update(bar.low)
        self._exit_low.update(bar.low)
        self._atr.update(bar)

    def _broken(self, close: float, support: float, resistance: float, atr: float) -> list[Signal]:
        if self._held > 0:
            return signal("buy", share(close - resistance, atr), f"close above resistance {resistance:g}", self.values)
        return signal("sell", share(support - close, atr), f"close below support {support:g}", self.values)

    def _left(self) -> list[Signal]:
        reason = "close below the exit low" if self._held > 0 else "close above the exit high"
        self._held = 0
        return signal("exit", 1.0, reason, self.values)
