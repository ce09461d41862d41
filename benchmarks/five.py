"""What `strategies` runs: SMA, EMA, RSI, MACD and Bollinger bands on each bar, and an opinion now and then."""

from cryptostream.indicators import Bollinger, Ema, Macd, Rsi, Sma
from cryptostream.model.events import Bar, Signal

LONGEST = 34
_LOW, _HIGH = 20.0, 80.0


class Five:
    """Says `buy` where RSI is very low and `sell` where it is very high."""

    def __init__(self, period: int = 20, rsi_period: int = 14) -> None:
        self._sma, self._ema, self._bollinger = Sma(period), Ema(period), Bollinger(period)
        self._rsi, self._macd = Rsi(rsi_period), Macd()

    @property
    def warm_up(self) -> int:
        """Bars."""
        return LONGEST

    @property
    def values(self) -> dict[str, float | None]:
        """The newest of each."""
        macd, bands = self._macd.value, self._bollinger.value
        return {
            "sma": self._sma.value,
            "ema": self._ema.value,
            "rsi": self._rsi.value,
            "macd": macd.macd if macd is not None else None,
            "upper": bands.upper if bands is not None else None,
        }

    def on_bar(self, bar: Bar) -> list[Signal]:
        """Take in a closed bar."""
        close = bar.close
        self._sma.update(close)
        self._ema.update(close)
        self._macd.update(close)
        self._bollinger.update(close)
        rsi = self._rsi.update(close)
        if rsi is None or _LOW <= rsi <= _HIGH:
            return []
        return [Signal("buy" if rsi < _LOW else "sell", 1.0, f"RSI {rsi:.1f}")]
