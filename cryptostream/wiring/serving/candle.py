"""A bar as it is kept: a sixth of what one that is shown takes."""

import msgspec

from cryptostream.model.events import Bar, Kline
from cryptostream.web import shown

MOST = 1e18
"""No price and no quantity is larger."""


class Candle(msgspec.Struct, frozen=True, gc=False):
    """See `shown.Bar`."""

    open_time_ms: int
    close_time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int
    closed: bool = True
    gap: bool = False

    def shown(self) -> shown.Bar:
        """The same for the web."""
        return shown.Bar(**msgspec.structs.asdict(self))


def of(bar: Bar | Kline, *, closed: bool, gap: bool) -> Candle:
    """The candle of a bar, or of a venue's kline."""
    return Candle(
        open_time_ms=bar.open_time,
        close_time_ms=bar.close_time,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        trades=bar.trades,
        closed=closed,
        gap=gap,
    )
