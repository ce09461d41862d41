"""Figures as people read them: `12.3 %`, `1.24`, `3 d 4 h`; a dash for what cannot be said."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite

from cryptostream.backtest.result import Figures

UNKNOWN = "–"
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def share(value: float) -> str:
    """A fraction in percent, three digits of it.

    >>> share(0.1234), share(-0.01234), share(12.5), share(-0.00001), share(1e9)
    ('12.3 %', '-1.23 %', '1,250 %', '0.00 %', '1.00e+11 %')
    """
    percent = value * 100
    if abs(percent) >= 1e6:
        return f"{percent:.2e} %"
    return f"{percent:z,.{_decimals(percent)}f} %"


def number(value: float) -> str:
    """A ratio.

    >>> number(1.2367), number(-21.456), number(1234.5), number(-0.001)
    ('1.24', '-21.5', '1,234', '0.00')
    """
    return f"{value:.2e}" if abs(value) >= 1e6 else f"{value:z,.{_decimals(value)}f}"


def _decimals(value: float) -> int:
    return 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0


def money(value: float) -> str:
    """An amount of the quote currency.

    >>> money(9876.543), money(0.0), money(0.000123)
    ('9,876.54', '0.00', '0.000123')
    """
    return f"{value:z,.2f}" if value == 0 or abs(value) >= 0.1 else f"{value:.3g}"


def price(value: float) -> str:
    """A price, or a quantity, in eight digits.

    >>> price(61837.63), price(0.00000123), price(2.0)
    ('61,837.63', '0.00000123', '2')
    """
    if abs(value) >= 1e-4 or value == 0:
        return f"{value:,.8g}"
    return f"{value:.12f}".rstrip("0")


def count(value: float) -> str:
    """A whole number.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{value:,.0f}"


def length(duration_s: float) -> str:
    """A duration in its two largest units.

    >>> length(273_600), length(59.6), length(3_600), length(0)
    ('3 d 4 h', '1 m', '1 h', '0 s')
    """
    left, parts = round(duration_s), []
    for unit, size in _UNITS:
        whole, left = divmod(left, size)
        parts.append((whole, unit))
    first = next((place for place, (whole, _) in enumerate(parts) if whole), len(parts) - 1)
    shown = [f"{whole:,} {unit}" for whole, unit in parts[first : first + 2] if whole]
    return " ".join(shown) or "0 s"


def when(us: int, *, seconds: bool = True) -> str:
    """A time in UTC.

    >>> when(1731605400123000), when(1731605400123000, seconds=False)
    ('2024-11-14 17:30:00', '2024-11-14 17:30')
    """
    told = datetime.fromtimestamp(us // 1_000_000, UTC)
    return f"{told:%Y-%m-%d %H:%M:%S}" if seconds else f"{told:%Y-%m-%d %H:%M}"


def plain(value: object) -> str:
    """A parameter or a term as it is written.

    >>> plain(True), plain(14), plain(0.5), plain("next-trade"), plain(None)
    ('yes', '14', '0.5', 'next-trade', '–')
    """
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: its field, what people call it, and how it is written."""

    field: str
    label: str
    write: Callable[[float], str]

    def of(self, figures: Figures | None) -> str:
        """The figure as people read it."""
        value = self.value(figures)
        return UNKNOWN if value is None else self.write(value)

    def value(self, figures: Figures | None) -> float | None:
        """The figure itself; None where it cannot be said."""
        value = getattr(figures, self.field, None)
        return value if value is not None and isfinite(value) else None


ROWS = (
    Row("final", "final equity", money),
    Row("total_return", "return", share),
    Row("cagr", "CAGR", share),
    Row("volatility", "volatility", share),
    Row("sharpe", "Sharpe", number),
    Row("sortino", "Sortino", number),
    Row("max_drawdown", "max drawdown", share),
    Row("max_drawdown_s", "its length", length),
    Row("calmar", "Calmar", number),
    Row("trips", "trades", count),
    Row("win_rate", "win rate", share),
    Row("profit_factor", "profit factor", number),
    Row("exposure", "exposure", share),
    Row("turnover", "turnover", lambda value: f"{number(value)} x"),
    Row("fees", "fees", money),
)
"""The figures that are shown, in their order."""
_MORE = (Row("signals", "signals", count), Row("fills", "fills", count))
BY_FIELD = {row.field: row for row in (*ROWS, *_MORE)}
"""Every figure that can be asked for, by its field."""
