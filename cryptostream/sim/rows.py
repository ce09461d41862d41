"""The rows of REST answers, as the exchange shapes them."""

from typing import Any

from cryptostream.sim.candles import Candle
from cryptostream.sim.decimals import E8, decimal
from cryptostream.sim.listing import Listing
from cryptostream.sim.market import SimAggregate, SimTrade


def trade_row(trade: SimTrade, unit_us: int) -> dict[str, Any]:
    return {
        "id": trade.id,
        "price": trade.price,
        "qty": trade.qty,
        "quoteQty": trade.quote_qty,
        "time": trade.time_us // unit_us,
        "isBuyerMaker": trade.buyer_is_maker,
        "isBestMatch": True,
    }


def aggregate_row(made: SimAggregate, unit_us: int) -> dict[str, Any]:
    return {
        "a": made.id,
        "p": made.price,
        "q": made.qty,
        "f": made.first_id,
        "l": made.last_id,
        "T": made.time_us // unit_us,
        "m": made.buyer_is_maker,
        "M": True,
    }


def kline_row(candle: Candle, unit_us: int) -> list[Any]:
    volume, quote, buy_volume, buy_quote = candle.volumes
    closes = (candle.end_us - 1) // unit_us
    return [
        candle.open_us // unit_us, *candle.prices, volume, closes, quote, candle.count, buy_volume, buy_quote, "0",
    ]  # fmt: skip


MINI = (
    "symbol", "openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume", "openTime", "closeTime",
    "firstId", "lastId", "count",
)  # fmt: skip


def ticker_row(listing: Listing, candle: Candle, newest: SimTrade | None, unit_us: int) -> dict[str, Any]:
    opened, high, low, close = candle.prices
    volume, quote, _, _ = candle.volumes
    change_e8 = candle.close_e8 - candle.open_e8
    percent = 100 * change_e8 / candle.open_e8 if candle.open_e8 else 0.0
    return {
        "symbol": listing.pair,
        "priceChange": decimal(change_e8),
        "priceChangePercent": f"{percent:.3f}",
        "weightedAvgPrice": decimal(candle.quote_e16 // candle.qty_e8 if candle.qty_e8 else 0),
        "prevClosePrice": opened,
        "lastPrice": close,
        "lastQty": newest.qty if newest else decimal(0),
        "bidPrice": close,
        "bidQty": decimal(listing.lot * listing.step_e8),
        "askPrice": decimal(candle.close_e8 + listing.tick_e8 if candle.count else 0),
        "askQty": decimal(listing.lot * listing.step_e8),
        "openPrice": opened,
        "highPrice": high,
        "lowPrice": low,
        "volume": volume,
        "quoteVolume": quote,
        "openTime": candle.open_us // unit_us,
        "closeTime": candle.end_us // unit_us,
        "firstId": candle.first_id,
        "lastId": candle.last_id,
        "count": candle.count,
    }


_ORDERS = ("LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")


def symbol_row(listing: Listing, status: str) -> dict[str, Any]:
    """One pair as exchangeInfo tells it."""
    most = decimal(1_000_000 * E8)
    tick, step = decimal(listing.tick_e8), decimal(listing.step_e8)
    return {
        "symbol": listing.pair,
        "status": status,
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(_ORDERS),
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": False,
        "amendAllowed": False,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": listing.spot,
        "isMarginTradingAllowed": listing.spot,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": most, "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": most, "stepSize": step},
            {
                "filterType": "NOTIONAL",
                "minNotional": "5.00000000",
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
        ],
        "permissions": [],
        "permissionSets": [["SPOT", "MARGIN"] if listing.spot else ["LEVERAGED"]],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    }  # fmt: skip
