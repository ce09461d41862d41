"""CoinGecko's list of coins, as far as discovery needs it: the coins whose pairs are traded here, in order of size,
and among them those that discovery has to leave out.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from cryptostream.sim.asking import Answer, Asked, RestError
from cryptostream.sim.decimals import E8
from cryptostream.sim.listing import Listing

MAX_PER_PAGE = 250
DECOYS = ("USDCUSDT", "WBTCUSDT", "PIUSDT", "DAIUSDT", "BTCUPUSDT", "ETHBTC")
"""Pairs that the exchange lists beside those it was asked for: discovery must take none of them."""

_Coin = tuple[str, str, str, float]
"""Id, symbol, name, price."""

_NAMES = {
    "BTC": ("bitcoin", "Bitcoin"),
    "ETH": ("ethereum", "Ethereum"),
    "BNB": ("binancecoin", "BNB"),
    "SOL": ("solana", "Solana"),
    "XRP": ("ripple", "XRP"),
    "ADA": ("cardano", "Cardano"),
    "DOGE": ("dogecoin", "Dogecoin"),
    "AVAX": ("avalanche-2", "Avalanche"),
    "LINK": ("chainlink", "Chainlink"),
    "DOT": ("polkadot", "Polkadot"),
    "LTC": ("litecoin", "Litecoin"),
    "TRX": ("tron", "TRON"),
}
# Coins that no pair must be made of: the dollar itself, two stablecoins, two wrapped coins, one that trades nowhere
# here, and one whose ticker belongs to another project on the exchange (its price differs by a factor of a thousand).
_LEFT_OUT: tuple[_Coin, ...] = (
    ("tether", "usdt", "Tether", 1.0),
    ("usd-coin", "usdc", "USDC", 0.9999),
    ("dai", "dai", "Dai", 1.0001),
    ("wrapped-bitcoin", "wbtc", "Wrapped Bitcoin", 97_380.0),
    ("staked-ether", "steth", "Lido Staked Ether", 3_455.1),
    ("leo-token", "leo", "LEO Token", 9.12),
    ("pi-network", "pi", "Pi Network", 41.7),
)


class CoinGecko:
    """Answers `/coins/markets` and `/ping` from what the exchange lists and the prices it pays."""

    def __init__(
        self, listings: Mapping[str, Listing], *, price_e8: Callable[[str], int], now_us: Callable[[], int]
    ) -> None:
        self._listings, self._price_e8, self._now_us = listings, price_e8, now_us

    def answer(self, path: str, query: str) -> Answer:
        """Answer one request below `/coingecko/api/v3/`."""
        if path == "ping":
            return Answer.json({"gecko_says": "(V3) To the Moon!"})
        if path != "coins/markets":
            return Answer.json({"error": "Incorrect path. Please check https://docs.coingecko.com/"}, 404)
        try:
            return self._markets(Asked(query))
        except RestError as error:
            return Answer.json({"error": str(error)}, 422)

    def _markets(self, asked: Asked) -> Answer:
        if not asked.text("vs_currency"):
            return Answer.json({"error": "Missing parameter vs_currency"}, 422)
        if asked.text("vs_currency") != "usd":
            return Answer.json({"error": "invalid vs_currency"}, 400)
        size = min(MAX_PER_PAGE, max(1, asked.number("per_page") or 100))
        page = max(1, asked.number("page") or 1)
        return Answer.json(list(self._rows())[(page - 1) * size : page * size])

    def _rows(self) -> Iterator[dict[str, Any]]:
        """The first and largest coins of the market, then those to leave out, then the rest."""
        coins = [self._coin(listing) for listing in self._listings.values() if self._is_own(listing)]
        ordered = [*coins[:2], *_LEFT_OUT, *coins[2:]]
        updated = datetime.fromtimestamp(self._now_us() // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        for rank, coin in enumerate(ordered, 1):
            yield _row(rank, coin, updated)

    def _is_own(self, listing: Listing) -> bool:
        return listing.quote == "USDT" and listing.pair not in DECOYS

    def _coin(self, listing: Listing) -> _Coin:
        coin_id, name = _NAMES.get(listing.base, (listing.base.lower(), listing.base.title()))
        return coin_id, listing.base.lower(), name, self._price_e8(listing.pair) / E8


def _row(rank: int, coin: _Coin, updated: str) -> dict[str, Any]:
    coin_id, symbol, name, price = coin
    cap = round(2e12 / rank**1.2)
    return {
        "id": coin_id,
        "symbol": symbol,
        "name": name,
        "image": "",
        "current_price": price,
        "market_cap": cap,
        "market_cap_rank": rank,
        "fully_diluted_valuation": cap,
        "total_volume": cap // 40,
        "high_24h": price * 1.01,
        "low_24h": price * 0.99,
        "price_change_24h": price * 0.002,
        "price_change_percentage_24h": 0.2,
        "circulating_supply": cap / price,
        "total_supply": cap / price,
        "max_supply": None,
        "roi": None,
        "last_updated": updated,
    }
