"""Market data streams that are complete, in order, free of duplicates, and the same live, replayed and backtested.

from cryptostream import Consumer

async with Consumer("redis://localhost", group="signals", streams=["trades:BTCUSDT"]) as consumer:
async for trade in consumer:
...
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptostream.client import Consumer, StreamInfo, consume
    from cryptostream.errors import CryptostreamError
    from cryptostream.model.events import Bar, Entry, Gap, Kline, Latest, Output, Signal, Trade

__version__ = "0.1.0"
_EVENTS = ("Bar", "Entry", "Gap", "Kline", "Latest", "Output", "Signal", "Trade")
__all__ = [
    "Bar",
    "Consumer",
    "CryptostreamError",
    "Entry",
    "Gap",
    "Kline",
    "Latest",
    "Output",
    "Signal",
    "StreamInfo",
    "Trade",
    "consume",
]

_ROOMS = {
    **dict.fromkeys(("Consumer", "StreamInfo", "consume"), "cryptostream.client"),
    **dict.fromkeys(_EVENTS, "cryptostream.model.events"),
    "CryptostreamError": "cryptostream.errors",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: the command line needs none of it to print its help."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)
