"""RSI leaves the range of one kind of market for that of the other."""

from cryptostream.indicators.rsi import Rsi
from cryptostream.model.events import Bar, Signal
from cryptostream.strategies.opinion import Side, beyond, rising, share, signal


class RsiTrend:
    """RSI trend following: RSI leaves the range of a falling market, or that of a rising one.

    In a rising market RSI moves between 40 and 80, in a falling one between 20 and 60.

    * `buy`: RSI crosses above `bull`, which a falling market does not let it do.
    * `sell`: RSI crosses below `bear`, which a rising market does not let it do.

    Between the two the last opinion holds. `bull=50`, `bear=50` is the crossing of the middle line, which Chong and Ng
    found to earn (Applied Economics Letters 15, 2008), with more false starts.

    Strength: how far RSI has gone past the line on its way to 100 (to 0).

    The ranges are Cardwell's, in Brown, "Technical Analysis for the Trading Professional" (1999); RSI is Wilder's.

    >>> strategy = RsiTrend(period=2)
    >>> closes = (10.0, 9.0, 8.0, 9.0, 10.0, 9.0)
    >>> bars = [Bar("", "", "", "", 0, 0, x, x, x, x, 1, x, 1, 0, False, 0) for x in closes]
    >>> [(each.side, round(each.strength, 2), each.reason) for bar in bars for each in strategy.on_bar(bar)]
    [('buy', 0.38, 'RSI 75.0 crossed above 60'), ('sell', 0.06, 'RSI 37.5 crossed below 40')]
    """

    def __init__(self, period: int = 14, bull: float = 60.0, bear: float = 40.0) -> None:
        rising(bear=bear, bull=bull)
        self._rsi = Rsi(period)
        self._bull, self._bear = bull, bear
        self._side = Side()

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
        past = beyond(rsi, self._bear, self._bull)
        crossed = self._side.crossed(past)
        if crossed > 0:
            reason = f"RSI {rsi:.1f} crossed above {self._bull:g}"
            return signal("buy", share(past, 100.0 - self._bull), reason, self.values)
        if crossed < 0:
            return signal("sell", share(-past, self._bear), f"RSI {rsi:.1f} crossed below {self._bear:g}", self.values)
        return []
