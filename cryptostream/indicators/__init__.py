"""Incremental indicators: floats or bars in, a value or None out, O(1) time and memory an update."""

from cryptostream.indicators.atr import Atr
from cryptostream.indicators.base import Indicator, feed, parts, read
from cryptostream.indicators.bollinger import Bands, Bollinger
from cryptostream.indicators.ema import Ema
from cryptostream.indicators.extremes import Highest, Lowest
from cryptostream.indicators.macd import Macd, MacdLines
from cryptostream.indicators.making import make
from cryptostream.indicators.rsi import Rsi
from cryptostream.indicators.sma import Sma
from cryptostream.indicators.stochastic import Oscillator, Stochastic
from cryptostream.indicators.vwap import Vwap

__all__ = [
    "Atr",
    "Bands",
    "Bollinger",
    "Ema",
    "Highest",
    "Indicator",
    "Lowest",
    "Macd",
    "MacdLines",
    "Oscillator",
    "Rsi",
    "Sma",
    "Stochastic",
    "Vwap",
    "feed",
    "make",
    "parts",
    "read",
]
