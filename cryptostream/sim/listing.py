"""What the exchange says about a pair: its coins, its usual price, and how fine prices and quantities are."""

import math
from hashlib import blake2b

import msgspec

from cryptostream.sim.decimals import E8

_QUOTES = ("USDT", "USDC", "FDUSD", "BTC", "ETH", "BNB", "EUR", "TRY")
_KNOWN = {  # price, tick, step
    "BTCUSDT": ("97412.50", "0.01", "0.00001"),
    "ETHUSDT": ("3456.78", "0.01", "0.0001"),
    "SOLUSDT": ("187.25", "0.01", "0.001"),
    "BNBUSDT": ("642.30", "0.01", "0.001"),
    "XRPUSDT": ("2.3456", "0.0001", "0.1"),
    "ADAUSDT": ("0.4312", "0.0001", "0.1"),
    "DOGEUSDT": ("0.14873", "0.00001", "1"),
    "LTCUSDT": ("84.61", "0.01", "0.001"),
    "USDCUSDT": ("1.0002", "0.0001", "1"),
    "DAIUSDT": ("0.9998", "0.0001", "1"),
    "WBTCUSDT": ("97380.00", "0.01", "0.00001"),
    "PIUSDT": ("0.04217", "0.00001", "1"),
    "ETHBTC": ("0.03548", "0.00001", "0.0001"),
}
_FLAT = {"USDCUSDT", "DAIUSDT"}
_STATUS = {"DAIUSDT": "BREAK"}
_NOT_SPOT = {"BTCUPUSDT"}


class Listing(msgspec.Struct, frozen=True):
    """What the exchange says about a pair. `tick` and `step` are in 1e-8; `lot` is a usual size, in steps."""

    pair: str
    base: str
    quote: str
    price_e8: int
    tick_e8: int
    step_e8: int
    lot: int
    volatility: float = 1.0
    status: str = "TRADING"
    spot: bool = True


def listing(pair: str) -> Listing:
    """The listing of any name: the well-known ones look like themselves, the others are derived from the name.

    >>> listing("BTCUSDT").base, listing("BTCUSDT").tick_e8
    ('BTC', 1000000)
    """
    price_e8, tick_e8, step_e8 = _sizes(pair)
    base, quote = _split(pair)
    return Listing(
        pair=pair,
        base=base,
        quote=quote,
        price_e8=price_e8,
        tick_e8=tick_e8,
        step_e8=step_e8,
        lot=max(1, 50 * E8 * E8 // (price_e8 * step_e8)),
        volatility=0.02 if pair in _FLAT else 1.0,
        status=_STATUS.get(pair, "TRADING"),
        spot=pair not in _NOT_SPOT,
    )


def _split(pair: str) -> tuple[str, str]:
    for quote in _QUOTES:
        if pair.endswith(quote) and len(pair) > len(quote):
            return pair.removesuffix(quote), quote
    return pair[:-3] or pair, pair[-3:]


def _sizes(pair: str) -> tuple[int, int, int]:
    if pair in _KNOWN:
        price, tick, step = (round(float(text) * E8) for text in _KNOWN[pair])
        return price, tick, step
    chance = int.from_bytes(blake2b(pair.encode(), digest_size=8).digest(), "little") / 2**64
    price_e8 = round(10 ** (chance * 6 - 3) * E8)
    # About 10,000 ticks to the price; tick and step together have at most eight decimals, so that price * qty is exact.
    tick_e8 = int(10 ** max(0, math.floor(math.log10(price_e8)) - 4))
    return price_e8 // tick_e8 * tick_e8, tick_e8, max(1, E8 // tick_e8) if tick_e8 < E8 else 1
